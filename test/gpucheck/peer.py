# SPDX-License-Identifier: Apache-2.0
"""What PyTorch does on the same GPU: a line of JSON for each figure.

usage: python3 peer.py products            matrix products and attention, as BenchmarkMatMul and BenchmarkAttention of device/cuda have them
       python3 peer.py step [--float8] [--compile] [--cpu]
                                           training steps, of the model of check.go, in bf16 or in torchao's tensor-wise float8; on the
                                           CPU a small one, to try this
"""
import json
import statistics
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).parents[2] / "bench" / "peers"))


def say(name, value, unit):
    print(json.dumps(dict(name=name, value=value, unit=unit)), flush=True)


def median_seconds(f, times=20):
    """The median time of f, each between two events."""
    for _ in range(3):
        f()
    marks = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(times)]
    for begin, end in marks:
        begin.record()
        f()
        end.record()
    torch.cuda.synchronize()
    return statistics.median(b.elapsed_time(e) for b, e in marks) / 1e3


def products():
    x, y = (torch.randn(1 << 26, device="cuda").bfloat16() for _ in range(2))
    say("copy", 4 * x.numel() / median_seconds(lambda: y.copy_(x)) / 1e6, "MB/s")
    for m, n, k in [(8192, 4096, 4096), (8192, 14336, 4096), (8192, 4096, 14336), (8192, 8192, 8192)]:
        a, b = torch.rand(m, k, device="cuda") + 1, torch.rand(n, k, device="cuda") + 1
        a16, b16, a8, b8 = a.bfloat16(), b.bfloat16(), a.to(torch.float8_e4m3fn), b.to(torch.float8_e4m3fn)
        one = torch.ones((), device="cuda")
        rows, cols = torch.ones(m, 1, device="cuda"), torch.ones(1, n, device="cuda")
        for kind, f in {
            "bf16": lambda: torch.mm(a16, b16.t()),
            "tensorwise": lambda: torch._scaled_mm(a8, b8.t(), one, one, out_dtype=torch.bfloat16, use_fast_accum=True),
            "rowwise": lambda: torch._scaled_mm(a8, b8.t(), rows, cols, out_dtype=torch.bfloat16, use_fast_accum=True),
        }.items():
            try:
                say(f"{kind}/{m}x{n}x{k}", 2 * m * n * k / median_seconds(f) / 1e9, "GFLOP/s")
            except RuntimeError as e:  # what a chip or a release cannot do
                print(f"{kind}: {e}", file=sys.stderr)
    attention()


def attention(batch=2, tokens=4096, heads=32, groups=8):
    for hd in (64, 128):
        q, k, v = (
            torch.randn(batch, tokens, h, hd, device="cuda", dtype=torch.bfloat16).transpose(1, 2).requires_grad_() for h in (heads, groups, groups)
        )
        forward = lambda: F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        try:
            o = forward()
            do = torch.randn_like(o)
            gradient = lambda: torch.autograd.grad(o, (q, k, v), do, retain_graph=True)
            flop = 2 * batch * heads * hd * tokens**2 / 2
            say(f"Attention/forward/{tokens}x{heads}x{groups}x{hd}", 2 * flop / median_seconds(forward) / 1e9, "GFLOP/s")
            say(f"Attention/gradient/{tokens}x{heads}x{groups}x{hd}", 5 * flop / median_seconds(gradient) / 1e9, "GFLOP/s")
        except (RuntimeError, TypeError) as e:  # an old release has no groups
            print(f"attention: {e}", file=sys.stderr)


def step(float8, compiled, device):
    from model import Llama, Shape

    shape, batch, steps = Shape(dim=2048, layers=16, heads=32, kv_heads=8, ffn=8192, vocab=128256, seq=4096, tied=True), 2, 8
    if device == "cpu":
        shape, batch, steps = Shape(dim=64, layers=2, heads=4, kv_heads=2, ffn=128, vocab=256, seq=32, tied=True), 2, 4
    torch.manual_seed(0)
    torch.set_float32_matmul_precision("high")
    with torch.device(device):
        model = Llama(shape)
    if float8:
        from torchao.float8 import Float8LinearConfig, convert_to_float8_training

        convert_to_float8_training(model, config=Float8LinearConfig(emulate=device == "cpu"), module_filter_fn=lambda _, name: name != "output")
    if compiled:
        for block in model.layers:
            block.compile()
    optimizer = torch.optim.AdamW(model.parameters(), lr=8e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    seconds = []
    for _ in range(steps):
        window = torch.randint(0, 256, (batch, shape.seq + 1), device=device)
        start = now(device)
        with torch.autocast(device, torch.bfloat16):
            logits = model(window[:, :-1])
        loss = F.cross_entropy(logits.flatten(0, 1).float(), window[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        loss.item()
        seconds.append(now(device) - start)
    name = f"step {'float8' if float8 else 'bf16'}{' compiled' if compiled else ''}"
    say(name, batch * shape.seq / statistics.median(seconds[steps // 2 :]), "tokens/s")


def now(device):
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


if __name__ == "__main__":
    if sys.argv[1:2] == ["products"]:
        products()
    elif sys.argv[1:2] == ["step"]:
        step("--float8" in sys.argv, "--compile" in sys.argv, "cpu" if "--cpu" in sys.argv else "cuda")
    else:
        sys.exit(__doc__)
