"""Loads base models by transformers and adapters onto them by peft, and compares log-probabilities with reference files
to 1e-4; every adapter weight must have its place.

usage: check_lora.py BASE ADAPTER REFERENCE [BASE ADAPTER REFERENCE ...]
"""
import os
import sys

os.environ["HF_HUB_OFFLINE"] = "1"
import torch
import transformers
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

transformers.logging.set_verbosity_error()


def check(base, adapter, reference):
    plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    model = PeftModel.from_pretrained(plain, adapter).eval()
    held = {name.replace(".default.", ".") for name, _ in model.named_parameters() if ".lora_" in name}
    assert held == set(load_file(os.path.join(adapter, "adapter_model.safetensors"))), adapter
    tensors = load_file(reference)
    got = []
    with torch.no_grad():
        for ids in tensors["tokens"].split(tensors["lengths"].tolist()):
            table = torch.log_softmax(model(ids[None]).logits[0, :-1], -1)
            got.append(table.gather(1, ids[1:, None])[:, 0])
    worst = (torch.cat(got) - tensors["logprobs"]).abs().max().item()
    assert worst <= 1e-4, (adapter, worst)


words = sys.argv[1:]
for base, adapter, reference in zip(words[::3], words[1::3], words[2::3]):
    check(base, adapter, reference)
print(f"{len(words) // 3} adapters")
