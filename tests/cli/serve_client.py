"""Drives `ponder serve` with OpenAI's own client, and with clients that misbehave.

usage: serve_client.py PONDER MODEL CHAT_TEMPLATE
Exits with 1 and a traceback at the first claim that does not hold.
"""
import concurrent.futures
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

import openai

PONDER, MODEL, TEMPLATE = sys.argv[1:4]
PROMPT = "User: 7+5-3=?\nAssistant:"


class Served:
    """A server on a free port, with its client; stopped at the end."""

    def __init__(self, *words, key="none", env=None, name="tiny", model=MODEL):
        self.process = subprocess.Popen([PONDER, "serve", model, "--port", "0", "--name", name, "--chat-template", TEMPLATE, *words],
                                        stderr=subprocess.PIPE, text=True, env={**os.environ, **(env or {})})
        self.told = False
        line = ""
        while "serving" not in line:
            line = self.process.stderr.readline()
            assert line, "the server did not start"
        self.port = int(re.search(r":(\d+)/v1", line).group(1))
        self.client = openai.OpenAI(base_url=f"http://127.0.0.1:{self.port}/v1", api_key=key, max_retries=0, timeout=60)

    def __enter__(self):
        return self

    def stop(self):
        """Once: a second signal would end it without grace."""
        if not self.told and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.told = True

    def __exit__(self, *_):
        self.stop()
        self.process.stderr.read()
        self.status = self.process.wait(timeout=40)

    def raw(self, data, read=True, timeout=40):
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout) as connection:
            connection.sendall(data)
            out = b""
            while read:
                piece = connection.recv(65536)
                if not piece:
                    break
                out += piece
            return out

    def health(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=20) as answer:
            return json.load(answer)


def fails(status, call, *words):
    try:
        call()
    except openai.APIStatusError as error:
        assert error.status_code == status, (error.status_code, error.message)
        for word in words:
            assert word in error.message, (word, error.message)
        assert set(error.response.json()["error"]) == {"message", "type", "param", "code"}
        return
    raise AssertionError(f"expected status {status}, got an answer")


def post(data):
    body = json.dumps(data).encode()
    return b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body)


def completions(server):
    client = server.client
    assert [model.id for model in client.models.list()] == ["tiny"]
    assert client.models.retrieve("tiny").id == "tiny"
    one = client.completions.create(model="tiny", prompt=PROMPT, max_tokens=24, temperature=0, logprobs=3)
    choice = one.choices[0]
    assert choice.finish_reason in ("stop", "length") and choice.text
    assert one.usage.completion_tokens == len(choice.logprobs.tokens) == len(choice.logprobs.token_logprobs)
    assert all(len(top) >= 1 for top in choice.logprobs.top_logprobs)
    assert all(abs(max(top.values()) - own) < 1e-6 for top, own in zip(choice.logprobs.top_logprobs, choice.logprobs.token_logprobs)), "greedy takes the likeliest"
    # The same seed gives the same text, whatever else is under way; another one another text.
    seeded = lambda seed, **more: client.completions.create(model="tiny", prompt=PROMPT, max_tokens=32, seed=seed, n=4, **more)
    texts = lambda answer: [choice.text for choice in answer.choices]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        results = [future.result() for future in [pool.submit(seeded, seed) for seed in (1, 2, 1, 3, 1, 2)]]
    assert texts(results[0]) == texts(results[2]) == texts(results[4]) and texts(results[1]) == texts(results[5])
    assert texts(results[0]) != texts(results[1])
    assert [choice.index for choice in results[0].choices] == [0, 1, 2, 3]
    # Streams say the same, piece by piece.
    pieces, reasons, usage = {}, {}, None
    for chunk in seeded(1, stream=True, stream_options={"include_usage": True}):
        usage = chunk.usage or usage
        for choice in chunk.choices:
            pieces[choice.index] = pieces.get(choice.index, "") + choice.text
            reasons[choice.index] = choice.finish_reason or reasons.get(choice.index)
    assert [pieces[i] for i in range(4)] == texts(results[0])
    assert [reasons[i] for i in range(4)] == [choice.finish_reason for choice in results[0].choices]
    assert usage.completion_tokens == results[0].usage.completion_tokens
    # Several prompts, as texts and as tokens; ids and log-probs of what was sampled.
    ids = client.completions.create(model="tiny", prompt=PROMPT, max_tokens=4, temperature=0, extra_body={"return_token_ids": True}).choices[0]
    same = client.completions.create(model="tiny", prompt=[ids.prompt_token_ids, ids.prompt_token_ids], max_tokens=4, temperature=0)
    assert texts(same) == [ids.text] * 2 and len(ids.token_ids) == len(ids.token_logprobs)
    # A stop text ends the completion and is not in it.
    full = one.choices[0].text
    stop = full[2:4]
    stopped = client.completions.create(model="tiny", prompt=PROMPT, max_tokens=24, temperature=0, stop=[stop]).choices[0]
    assert stopped.text == full[: full.index(stop)] and stopped.finish_reason == "stop"


