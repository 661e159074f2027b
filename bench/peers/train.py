# SPDX-License-Identifier: Apache-2.0
"""Trains the debug model with FSDP2 and prints one JSON line: how long a step takes and what a rank holds in memory.

usage: torchrun --nproc-per-node 2 train.py SETTING [--steps 10] [--warm 3] [--global-batch 8]

SETTING is made of words joined by "-": the dtype of the parameters in matmuls (f32, bf16), then any of
  float8   torchao's tensor-wise recipe, weights gathered in float8, scales precomputed by one all-reduce
  emulate  float8 values, matmuls in the parameters' dtype (torchao's emulate=True)
  compile  torch.compile on each block
"""
import argparse
import json
import subprocess
import time
from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

from model import Llama, Shape


def main():
    args = argparse.ArgumentParser()
    args.add_argument("setting")
    args.add_argument("--steps", type=int, default=10, help="steps that count")
    args.add_argument("--warm", type=int, default=3, help="steps before them")
    args.add_argument("--global-batch", type=int, default=8, help="sequences a step, over all ranks")
    args = args.parse_args()

    dist.init_process_group("gloo")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rank, world = dist.get_rank(), dist.get_world_size()
    shape, words = Shape(), args.setting.split("-")
    model = build(shape, words, world)
    optimizer = torch.optim.AdamW(model.parameters(), lr=8e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    batch = args.global_batch // world
    text = go_source((args.warm + args.steps) * args.global_batch * shape.seq + 1)

    step_ms = []
    for step in range(args.warm + args.steps):
        dist.barrier()
        start = time.perf_counter()
        first = (step * world + rank) * batch * shape.seq
        window = text[first : first + batch * shape.seq + 1].long()
        logits = model(window[:-1].view(batch, shape.seq))
        loss = F.cross_entropy(logits.flatten(0, 1).float(), window[1:])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if "float8" in words:
            from torchao.float8 import precompute_float8_dynamic_scale_for_fsdp

            precompute_float8_dynamic_scale_for_fsdp(model)
        mean = loss.detach() / world
        dist.all_reduce(mean)
        step_ms.append((time.perf_counter() - start) * 1e3)

    if rank == 0:
        step_ms = step_ms[args.warm :]
        print(json.dumps(dict(setting=args.setting, step_ms=step_ms, tokens=args.global_batch * shape.seq, loss=mean.item(), **memory())))
    dist.destroy_process_group()


def build(shape, words, world):
    """The model, converted to float8, compiled and sharded: in that order, as torchtitan does it."""
    model = Llama(shape)
    if "float8" in words:
        from torchao.float8 import Float8LinearConfig, convert_to_float8_training

        config = Float8LinearConfig(enable_fsdp_float8_all_gather=True, emulate="emulate" in words)
        convert_to_float8_training(model, config=config, module_filter_fn=lambda _, name: name != "output")
    if "compile" in words:
        for block in model.layers:
            block.compile()
    options = dict(mesh=init_device_mesh("cpu", (world,)))
    if "bf16" in words:
        options["mp_policy"] = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
    for block in model.layers:
        fully_shard(block, **options)
    return fully_shard(model, **options)


def go_source(size):
    """The first bytes of Go's own source, one token a byte: what octet's default dataset reads."""
    root = subprocess.run(["go", "env", "GOROOT"], capture_output=True, text=True, check=True).stdout.strip()
    text = bytearray()
    for path in sorted(Path(root, "src").rglob("*.go")):
        text += path.read_bytes() if path.is_file() else b""
        if len(text) >= size:
            break
    return torch.frombuffer(text, dtype=torch.uint8)[:size]


def memory():
    """This process's peak resident memory, and the part of today's that is not file pages (libraries), in MiB."""
    kib = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    mib = lambda key: int(kib[key].split()[0]) // 1024
    return dict(rss_mb=mib("VmHWM"), rss_anon_mb=mib("RssAnon") + mib("RssShmem"))


if __name__ == "__main__":
    main()
