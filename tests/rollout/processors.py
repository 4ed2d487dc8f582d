"""Distributions that transformers' logits processors and warpers make of given logits, for sampler_oracle_test.cpp.

usage: processors.py < CASES > ANSWERS    JSON lines: {"logits", "prompt", "completion", "rule"} -> {"probs"}
"""
import json
import os
import sys

os.environ["HF_HUB_OFFLINE"] = "1"
import torch
from transformers import (LogitsProcessorList, MinPLogitsWarper, NoBadWordsLogitsProcessor, RepetitionPenaltyLogitsProcessor,
                          SequenceBiasLogitsProcessor, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper)


def chain(rule):
    # The order of transformers' GenerationMixin._get_logits_processor.
    steps = LogitsProcessorList()
    if rule.get("logit_bias"):
        steps.append(SequenceBiasLogitsProcessor([[[int(i)], b] for i, b in rule["logit_bias"].items()]))
    if "repetition_penalty" in rule:
        steps.append(RepetitionPenaltyLogitsProcessor(rule["repetition_penalty"]))
    if rule.get("bad_words"):
        steps.append(NoBadWordsLogitsProcessor(rule["bad_words"]))
    if "temperature" in rule:
        steps.append(TemperatureLogitsWarper(rule["temperature"]))
    if "top_k" in rule:
        steps.append(TopKLogitsWarper(rule["top_k"]))
    if "top_p" in rule:
        steps.append(TopPLogitsWarper(rule["top_p"]))
    if "min_p" in rule:
        steps.append(MinPLogitsWarper(rule["min_p"]))
    return steps


for line in sys.stdin:
    case = json.loads(line)
    ids = torch.tensor([case["prompt"] + case["completion"]], dtype=torch.long)
    scores = torch.tensor([case["logits"]])
    scores = chain(case["rule"])(ids, scores)
    print(json.dumps({"probs": torch.softmax(scores.double(), -1)[0].tolist()}))
