"""Holds `ponder model convert` to the models that the GGUF files were made of: transformers loads the folder, log-probs of
ponder and of transformers on it equal those of the original to 1e-4, tokens equal those of the original tokenizer.

usage: compare_gguf.py PONDER [FILE.gguf]      without a file: small models of every architecture and type
"""
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"
import gguf
import torch
import transformers
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer

sys.path.insert(0, os.path.dirname(__file__))
import gguf_files

GOLDEN = pathlib.Path("tests/golden/tokenizers")
DENSE = dict(hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
             max_position_embeddings=256)
DEEPSEEK = dict(hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=4,
                first_k_dense_replace=1, max_position_embeddings=256, q_lora_rank=32, kv_lora_rank=32, qk_nope_head_dim=32,
                qk_rope_head_dim=16, v_head_dim=32, n_routed_experts=8, n_shared_experts=1, num_experts_per_tok=2,
                moe_intermediate_size=32, n_group=4, topk_group=2, routed_scaling_factor=2.5)
YARN = dict(rope_type="yarn", rope_theta=10000.0, factor=4.0, original_max_position_embeddings=64, beta_fast=32,
            beta_slow=1)
LLAMA3 = dict(rope_type="llama3", rope_theta=500000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=8192)
V2 = {k: v for k, v in DEEPSEEK.items() if k not in ("n_group", "topk_group")}
# name: class, options, GGUF architecture, type, tokenizer, its name in GGUF, divided key-value projection
CASES = {
    "llama": ("Llama", DENSE, "llama", "F16", "smollm2", "smollm", False),
    "llama3-scaled": ("Llama", DENSE | dict(rope_parameters=LLAMA3), "llama", "Q8_0", "llama3", "llama-bpe", False),
    "llama-tied": ("Llama", DENSE | dict(tie_word_embeddings=True, attention_bias=True), "llama", "BF16", "gpt2", "gpt-2",
                   False),
    "llama-yarn": ("Llama", DENSE | dict(rope_parameters=YARN), "llama", "F32", "deepseek", "deepseek-v3", False),
    "qwen2": ("Qwen2", DENSE, "qwen2", "Q4_0", "qwen2", "qwen2", False),
    "qwen3": ("Qwen3", DENSE | dict(head_dim=32, tie_word_embeddings=True), "qwen3", "Q4_1", "qwen2", "qwen2", False),
    "v3": ("DeepseekV3", DEEPSEEK | dict(rope_parameters=YARN | dict(mscale=1.0, mscale_all_dim=1.0)), "deepseek2", "Q8_0",
           "deepseek", "deepseek-v3", True),
    "v2-lite": ("DeepseekV2", V2 | dict(q_lora_rank=None, topk_method="greedy", n_group=None, topk_group=None,
                                        rope_parameters=YARN | dict(mscale=0.707, mscale_all_dim=0.707)),
                "deepseek2", "F32", "deepseek", "deepseek-v3", False),
    "v2-groups": ("DeepseekV2", V2 | dict(topk_method="group_limited_greedy", n_group=4, topk_group=2), "deepseek2", "Q5_1",
                  "deepseek", "deepseek-v3", True),
}


