#!/usr/bin/env python3
"""Writes tests/golden/tokenizers/: small tokenizers of each family and what Hugging Face `tokenizers` makes of strings.

Usage: make_tokenizer_golden.py tests/golden/tokenizers
Needs `pip install tokenizers`. The vocabularies are trained on the words of check_tokenizers.py; nothing is downloaded.
"""
import json
import pathlib
import random
import sys

import check_tokenizers
import tokenizer_sources as source
from tokenizers import Tokenizer, models, trainers

DEEPSEEK = [r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+",
            "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
            "| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+"]
ALPHABET = sorted(source.GPT2_BYTES.values())


def template(token, token_id):
    single = [{"SpecialToken": {"id": token, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    return {"type": "TemplateProcessing", "single": single, "pair": single + [{"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {token: {"id": token, "ids": [token_id], "tokens": [token]}}}


def families():
    """name -> (tokenizer.json without vocabulary and merges, alphabet, first tokens)"""
    shell = lambda *args, **options: source.tokenizer({}, [], *args, **options)
    yield "gpt2", shell(source.byte_level(use_regex=True), []), ALPHABET, []
    yield "llama3", shell(source.sequence(source.split(source.LLAMA3), source.byte_level()), [],
                          post_processor=template("<|begin_of_text|>", 0), ignore_merges=True), ALPHABET, ["<|begin_of_text|>"]
    yield "qwen2", shell(source.sequence(source.split(source.QWEN2), source.byte_level()), [], {"type": "NFC"}), ALPHABET, []
    yield "deepseek", shell(source.sequence(*map(source.split, DEEPSEEK), source.byte_level()), []), ALPHABET, []
    yield "smollm2", shell(source.sequence({"type": "Digits", "individual_digits": True},
                                           source.byte_level(use_regex=True)), []), ALPHABET, []
    llama2 = shell(None, [], {"type": "Sequence", "normalizers": [
        {"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
        post_processor=template("<s>", 1), byte_fallback=True, fuse_unk=True, unk_token="<unk>")
    llama2["decoder"] = {"type": "Sequence", "decoders": [
        {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
        {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}
    bytes_ = [f"<0x{b:02X}>" for b in range(256)]
    yield "llama2", llama2, [], ["<unk>", "<s>", "</s>", *bytes_]
    metaspace = json.loads(json.dumps(llama2))
    metaspace["normalizer"] = None
    metaspace["pre_tokenizer"] = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": True}
    metaspace["decoder"] = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": True}
    metaspace["model"].update(byte_fallback=False, fuse_unk=False)
    yield "metaspace", metaspace, [], ["<unk>", "<s>", "</s>"]


def train(shell, alphabet, first):
    """Fills in vocabulary and merges."""
    trained = Tokenizer(models.BPE())
    loose = Tokenizer.from_str(json.dumps({**shell, "post_processor": None, "model": {**shell["model"], "unk_token": None}}))
    trained.normalizer, trained.pre_tokenizer = loose.normalizer, loose.pre_tokenizer
    rng = random.Random(7)
    words = [w for w in check_tokenizers.WORDS if "zwort" not in w]
    text = [" ".join(rng.choice(words) for _ in range(12)) for _ in range(400)]
    text += ["".join(rng.choice(check_tokenizers.PIECES + check_tokenizers.EMOJI) for _ in range(6)) for _ in range(100)]
    trainer = trainers.BpeTrainer(vocab_size=len(first) + len(alphabet) + 250, initial_alphabet=alphabet,
                                  special_tokens=first, show_progress=False)
    trained.train_from_iterator(text, trainer)
    model = json.loads(trained.to_str())["model"]
    result = json.loads(json.dumps(shell))
    result["model"].update(vocab=model["vocab"], merges=model["merges"])
    size = len(model["vocab"])
    result["added_tokens"] = [source.added(t, i) for i, t in enumerate(first[:3])] + [
        source.added("<|im_end|>", size), source.added("<think>", size + 1, special=False),
        source.added("<mask>", size + 2, lstrip=True, rstrip=True),
        source.added("zwort", size + 3, special=False, single_word=True, normalized=True)]
    return result


def main():
    folder = pathlib.Path(sys.argv[1])
    for name, shell, alphabet, first in families():
        content = json.dumps(train(shell, alphabet, first), ensure_ascii=False)
        oracle = Tokenizer.from_str(content)
        rng = random.Random(name)
        specials = [t.content for t in oracle.get_added_tokens_decoder().values()]
        lines = []
        for i in range(60):
            text = check_tokenizers.text(rng, specials)[:120] if i else ""
            special = rng.random() < 0.5
            ids = oracle.encode(text, add_special_tokens=special).ids
            lines.append({"text": text, "special": special, "tokens": ids, "decoded": oracle.decode(ids, skip_special_tokens=False),
                          "decoded_plain": oracle.decode(ids, skip_special_tokens=True)})
        for _ in range(20):
            ids = [rng.randrange(oracle.get_vocab_size()) for _ in range(rng.randrange(1, 10))]
            lines.append({"tokens": ids, "decoded": oracle.decode(ids, skip_special_tokens=False),
                          "decoded_plain": oracle.decode(ids, skip_special_tokens=True)})
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "tokenizer.json").write_text(content + "\n")
        (folder / name / "cases.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


if __name__ == "__main__":
    main()