def evaluation(server):
    """As lm-evaluation-harness asks for log-likelihoods: echo, one token or none, log-probs of the prompt."""
    sampled = server.client.completions.create(model="tiny", prompt=PROMPT, max_tokens=12, seed=4, logprobs=1,
                                               extra_body={"return_token_ids": True, "ignore_eos": True}).choices[0]
    prompt, tokens = sampled.prompt_token_ids, sampled.token_ids
    for max_tokens in (0, 1):
        scored = server.client.completions.create(model="tiny", prompt=[prompt + tokens, prompt], max_tokens=max_tokens, echo=True, logprobs=1, temperature=0)
        both, alone = scored.choices
        assert both.logprobs.token_logprobs[0] is None and both.logprobs.top_logprobs[0] is None
        assert len(both.logprobs.tokens) == len(prompt) + len(tokens) + max_tokens and len(alone.logprobs.tokens) == len(prompt) + max_tokens
        there = both.logprobs.token_logprobs[len(prompt):len(prompt) + len(tokens)]
        assert all(abs(a - b) < 1e-4 for a, b in zip(there, sampled.logprobs.token_logprobs, strict=True)), (there, sampled.logprobs.token_logprobs)
        assert all(token in top for token, top in zip(both.logprobs.tokens[1:], both.logprobs.top_logprobs[1:]))
        assert both.text.startswith(PROMPT) and scored.usage.completion_tokens == 2 * max_tokens
        assert [both.text[at:at + len(token)] for at, token in zip(both.logprobs.text_offset, both.logprobs.tokens)][:len(prompt)] == both.logprobs.tokens[:len(prompt)]


def streams_in_a_loop(server):
    """The client closes each connection as soon as it has read [DONE]."""
    for _ in range(150):
        for _ in server.client.completions.create(model="tiny", prompt=PROMPT, max_tokens=2, stream=True):
            pass
    request = post({"prompt": PROMPT, "max_tokens": 3, "stream": True}).replace(b"Connection: close\r\n", b"")
    for _ in range(150):
        with socket.create_connection(("127.0.0.1", server.port), timeout=40) as connection:
            connection.sendall(request)
            out = b""
            while b"[DONE]" not in out:
                piece = connection.recv(65536)
                assert piece, out
                out += piece


def small_cache():
    """Without max_tokens a chat gets what the cache holds."""
    with Served("--kv-cache-mb", "1", name="org/model x") as server:
        assert server.client.models.retrieve("org/model x").id == "org/model x"
        before = time.time()
        chat = server.client.chat.completions.create(model="org/model x", messages=[{"role": "user", "content": "7+5-3=?"}], temperature=0)
        assert chat.choices[0].message.content and before - 1 <= chat.created <= time.time() + 1


