"""Starts llama-cpp-python's server on loopback with a small random Llama, samples from it with `ponder sample --server`, and
holds tokens and log-probs to the same weights in ponder; then trains a few steps on what the server samples.

usage: llama_server.py PONDER
"""
import json
import os
import pathlib
import socket
import string
import subprocess
import sys
import tempfile
import time
import urllib.request

os.environ["HF_HUB_OFFLINE"] = "1"
import torch
import transformers

sys.path.insert(0, os.path.dirname(__file__))
import gguf_files

# Almost all of one byte: every token's text is the text of no other, so that ids can be told from texts.
LETTERS = string.digits + string.ascii_letters + "+-=?:<>"
MERGED = "<>"  # a vocabulary without any merge cannot be written as GGUF
TEXTS = [*LETTERS, MERGED]
# llama.cpp's begin-of-sequence token where a file names none, which its server drops from its answers: it is the end, too.
END = 11


def tokenizer_json():
    vocab = {c: i for i, c in enumerate(TEXTS)}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {"version": "1.0", "added_tokens": [], "normalizer": None, "pre_tokenizer": level, "post_processor": None,
            "decoder": level, "model": {"type": "BPE", "vocab": vocab, "merges": [" ".join(MERGED)]}}


def run(program, *words, lines=()):
    text = "".join(json.dumps(line) + "\n" for line in lines)
    done = subprocess.run([program, *words], input=text, capture_output=True, text=True)
    assert done.returncode == 0, (words, done.stderr)
    return done.stdout


def wait_for(server, url):
    for _ in range(600):
        assert server.poll() is None, "the server has ended"
        try:
            urllib.request.urlopen(url + "/models", timeout=1).read()
            return
        except OSError:
            time.sleep(0.1)
    raise AssertionError("the server does not answer")


def check_samples(ponder, folder, url):
    out = run(ponder, "sample", "--server", url, "--server-takes-text", "--model", folder, "--prompt", "abc1+2=", "-n", "16",
              "--max-new-tokens", "24", "--seed", "3")
    lines = [json.loads(line) for line in out.splitlines()]
    assert len(lines) == 16
    assert len({tuple(line["tokens"]) for line in lines}) > 8, "the samples are all alike"
    vocab = {c: i for i, c in enumerate(TEXTS)}
    prompt = [vocab[c] for c in "abc1+2="]
    asked = [{"tokens": prompt + line["tokens"]} for line in lines]
    ours = [json.loads(line)["logprobs"] for line in run(ponder, "model", "logprobs", "--model", folder, lines=asked).splitlines()]
    worst, ranks = 0.0, 0
    for line, own in zip(lines, ours):
        assert "".join(TEXTS[t] for t in line["tokens"]) == line["completion"], line
        own = own[len(prompt) - 1:]
        assert len(own) == len(line["logprobs"]) == len(line["tokens"])
        worst = max(worst, *(abs(a - b) for a, b in zip(own, line["logprobs"])))
    print(f"{sum(len(line['tokens']) for line in lines)} tokens, max |log-prob difference| {worst:.1e}")
    assert worst < 1e-4, worst


def check_training(ponder, folder, url, run_folder):
    run(ponder, "train", "recipes/r1_zero_tiny.toml", "--run", run_folder, f"model_name_or_path={folder}",
        "grpo.max_steps=2", "grpo.prompts_per_step=2", "grpo.num_generations=4", "grpo.max_completion_length=16",
        "eval.num_prompts=0", f"rollout.remote.base_url={url}", "rollout.remote.prompts_as_text=true")
    steps = [json.loads(line) for line in (pathlib.Path(run_folder) / "metrics.jsonl").read_text().splitlines()]
    assert len(steps) == 2
    for step in steps:
        assert step["sampling/sampling_logp_difference/max"] < 1e-3, step
        assert "sampling/importance_sampling_ratio/mean" in step, "not corrected for"


def main(ponder):
    with tempfile.TemporaryDirectory() as place:
        torch.manual_seed(1)
        tokenizer = tokenizer_json()
        config = transformers.LlamaConfig(
            vocab_size=len(TEXTS), hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=256, initializer_range=0.2, bos_token_id=END, eos_token_id=END)
        model = transformers.LlamaForCausalLM(config).eval()
        file, folder = os.path.join(place, "tiny.gguf"), os.path.join(place, "tiny")
        gguf_files.write(file, model, "llama", gguf_files.TYPES.F32, tokenizer, "gpt-2", END, padding=0)
        run(ponder, "model", "convert", file, folder, "--dtype", "float32")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        log = open(os.path.join(place, "log"), "w")
        server = subprocess.Popen([sys.executable, "-m", "llama_cpp.server", "--model", file, "--port", str(port), "--n_ctx",
                                   "256", "--logits_all", "true", "--n_threads", "2",
                                   "--type_k", "0", "--type_v", "0"], stdout=log, stderr=log)
        try:
            url = f"http://127.0.0.1:{port}/v1"
            wait_for(server, url)
            check_samples(ponder, folder, url)
            check_training(ponder, folder, url, os.path.join(place, "run"))
        except BaseException:
            print(open(log.name).read()[-3000:], file=sys.stderr)
            raise
        finally:
            server.terminate()
            server.wait()


main(sys.argv[1])
