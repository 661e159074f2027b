# SPDX-License-Identifier: Apache-2.0
"""Objects and tensors of many kinds between the ranks."""
import torch
import torch.distributed as dist

dist.init_process_group("gloo")
rank, world = dist.get_rank(), dist.get_world_size()
gathered = [None] * world
dist.all_gather_object(gathered, {"rank": rank, "words": ["a"] * rank})
print("all_gather_object", gathered)
box = [f"from {rank}", rank]
dist.broadcast_object_list(box, src=1)
print("broadcast_object_list", box)
got = [None]
dist.scatter_object_list(got, [[i] * 3 for i in range(world)] if rank == 0 else None, src=0)
print("scatter_object_list", got)
here = [None] * world if rank == 0 else None
dist.gather_object((rank, rank**2), here, dst=0)
print("gather_object", here)
x = torch.arange(4.0) + rank
if rank == 0:
    dist.send(x, 1)
elif rank == 1:
    dist.recv(x, 0)
print("send", x.tolist())
out = torch.empty(world * 4)
dist.all_gather_into_tensor(out, x)
print("all_gather_into_tensor", out.tolist())
dist.monitored_barrier()
dist.destroy_process_group()
