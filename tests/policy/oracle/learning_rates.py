"""The learning rates of transformers.get_scheduler, one a line: name, warm-up, updates, least share, update, rate."""
import os

os.environ["HF_HUB_OFFLINE"] = "1"
import torch
from transformers import get_scheduler

CASES = [("constant", "constant", 0, {}), ("constant", "constant_with_warmup", 5, {}), ("linear", "linear", 0, {}),
         ("linear", "linear", 5, {}), ("cosine", "cosine", 0, {}), ("cosine", "cosine", 5, {}),
         ("cosine", "cosine_with_min_lr", 5, {"min_lr_rate": 0.1})]
for ours, theirs, warmup, more in CASES:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=3e-4)
    schedule = get_scheduler(theirs, optimizer, num_warmup_steps=warmup, num_training_steps=20,
                             scheduler_specific_kwargs=more)
    for update in range(20):
        print(ours, warmup, 20, more.get("min_lr_rate", 0), update, repr(schedule.get_last_lr()[0]))
        optimizer.step()
        schedule.step()
