"""The hashes that tests hold in place of files, made by PyTorch and torchao on a CPU.

usage: hashes.py      prints every hash with its name

Bytes of float8 are hashed with NaN made canonical, tensors as little-endian, row-major bytes.
"""
import hashlib
import torch
from torchao.float8 import Float8LinearConfig, convert_to_float8_training
from torchao.float8.config import ScalingGranularity
from torchao.float8.float8_utils import amax_to_scale, tensor_to_scale, to_fp8_saturated

FORMATS = {"e4m3fn": (torch.float8_e4m3fn, 0x7F), "e5m2": (torch.float8_e5m2, 0x7F), "e4m3fnuz": (torch.float8_e4m3fnuz, 0x80), "e5m2fnuz": (torch.float8_e5m2fnuz, 0x80)}
BF16 = torch.arange(65536, dtype=torch.int32).to(torch.int16).view(torch.bfloat16)  # every pattern, in order


def sha(t):
    return hashlib.sha256(t.contiguous().view(torch.uint8).numpy().tobytes()).hexdigest()


def bits(x):
    return f"{x.float().view(torch.int32).item() & 0xFFFFFFFF:#010x}"


def float8(t):
    """The bytes of a float8 tensor, NaN made canonical."""
    nan = {f: code for f, code in FORMATS.values()}[t.dtype]
    return torch.where(torch.isnan(t.float()), torch.tensor(nan, dtype=torch.uint8), t.view(torch.uint8))


def casts():
    """Every bf16 times three scales, in each format."""
    for name, (f, _) in FORMATS.items():
        for scale in (0x3F800000, 0x43155555, 0x3DCCCCCD):
            s = torch.tensor(scale, dtype=torch.int32).view(torch.float32)
            print(f"cast.{name}.{scale:#010x}", sha(float8(to_fp8_saturated(BF16.float() * s, f))))


def scales():
    """The scale of every finite amax in bf16."""
    amax = BF16[:0x7F80].float()
    for name, (f, _) in FORMATS.items():
        if name == "e5m2fnuz":
            continue  # its maximum is e5m2's
        for pow2 in (False, True):
            print(f"scale.{name}" + (".pow2" if pow2 else ""), sha(amax_to_scale(amax, f, round_scales_to_power_of_2=pow2)))


def tensor(rows, cols, a, o, p):
    """An input of the layer: small numbers, so that its every sum is exact in float32 and any order of summation gives its bits."""
    n, r = torch.arange(rows * cols), torch.arange(rows).repeat_interleave(cols)
    return (((n * a + o) % 27 - 13) / 8 * 2.0 ** (r * p % 3)).view(rows, cols).bfloat16()


X, W, DY = tensor(48, 32, 37, 11, 1), tensor(64, 32, 53, 29, 2), tensor(48, 64, 71, 5, 1)


def cast(what, t, f, **how):
    """A tensor's scales (the first three) and float8 bytes."""
    f = FORMATS[f][0]
    s = tensor_to_scale(t, f, **how)
    print(f"{what}.scale", *(bits(v) for v in s.flatten()[:3]))
    print(f"{what}.float8", sha(float8(to_fp8_saturated(t.float() * s, f)))[:32])


def layer(recipe, cfg):
    """A Linear of torchao's, emulated; 16 bytes of each hash."""
    object.__setattr__(cfg, "emulate", True)
    l = torch.nn.Sequential(torch.nn.Linear(32, 64, bias=False, dtype=torch.bfloat16))
    l[0].weight.data.copy_(W)
    convert_to_float8_training(l, config=cfg)
    x = X.clone().requires_grad_()
    y = l(x)
    y.backward(DY)
    for name, t in (("y", y.detach()), ("dx", x.grad), ("dw", l[0].weight.grad)):
        print(f"layer.{recipe}.{name}", sha(t)[:32])


def layers():
    for name, t in (("x", X), ("w", W), ("dy", DY)):
        print(f"layer.{name}", sha(t)[:32])
    for role, t, f in (("i", X, "e4m3fn"), ("w", W, "e4m3fn"), ("go", DY, "e5m2")):
        cast(f"layer.tensorwise.{role}", t, f)
    layer("tensorwise", Float8LinearConfig())
    pow2 = dict(round_scales_to_power_of_2=True)
    for role, t, dim in (("i", X, -1), ("w", W, -1), ("go", DY, -1), ("i_gw", X, 0), ("w_gi", W, 0), ("go_gw", DY, 0)):
        cast(f"layer.rowwise.{role}", t, "e4m3fn", scaling_granularity=ScalingGranularity.AXISWISE, axiswise_dim=dim, **pow2)
    layer("rowwise", Float8LinearConfig.from_recipe_name("rowwise"))
    cast("layer.rowwise_with_gw_hp.w_gi", W, "e4m3fn", **pow2)
    layer("rowwise_with_gw_hp", Float8LinearConfig.from_recipe_name("rowwise_with_gw_hp"))


casts(); scales(); layers()
