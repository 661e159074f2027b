# SPDX-License-Identifier: Apache-2.0
"""A small network under DistributedDataParallel; prints losses and a digest of the weights."""
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

dist.init_process_group("gloo")
rank = dist.get_rank()
torch.manual_seed(0)
model = DistributedDataParallel(torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.GELU(), torch.nn.Linear(32, 4)))
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
torch.manual_seed(100 + rank)
for step in range(5):
    x, y = torch.randn(8, 16), torch.randint(4, (8,))
    loss = torch.nn.functional.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    print(f"step {step} loss {loss.item():.6f}")
print(f"weights {sum(p.double().sum().item() for p in model.parameters()):.6f}")
dist.destroy_process_group()
