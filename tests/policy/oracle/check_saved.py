"""Loads folders by transformers and compares log-probabilities with reference files to 1e-4; every weight must be in the
folder, none left over.

usage: check_saved.py FOLDER REFERENCE [FOLDER REFERENCE ...]
"""
import os
import sys

os.environ["HF_HUB_OFFLINE"] = "1"
import torch
import transformers
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

transformers.logging.set_verbosity_error()


def check(folder, reference):
    model, info = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    layers = model.config.num_hidden_layers
    left = [key for key in info["unexpected_keys"] if not key.startswith(f"model.layers.{layers}.")
            and not key.startswith(f"model.layers.{layers + 1}.")]
    assert not info["missing_keys"] and not left, (folder, info)
    tensors = load_file(reference)
    got = []
    with torch.no_grad():
        for ids in tensors["tokens"].split(tensors["lengths"].tolist()):
            table = torch.log_softmax(model.eval()(ids[None]).logits[0, :-1], -1)
            got.append(table.gather(1, ids[1:, None])[:, 0])
    worst = (torch.cat(got) - tensors["logprobs"]).abs().max().item()
    assert worst <= 1e-4, (folder, worst)


words = sys.argv[1:]
for folder, reference in zip(words[::2], words[1::2]):
    check(folder, reference)
print(f"{len(words) // 2} folders")
