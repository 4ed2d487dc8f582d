"""ponder's rollout beside transformers.generate and llama.cpp: the same weights, prompts' lengths and completions' lengths, in
turns in one run; the fastest of the repeats counts.

usage: rollout_peers.py --ponder build/ponder --model DIR [--gguf FILE] [--dtype bfloat16] [--batches 1,8,32] [--prompt 64]
                        [--new 128] [--groups 8x8] [--long 0] [--repeats 3]

Needs torch and transformers; with --gguf also llama-cpp-python. Prints one JSON line a measurement, tokens a second of
whole runs, prompts included. `spread`: prompts in groups whose lengths are log-normal, longest to shortest 8 to 1
(transformers decodes the whole batch until the longest has ended, as a training step with it does). `--long 4096`: one
prompt of so many tokens and two new ones, in tokens of the prompt a second.
"""
import argparse
import json
import os
import subprocess
import time

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_VERBOSITY"] = "error"


def say(name, setting, seconds, tokens, **more):
    print(json.dumps({"peer": name, "setting": setting, "seconds": round(seconds, 3),
                      "tokens_per_s": round(tokens / seconds, 1), **more}), flush=True)


class Transformers:
    def __init__(self, args):
        import torch
        from transformers import AutoModelForCausalLM
        torch.set_num_threads(args.threads)
        self.torch, self.args = torch, args
        self.model = AutoModelForCausalLM.from_pretrained(args.model, dtype=getattr(torch, args.dtype)).eval()

    def run(self, batch, new, prompt=None):
        torch, args = self.torch, self.args
        prompt = prompt or args.prompt
        ids = torch.randint(20, self.model.config.vocab_size, (batch, prompt))
        start = time.perf_counter()
        with torch.inference_mode():
            out = self.model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=True, top_k=0, temperature=1.0,
                                      max_new_tokens=new, min_new_tokens=new, pad_token_id=0)
        assert out.shape == (batch, prompt + new)
        return time.perf_counter() - start


class Llama:
    def __init__(self, args):
        import ctypes
        import llama_cpp
        self.lc, self.args = llama_cpp, args
        self.quiet = llama_cpp.llama_log_callback(lambda *_: None)
        llama_cpp.llama_log_set(self.quiet, ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()
        params = llama_cpp.llama_model_default_params()
        params.n_gpu_layers = 0
        self.model = llama_cpp.llama_model_load_from_file(args.gguf.encode(), params)
        assert self.model, args.gguf

    def run(self, batch, new):
        lc, args = self.lc, self.args
        params = lc.llama_context_default_params()
        params.n_ctx, params.n_seq_max = batch * (args.prompt + new + 1), batch
        params.n_batch, params.n_ubatch = 2048, 512
        params.n_threads = params.n_threads_batch = args.threads
        context = lc.llama_init_from_model(self.model, params)
        assert context
        samplers = []
        for seed in range(batch):
            chain = lc.llama_sampler_chain_init(lc.llama_sampler_chain_default_params())
            lc.llama_sampler_chain_add(chain, lc.llama_sampler_init_temp(1.0))
            lc.llama_sampler_chain_add(chain, lc.llama_sampler_init_dist(seed))
            samplers.append(chain)
        rows = lc.llama_batch_init(2048, 0, 1)

        def decode(tokens):  # (token, position, sequence, wanted)
            for i, (token, position, sequence, wanted) in enumerate(tokens):
                rows.token[i], rows.pos[i], rows.n_seq_id[i], rows.logits[i] = token, position, 1, wanted
                rows.seq_id[i][0] = sequence
            rows.n_tokens = len(tokens)
            assert lc.llama_decode(context, rows) == 0

        start = time.perf_counter()
        current = [0] * batch
        for first in range(0, batch, 2048 // args.prompt):
            part = range(first, min(first + 2048 // args.prompt, batch))
            decode([(100 + 7 * p + s, p, s, p == args.prompt - 1) for s in part for p in range(args.prompt)])
            for i, s in enumerate(part):
                current[s] = lc.llama_sampler_sample(samplers[s], context, (i + 1) * args.prompt - 1)
        for step in range(new - 1):
            decode([(current[s], args.prompt + step, s, True) for s in range(batch)])
            current = [lc.llama_sampler_sample(samplers[s], context, s) for s in range(batch)]
        seconds = time.perf_counter() - start
        for chain in samplers:
            lc.llama_sampler_free(chain)
        lc.llama_batch_free(rows)
        lc.llama_free(context)
        return seconds


def ponder(args, words, prompt=None, new=None):
    command = [args.ponder, "bench", "rollout", "--model", args.model, "--dtype", args.dtype, "--prompt-tokens",
               str(prompt or args.prompt), "--new-tokens", str(new or args.new), "--repeats", "1", *words]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def long_prompt(args, transformers):
    ours, theirs = [], []
    for _ in range(args.repeats):
        ours.append(ponder(args, ["--batches", "1", "--prompts", "0"], prompt=args.long, new=2)["runs"][0]["seconds"])
        theirs.append(transformers.run(1, 2, args.long))
    say("ponder", f"prompt of {args.long}", min(ours), args.long)
    say("transformers", f"prompt of {args.long}", min(theirs), args.long, ponder_is=round(min(theirs) / min(ours), 2))


def fastest(runs):
    return min(runs, key=lambda run: run["seconds"])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--ponder", default="build/ponder")
    parser.add_argument("--model", required=True)
    parser.add_argument("--gguf", default="")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--batches", default="1,8,32")
    parser.add_argument("--prompt", type=int, default=64)
    parser.add_argument("--new", type=int, default=128)
    parser.add_argument("--groups", default="8x8", help="prompts x group of the spread lengths; 0x0: none")
    parser.add_argument("--long", type=int, default=0, help="tokens of a long prompt; 0: none")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(args.threads)
    batches = [int(b) for b in args.batches.split(",") if b]
    prompts, group = (int(n) for n in args.groups.split("x"))
    peers = [("transformers", Transformers(args))] + ([("llama.cpp", Llama(args))] if args.gguf else [])
    for _, peer in peers:
        peer.run(1, 4)
    for batch in batches:
        ours, theirs = [], {name: [] for name, _ in peers}
        for _ in range(args.repeats):
            ours.append(ponder(args, ["--batches", str(batch), "--prompts", "0"])["runs"][0])
            for name, peer in peers:
                theirs[name].append(peer.run(batch, args.new))
        best = fastest(ours)
        say("ponder", f"batch {batch}", best["seconds"], best["tokens"])
        for name, seconds in theirs.items():
            say(name, f"batch {batch}", min(seconds), batch * args.new, ponder_is=round(min(seconds) / best["seconds"], 2))
    if args.long:
        long_prompt(args, peers[0][1])
    if prompts:
        words = ["--batches", "1", "--prompts", str(prompts), "--group", str(group)]
        ours, seconds = [], []
        for _ in range(args.repeats):
            ours.append(ponder(args, words)["runs"][1])
            seconds.append(peers[0][1].run(prompts * group, args.new))
        best = fastest(ours)
        say("ponder", "spread", best["seconds"], best["tokens"])
        say("transformers", "spread", min(seconds), best["tokens"], ponder_is=round(min(seconds) / best["seconds"], 2))


main()
