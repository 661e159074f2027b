# SPDX-License-Identifier: Apache-2.0
"""A small network under FSDP2 (fully_shard); prints losses, the gradients' norm, and the weights gathered."""
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

dist.init_process_group("gloo")
rank, world = dist.get_rank(), dist.get_world_size()
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.GELU(), torch.nn.Linear(32, 4))
mesh = init_device_mesh("cpu", (world,))
for layer in (model[0], model[2]):
    fully_shard(layer, mesh=mesh)
fully_shard(model, mesh=mesh)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
torch.manual_seed(100 + rank)
for step in range(5):
    x, y = torch.randn(8, 16), torch.randint(4, (8,))
    loss = torch.nn.functional.cross_entropy(model(x), y)
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0).full_tensor()
    optimizer.step()
    optimizer.zero_grad()
    print(f"step {step} loss {loss.item():.6f} norm {norm.item():.6f}")
print(f"weights {sum(p.full_tensor().double().sum().item() for p in model.parameters()):.6f}")
dist.destroy_process_group()