def run(program, *words, lines=()):
    text = "".join(json.dumps(line) + "\n" for line in lines)
    done = subprocess.run([program, *words], input=text, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def logprobs(model, sequence):
    ids = torch.tensor([sequence])
    with torch.no_grad():
        return torch.log_softmax(model(ids).logits[0, :-1].float(), -1).gather(1, ids[0, 1:, None])[:, 0]


def expect_same_model(program, folder, reference, sequences):
    loaded = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    back = os.path.join(folder, "back")  # as transformers saves it, in shards of its own
    loaded.save_pretrained(back, max_shard_size="150KB" if loaded.num_parameters() < 1e7 else "200MB")
    ask = [{"tokens": s} for s in sequences]
    answers = [run(program, "model", "logprobs", "--model", f, lines=ask).splitlines() for f in (folder, back)]
    worst = 0.0
    for i, sequence in enumerate(sequences):
        want = logprobs(reference, sequence)
        ours = [torch.tensor(json.loads(answer[i])["logprobs"]) for answer in answers]
        for got in (logprobs(loaded, sequence), *ours):
            worst = max(worst, (want - got).abs().max().item())
    assert worst <= 1e-4, worst
    return worst


def random_texts(count):
    draw = random.Random(5)
    ranges = [(32, 126), (48, 57), (0xA0, 0x24F), (0x370, 0x52F), (0x660, 0x669), (0x900, 0x97F), (0x3040, 0x30FF),
              (0x4E00, 0x4FFF), (0xAC00, 0xACFF), (0x1F300, 0x1F6FF), (9, 13), (0x2000, 0x200F), (0x300, 0x310)]
    texts = []
    for _ in range(count):
        spans = draw.choices(ranges, k=draw.randint(1, 4))
        texts.append("".join(chr(draw.randint(*draw.choice(spans))) for _ in range(draw.randint(1, 30))))
    return texts


def expect_same_tokens(program, folder, original, texts):
    theirs = AutoTokenizer.from_pretrained(folder)
    lines = run(program, "model", "tokenize", "--model", folder, lines=[{"text": t} for t in texts]).splitlines()
    special = run(program, "model", "tokenize", "--special", "--model", folder, lines=[{"text": t} for t in texts])
    for text, plain, with_special in zip(texts, lines, special.splitlines()):
        want = original.encode(text, add_special_tokens=False).ids
        assert json.loads(plain)["tokens"] == want, (text, plain, want)
        assert theirs.encode(text, add_special_tokens=False) == want, text
        assert json.loads(with_special)["tokens"] == original.encode(text).ids, text


def small_tokenizer(name):
    """Added tokens that a GGUF file can hold: it knows neither lstrip nor normalized."""
    parsed = json.loads((GOLDEN / name / "tokenizer.json").read_text())
    plain = [t for t in parsed["added_tokens"]
             if not (t["lstrip"] or t["rstrip"] or t["normalized"] or t["single_word"])]
    for i, token in enumerate(t for t in plain if t["id"] >= len(parsed["model"]["vocab"])):
        token["id"] = len(parsed["model"]["vocab"]) + i
    parsed["added_tokens"] = plain
    texts = [json.loads(line).get("text") for line in (GOLDEN / name / "cases.jsonl").read_text().splitlines()]
    return parsed, [t for t in texts if isinstance(t, str)]


def small_model(kind, options, vocabulary):
    torch.manual_seed(7)
    config = getattr(transformers, kind + "Config")(vocab_size=vocabulary, eos_token_id=1, bos_token_id=0, **options)
    model = getattr(transformers, kind + "ForCausalLM")(config).eval()
    with torch.no_grad():
        for name, value in [*model.named_parameters(), *model.named_buffers()]:
            if name.endswith("inv_freq"):
                continue
            value.copy_(1 + torch.randn_like(value) / 8 if "norm" in name else torch.randn_like(value) / 6)
    return model


def compare_small(program):
    for name, (kind, options, architecture, dtype, tokenizer, pre, split) in CASES.items():
        parsed, texts = small_tokenizer(tokenizer)
        vocabulary = len(parsed["model"]["vocab"]) + sum(t["id"] >= len(parsed["model"]["vocab"])
                                                         for t in parsed["added_tokens"]) + 2
        model = small_model(kind, options, vocabulary)
        eos = next(t["id"] for t in parsed["added_tokens"] if t["content"] == "<|im_end|>")
        with tempfile.TemporaryDirectory() as folder:
            path, out = os.path.join(folder, "m.gguf"), os.path.join(folder, "out")
            gguf_files.write(path, model, architecture, gguf.GGMLQuantizationType[dtype], parsed, pre, eos, "{{ x }}", split)
            run(program, "model", "convert", path, out, "--dtype", "float32", "--max-shard-size", "200KB")
            draw = random.Random(3)
            sequences = [[draw.randrange(vocabulary) for _ in range(length)] for length in (60, 100, 5)]
            worst = expect_same_model(program, out, model, sequences)
            expect_same_tokens(program, out, Tokenizer.from_str(json.dumps(parsed)), texts + random_texts(300))
            written = json.load(open(os.path.join(out, "tokenizer_config.json")))
            assert written["chat_template"] == "{{ x }}" and written["eos_token"] == "<|im_end|>", written
        print(f"{name}: greatest difference of a log-probability {worst:.1e}")


def compare_real(program, path):
    """transformers' own GGUF loader is the reference of the weights."""
    reference = AutoModelForCausalLM.from_pretrained(os.path.dirname(path), gguf_file=os.path.basename(path),
                                                     dtype=torch.float32).eval()
    reader = gguf.GGUFReader(path)
    tokens = reader.fields["tokenizer.ggml.tokens"].contents()
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "out")
        run(program, "model", "convert", path, out, "--dtype", "float32")
        tokenizer = AutoTokenizer.from_pretrained(out)
        draw = random.Random(3)
        texts = ["Hello, world! 12345 + 678 = 13023", "½ ² ٣ ١٢٣ ①", "It's we'll I'd 3rd x2y3", "naïve café 日本語 🙂"]
        sequences = [tokenizer.encode(text) for text in texts]
        sequences.append([draw.randrange(len(tokens)) for _ in range(100)])
        worst = expect_same_model(program, out, reference, sequences)
        # The pipeline of SmolLM2's published tokenizer.json around the file's own tokens and merges.
        kinds = reader.fields["tokenizer.ggml.token_type"].contents()
        published = {
            "version": "1.0", "truncation": None, "padding": None, "normalizer": None, "post_processor": None,
            "added_tokens": [{"id": i, "content": tokens[i], "single_word": False, "lstrip": False, "rstrip": False,
                              "normalized": False, "special": True} for i, kind in enumerate(kinds) if kind == 3],
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
                {"type": "Digits", "individual_digits": True},
                {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}]},
            "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
            "model": {"type": "BPE", "vocab": {t: i for i, t in enumerate(tokens)},
                      "merges": [m.split(" ") for m in reader.fields["tokenizer.ggml.merges"].contents()]}}
        expect_same_tokens(program, out, Tokenizer.from_str(json.dumps(published)), texts + random_texts(20000))
    print(f"{path}: greatest difference of a log-probability {worst:.1e}")


if len(sys.argv) > 2:
    compare_real(*sys.argv[1:])
else:
    compare_small(sys.argv[1])
