"""Plain PyTorch on the work of `ponder bench step`: the same lengths, padded to the longest of each micro-batch, as a
training loop around transformers has it; one AdamW update. Prints one JSON line.

usage: torch_train.py MODEL OURS.json [bf16|amp|fp32] [MICRO_BATCH] [REPETITIONS]
OURS.json is what `ponder bench step` printed; its lengths are taken. bf16: weights and moments in bfloat16; amp: float32
weights and moments, bfloat16 autocast (the optimizer's state that ponder's masters have); fp32.
Only as many micro-batches as ponder timed tokens for are run.
"""
import contextlib
import json
import os
import resource
import sys
import time

os.environ["HF_HUB_OFFLINE"] = "1"
import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM

folder, ours = sys.argv[1], json.load(open(sys.argv[2]))
mode = sys.argv[3] if len(sys.argv) > 3 else "bf16"
micro = int(sys.argv[4]) if len(sys.argv) > 4 else 8
repetitions = int(sys.argv[5]) if len(sys.argv) > 5 else 2
torch.manual_seed(0)
torch.set_num_threads(ours["threads"])
model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16 if mode == "bf16" else torch.float32)
model.train()
model.config.use_cache = False
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6, fused=True)
cast = (lambda: torch.autocast("cpu", dtype=torch.bfloat16)) if mode == "amp" else contextlib.nullcontext
batches, tokens = [], 0
for i in range(0, len(ours["lengths"]), micro):
    lengths = ours["lengths"][i:i + micro]
    if tokens + sum(lengths) > ours["tokens"]:
        break
    ids = torch.randint(0, model.config.vocab_size, (len(lengths), max(lengths)))
    mask = torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]
    batches.append((ids, mask))
    tokens += sum(lengths)
best = {}
for repetition in range(repetitions + 1):
    seconds = {"forward": 0.0, "backward": 0.0}
    for ids, mask in batches:
        start = time.perf_counter()
        with cast():
            logits = model(input_ids=ids, attention_mask=mask.long()).logits
            labels = ids.masked_fill(~mask, -100)[:, 1:]
            loss = F.cross_entropy(logits[:, :-1].float().flatten(0, 1), labels.flatten()) / len(batches)
        middle = time.perf_counter()
        loss.backward()
        del logits, loss
        seconds["forward"] += middle - start
        seconds["backward"] += time.perf_counter() - middle
    start = time.perf_counter()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    seconds["optimizer"] = time.perf_counter() - start
    if repetition and (not best or sum(seconds.values()) < sum(best.values())):
        best = seconds
print(json.dumps({"mode": mode, "micro_batch": micro, "tokens": tokens, "seconds": best,
                  "padding_share": 1 - tokens / sum(ids.numel() for ids, _ in batches),
                  "tokens_per_s": tokens / sum(best.values()), "torch": torch.__version__,
                  "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))
