"""What 8-bit products cost in quality: completions are sampled once by the model in 8 bits and once in bfloat16, and both are
scored by the bfloat16 model as the trainer computes it.

usage: int8_quality.py PONDER MODEL [new tokens]

Prints, for either, the mean and the greatest |log-prob difference| of a sampled token, and the mean of (log p_sampler -
log p_bfloat16), which estimates the Kullback-Leibler divergence from the sampler to the bfloat16 model in nats a token; and
the perplexity of the sampled text under the bfloat16 model.
"""
import json
import math
import subprocess
import sys
import tempfile

PROMPTS = ["The history of the bridge begins in", "To make bread, first", "In a small village near the sea, an old man",
           "The main difference between weather and climate is", "def fibonacci(n):\n", "Water boils at a lower temperature",
           "The committee decided on Tuesday that", "Photosynthesis is the process by which", "Dear Sir or Madam,",
           "If a train leaves the station at nine and", "The first people who crossed the desert", "Once the program is installed,",
           "A prime number is", "My grandmother used to say that", "The price of wheat rose", "Bats find their way at night"]


def run(words, lines=()):
    text = "".join(json.dumps(line) + "\n" for line in lines)
    return [json.loads(line) for line in subprocess.run(words, input=text, check=True, capture_output=True, text=True).stdout.splitlines()]


def main(ponder, model, new="96"):
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        for prompt in PROMPTS:
            file.write(json.dumps({"prompt": prompt}) + "\n")
        file.flush()
        heads = [line["tokens"] for line in run([ponder, "model", "tokenize", "--model", model], [{"text": p} for p in PROMPTS])]
        for dtype in ("int8", "bfloat16"):
            sampled = run([ponder, "sample", "--model", model, "--prompts", file.name, "-n", "4", "--max-new-tokens", new,
                           "--dtype", dtype])
            prompts = [head for head in heads for _ in range(4)]
            scored = run([ponder, "model", "logprobs", "--model", model, "--dtype", "bfloat16"],
                         [{"tokens": p + s["tokens"]} for p, s in zip(prompts, sampled, strict=True)])
            pairs = [(a, b) for p, s, t in zip(prompts, sampled, scored)
                     for a, b in zip(s["logprobs"], t["logprobs"][len(p) - 1:], strict=True)]
            gaps = [abs(a - b) for a, b in pairs]
            print(json.dumps({"sampler": dtype, "tokens": len(pairs), "mean_abs_difference": round(sum(gaps) / len(gaps), 4),
                              "max_abs_difference": round(max(gaps), 3),
                              "kl_to_bfloat16": round(sum(a - b for a, b in pairs) / len(pairs), 5),
                              "perplexity_under_bfloat16": round(math.exp(-sum(b for _, b in pairs) / len(pairs)), 2)}))


main(*sys.argv[1:])
