"""Compares `ponder model` with transformers on one Hugging Face folder: tokens of texts exactly, log-probabilities of
random and of real sequences to 1e-4, greedy continuations exactly.

usage: compare_transformers.py PONDER MODEL
"""
import json
import os
import random
import subprocess
import sys

os.environ["HF_HUB_OFFLINE"] = "1"
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

PROMPTS = ["User: 7+5-3+8+6=?\nAssistant:", "User: 1+2+9-4=?\nAssistant:", "Maths page: 9-2+4+1\n", "Facts: 3+4=7;", "x"]
TEXTS = PROMPTS + ["<think>7+5=12;12-3=9</think><answer>9</answer>", "  two  spaces\t\n\n", "ümlaut 漢字 😀 100 2024",
                   "a<|end_of_text|>b", "", "+-*=;1234567890"]


def ponder(program, *words, lines):
    text = "".join(json.dumps(line) + "\n" for line in lines)
    done = subprocess.run([program, *words], input=text, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def main(program, folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    ours = ponder(program, "model", "tokenize", "--model", folder, lines=[{"text": text} for text in TEXTS])
    for text, line in zip(TEXTS, ours):
        theirs = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert line["tokens"] == theirs, (text, line["tokens"], theirs)

    random.seed(0)
    size = model.config.vocab_size
    sequences = [[random.randrange(size) for _ in range(random.randint(2, 120))] for _ in range(20)]
    sequences += [tokens for text in TEXTS if len(tokens := tokenizer(text, add_special_tokens=False)["input_ids"]) > 1]
    worst = 0.0
    ours = ponder(program, "model", "logprobs", "--model", folder, lines=[{"tokens": s} for s in sequences])
    with torch.no_grad():
        for sequence, line in zip(sequences, ours):
            ids = torch.tensor([sequence])
            logprobs = torch.log_softmax(model(ids).logits[0, :-1], -1).gather(1, ids[0, 1:, None])[:, 0]
            worst = max(worst, (logprobs - torch.tensor(line["logprobs"])).abs().max().item())
        assert worst <= 1e-4, worst
        for prompt in PROMPTS:
            words = ["sample", "--model", folder, "--prompt", prompt, "--temperature", "0", "--max-new-tokens", "24"]
            tokens = ponder(program, *words, lines=[])[0]["tokens"]
            ids = tokenizer(prompt, return_tensors="pt", add_special_tokens=False)["input_ids"]
            theirs = model.generate(ids, do_sample=False, max_new_tokens=24)[0, ids.shape[1]:].tolist()
            assert tokens == theirs, (prompt, tokens, theirs)
    print(f"{len(sequences)} sequences, greatest difference of a log-probability {worst:.2e}")


main(*sys.argv[1:])
