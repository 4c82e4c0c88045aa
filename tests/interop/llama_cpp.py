"""Exports models to GGUF and compares what llama.cpp computes from them with `distill forward`.

    pip install gguf numpy xllamacpp       # xllamacpp is llama.cpp with its server
    python3 tests/interop/llama_cpp.py target/release/distill MODEL...

A model is whatever `distill export` takes; hybrids need Mamba2 in the layers without attention. For each model: the file
is read by the `gguf` package (every tensor's values against the checkpoint's are `cargo test`'s business), its tokens are
those of the checkpoint's tokenizer on a text, and the log-probabilities of the likeliest next tokens after prompts of
several lengths agree with ours to 1e-3, and after a prompt that is continued from a cached one.
"""
import json
import os
import struct
import subprocess
import sys
import tempfile

import gguf
import numpy as np
import xllamacpp

VOCAB_PART = 1_000
LENGTHS = [1, 5, 40, 130]
TOLERANCE = 1e-3


def forward(distill, model, ids, folder):
    """Our logits after the last of `ids`."""
    tokens, out = os.path.join(folder, "ids.json"), os.path.join(folder, "out.safetensors")
    with open(tokens, "w") as file:
        json.dump([ids], file)
    command = [distill, "forward", "--model", model, "--tokens", tokens, "--output", out]
    subprocess.run(command, check=True)
    with open(out, "rb") as file:
        length = struct.unpack("<Q", file.read(8))[0]
        entry = json.loads(file.read(length))["logits"]
        start, end = entry["data_offsets"]
        file.seek(8 + length + start)
        logits = np.frombuffer(file.read(end - start), np.float32).reshape(entry["shape"])
    return logits[0, -1].astype(np.float64)


def serve(path):
    parameters = xllamacpp.CommonParams()
    parameters.model.path = path
    parameters.n_ctx, parameters.n_parallel, parameters.n_gpu_layers = 512, 1, 0
    parameters.warmup, parameters.cpuparams.n_threads = False, 2
    # Keys and values in f16, as by default, differ by 1e-2.
    parameters.cache_type_k = parameters.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    parameters.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    return xllamacpp.Server(parameters)


def top(server, ids, cached):
    request = {"prompt": ids, "n_predict": 1, "n_probs": 40, "temperature": 0.0, "cache_prompt": cached}
    reply = server.handle_completions(request)
    reply = json.loads(reply) if isinstance(reply, str) else reply
    return reply["choices"][0]["logprobs"]["content"][0]["top_logprobs"]


def check(distill, model, folder):
    path = os.path.join(folder, "model.gguf")
    subprocess.run([distill, "export", model, "--format", "gguf", "--out", path], check=True)
    reader = gguf.GGUFReader(path)
    architecture = reader.get_field("general.architecture").contents()
    vocab = len(reader.get_field("tokenizer.ggml.tokens").contents())
    server = serve(path)
    worst = 0.0
    random = np.random.default_rng(7)
    ids = [int(i) for i in random.integers(3, min(vocab, VOCAB_PART), max(LENGTHS))]
    for length in LENGTHS:
        logits = forward(distill, model, ids[:length], folder)
        ours = logits - logits.max()
        ours -= np.log(np.exp(ours).sum())
        for cached in [False, True]:
            theirs = top(server, ids[:length], cached)
            assert theirs[0]["id"] == int(ours.argmax()), f"{model}: likeliest token after {length}"
            worst = max([worst] + [abs(ours[t["id"]] - t["logprob"]) for t in theirs])
    assert worst < TOLERANCE, f"{model}: log-probabilities differ by {worst}"
    del server
    os.remove(path)
    print(f"{model}: {architecture}, {len(reader.tensors)} tensors, log-probabilities within {worst:.1e}")


def main():
    distill, models = os.path.abspath(sys.argv[1]), sys.argv[2:]
    for model in models:
        with tempfile.TemporaryDirectory() as folder:
            check(distill, model, folder)


main()
