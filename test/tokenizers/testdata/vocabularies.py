# SPDX-License-Identifier: Apache-2.0
"""Makes tokenizer.json of vocabularies that models are used with, as packages of PyPI and npm carry them; their licences keep them
out of this repository. Printed are the folders that were made.

vocabularies.py CACHE DIR     packages are kept in CACHE; those of npm are left out where there is no npm"""

import base64
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile

WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


def fetch(cache, command, pattern):
    """The package's file, from the cache or by a command that puts it there."""
    if not glob.glob(os.path.join(cache, pattern)):
        subprocess.run(command, cwd=cache, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return glob.glob(os.path.join(cache, pattern))[0]


def npm(cache, name, version, member):
    path = fetch(cache, ["npm", "pack", f"{name}@{version}"], f"{name}-{version}.tgz")
    with tarfile.open(path) as package:
        return package.extractfile("package/" + member).read().decode()


def letters():
    """The letter that byte-level tokenizers write for each byte: itself if it is printable, else one from U+0100 on."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [b for b in range(256) if b not in shown]
    return {**{b: chr(b) for b in shown}, **{b: chr(0x100 + i) for i, b in enumerate(hidden)}}


LETTERS = letters()


def spelled(token):
    return "".join(LETTERS[b] for b in token)


def halves(token, ranks):
    """The two tokens that become this one last: those that are left when tokens of lower rank are merged, the lowest first. There
    are none for a token that no merges lead to."""
    parts = [bytes([b]) for b in token]
    while len(parts) > 2:
        rank, at = min((ranks.get(parts[i] + parts[i + 1], len(ranks)), i) for i in range(len(parts) - 1))
        if rank >= ranks[token]:
            return None
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    return parts


def byte_level(ranks, pattern, special, ignore_merges=False):
    """A byte-level BPE tokenizer of tokens (bytes) by rank, and special tokens after them."""
    merges = [pair for pair in (halves(token, ranks) for token in ranks if len(token) > 1) if pair]
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    return {
        "version": "1.0",
        "added_tokens": [added(len(ranks) + i, s) for i, s in enumerate(special)],
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, level]},
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE", "ignore_merges": ignore_merges, "fuse_unk": False, "byte_fallback": False,
            "vocab": {spelled(token): rank for token, rank in ranks.items()},
            "merges": [[spelled(part) for part in pair] for pair in merges],
        },
    }


def added(number, text, special=True):
    return {"id": number, "content": text, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": special}


def tiktoken(text):
    """Tokens by rank, of a file of tiktoken's: base64 and a number a line."""
    lines = (line.split() for line in text.splitlines() if line)
    ranks = {base64.b64decode(token): int(rank) for token, rank in lines}
    return dict(sorted(ranks.items(), key=lambda item: item[1]))


def sentencepiece(pieces):
    """A BPE tokenizer of SentencePiece's kind, whose pieces stand in the order of their scores."""
    vocab = {piece: i for i, piece in enumerate(pieces)}
    merges = []
    for piece in pieces:
        pairs = [(piece[:i], piece[i:]) for i in range(1, len(piece))]
        merges += sorted((pair for pair in pairs if pair[0] in vocab and pair[1] in vocab), key=lambda pair: (vocab[pair[0]], vocab[pair[1]]))
    steps = [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]
    return {
        "version": "1.0",
        "added_tokens": [added(i, pieces[i]) for i in range(3)],
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
        "decoder": {"type": "Sequence", "decoders": steps},
        "model": {"type": "BPE", "unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True, "vocab": vocab, "merges": merges},
    }


def quoted(script, name):
    """The string that a script assigns to a name, decoded from base64."""
    return base64.b64decode(re.search(name + r'\s*=\s*"([^"]*)"', script).group(1)).decode()


def qwen(cache):
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "dashscope==2.0.2"]
    with zipfile.ZipFile(fetch(cache, pip, "dashscope-2.0.2*.whl")) as wheel:
        ranks = tiktoken(wheel.read("dashscope/resources/qwen.tiktoken").decode())
    return byte_level(ranks, WORDS % "", ["<|endoftext|>", "<|im_start|>", "<|im_end|>"])


def gpt2(cache):
    return byte_level(tiktoken(npm(cache, "gpt-tokenizer", "4.0.0", "data/r50k_base.tiktoken")), GPT2, ["<|endoftext|>"])


def gpt4(cache):
    return byte_level(tiktoken(npm(cache, "gpt-tokenizer", "4.0.0", "data/cl100k_base.tiktoken")), WORDS % "{1,3}", ["<|endoftext|>"], True)


def llama3(cache):
    script = npm(cache, "llama3-tokenizer-js", "1.2.0", "src/data-converted.js")
    bytes_of = {letter: b for b, letter in LETTERS.items()}
    pieces = quoted(script, "llama_vocab_base64").split("\n")
    ranks = {bytes(bytes_of[letter] for letter in piece): i for i, piece in enumerate(pieces[:128000])}
    return byte_level(ranks, WORDS % "{1,3}", ["<|begin_of_text|>", "<|end_of_text|>"], True)


def llama2(cache):
    script = npm(cache, "llama-tokenizer-js", "1.2.2", "llama-tokenizer.js")
    return sentencepiece(quoted(script, "llama_vocab_base64").split("\n"))


def main(cache, folder):
    os.makedirs(cache, exist_ok=True)
    makers = {"vocabulary-qwen": qwen}
    if shutil.which("npm"):
        makers |= {"vocabulary-gpt-2": gpt2, "vocabulary-gpt-4": gpt4, "vocabulary-llama-3": llama3, "vocabulary-llama-2": llama2}
    for name, make in makers.items():
        made = os.path.join(folder, name)
        os.makedirs(made)
        with open(os.path.join(made, "tokenizer.json"), "w") as f:
            json.dump(make(cache), f, ensure_ascii=False)
        print(made)


if __name__ == "__main__":
    main(*sys.argv[1:])
