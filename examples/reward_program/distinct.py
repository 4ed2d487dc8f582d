#!/usr/bin/env python3
"""A reward as a program: the share of distinct words. Any language will do: a JSON object a line in, one a line out.

In:  {"index", "prompt", "completion", "answer", "finish_reason", every other column}
Out: {"reward": number or null} and, where you like, "status" (ok, wrong, unparsed, refused), "reason", "parts".
Echo "index" too: then ponder hands over whole batches; without it records come one at a time.
Flush after each line, print nothing else on stdout, and end when stdin ends.
"""
import json
import sys


def judge(record):
    words = record["completion"].lower().split()
    if not words:
        return {"reward": None, "reason": "no words"}
    share = len(set(words)) / len(words)
    return {"reward": share, "reason": f"{len(set(words))} of {len(words)} words are distinct",
            "parts": {"words": len(words)}}


def main():
    for line in sys.stdin:
        if not line.strip():
            continue
        record = json.loads(line)
        print(json.dumps({"index": record["index"], **judge(record)}), flush=True)


if __name__ == "__main__":
    main()
