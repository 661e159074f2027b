# SPDX-License-Identifier: Apache-2.0
"""Llama in plain PyTorch: the model that `octet train` runs, with torchtitan's parameter names."""
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn


@dataclass(frozen=True)
class Shape:
    """The debug model: 6.4 million parameters."""

    dim: int = 256
    layers: int = 6
    heads: int = 16
    kv_heads: int = 0  # 0: as many
    ffn: int = 768
    vocab: int = 2048
    seq: int = 512
    theta: float = 500_000.0
    tied: bool = False


def rotate(x, cos, sin):
    """RoPE on interleaved pairs; x is (batch, seq, heads, head_dim), cos and sin are (seq, 1, head_dim/2)."""
    even, odd = x.unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(-2)


class Attention(nn.Module):
    def __init__(self, m: Shape):
        super().__init__()
        self.heads, self.kv_heads = m.heads, m.kv_heads or m.heads
        keys = m.dim // m.heads * self.kv_heads
        self.wq, self.wk, self.wv, self.wo = (nn.Linear(i, o, bias=False) for i, o in ((m.dim, m.dim), (m.dim, keys), (m.dim, keys), (m.dim, m.dim)))

    def forward(self, x, cos, sin):
        q = self.wq(x).unflatten(-1, (self.heads, -1))
        k, v = (w(x).unflatten(-1, (self.kv_heads, -1)) for w in (self.wk, self.wv))
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        q, k, v = (t.transpose(1, 2) for t in (q, k, v))
        shared = dict(enable_gqa=True) if self.kv_heads != self.heads else {}  # which older releases do not know
        return self.wo(F.scaled_dot_product_attention(q, k, v, is_causal=True, **shared).transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    def __init__(self, m: Shape):
        super().__init__()
        self.w1 = nn.Linear(m.dim, m.ffn, bias=False)
        self.w2 = nn.Linear(m.ffn, m.dim, bias=False)
        self.w3 = nn.Linear(m.dim, m.ffn, bias=False)

    def forward(self, x):
        return self.w2(F.silu(self.w1(x)) * self.w3(x))


class Block(nn.Module):
    def __init__(self, m: Shape):
        super().__init__()
        self.attention, self.feed_forward = Attention(m), FeedForward(m)
        self.attention_norm, self.ffn_norm = nn.RMSNorm(m.dim, eps=1e-5), nn.RMSNorm(m.dim, eps=1e-5)

    def forward(self, x, cos, sin):
        x = x + self.attention(self.attention_norm(x), cos, sin)
        return x + self.feed_forward(self.ffn_norm(x))


class Llama(nn.Module):
    def __init__(self, m: Shape):
        super().__init__()
        self.tok_embeddings = nn.Embedding(m.vocab, m.dim)
        self.layers = nn.ModuleList(Block(m) for _ in range(m.layers))
        self.norm = nn.RMSNorm(m.dim, eps=1e-5)
        self.output = nn.Linear(m.dim, m.vocab, bias=False)
        if m.tied:
            self.output.weight = self.tok_embeddings.weight
        head = m.dim // m.heads
        angle = torch.arange(m.seq)[:, None, None] * m.theta ** (-torch.arange(0, head, 2) / head)
        self.register_buffer("cos", angle.cos(), persistent=False)
        self.register_buffer("sin", angle.sin(), persistent=False)
        for p in self.parameters():
            if p.ndim == 2:
                nn.init.normal_(p, std=0.02)

    def forward(self, tokens):
        x = self.tok_embeddings(tokens)
        cos, sin = self.cos.to(x.dtype), self.sin.to(x.dtype)
        for block in self.layers:
            x = block(x, cos, sin)
        return self.output(self.norm(x))
