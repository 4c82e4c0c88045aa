"""Runs `distill serve` under two real clients, the `openai` package and `httpx`, and measures it.

    pip install openai httpx
    python3 tests/interop/openai_client.py target/release/distill [MODEL] [--requests 1000] [--connections 1000]

Clients: chats and completions, whole and streamed, errors as the package's own exceptions, `models.list`. Then 64 streams
at once against the same prompts one by one through `distill generate`, requests with the server's memory (resident set)
before and after, hostile requests (flipped bytes, cut bodies, noise), and idle connections beside which the server still
answers. Ends with exit code 1 where anything differs.
"""
import argparse
import concurrent.futures
import json
import os
import random
import re
import signal
import socket
import statistics
import subprocess
import sys
import time

import httpx
import openai

ANIMALS = ["cat", "dog", "fox", "owl", "hen", "cow", "bee", "ant"]
STORY = [{"role": "user", "content": "Tell me a story about a cat."}]


class Server:
    def __init__(self, distill, model, *arguments):
        environment = {**os.environ, "SERVE_KEY": "secret"}
        command = [distill, "serve", "--model", model, "--model-name", "m", "--port", "0", "--api-key-env", "SERVE_KEY"]
        self.process = subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, text=True, env=environment)
        line = self.process.stdout.readline()
        self.url = line.removeprefix("listening on ").strip()
        self.client = openai.OpenAI(base_url=self.url, api_key="secret", max_retries=0)
        self.http = httpx.Client(base_url=self.url, headers={"authorization": "Bearer secret"}, timeout=120)

    def rss_kib(self):
        with open(f"/proc/{self.process.pid}/status") as file:
            return int(re.search(r"VmRSS:\s+(\d+)", file.read()).group(1))

    def metric(self, name):
        text = self.http.get(self.url.removesuffix("/v1") + "/metrics").text
        return float(re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE).group(1))

    def end(self):
        """Drains: the exit code has to be 0."""
        self.client.close()
        self.http.close()
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(60) == 0, self.process.returncode


def generate(distill, model, prompt, tokens):
    command = [distill, "generate", "--model", model, "--max-tokens", str(tokens), "--prompt", prompt]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.removesuffix("\n")


def by_openai(server, expected):
    client = server.client
    assert [model.id for model in client.models.list()] == ["m"]
    chat = client.chat.completions.create(model="m", messages=STORY, temperature=0, max_tokens=24)
    assert chat.choices[0].message.content == expected, chat
    assert chat.usage.total_tokens == chat.usage.prompt_tokens + chat.usage.completion_tokens
    options = {"include_usage": True}
    stream = client.chat.completions.create(
        model="m", messages=STORY, temperature=0, max_completion_tokens=24, stream=True, stream_options=options)
    parts = list(stream)
    text = "".join(part.choices[0].delta.content or "" for part in parts if part.choices)
    assert text == expected, text
    assert parts[-1].usage == chat.usage and parts[-2].choices[0].finish_reason == chat.choices[0].finish_reason
    prompt = "The cat sat"
    whole = client.completions.create(model="m", prompt=prompt, temperature=0, max_tokens=12)
    parts = client.completions.create(model="m", prompt=prompt, temperature=0, max_tokens=12, stream=True)
    assert whole.choices[0].text == "".join(part.choices[0].text for part in parts)
    seeded = [client.chat.completions.create(model="m", messages=STORY, seed=7, top_p=0.9, max_tokens=24) for _ in range(2)]
    assert seeded[0].choices[0].message.content == seeded[1].choices[0].message.content
    for error, arguments in [
        (openai.BadRequestError, {"messages": []}),
        (openai.BadRequestError, {"n": 2}),
        (openai.BadRequestError, {"messages": [{"role": "user", "content": "cat " * 100_000}]}),
        (openai.NotFoundError, {"model": "other"}),
    ]:
        try:
            client.chat.completions.create(**{"model": "m", "messages": STORY, **arguments})
        except error as caught:
            assert caught.body["message"], caught
        else:
            raise AssertionError(f"{arguments} was accepted")
    try:
        client.with_options(api_key="wrong").models.list()
    except openai.AuthenticationError:
        pass
    else:
        raise AssertionError("a wrong key was accepted")
    # A client that leaves in the middle.
    stream = client.chat.completions.create(model="m", messages=STORY, stream=True, temperature=2, max_tokens=400)
    next(iter(stream))
    stream.close()
    print(f"openai {openai.__version__}: ok")


def by_httpx(server, expected):
    body = {"model": "m", "messages": STORY, "temperature": 0, "max_tokens": 24}
    reply = server.http.post("/chat/completions", json=body)
    assert reply.json()["choices"][0]["message"]["content"] == expected
    with server.http.stream("POST", "/chat/completions", json={**body, "stream": True}) as reply:
        assert reply.headers["content-type"] == "text/event-stream"
        lines = [line for line in reply.iter_lines() if line]
    assert lines[-1] == "data: [DONE]" and all(line.startswith("data: ") for line in lines)
    print(f"httpx {httpx.__version__}: ok")


