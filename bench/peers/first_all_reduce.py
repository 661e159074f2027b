# SPDX-License-Identifier: Apache-2.0
"""The least a rank does under torchrun: join the group, add up one number, leave. peers.py times the whole command."""
import torch
import torch.distributed as dist

dist.init_process_group("gloo")
one = torch.ones(1)
dist.all_reduce(one)
if one.item() != dist.get_world_size():
    raise SystemExit(f"all_reduce of ones gave {one.item()} on {dist.get_world_size()} ranks")
dist.destroy_process_group()
