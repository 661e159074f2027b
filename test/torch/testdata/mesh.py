# SPDX-License-Identifier: Apache-2.0
"""DTensors on a mesh of two by two: redistributed, multiplied, gathered."""
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Replicate, Shard, distribute_tensor

dist.init_process_group("gloo")
mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("dp", "tp"))
torch.manual_seed(0)
x, w = torch.randn(8, 6), torch.randn(4, 6)
dx = distribute_tensor(x, mesh, [Shard(0), Replicate()])
dw = distribute_tensor(w, mesh, [Replicate(), Shard(0)])
y = dx @ dw.T
print(mesh["tp"].get_local_rank(), mesh["dp"].get_local_rank(), list(y.to_local().shape))
print("equal", torch.allclose(y.full_tensor(), x @ w.T, atol=1e-6))
print(y.redistribute(mesh, [Shard(0), Shard(0)]).to_local().shape)
dist.destroy_process_group()
