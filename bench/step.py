"""`ponder bench step` beside plain PyTorch and TRL on the same work, taking turns in one run; writes docs/results/step.md.

usage: step.py PONDER PEER_PYTHON MODEL [TINY_MODEL] [--rounds N] [--micro-batches N] [--trl-steps N] [--skip ...] [--out FILE]
PEER_PYTHON has torch, transformers, trl and datasets. MODEL is a Hugging Face folder such as SmolLM2-135M, TINY_MODEL a
small DeepSeek-V3. Best of the rounds.
"""
import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile

parser = argparse.ArgumentParser()
parser.add_argument("ponder")
parser.add_argument("python")
parser.add_argument("model")
parser.add_argument("tiny", nargs="?")
parser.add_argument("--rounds", type=int, default=2)
parser.add_argument("--micro-batches", type=int, default=0, help="of our update; PyTorch gets as many tokens; 0: all")
parser.add_argument("--trl-steps", default="1", help="of TRL, timed after one that is not; 0: that first one is timed")
parser.add_argument("--skip", default="", help="of train,amp,grpo,tiny")
parser.add_argument("--out", default="docs/results/step.md")
a = parser.parse_args()
here = os.path.dirname(os.path.abspath(__file__))


def run(words):
    print(" ".join(words), file=sys.stderr, flush=True)
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{words}: {done.stderr}")
    out = json.loads(done.stdout[done.stdout.index("{"):])
    print(json.dumps({k: v for k, v in out.items() if k != "lengths"}), file=sys.stderr, flush=True)
    return out


def best_of(runs, seconds):
    best = min(runs, key=seconds)
    return dict(best, peak_rss_bytes=max(r["peak_rss_bytes"] for r in runs))


def total(result):
    seconds = result["seconds"]
    return seconds.get("total") or sum(seconds.values())


def side_by_side(ours_words, peers):
    """Ours and each peer, in turns; {name: best result}."""
    runs = {}
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        for _ in range(a.rounds):
            ours = run(ours_words)
            runs.setdefault("ponder", []).append(ours)
            file.seek(0)
            file.truncate()
            json.dump(ours, file)
            file.flush()
            for name, script, words in peers:
                runs.setdefault(name, []).append(run([a.python, os.path.join(here, script), words[0], file.name] + words[1:]))
    return {name: best_of(found, total) for name, found in runs.items()}


def gigabytes(result):
    return f"{result['peak_rss_bytes'] / 2**30:.2f}"


def train_table():
    words = [a.ponder, "bench", "step", "--model", a.model, "--repetitions", "1", "--train-tokens-max", "1536",
             "--adam-moments-dtype", "bfloat16"]
    peers = [("PyTorch, bfloat16 weights and moments", "torch_train.py", [a.model, "bf16", "8", "1"])]
    if "amp" not in a.skip:
        peers.append(("PyTorch, float32 weights, bfloat16 autocast", "torch_train.py", [a.model, "amp", "8", "1"]))
    found = side_by_side(words + ["--micro-batches", str(a.micro_batches)], peers)
    ours = found["ponder"]
    lines = ["## Training", "",
             f"{os.path.basename(a.model)}, sequences of {min(ours['lengths'])} to {max(ours['lengths'])} tokens (1:4), one "
             f"AdamW update; ponder packs them, PyTorch pads each micro-batch of 8. Tokens are those of sequences.", "",
             "| | tokens/s | ponder is | peak memory, GiB | ponder takes |", "|---|---|---|---|---|"]
    for name, r in found.items():
        lines.append(f"| {name} | {r['tokens_per_s']:.0f} | {ours['tokens_per_s'] / r['tokens_per_s']:.2f} × | {gigabytes(r)} | "
                     f"{ours['peak_rss_bytes'] / r['peak_rss_bytes']:.2f} × |")
    return lines + ["", f"ponder: {ours['gflop_per_s']:.0f} GFLOP/s (6 a weight and token; attention and what is computed twice "
                    f"not counted) of {ours['matmul_peak_gflop_per_s']:.0f} that one large product reaches in the same run: "
                    f"{ours['share_of_peak']:.2f}. bfloat16 weights and moments, float32 masters and gradients.", ""]


def grpo_table(title, model, words, precision, micro):
    ours_words = [a.ponder, "bench", "step", "--grpo", "--model", model, "--repetitions", "3"] + words
    found = side_by_side(ours_words, [("TRL", "trl_step.py", [model, precision, micro, a.trl_steps])])
    ours, peer = found["ponder"], found["TRL"]
    lines = [f"## {title}", "", "| | sample, s | reference, s | train, s | step, s | peak memory, GiB |", "|---|---|---|---|---|---|"]
    for name, r in found.items():
        s = r["seconds"]
        lines.append(f"| {name} | {s['sample']:.2f} | {s.get('reference', 0):.2f} | {s['train']:.2f} | {s['total']:.2f} | {gigabytes(r)} |")
    ratio = {k: peer["seconds"].get(k, 0) / max(ours["seconds"].get(k, 0), 1e-9) for k in ("sample", "train", "total")}
    return lines + ["", f"TRL takes {ratio['total']:.1f} × the time (sampling {ratio['sample']:.1f} ×, training "
                    f"{ratio['train']:.1f} ×); ponder takes {ours['peak_rss_bytes'] / peer['peak_rss_bytes']:.2f} × the memory.", ""]


cpu = next((l.split(":")[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), platform.machine())
page = ["# A training step", "", f"`bench/step.py` on {os.cpu_count()} cores of {cpu}: each program in turn, best of {a.rounds}.", ""]
if "train" not in a.skip:
    page += train_table()
if "grpo" not in a.skip:
    page += grpo_table("A GRPO step, 8 prompts × 8 completions, lengths 1:8, bfloat16, with a reference", a.model,
                       ["--spread", "8", "--train-tokens-max", "1024", "--gradient-checkpointing", "true",
                        "--adam-moments-dtype", "bfloat16"], "bf16", "8")
if a.tiny and "tiny" not in a.skip:
    for dtype, precision, bf16 in (("bfloat16", "bf16", "true"), ("float32", "fp32", "false")):
        for beta in ("0", "0.04"):
            title = f"A GRPO step of a 5 M DeepSeek-V3, 32 × 8, {dtype}, {'no reference' if beta == '0' else 'with a reference'}"
            page += grpo_table(title, a.tiny, ["--bf16", bf16, "--prompts", "32", "--prompt-tokens", "32", "--new-tokens", "64",
                                               "--spread", "1", "--beta", beta, "--train-tokens-max", "3072"], precision, "32")
with open(a.out, "w") as out:
    out.write("\n".join(page))