def at_once(server, distill, model, count=64):
    def prompt(number):
        return f"Tell me a story about {number} {ANIMALS[number % 8]}s{' and a tree' * (number % 9)}."

    def stream(number):
        messages = [{"role": "user", "content": prompt(number)}]
        started, first, text = time.monotonic(), None, ""
        for part in server.client.chat.completions.create(
                model="m", messages=messages, temperature=0, max_tokens=48, stream=True):
            text += part.choices[0].delta.content or ""
            first = first or (text and time.monotonic() - started)
        return text, first

    before, started = server.metric("distill_completion_tokens_total"), time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        replies = list(pool.map(stream, range(count)))
    wall = time.monotonic() - started
    tokens = server.metric("distill_completion_tokens_total") - before
    for number, (text, _) in enumerate(replies):
        alone = generate(distill, model, prompt(number), 48)
        assert text == alone, f"stream {number}: {text!r} is not {alone!r}"
    first = statistics.median(first for _, first in replies if first)
    print(f"{count} streams at once: all as `generate`; {tokens:.0f} tokens in {wall:.2f} s, {tokens / wall:.0f} tokens/s, "
          f"median time to the first text {first * 1e3:.0f} ms")


def memory(server, count):
    def one(number):
        messages = [{"role": "user", "content": f"Tell me of {number} {ANIMALS[number % 8]}s."}]
        chat = server.client.chat.completions.create(
            model="m", messages=messages, max_tokens=16, temperature=number % 2, seed=number, stream=number % 3 == 0)
        if number % 3 == 0:
            for part in chat:
                if number % 30 == 0 and part.choices and part.choices[0].delta.content:
                    chat.close()
                    return

    sizes = []
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        started = time.monotonic()
        for begin in range(0, count, count // 5):
            list(pool.map(one, range(begin, begin + count // 5)))
            sizes.append(server.rss_kib())
        wall = time.monotonic() - started
    steps = ", ".join(f"{size / 1024:.1f}" for size in sizes)
    print(f"{count} requests, 16 at a time, {count / wall:.0f} a second: resident MiB after each fifth {steps}")
    assert sizes[-1] < 1.05 * sizes[0], "memory grows"


def hostile(server, count):
    """Requests with flipped bytes or a cut body, and noise: each has an answer that is no 5xx, or an end."""
    random.seed(0)
    body = json.dumps({"model": "m", "messages": STORY, "temperature": 0, "max_tokens": 2, "stop": ["x"], "stream": False}).encode()
    host, port = server.url.removeprefix("http://").removesuffix("/v1").split(":")
    statuses = {}
    for number in range(count):
        sent = bytearray(body)
        for _ in range(random.randint(1, 4)):
            sent[random.randrange(len(sent))] = random.randrange(256)
        head = (f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer secret\r\nconnection: close\r\n"
                f"content-type: application/json\r\ncontent-length: {len(sent)}\r\n\r\n").encode()
        kind = number % 4
        if kind == 1:
            head = bytearray(head)
            head[random.randrange(len(head))] = random.randrange(256)
        sent = random.randbytes(200) if kind == 2 else bytes(head) + bytes(sent)
        with socket.create_connection((host, int(port)), timeout=60) as connection:
            connection.sendall(sent[:random.randrange(len(sent))] if kind == 3 else sent)
            connection.shutdown(socket.SHUT_WR) if kind != 0 else None
            try:
                answer = connection.recv(64)
            except ConnectionResetError:
                answer = b""
        status = answer[9:12].decode() or "closed"
        statuses[status] = statuses.get(status, 0) + 1
    assert not any(status.startswith("5") for status in statuses), statuses
    server.client.models.list()
    print(f"{count} hostile requests: {dict(sorted(statuses.items()))}")


def many_connections(distill, model, count):
    server = Server(distill, model, "--max-connections", str(count + 8), "--client-timeout", "60")
    address = ("127.0.0.1", int(server.url.split(":")[2].split("/")[0]))
    before = server.rss_kib()
    idle = [socket.create_connection(address) for _ in range(count)]
    started = time.monotonic()
    server.client.chat.completions.create(model="m", messages=STORY, temperature=0, max_tokens=8)
    wall, open_now = time.monotonic() - started, server.metric("distill_connections")
    assert open_now >= count, open_now
    print(f"{count} idle connections ({(server.rss_kib() - before) / count:.1f} KiB each): a reply of 8 tokens in {wall * 1e3:.0f} ms")
    for connection in idle:
        connection.close()
    server.end()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("distill")
    parser.add_argument("model", nargs="?", default="builtin:tiny")
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--connections", type=int, default=1000)
    arguments = parser.parse_args()
    server = Server(arguments.distill, arguments.model)
    expected = generate(arguments.distill, arguments.model, STORY[0]["content"], 24)
    by_openai(server, expected)
    by_httpx(server, expected)
    at_once(server, arguments.distill, arguments.model)
    memory(server, arguments.requests)
    hostile(server, arguments.requests)
    server.end()
    many_connections(arguments.distill, arguments.model, arguments.connections)
    print("all ok")


if __name__ == "__main__":
    sys.exit(main())
