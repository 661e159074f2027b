# SPDX-License-Identifier: Apache-2.0
"""What gloo, PyTorch's collectives on a CPU, takes for what collectives/main.go measures. Rank 0 prints one JSON line a figure.

usage: torchrun --nproc-per-node 2 collectives.py
"""
import json
import time

import torch
import torch.distributed as dist


def shortest(calls, call):
    """The shortest of so many calls, in seconds, each from a barrier on, after two that warm up."""
    took = []
    for _ in range(calls + 2):
        dist.barrier()
        start = time.perf_counter()
        call()
        took.append(time.perf_counter() - start)
    return min(took[2:])


def main():
    dist.init_process_group("gloo")
    torch.set_num_threads(1)
    world = dist.get_world_size()
    for size in (1 << 20, 64 << 20):
        whole, shard = torch.zeros(size // 4), torch.zeros(size // 4 // world)
        for name, call in (
            ("all-gather", lambda: dist.all_gather_into_tensor(whole, shard)),
            ("reduce-scatter", lambda: dist.reduce_scatter_tensor(shard, whole)),
            ("all-reduce", lambda: dist.all_reduce(whole)),
        ):
            best = shortest(max(8, (64 << 20) // size), call)
            if dist.get_rank() == 0:
                print(json.dumps(dict(op=f"{name}, {size >> 20} MiB, {world} ranks", by="gloo", ms=best * 1e3)), flush=True)
    dist.destroy_process_group()


main()
