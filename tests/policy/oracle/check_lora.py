"""Loads base models by transformers and adapters onto them by peft, and compares log-probabilities with reference files
to 1e-4 and the adapters' gradients to 1e-3 of the largest; every adapter weight must have its place. peft then saves
the adapter to ADAPTER/saved-by-peft.

A mixture's linears stand one by one in ADAPTER; peft stacks them: lora_A [experts x rank, in], expert outermost, lora_B
[out, rank x experts], expert innermost, and of gate and up, which are one matrix, the ranks side by side.

usage: check_lora.py BASE ADAPTER REFERENCE [BASE ADAPTER REFERENCE ...]
"""
import os
import re
import sys

os.environ["HF_HUB_OFFLINE"] = "1"
import torch
import transformers
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

transformers.logging.set_verbosity_error()
EXPERT = re.compile(r"(.*\.mlp\.experts)\.(\d+)\.(gate|up|down)_proj\.lora_([AB])\.weight")


def place_of(name, held, config):
    """What peft holds under a name of the file: a function from its whole tensors (weights or gradients) to the part."""
    found = EXPERT.fullmatch(name)
    if not found:
        return lambda tensors: tensors[name]
    mixture, expert, which, letter = found[1], int(found[2]), found[3], found[4]
    experts, wide = config.n_routed_experts, config.moe_intermediate_size
    key = f"{mixture}{'' if which == 'down' else '.base_layer'}.lora_{letter}.weight"

    def part(tensors):
        whole = tensors[key]
        if letter == "A":
            one = whole.reshape(experts, -1, whole.shape[1])[expert]
            ranks = one.chunk(2) if which != "down" else [one]
            return ranks[1 if which == "up" else 0]
        one = whole.reshape(whole.shape[0], -1, experts)[:, :, expert]
        if which == "down":
            return one
        rank = one.shape[1] // 2
        return one[:wide, :rank] if which == "gate" else one[wide:, rank:]

    assert key in held, key
    return part


def check(base, adapter, reference):
    plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    plain.set_attn_implementation("eager")
    model = PeftModel.from_pretrained(plain, adapter, is_trainable=True).eval()
    config = plain.config
    held = {name.replace(".default.", "."): p for name, p in model.named_parameters() if ".lora_" in name}
    weights = load_file(os.path.join(adapter, "adapter_model.safetensors"))
    layers = {name: re.search(r"\.layers\.(\d+)\.", name) for name in weights}
    own = {name: value for name, value in weights.items()
           if layers[name] is None or int(layers[name][1]) < config.num_hidden_layers}
    places = {name: place_of(name, held, config) for name in own}
    values = {name: p.detach() for name, p in held.items()}
    for name, value in own.items():
        assert torch.equal(places[name](values), value), name
    stacked = {name for name in held if ".experts." in name}
    assert set(held) - stacked == {name for name in own if not EXPERT.fullmatch(name)}, adapter
    tensors = load_file(reference)
    got = []
    for ids in tensors["tokens"].split(tensors["lengths"].tolist()):
        table = torch.log_softmax(model(ids[None]).logits[0, :-1], -1)
        got.append(table.gather(1, ids[1:, None])[:, 0])
    got = torch.cat(got)
    worst = (got - tensors["logprobs"]).abs().max().item()
    assert worst <= 1e-4, (adapter, worst)
    (-got.sum()).backward()
    grads = {name: torch.zeros_like(p) if p.grad is None else p.grad for name, p in held.items()}
    for name in own:
        ours = tensors.get("grad." + name.removeprefix("base_model.model."))
        if ours is None:  # not trained, or of an expert that got no token
            continue
        theirs = places[name](grads)
        worst = (ours - theirs).abs().max().item()
        assert worst <= 1e-3 * max(theirs.abs().max().item(), 1e-3), (adapter, name, worst)
    model.save_pretrained(os.path.join(adapter, "saved-by-peft"))


words = sys.argv[1:]
for base, adapter, reference in zip(words[::3], words[1::3], words[2::3]):
    check(base, adapter, reference)
print(f"{len(words) // 3} adapters")
