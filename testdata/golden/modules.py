"""Activations, a layer norm and a squared error, with their gradients, by PyTorch on a CPU.

usage: modules.py OUTDIR      (made modules.safetensors of this folder)
"""
import json, struct, sys
import torch, torch.nn.functional as F

torch.manual_seed(0)
torch.set_num_threads(1)
x, dy, target = torch.randn(6, 33) * 2, torch.randn(6, 33), torch.randn(6, 33)
w, b = 1 + torch.randn(33) / 4, torch.randn(33) / 4
x[0, :6] = torch.tensor([0.0, -6.0, 6.0, -12.0, 12.0, -0.01])
d = {"x": x, "dy": dy, "target": target, "layer_norm.weight": w, "layer_norm.bias": b}
for name, f in {
    "relu": F.relu,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "layer_norm": lambda x: F.layer_norm(x, (33,), w, b, eps=1e-5),
}.items():
    leaves = [t.requires_grad_() for t in (x, w, b)]
    y = f(x)
    grads = torch.autograd.grad(y, leaves, dy, allow_unused=True)
    for part, t in zip(("y", "dx", "dw", "db"), (y, *grads)):
        if t is not None:
            d[f"{name}.{part}"] = t
y = x.detach().requires_grad_()
loss = F.mse_loss(y, target)
d["mse.y"], d["mse.dx"] = loss.reshape(1), torch.autograd.grad(loss, y)[0]

header, data = {}, b""  # of a safetensors file
for name, t in d.items():
    raw = bytes(t.detach().contiguous().flatten().view(torch.uint8).tolist())
    header[name] = {"dtype": "F32", "shape": list(t.shape), "data_offsets": [len(data), len(data) + len(raw)]}
    data += raw
text = json.dumps(header).encode()
text += b" " * (-len(text) % 8)
with open(f"{sys.argv[1]}/modules.safetensors", "wb") as f:
    f.write(struct.pack("<Q", len(text)) + text + data)
