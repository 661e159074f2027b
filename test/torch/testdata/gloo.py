# SPDX-License-Identifier: Apache-2.0
"""A PyTorch program as users have them; fails in its first attempt."""
import os

import torch
import torch.distributed as dist

dist.init_process_group("gloo")
rank, world = dist.get_rank(), dist.get_world_size()
x = torch.full((4,), float(rank + 1))
dist.all_reduce(x)
gathered = [None] * world
dist.all_gather_object(gathered, rank, group=dist.new_group(list(range(world))))
store = dist.distributed_c10d._get_default_store()
old = store.check(["key of an attempt"])
dist.barrier()
store.set("key of an attempt", "1")
print(f"rank {rank}: sum {x[0].item()}, gathered {gathered}, old key: {old}", flush=True)
dist.barrier()
if os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
    os._exit(9)
dist.destroy_process_group()
