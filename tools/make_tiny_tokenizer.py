#!/usr/bin/env python3
"""Writes tokenizer.json and tokenizer_config.json of the tiny base model: byte-level BPE in DeepSeek-V3's manner.

usage: make_tiny_tokenizer.py FOLDER

All 256 bytes are tokens, so that any text can be written; every number 0..99 and the words of the corpus are one
token; digits are split in runs of at most two, the signs + - * = ; stand alone. Needs nothing but Python.
"""
import json
import os
import sys

SPECIAL = ["<|begin_of_text|>", "<|end_of_text|>", "<|pad|>"]
TAGS = ["<think>", "</think>", "<answer>", "</answer>"]
WORDS = ["User", "Assistant", " wait", " so", "Facts", "Maths", " page", "hmm", "easy", "ok", "let", " me", " see",
         "well", "quick", "the", " the", " is", " blank", "see", " maths", "no", " sum", " here", "this", " line",
         " was", " left", " out", "and", " on", "thank", " you", "Page"]


def byte_alphabet():
    """GPT-2's map of bytes to printable characters."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    alphabet, spare = {}, 0
    for byte in range(256):
        if byte in printable:
            alphabet[byte] = chr(byte)
        else:
            alphabet[byte] = chr(256 + spare)
            spare += 1
    return alphabet


def main(folder):
    alphabet = byte_alphabet()
    spell = lambda text: "".join(alphabet[b] for b in text.encode())
    tokens = [*SPECIAL, *sorted(alphabet.values(), key=ord)]
    merges = []

    def add(text):
        """Merges the first two pieces of the word again and again; every prefix becomes a token."""
        piece = spell(text)
        for end in range(2, len(piece) + 1):
            if piece[:end] not in tokens:
                merges.append([piece[:end - 1], piece[end - 1]])
                tokens.append(piece[:end])

    for number in range(10, 100):
        add(str(number))
    for word in WORDS:
        add(word)
    vocab = {token: i for i, token in enumerate(tokens)}
    added = [{"id": vocab[t], "content": t, "special": True} for t in SPECIAL]
    added += [{"id": len(vocab) + i, "content": t, "special": False} for i, t in enumerate(TAGS)]
    for entry in added:
        entry.update(single_word=False, lstrip=False, rstrip=False, normalized=False)
    split = lambda pattern: {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    tokenizer = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            split(r"\p{N}{1,2}"), split(r"[+\-*=;]"), split(r"\s?\p{L}+|\s?[^\s\p{L}\p{N}+\-*=;]+|\s+"),
            {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}]},
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                  "vocab": vocab, "merges": merges}}
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 256, "clean_up_tokenization_spaces": False,
              "bos_token": SPECIAL[0], "eos_token": SPECIAL[1], "pad_token": SPECIAL[2]}
    os.makedirs(folder, exist_ok=True)
    for name, content in (("tokenizer.json", tokenizer), ("tokenizer_config.json", config)):
        with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
            json.dump(content, file, ensure_ascii=False, indent=1)
            file.write("\n")
    print(len(tokens) + len(TAGS), "tokens")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
