# SPDX-License-Identifier: Apache-2.0
"""Writes the fixtures beside it with the real library (PyPI tokenizers): python make.py GOROOT.

Each folder has a small tokenizer.json of one kind, trained on Go's source, and cases.json: texts, their ids, and what the ids decode to.
categories.txt of the package is written by python make.py categories."""

import glob
import json
import os
import random
import sys

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

HERE = os.path.dirname(os.path.abspath(__file__))
LLAMA = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN = LLAMA.replace(r"\p{N}{1,3}", r"\p{N}")
O200K = "|".join([
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"\p{N}{1,3}", r" ?[^\s\p{L}\p{N}]+[\r\n/]*", r"\s*[\r\n]+", r"\s+(?!\S)", r"\s+"])
DEEPSEEK = [r"\p{N}{1,3}", r"[一-龥぀-ゟ゠-ヿ]+",
            r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"""]


def split(pattern, behavior="isolated", invert=False):
    return pre_tokenizers.Split(Regex(pattern), behavior, invert)


def bytes_of(prefix=False, regex=False):
    return pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=regex)


def special(content, **flags):
    return AddedToken(content, **{"normalized": False, "special": True, **flags})


def byte_level(size, pre, normalizer=None, unk=None, alphabet=True):
    t = Tokenizer(models.BPE(unk_token=unk))
    t.normalizer = normalizer
    t.pre_tokenizer = pre_tokenizers.Sequence(pre) if len(pre) > 1 else pre[0]
    t.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=size, show_progress=False, special_tokens=[unk] if unk else [],
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet() if alphabet else [])
    return t, trainer


def llama2(new):
    t = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    if new:
        t.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme="first", split=False)
    else:
        t.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    t.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    return t


def kinds(files, size):
    def trained(t, trainer):
        t.train(files, trainer)
        return t

    def ignoring(t):
        j = json.loads(t.to_str())
        j["model"]["ignore_merges"] = True
        return Tokenizer.from_str(json.dumps(j))

    t = ignoring(trained(*byte_level(size, [split(LLAMA), bytes_of()])))
    t.add_special_tokens([special("<|begin_of_text|>"), special("<|end_of_text|>"), special("<|eot|>")])
    bos = t.token_to_id("<|begin_of_text|>")
    t.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), processors.TemplateProcessing(
        single="<|begin_of_text|> $A", pair="<|begin_of_text|> $A <|begin_of_text|>:1 $B:1", special_tokens=[("<|begin_of_text|>", bos)])])
    yield "llama3", t

    t = trained(*byte_level(size, [bytes_of(prefix=False, regex=True)]))
    t.add_special_tokens([AddedToken("<|endoftext|>", normalized=True, special=True)])
    yield "gpt2", t

    t = trained(*byte_level(size, [split(QWEN), bytes_of()], normalizers.NFC()))
    t.add_special_tokens([special("<|im_start|>"), special("<|im_end|>")])
    t.add_tokens([AddedToken("<tool_call>", normalized=False), AddedToken("Å", normalized=True)])
    yield "qwen2", t

    t = trained(*byte_level(size, [split(O200K), bytes_of()]))
    t.add_special_tokens([special("<|endoftext|>")])
    yield "o200k", t

    t = trained(*byte_level(size, [split(p) for p in DEEPSEEK] + [bytes_of()]))
    t.add_special_tokens([special("<|begin▁of▁sentence|>"), special("<|end▁of▁sentence|>")])
    yield "deepseek", t

    # What is rare: a vocabulary without all bytes, unknown ones, a prefix, digits, every flag of an added token.
    t = trained(*byte_level(size, [pre_tokenizers.Digits(individual_digits=True), split("x", "merged_with_previous"), split("z", "merged_with_next"),
                             split(r"q", "removed"), split(r"\p{Lu}", "contiguous"), split(r"[a-y]", "isolated", invert=True),
                             bytes_of(prefix=True, regex=True)], unk="<unk>", alphabet=False))
    t.add_special_tokens([special("<s>", lstrip=True), special("</s>", rstrip=True), special("<mask>", lstrip=True, rstrip=True)])
    t.add_tokens([AddedToken("word", single_word=True, normalized=True), AddedToken("wo", normalized=True), AddedToken(" func", normalized=False)])
    t.post_processor = processors.TemplateProcessing(single="<s> $A </s> </s>", special_tokens=[("<s>", t.token_to_id("<s>")), ("</s>", t.token_to_id("</s>"))])
    yield "odd", t

    trainer = trainers.BpeTrainer(vocab_size=size, show_progress=False, special_tokens=["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)])
    for name, new in [("llama2", False), ("llama2_metaspace", True)]:
        t = llama2(new)
        if not new:  # train with the words apart, as SentencePiece does
            t.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
        else:
            t.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme="first", split=True)
        t.train(files, trainer)
        t.pre_tokenizer = llama2(new).pre_tokenizer
        if name == "llama2":
            j = json.loads(t.to_str())
            j["pre_tokenizer"] = None
            t = Tokenizer.from_str(json.dumps(j))
        t.add_special_tokens([special("<unk>"), special("<s>"), special("</s>")])
        t.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
        yield name, t

    # Words that are not apart, several unknown characters as one, no bytes to fall back to.
    t = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    t.normalizer = normalizers.Replace(" ", "▁")
    t.decoder = decoders.Metaspace("▁", prepend_scheme="always")
    t.train(files[:3], trainers.BpeTrainer(vocab_size=400, show_progress=False, special_tokens=["<unk>"], limit_alphabet=60, max_token_length=6))
    t.add_tokens([AddedToken("a b", normalized=True)])
    yield "fused", t


TEXTS = [
    "", " ", "  ", "\n", "a", "Hello, world!", " hello  world  ", "I'll DON'T you'Re it'S we'vE 'ſ 'ſt ''s", "x = 12345678 + 3.14e10\n\n\treturn\r\n",
    "<|begin_of_text|>hi<|end_of_text|> <|endoftext|><|im_start|>user\n<s>  </s>  x <mask> y<s>z </s>", "a word sword word. wo words word_ word\u200d",
    "é e\u0301 Å Å \u212b ﬁ ½ ٣ Ⅷ x² 你好，世界。こんにちは 안녕 각 \u1100\u1161\u11a8 👩‍👩‍👧 🇩🇪", "a\u0323\u0307 a\u0307\u0323 q\u0307\u0323 \u0344 \u0958 \u2adc ऩ ो",
    "\u00a0a\u00a0\u00a0b\u2003\u3000c\u0085d\x0b\x0ce", "tabs\t\t\tand   spaces \n \n  \r\n\r\n end  ", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "func main() { fmt.Println(\"hi\") } // func  func func", "x\ufffdy \U0001fa00 \U00010400 \ua7cb \u1c89 \U00010d40 \u2fff", "z\x00\x01\x7f\x80\xff",
    "<0x41>▁▁ ▁a▁b a b  a b", "ａｂｃ　１２３ ǅ ʰ ـ", "o" + "\u0323\u0307" * 40, "1 22 333 4444 55555 xqxq zQz ABcDEf", "\u0c3c\u07fd\u0323 \U00011935\U00011930",
]


def random_text(r):
    """A string of what breaks tokenizers, or of anything that Unicode has."""
    ranges = [(0x20, 0x7f), (0x0, 0x250), (0x300, 0x370), (0x0, 0x3000), (0x4e00, 0x5000), (0xac00, 0xad00), (0x1f300, 0x1fb00), (0x0, 0x110000)]
    pieces = [" ", "  ", "\n", "\r\n", "\t", "'s", "'LL", "123", "word", "<s>", "</s>", "<mask>", "<|endoftext|>", "func", " func", "▁", "\u0301", "\u0323"]
    out = []
    for _ in range(r.randint(0, 30)):
        if r.random() < 0.4:
            out.append(r.choice(pieces))
            continue
        low, high = r.choice(ranges)
        for _ in range(r.randint(1, 4)):
            c = r.randrange(low, high)
            out.append(chr(c) if not 0xd800 <= c < 0xe000 else "?")
    return "".join(out)


def main(goroot):
    files = sorted(glob.glob(goroot + "/src/fmt/*.go") + glob.glob(goroot + "/src/strconv/*.go"))
    r = random.Random(1)
    texts = TEXTS + [random_text(r) for _ in range(60)]
    for name, t in kinds(files, 900):
        folder = os.path.join(HERE, name)
        os.makedirs(folder, exist_ok=True)
        t.save(os.path.join(folder, "tokenizer.json"), pretty=False)
        t = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
        size = t.get_vocab_size()
        cases = []
        for text in texts:
            ids = t.encode(text).ids
            alone = t.encode(text, add_special_tokens=False).ids
            cases.append({"text": text, "ids": ids, "alone": alone, "decoded": t.decode(ids, skip_special_tokens=False), "without": t.decode(ids)})
        for _ in range(30):  # ids that no text has
            ids = [r.randrange(size) if r.random() < 0.5 else r.randrange(min(size, 300)) for _ in range(r.randint(0, 20))]
            cases.append({"ids": ids, "decoded": t.decode(ids, skip_special_tokens=False), "without": t.decode(ids)})
        with open(os.path.join(folder, "cases.json"), "w", encoding="utf-8") as f:
            f.write("[\n" + ",\n".join(json.dumps(c) for c in cases) + "\n]\n")


def categories():
    names = "Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf Co".split()
    characters = "".join(chr(c) for c in range(0x110000) if not 0xd800 <= c < 0xe000)
    of = {}
    for name in names:
        others = set("".join(t for t, _ in split(r"\p{%s}" % name, "removed").pre_tokenize_str(characters)))
        of.update((c, name) for c in characters if c not in others)
    with open(os.path.join(HERE, "..", "categories.txt"), "w") as f:
        before = None
        for c in range(0x110000):
            name = "Cs" if 0xd800 <= c < 0xe000 else of.get(chr(c), "Cn")
            if name != before:
                f.write(f"{c:x} {name}\n")
            before = name


if __name__ == "__main__":
    categories() if sys.argv[1] == "categories" else main(sys.argv[1])
