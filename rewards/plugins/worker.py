# The process that a Python reward runs in: `python3 -c THIS FILE FUNCTION`. Only the standard library. One line with a list
# of records comes in, one line with a list of replies goes out, by index. The reward's own prints go to stderr.
import asyncio
import importlib.util
import inspect
import json
import math
import os
import sys

incoming = os.fdopen(os.dup(0), "r", encoding="utf-8", newline="\n")
outgoing = os.fdopen(os.dup(1), "w", encoding="utf-8", newline="\n")
os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
os.dup2(2, 1)
NOT_COLUMNS = ("index", "prompt", "completion", "token_ids")


def say(message):
    outgoing.write(json.dumps(message, allow_nan=False) + "\n")
    outgoing.flush()


def described(error):
    text = f"{type(error).__name__}: {error}"
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    if frame is not None:
        text += f" ({os.path.basename(frame.tb_frame.f_code.co_filename)}:{frame.tb_lineno})"
    return text[:500]


def load(path, name):
    sys.path.insert(0, os.path.dirname(os.path.abspath(path)))
    module_name = os.path.splitext(os.path.basename(path))[0]
    spec = importlib.util.spec_from_file_location(module_name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    spec.loader.exec_module(module)
    own = [n for n, f in vars(module).items()
           if inspect.isfunction(f) and f.__module__ == module_name and not n.startswith("_")]
    if name:
        if not callable(getattr(module, name, None)):
            raise LookupError(f"no function {name} in it, found: {', '.join(own) or 'none'}")
        return getattr(module, name)
    rewards = [n for n in own if is_verl(getattr(module, n)) or is_trl(getattr(module, n))]
    for candidate in ("compute_score", "reward", module_name):
        if candidate in rewards:
            return getattr(module, candidate)
    if len(rewards) != 1:
        raise LookupError(f"which function is the reward? Name it as FILE.py:FUNCTION; found: {', '.join(rewards or own) or 'none'}")
    return getattr(module, rewards[0])


def parameters(function):
    return inspect.signature(function).parameters


def is_verl(function):
    return "solution_str" in parameters(function)


def is_trl(function):
    return "completions" in parameters(function)


def accepted(function, given):
    """The arguments that the function takes by name; all of them where it has **kwargs."""
    known = parameters(function)
    if any(p.kind is p.VAR_KEYWORD for p in known.values()):
        return given
    return {name: value for name, value in given.items() if name in known}


def is_async(function):
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))


async def waited(value):
    return await value


def checked(value, extra=None):
    """A reply's fields for one reward."""
    if value is None:
        return {"reward": None}
    reward = float(value)
    if not math.isfinite(reward):
        return {"error": f"the reward is {reward}"}
    return {"reward": reward, **(extra or {})}


def verl_arguments(function, record):
    truth = record.get("answer")
    if "ground_truth" in record:
        truth = record["ground_truth"]
    elif isinstance(record.get("reward_model"), dict) and "ground_truth" in record["reward_model"]:
        truth = record["reward_model"]["ground_truth"]
    given = {"data_source": record.get("data_source", ""), "solution_str": record["completion"], "ground_truth": truth,
             "extra_info": record.get("extra_info")}
    return accepted(function, given)


def verl_reply(value):
    if isinstance(value, dict):
        parts = {k: float(v) for k, v in value.items() if k != "score" and isinstance(v, (bool, int, float)) and math.isfinite(v)}
        return checked(value["score"], {"parts": parts})
    return checked(value[0] if isinstance(value, tuple) else value)


def judge_one(function, record):
    try:
        return verl_reply(function(**verl_arguments(function, record)))
    except Exception as error:
        return {"error": described(error)}


async def judge_one_async(function, record):
    try:
        return verl_reply(await function(**verl_arguments(function, record)))
    except Exception as error:
        return {"error": described(error)}


async def judge_together(function, records):
    return await asyncio.gather(*(judge_one_async(function, record) for record in records))


# A plain function is called outside any event loop, since it may run one of its own.
def judge_verl(function, records):
    if is_async(function):
        return asyncio.run(judge_together(function, records))
    return [judge_one(function, record) for record in records]


def trl_arguments(function, records):
    given = {"prompts": [r["prompt"] for r in records],
             "completions": [[{"role": "assistant", "content": r["completion"]}] if isinstance(r["prompt"], list)
                             else r["completion"] for r in records],
             "completion_ids": [r.get("token_ids", []) for r in records],
             "trainer_state": None, "log_extra": lambda *a, **k: None, "log_metric": lambda *a, **k: None}
    names = dict.fromkeys(name for r in records for name in r if name not in NOT_COLUMNS)
    given.update({name: [r.get(name) for r in records] for name in names if name not in given})
    return accepted(function, given)


def judge_trl(function, records):
    values = function(**trl_arguments(function, records))
    values = list(asyncio.run(waited(values)) if inspect.isawaitable(values) else values)
    if len(values) != len(records):
        raise ValueError(f"returned {len(values)} rewards for {len(records)} completions")
    return [checked(value) for value in values]


def main():
    try:
        function = load(sys.argv[1], sys.argv[2])
        judge = judge_verl if is_verl(function) else judge_trl
    except BaseException as error:
        say({"error": described(error)})
        return
    say({"ready": True})
    for line in incoming:
        records = json.loads(line)
        try:
            replies = judge(function, records)
            say([{"index": r["index"], **reply} for r, reply in zip(records, replies)])
        except Exception as error:
            say({"error": described(error)})


main()
os._exit(0)