def chats(server):
    client = server.client
    messages = [{"role": "system", "content": "x"}, {"role": "user", "content": "7+5-3=?"}]
    chat = client.chat.completions.create(model="tiny", messages=messages, temperature=0, max_tokens=24, logprobs=True, top_logprobs=2)
    plain = client.completions.create(model="tiny", prompt=PROMPT, temperature=0, max_tokens=24)
    assert chat.choices[0].message.content == plain.choices[0].text, "the template makes the same prompt"
    assert chat.usage.prompt_tokens == plain.usage.prompt_tokens
    content = chat.choices[0].logprobs.content
    assert len(content) == chat.usage.completion_tokens and len(content[0].top_logprobs) == 2
    pieces = [chunk.choices[0].delta for chunk in client.chat.completions.create(model="tiny", messages=messages, temperature=0, max_tokens=24, stream=True) if chunk.choices]
    assert pieces[0].role == "assistant" and "".join(piece.content or "" for piece in pieces) == chat.choices[0].message.content
    parts = [messages[0], {"role": "user", "content": [{"type": "text", "text": "7+5-3=?"}]}]
    assert client.chat.completions.create(model="tiny", messages=parts, temperature=0, max_tokens=24).choices[0].message.content == chat.choices[0].message.content
    image = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]
    fails(400, lambda: client.chat.completions.create(model="tiny", messages=image), "no text is not supported")
    fails(400, lambda: client.chat.completions.create(model="tiny", messages=[{"role": "robot", "content": "x"}]), "no such role")
    fails(400, lambda: client.chat.completions.create(model="tiny", messages=[]), "at least one message")


def ponder_as_client(server):
    words = ["--prompt", PROMPT, "--max-new-tokens", "24", "--temperature", "0", "-n", "2"]
    remote = subprocess.run([PONDER, "sample", "--model", MODEL, "--server", f"http://127.0.0.1:{server.port}/v1", *words], capture_output=True, text=True)
    local = subprocess.run([PONDER, "sample", "--model", MODEL, *words], capture_output=True, text=True)
    assert remote.returncode == 0, remote.stderr
    for there, here in zip(remote.stdout.splitlines(), local.stdout.splitlines(), strict=True):
        there, here = json.loads(there), json.loads(here)
        assert there["tokens"] == here["tokens"] and there["completion"] == here["completion"] and there["finish_reason"] == here["finish_reason"]
        assert all(abs(a - b) < 1e-5 for a, b in zip(there["logprobs"], here["logprobs"], strict=True))
    wrong = subprocess.run([PONDER, "sample", "--model", MODEL, "--server", f"http://127.0.0.1:{server.port}/v1", "--server-model", "other", *words], capture_output=True, text=True)
    assert wrong.returncode == 2 and "there is no model" in wrong.stderr, wrong.stderr


