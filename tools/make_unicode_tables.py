#!/usr/bin/env python3
"""Writes policy/unicode_tables.h: where the Unicode data of PCRE2 and utf8proc differ from those inside `tokenizers`.

Usage: make_unicode_tables.py > policy/unicode_tables.h
Needs Python 3.11 (its unicodedata is Unicode 14, as PCRE2 10.40 to 10.42), `pip install tokenizers regex`. The facts come
from `tokenizers` itself (Oniguruma's tables for categories, its own for normal forms) and from the Unicode Character
Database inside the `regex` package.
"""
import unicodedata

import regex
from tokenizers import Regex, normalizers, pre_tokenizers

CATEGORIES = "Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf Co Cn".split()
CODE_POINTS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
ALL = "".join(map(chr, CODE_POINTS))
# An older character of the same category, and of as many bytes in UTF-8, to stand for each newer one.
STAND_INS = {
    (3, "Mn"): 0x20D0, (3, "Mc"): 0x0903, (3, "Po"): 0x2016, (3, "Lu"): 0x10A0, (3, "Ll"): 0x1D00, (3, "So"): 0x2100,
    (4, "Lo"): 0x10280, (4, "Nd"): 0x104A0, (4, "Lm"): 0x10780, (4, "Lu"): 0x10400, (4, "Ll"): 0x10428,
    (4, "Mn"): 0x101FD, (4, "Pd"): 0x10EAD, (4, "Sm"): 0x1D6C1, (4, "Po"): 0x10100, (4, "Mc"): 0x11000,
    (4, "Cf"): 0x110BD, (4, "So"): 0x10137, (4, "No"): 0x10107,
}
HAN = 0x20000


def matching(pattern):
    """Code points that Oniguruma matches by a pattern for one character."""
    remover = pre_tokenizers.Split(Regex(pattern), "removed")
    kept = set()
    for i in range(0, len(ALL), 4096):
        for piece, _ in remover.pre_tokenize_str(ALL[i : i + 4096]):
            kept.update(map(ord, piece))
    return [c for c in CODE_POINTS if c not in kept]


def ranges(points):
    """(first, last, value) of runs with one value; `points` maps code points to values."""
    runs = []
    for point, value in sorted(points.items()):
        if runs and runs[-1][1] == point - 1 and runs[-1][2] == value:
            runs[-1][1] = point
        else:
            runs.append([point, point, value])
    return runs


def newer_categories():
    category = {c: name for name in CATEGORIES for c in matching(r"\p{%s}" % name)}
    han = set(matching(r"\p{Han}"))
    newer = {}
    for c in CODE_POINTS:
        if category[c] == unicodedata.category(chr(c)):
            continue
        newer[c] = HAN if c in han and category[c] == "Lo" else STAND_INS[len(chr(c).encode()), category[c]]
    return ranges(newer)


def inert():
    """Code points that a recent Unicode reorders, takes apart or composes, but `tokenizers` leaves alone."""
    nfc, nfkd = normalizers.NFC(), normalizers.NFKD()
    reordered = set(regex.findall(r"[^\p{Canonical_Combining_Class=0}]", ALL))
    taken_apart = set(regex.findall(r"[^\p{NFKD_QC=Yes}]", ALL))
    composed = set(regex.findall(r"\p{NFC_QC=Maybe}", ALL)) - reordered
    found = {}
    for c in reordered:
        if all(nfkd.normalize_str(s) == s for s in ("a\u0315" + c, "a" + c + "\u0334")):
            found[ord(c)] = 0
    for c in taken_apart:
        if nfkd.normalize_str(c) == c:
            found[ord(c)] = 0
    composes = set()
    for c in map(chr, CODE_POINTS):
        parts = unicodedata.decomposition(c).split()
        if len(parts) == 2 and parts[0][0] != "<":
            pair = "".join(chr(int(p, 16)) for p in parts)
            if nfc.normalize_str(pair) != pair:
                composes.add(pair[1])
    composes.update(chr(c) for c in range(0x1161, 0x1176))  # Hangul, composed by arithmetic
    composes.update(chr(c) for c in range(0x11A8, 0x11C3))
    for c in composed - composes:
        found[ord(c)] = 0
    return ranges(found)


def newer_lower_cases():
    """(first, last, distance to the lower case) of letters whose lower case is newer than Unicode 14."""
    lower = normalizers.Lowercase()
    newer = {}
    for c in CODE_POINTS:
        now = lower.normalize_str(chr(c))
        if len(now) == 1 and now != chr(c).lower():
            newer[c] = ord(now) - c
    return ranges(newer)


def main():
    assert unicodedata.unidata_version == "14.0.0", "Python 3.11 is needed: its Unicode version is PCRE2's"
    print("// Made by tools/make_unicode_tables.py. Facts from the Unicode Character Database, (c) Unicode, Inc., Unicode")
    print("// License v3 (unicode.org/license.txt).")
    print("#pragma once\n\nnamespace ponder::policy {\n")
    print("struct NewerRange {\n  char32_t first, last;\n  char32_t stand_in;\n};\n")
    print("// Code points whose category Oniguruma knows and Unicode 14 does not, with an older one of that category that has")
    print("// as many bytes in UTF-8.")
    print("constexpr NewerRange kNewerCategories[] = {")
    for first, last, value in newer_categories():
        print(f"    {{0x{first:X}, 0x{last:X}, 0x{value:X}}},")
    print("};\n")
    print("struct CodePointRange {\n  char32_t first, last;\n};\n")
    print("// Code points newer than the normal forms of `tokenizers`: they neither move, nor come apart, nor compose.")
    print("constexpr CodePointRange kInertInNormalForms[] = {")
    for first, last, _ in inert():
        print(f"    {{0x{first:X}, 0x{last:X}}},")
    print("};\n")
    print("struct NewerLowerCase {\n  char32_t first, last;\n  int distance;  // to the lower case\n};\n")
    print("// Letters whose lower case is newer than Unicode 14.")
    print("constexpr NewerLowerCase kNewerLowerCases[] = {")
    for first, last, distance in newer_lower_cases():
        print(f"    {{0x{first:X}, 0x{last:X}, {distance}}},")
    print("};\n\n}  // namespace ponder::policy")


if __name__ == "__main__":
    main()
