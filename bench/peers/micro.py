# SPDX-License-Identifier: Apache-2.0
"""What PyTorch reaches on one core in the parts that octet has kernels for; one JSON line a figure.

kernels/main.go is octet's side. An operation that is measured twice, as it is and compiled, has two lines.

usage: python micro.py
"""
import json
import time

import torch
import torch.nn.functional as F

E4M3 = torch.float8_e4m3fn
MATMULS = [(4096, 256, 768), (2048, 256, 2048), (1024, 1024, 1024), (2048, 1024, 8192)]  # tokens, in, out


def best(f, repeat=7, enough=3):
    """The shortest of several calls, in seconds; one is enough where it takes long: some products have no kernel and take minutes."""
    took = []
    while len(took) <= repeat and sum(took) < enough:
        start = time.perf_counter()
        f()
        took.append(time.perf_counter() - start)
    return min(took)


def say(op, dtype, unit, work, f):
    """Prints work per second in giga-units, or why the operation is not to be had."""
    try:
        print(json.dumps(dict(op=op, dtype=dtype, value=round(work / best(f) / 1e9, 3), unit=unit)), flush=True)
    except (RuntimeError, NotImplementedError) as err:
        print(json.dumps(dict(op=op, dtype=dtype, unit=unit, error=str(err).splitlines()[0])), flush=True)


def matmuls():
    for m, k, n in MATMULS:
        op, flop = f"matmul {m}x{k}x{n}", 2 * m * k * n
        x, w = torch.randn(m, k), torch.randn(n, k)
        say(op, "f32", "GFLOP/s", flop, lambda: F.linear(x, w))
        xb, wb = x.bfloat16(), w.bfloat16()
        say(op, "bf16", "GFLOP/s", flop, lambda: F.linear(xb, wb))
        x8, w8, one = x.to(E4M3), w.to(E4M3), torch.ones(())
        say(op, "e4m3", "GFLOP/s", flop, lambda: torch._scaled_mm(x8, w8.t(), scale_a=one, scale_b=one, out_dtype=torch.bfloat16))


def casts():
    """torchao's tensor-wise cast: read for amax, read and write to cast. Bytes count each value once in, once out."""
    for name, dtype in (("f32", torch.float32), ("bf16", torch.bfloat16)):
        x = torch.randn(1 << 24).to(dtype)
        size = x.numel() * x.element_size()

        def cast():
            scale = 448.0 / x.abs().max().double().clamp(min=1e-12)
            return (x.float() * scale.float()).clamp(-448, 448).to(E4M3)

        say("amax", name, "GB/s", size, lambda: torch.aminmax(x))
        say("amax and cast to e4m3", name, "GB/s", size + x.numel(), cast)
        say("amax and cast to e4m3", name, "GB/s", size + x.numel(), torch.compile(cast))


def layers():
    x, w = torch.randn(4096, 256), torch.ones(256)
    say("rms_norm 4096x256", "f32", "Gvalue/s", x.numel(), lambda: F.rms_norm(x, (256,), w))
    g, u = torch.randn(4096, 768), torch.randn(4096, 768)
    say("silu(a)*b 4096x768", "f32", "Gvalue/s", g.numel(), lambda: F.silu(g) * u)
    q, k, v, grad = torch.randn(4, 4, 16, 512, 16)
    say("causal attention 4x16x512x16", "f32", "GFLOP/s", 2 * q.numel() * 512, lambda: F.scaled_dot_product_attention(q, k, v, is_causal=True))
    for t in (q, k, v):
        t.requires_grad_()
    say("causal attention and gradient", "f32", "GFLOP/s", 7 * q.numel() * 512, lambda: F.scaled_dot_product_attention(q, k, v, is_causal=True).backward(grad))
    logits, target = torch.randn(2048, 2048, requires_grad=True), torch.zeros(2048, dtype=torch.long)
    say("cross_entropy and gradient 2048x2048", "f32", "Gvalue/s", logits.numel(), lambda: F.cross_entropy(logits, target).backward())
    p = torch.randn(1 << 23, requires_grad=True)
    p.grad = torch.randn_like(p)
    say("AdamW", "f32", "Gvalue/s", p.numel(), torch.optim.AdamW([p], fused=True).step)


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.manual_seed(0)
    matmuls()
    casts()
    layers()
