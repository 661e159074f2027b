# SPDX-License-Identifier: Apache-2.0
"""The Rust library's side of the comparison.

peer.py train MAKE SIZE DIR FILES...   trains a tokenizer of each kind of MAKE (octet's tokenizer/testdata/make.py) with SIZE tokens, into DIR
peer.py encode TOKENIZER TEXTS OUT     encodes the texts of a file (4 bytes of length, UTF-8) and writes for each the number of ids, the ids and
                                       4 bytes of length of what they decode to, and that
peer.py time TOKENIZER TEXTS ROUNDS    prints the seconds of each round of encoding all texts, one by one, on one thread"""

import importlib.util
import os
import struct
import sys
import time

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("RAYON_NUM_THREADS", "1")

from tokenizers import Tokenizer


def texts(path):
    with open(path, "rb") as f:
        while head := f.read(4):
            yield f.read(struct.unpack("<I", head)[0]).decode()


def train(make, size, folder, *files):
    spec = importlib.util.spec_from_file_location("make", make)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name, t in module.kinds(list(files), int(size)):
        os.makedirs(os.path.join(folder, name), exist_ok=True)
        t.save(os.path.join(folder, name, "tokenizer.json"), pretty=False)


def encode(tokenizer, source, out):
    t = Tokenizer.from_file(tokenizer)
    with open(out, "wb") as f:
        for text in texts(source):
            ids = t.encode(text).ids
            decoded = t.decode(ids, skip_special_tokens=False).encode()
            f.write(struct.pack(f"<I{len(ids)}I", len(ids), *ids) + struct.pack("<I", len(decoded)) + decoded)


def timed(tokenizer, source, rounds):
    t = Tokenizer.from_file(tokenizer)
    batch = list(texts(source))
    for _ in range(int(rounds)):
        start = time.perf_counter()
        for text in batch:
            t.encode(text, add_special_tokens=False)
        print(time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    {"train": train, "encode": encode, "time": timed}[sys.argv[1]](*sys.argv[2:])
