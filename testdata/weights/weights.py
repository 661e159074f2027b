"""Writes the files of this folder with safetensors 0.8.0, the reference writer: `python weights.py`, with nothing but that package.

Each is a valid file with something odd about it, for a Llama with dim 16, 1 layer, 2 heads, ffn_hidden_dim 32, vocab_size 256; those called
tied_* have one weight for embedding and output. What safetensors.torch.save_model writes for two names of one tensor is in tied_save_model:
one of them, and the other in the metadata. The record of the files' origin: nothing in octet runs it.
"""

import ctypes
import struct

from safetensors import TensorSpec, serialize_file

WIDTHS = {"float32": "<f", "float16": "<e"}


def values(name, shape, dtype="float32"):
    n = 1
    for d in shape:
        n *= d
    seed = sum(name.encode())
    x = [((seed + 7 * i) % 13 - 6) / 64 for i in range(n)]
    if dtype == "bfloat16":
        return b"".join(struct.pack("<f", v)[2:] for v in x)  # exact: six bits are enough
    return b"".join(struct.pack(WIDTHS[dtype], v) for v in x)


def model():
    yield "tok_embeddings.weight", [256, 16]
    for m in ("wq", "wk", "wv", "wo"):
        yield f"layers.0.attention.{m}.weight", [16, 16]
    yield "layers.0.feed_forward.w1.weight", [32, 16]
    yield "layers.0.feed_forward.w2.weight", [16, 32]
    yield "layers.0.feed_forward.w3.weight", [32, 16]
    yield "layers.0.attention_norm.weight", [16]
    yield "layers.0.ffn_norm.weight", [16]
    yield "norm.weight", [16]
    yield "output.weight", [256, 16]


def write(path, change=lambda t: t, metadata=None, dtypes=("bfloat16",)):
    tensors = {}
    for i, (name, shape) in enumerate(model()):
        dtype = dtypes[i % len(dtypes)]
        tensors[name] = (dtype, shape, values(name, shape, dtype))
    change(tensors)
    hold, specs = [], {}
    for name, (dtype, shape, raw) in tensors.items():
        buf = ctypes.create_string_buffer(raw, max(1, len(raw)))
        hold.append(buf)
        specs[name] = TensorSpec(dtype=dtype, shape=shape, data_ptr=ctypes.addressof(buf), data_len=len(raw))
    serialize_file(specs, path, metadata)


def tie(t):
    t["output.weight"] = t["tok_embeddings.weight"]


def without(*names):
    def change(t):
        tie(t)
        for n in names:
            del t[n]
    return change


def more(extra):
    return lambda t: t.update(extra)


write("tied_both.safetensors", tie)
write("tied_save_model.safetensors", without("tok_embeddings.weight"), {"tok_embeddings.weight": "output.weight", "format": "pt"})
write("tied_output.safetensors", without("tok_embeddings.weight"))
write("tied_embedding.safetensors", without("output.weight"))
write("freqs_cis.safetensors", more({"freqs_cis": ("complex64", [16, 4], bytes(8 * 64))}), {"format": "pt", "note": "Zeichen ♥ \" \\ \n"})
write("types.safetensors", dtypes=("float32", "float16", "bfloat16"))
write("more.safetensors", more({
    "scalar": ("int64", [], bytes(8)), "empty": ("float32", [0, 3], b""), "mask": ("bool", [3], bytes(3)), "ids": ("uint16", [2], bytes(4)),
    "four": ("float4_e2m1fn_x2", [4], bytes(4)), "eight": ("float8_e8m0fnu", [5], bytes(5)), "ünïcode ♥": ("float64", [1], bytes(8)),
}))
