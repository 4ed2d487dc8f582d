"""TRL's GRPOTrainer on the work of `ponder bench step --grpo`: as many prompts, completions, tokens of prompts, and for
each completion the same length (an end-of-sequence token is forced there and forbidden before). Prints one JSON line.

usage: trl_step.py MODEL OURS.json [bf16|fp32] [MICRO_BATCH] [STEPS]
STEPS are timed after one that is not; 0: that one is timed. OURS.json is what `ponder bench step --grpo` printed. Weights in bfloat16 or float32; no gradient checkpointing, which
makes TRL faster.
"""
import json
import os
import resource
import sys
import tempfile
import time
import warnings

warnings.filterwarnings("ignore")
os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error")
import torch
from datasets import Dataset
from transformers import AutoTokenizer, LogitsProcessor, LogitsProcessorList, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

folder, ours = sys.argv[1], json.load(open(sys.argv[2]))
precision = sys.argv[3] if len(sys.argv) > 3 else "bf16"
micro = int(sys.argv[4]) if len(sys.argv) > 4 else 8
steps = int(sys.argv[5]) if len(sys.argv) > 5 else 2
torch.set_num_threads(ours["threads"])
tokenizer = AutoTokenizer.from_pretrained(folder)
tokenizer.padding_side = "left"
lengths = torch.tensor(ours["lengths"])
count, longest = len(lengths), max(ours["lengths"])


def prompt(i):
    """A text of exactly prompt_tokens tokens."""
    words = f"{i}" + " and one more" * ours["prompt_tokens"]
    ids = tokenizer.encode(words, add_special_tokens=False)[:ours["prompt_tokens"]]
    return tokenizer.decode(ids)


class ExactLengths(LogitsProcessor):
    def __init__(self, prompt_tokens):
        self.prompt_tokens = prompt_tokens

    def __call__(self, input_ids, scores):
        made, eos = input_ids.shape[1] - self.prompt_tokens, tokenizer.eos_token_id
        ends = lengths[:len(scores)] - 1 <= made
        scores[~ends, eos] = -float("inf")
        keep = scores[ends, eos].clone()
        scores[ends] = -float("inf")
        scores[ends, eos] = torch.where(keep.isinf(), torch.zeros_like(keep), keep)
        return scores


spent, done = {}, []


def timed(owner, name, key):
    inner = getattr(owner, name)

    def outer(*args, **kwargs):
        start = time.perf_counter()
        try:
            return inner(*args, **kwargs)
        finally:
            spent[key] = spent.get(key, 0.0) + time.perf_counter() - start
    setattr(owner, name, outer)


class Steps(TrainerCallback):
    def on_step_begin(self, *args, **kwargs):
        spent.clear()
        self.start = time.perf_counter()

    def on_step_end(self, *args, **kwargs):
        done.append(dict(spent, total=time.perf_counter() - self.start))


rows = ours["prompts"] * (steps + 2)
config = GRPOConfig(
    output_dir=tempfile.mkdtemp(), use_cpu=True, bf16=False, fp16=False, per_device_train_batch_size=micro,
    gradient_accumulation_steps=count // micro, num_generations=ours["num_generations"], max_completion_length=longest,
    beta=ours["beta"], max_steps=steps + 1, logging_steps=1, save_strategy="no", report_to=[], gradient_checkpointing=False,
    learning_rate=1e-6, model_init_kwargs={"dtype": "bfloat16" if precision == "bf16" else "float32"},
    dataloader_pin_memory=False, disable_tqdm=True, seed=1)
trainer = GRPOTrainer(model=folder, reward_funcs=lambda completions, **_: [float(sum(map(str.isdigit, c))) for c in completions],
                      args=config, train_dataset=Dataset.from_dict({"prompt": [prompt(i) for i in range(rows)]}),
                      processing_class=tokenizer, callbacks=[Steps()])
generate = trainer.model.generate


def generate_exactly(*args, **kwargs):
    ids = kwargs["input_ids"] if "input_ids" in kwargs else args[0]
    return generate(*args, **kwargs, logits_processor=LogitsProcessorList([ExactLengths(ids.shape[1])]))


trainer.model.generate = generate_exactly
timed(trainer, "_generate_single_turn", "sample")
timed(trainer, "_generate_and_score_completions", "rollout")
timed(trainer, "training_step", "steps")
inner_logps = trainer._get_per_token_logps_and_entropies


def logps(model, *args, **kwargs):
    start = time.perf_counter()
    out = inner_logps(model, *args, **kwargs)
    if model is getattr(trainer, "ref_model", None):
        spent["reference"] = spent.get("reference", 0.0) + time.perf_counter() - start
    return out


trainer._get_per_token_logps_and_entropies = logps
with open(os.devnull, "w") as quiet:
    out, sys.stdout = sys.stdout, quiet
    trainer.train()
    sys.stdout = out
mean = [h["completions/mean_length"] for h in trainer.state.log_history if "completions/mean_length" in h][-1]
timed_steps = done[1:] or done
best = min(timed_steps, key=lambda d: d["total"])
best["train"] = best.pop("steps") - best.pop("rollout")
print(json.dumps({"precision": precision, "micro_batch": micro, "seconds": best, "steps_seconds": [d["total"] for d in timed_steps],
                  "mean_length": mean, "wanted_mean_length": lengths.float().mean().item(), "torch": torch.__version__,
                  "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))
