"""Share of the wanted keywords that a completion names outside its reasoning.

Two forms of the same rule, to show both signatures; ponder runs either unchanged:
    ponder score --reward keywords.py:reward        --input cases.jsonl
    ponder score --reward keywords.py:compute_score --input cases.jsonl
"""
import re


def visible(completion):
    """What stands behind the reasoning; an unfinished reasoning leaves nothing."""
    if not isinstance(completion, str):  # where the prompt is a conversation: a list of messages
        completion = completion[-1]["content"]
    if "<think>" in completion and "</think>" not in completion:
        return ""
    return completion.rsplit("</think>", 1)[-1]


def share(text, keywords):
    found = set(re.findall(r"\w+", text.lower()))
    return sum(word.lower() in found for word in keywords) / len(keywords)


def reward(prompts, completions, keywords, **columns):
    """TRL's signature: lists in, one float or None for each completion out, in the same order."""
    return [share(visible(completion), wanted) if wanted else None
            for completion, wanted in zip(completions, keywords)]


def compute_score(data_source, solution_str, ground_truth, extra_info=None):
    """verl's signature: one completion at a time; more figures than "score" are reported, not added."""
    wanted = ground_truth.split()
    text = visible(solution_str)
    return {"score": share(text, wanted), "words": len(text.split())}