def samples_for_training(server):
    with tempfile.TemporaryDirectory() as place:
        run = os.path.join(place, "run")
        words = [PONDER, "train", "recipes/r1_zero_tiny.toml", "grpo.max_steps=2", "grpo.prompts_per_step=2",
                 "grpo.num_generations=4", "grpo.max_completion_length=24", "eval.num_prompts=0",
                 f"rollout.remote.base_url=http://127.0.0.1:{server.port}/v1", "rollout.remote.model=tiny"]
        done = subprocess.run([*words, "--run", run], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        with open(os.path.join(run, "metrics.jsonl")) as file:
            first, second = map(json.loads, file)
        # The server's weights are those that the run began with.
        name = "sampling/sampling_logp_difference/max"
        assert first[name] <= 1e-5 < second[name], (first[name], second[name])
        assert "sampling/importance_sampling_ratio/mean" in first
        for wrong, told in (("grpo.temperature=0.5", "log-probs of temperature 1"), ("grpo.partial_rollout_tokens=5", "paused"),
                            ("rollout.remote.api_key_env=NO_SUCH_KEY", "NO_SUCH_KEY is not set"),
                            ("rollout.remote.base_url=ftp://x", "expected http://")):
            done = subprocess.run([*words, wrong, "--run", os.path.join(place, "wrong")], capture_output=True, text=True)
            assert done.returncode == 2 and told in done.stderr, (wrong, done.stderr)


def wrong_requests(server):
    client = server.client
    create = lambda **words: client.completions.create(**{"model": "tiny", "prompt": PROMPT, **words})
    fails(404, lambda: create(model="other"), "there is no model")
    fails(400, lambda: create(temperature=-1), "temperature")
    fails(400, lambda: create(n=0), "n:")
    fails(400, lambda: create(n=10000), "n:")
    fails(400, lambda: create(max_tokens=10**6), "context")
    fails(400, lambda: create(prompt=[[1, 10**6]]), "token ids")
    fails(400, lambda: create(prompt=""), "at least one token")
    fails(400, lambda: create(prompt={"a": 1}), "prompt")
    fails(400, lambda: create(echo=True, stream=True), "not supported")
    fails(400, lambda: create(suffix="x"), "not supported")
    fails(400, lambda: create(max_tokens=0), "echo")
    fails(400, lambda: create(temperature=1e-39), "temperature")
    fails(400, lambda: create(extra_body={"max_token": 3}), "did you mean 'max_tokens'")
    fails(400, lambda: create(stop=[""]), "stop")
    fails(400, lambda: create(stream=True, stream_options={"include_usage": 1}), "stream_options.include_usage: expected true or false")
    fails(400, lambda: create(stream_options="usage"), "stream_options: expected an object")
    fails(400, lambda: create(extra_body={"skip_special_tokens": "no"}), "skip_special_tokens: expected true or false")
    for target, method, status in (("/v1/nothing", "GET", 404), ("/v1/completions", "GET", 405), ("/v1/models", "POST", 405)):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
        connection.request(method, target)
        assert connection.getresponse().status == status, target
    deep = b'{"prompt": ' + b"[" * 60000 + b"]" * 60000 + b"}"
    for body in (b"{", b"[]", b"\xff\xfe", b"null", b'{"prompt": "\\ud800"}', b"[" * 100000, deep):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
        connection.request("POST", "/v1/completions", body)
        answer = connection.getresponse()
        assert answer.status == 400 and json.load(answer)["error"]["message"], body[:20]


def hostile_clients(server):
    assert b" 400 " in server.raw(b"nonsense\r\n\r\n")
    assert b" 431 " in server.raw(b"GET / HTTP/1.1\r\nX: " + b"a" * 100000 + b"\r\n\r\n")
    assert b" 413 " in server.raw(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n")
    assert b" 413 " in server.raw(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + b"100000\r\n" + b"a" * 0x100000 + b"\r\n100000\r\n" + b"a" * 0x100000 + b"\r\n")
    # Many that never end their request: the others are served all the same.
    slow = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(600)]
    for connection in slow:
        connection.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Le")
    assert server.client.completions.create(model="tiny", prompt=PROMPT, max_tokens=2).choices
    for connection in slow:
        connection.close()
    # One that goes while the engine works for it: its work is dropped.
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(post({"prompt": PROMPT, "max_tokens": 200, "n": 64, "ignore_eos": True}))
        time.sleep(0.1)
    until = time.time() + 20
    while server.health()["requests"] and time.time() < until:
        time.sleep(0.05)
    assert server.health()["requests"] == 0
    # The answer to HEAD has no body: the next answer on the connection begins right behind it.
    after_head = server.raw(b"HEAD /health HTTP/1.1\r\nHost: x\r\n\r\n" + post({"prompt": PROMPT, "max_tokens": 1}))
    assert b"\r\n\r\nHTTP/1.1 200" in after_head, after_head
    # HTTP/1.0, and two requests on one connection.
    assert b"[DONE]" in server.raw(post({"prompt": PROMPT, "max_tokens": 2, "stream": True}).replace(b"HTTP/1.1", b"HTTP/1.0"))
    both = server.raw(post({"prompt": PROMPT, "max_tokens": 1}).replace(b"Connection: close\r\n", b"") + post({"prompt": PROMPT, "max_tokens": 1}))
    assert both.count(b"HTTP/1.1 200") == 2


def overload_and_keys():
    with Served("--max-requests", "1", "--max-new-tokens", "60", key="secret", env={"PONDER_API_KEY": "secret"}) as server:
        fails(401, lambda: server.client.with_options(api_key="wrong").models.list(), "API key")
        fails(400, lambda: server.client.completions.create(model="tiny", prompt=PROMPT, max_tokens=61), "60 are left")
        stream = server.client.completions.create(model="tiny", prompt=PROMPT, max_tokens=60, n=64, stream=True, extra_body={"ignore_eos": True})
        next(iter(stream))
        fails(429, lambda: server.client.completions.create(model="tiny", prompt=PROMPT), "try again")
        stream.close()
        until = time.time() + 20
        while server.health()["requests"] and time.time() < until:
            time.sleep(0.05)
        assert server.client.completions.create(model="tiny", prompt=PROMPT, max_tokens=2).choices


def graceful_stop():
    with Served() as server:
        stream = server.client.completions.create(model="tiny", prompt=PROMPT, max_tokens=60, n=32, stream=True, extra_body={"ignore_eos": True})
        iterator = iter(stream)
        next(iterator)
        server.stop()
        ended = sum(1 for chunk in iterator if chunk.choices and chunk.choices[0].finish_reason == "length")
        assert ended == 32, ended
    assert server.status == 0, server.status
    with Served("--grace", "0") as server:
        connection = socket.create_connection(("127.0.0.1", server.port))
        connection.sendall(post({"prompt": PROMPT, "max_tokens": 200, "n": 128, "ignore_eos": True}))
        time.sleep(0.1)
        began = time.time()
    assert server.status == 0 and time.time() - began < 10


def broken_model(folder, broken):
    """A model with MODEL's tokens whose logits are not finite behind the token `broken`, and finite behind all others."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM
    vocabulary = json.load(open(os.path.join(MODEL, "config.json")))["vocab_size"]
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(vocab_size=vocabulary, hidden_size=16, intermediate_size=16, num_hidden_layers=1,
                                         num_attention_heads=2, max_position_embeddings=64, eos_token_id=1))
    layer = model.model.layers[0]
    with torch.no_grad():
        for tensor in model.parameters():
            if tensor.dim() == 2:
                tensor.normal_(0, 0.5)
        # Feature 0 is that token's alone; attention does not read it, and the first unit of the MLP overflows by it.
        model.model.embed_tokens.weight[:, 0] = 0
        model.model.embed_tokens.weight[broken, 0] = 5
        layer.self_attn.v_proj.weight[:, 0] = layer.self_attn.o_proj.weight[0] = layer.mlp.down_proj.weight[0] = 0
        for weight in (layer.mlp.gate_proj.weight, layer.mlp.up_proj.weight):
            weight[0] = 0
            weight[0, 0] = 1e10
        layer.mlp.down_proj.weight[1:, 0] = 1e30
    model.save_pretrained(folder)
    shutil.copy(os.path.join(MODEL, "tokenizer.json"), folder)


def broken_requests():
    broken = 40
    words = "the model's logits are not finite"
    with tempfile.TemporaryDirectory() as folder:
        broken_model(folder, broken)
        with Served(model=folder) as server:
            create = lambda prompt, bias=-100, **more: server.client.completions.create(
                model="tiny", prompt=prompt, max_tokens=30, seed=1, logit_bias={broken: bias}, extra_body={"ignore_eos": True}, **more)
            texts = lambda answer: [choice.text for choice in answer.choices]
            want = texts(create([5, 6, 7], n=3))
            with concurrent.futures.ThreadPoolExecutor(8) as pool:
                sound = [pool.submit(create, [5, 6, 7], n=3) for _ in range(4)]
                fails(500, lambda: create([5, broken], n=2), words)
                fails(500, lambda: create([[5], [5, broken], [6]]), words)
                fails(500, lambda: create([5, broken, 6], logprobs=1, echo=True), words, "of the prompt")
                fails(500, lambda: create([5, broken], stream=True), words)
                assert all(texts(future.result()) == want for future in sound)
            chunks = []
            try:
                for chunk in create([5], bias=100, stream=True):
                    chunks.append(chunk)
                raise AssertionError("the stream ended as if all were well")
            except openai.APIError as error:
                assert words in error.message, error.message
            assert len(chunks) <= 1 and texts(create([5, 6, 7], n=3)) == want
            until = time.time() + 20
            while any(server.health()[key] for key in ("requests", "running", "waiting")):
                assert time.time() < until, server.health()
                time.sleep(0.05)
    assert server.status == 0


with Served("--max-body-mb", "1") as running:
    completions(running)
    evaluation(running)
    chats(running)
    streams_in_a_loop(running)
    ponder_as_client(running)
    samples_for_training(running)
    wrong_requests(running)
    hostile_clients(running)
assert running.status == 0
overload_and_keys()
graceful_stop()
small_cache()
broken_requests()
print("all claims hold")
