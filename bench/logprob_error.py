"""How far the float32 log-probs of sampled tokens are from the truth: completions are sampled once; their log-probs as the
sampler, the trainer's packed forward (`ponder model logprobs`) and transformers in float32 computed them are held against
transformers in float64, and sampler and trainer against each other.

usage: logprob_error.py PONDER MODEL [new tokens] [prompts]

Needs torch and transformers. Prints, for each, the mean and the greatest difference, and the share of tokens above 1e-5.
"""
import json
import random
import subprocess
import sys
import tempfile

import torch
import transformers

BEGINNINGS = ["User: {}+{}-{}+{}=?\nAssistant:", "The history of the {} bridges, {} roads and {} towns of {}", "def f{}(a={}, b={}, c={}):\n"]


def run(words, lines=()):
    text = "".join(json.dumps(line) + "\n" for line in lines)
    return [json.loads(line) for line in subprocess.run(words, input=text, check=True, capture_output=True, text=True).stdout.splitlines()]


def log_probs(model, ids):
    with torch.no_grad():
        return torch.log_softmax(model(ids).logits[0, :-1].double(), -1).gather(-1, ids[0, 1:, None])[:, 0]


def main(ponder, folder, new="80", count="64"):
    rng = random.Random(1)
    prompts = [rng.choice(BEGINNINGS).format(*(rng.randint(2, 19) for _ in range(4))) for _ in range(int(count))]
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        file.writelines(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts)
        file.flush()
        heads = [line["tokens"] for line in run([ponder, "model", "tokenize", "--model", folder], [{"text": p} for p in prompts])]
        sampled = run([ponder, "sample", "--model", folder, "--prompts", file.name, "--max-new-tokens", new, "--dtype", "float32"])
    lines = [{"tokens": head + line["tokens"]} for head, line in zip(heads, sampled, strict=True)]
    trained = run([ponder, "model", "logprobs", "--model", folder, "--dtype", "float32"], lines)
    exact, single = (transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, experts_implementation="eager").eval()
                     for dtype in (torch.float64, torch.float32))
    gaps = {"sampler": [], "trainer": [], "transformers": [], "sampler against trainer": []}
    for head, line, ours, theirs in zip(heads, lines, sampled, trained, strict=True):
        first, ids = len(head) - 1, torch.tensor([line["tokens"]])
        truth = log_probs(exact, ids)[first:]
        sampler, trainer = torch.tensor(ours["logprobs"]), torch.tensor(theirs["logprobs"])[first:]
        for name, a, b in (("sampler", sampler, truth), ("trainer", trainer, truth), ("sampler against trainer", sampler, trainer),
                           ("transformers", log_probs(single, ids)[first:], truth)):
            gaps[name] += (a - b).abs().tolist()
    for name, values in gaps.items():
        print(f"{name}: {len(values)} tokens, mean {sum(values) / len(values):.1e}, greatest {max(values):.1e}, "
              f"above 1e-5: {100 * sum(v > 1e-5 for v in values) / len(values):.2f} %")


main(*sys.argv[1:])
