"""Small Llamas made by transformers, and their logits, in float32 on a CPU.

usage: hf.py OUTDIR     (transformers 5.24.0 and PyTorch 2.15.0 made this folder; no test needs Python)
Each folder is what save_pretrained wrote; NAME.safetensors beside it has ids [B,S] and logits [B,S,V].
"""
import os, sys
import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

out = sys.argv[1]
torch.set_num_threads(1)

LLAMA3 = dict(rope_type="llama3", rope_theta=10000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64)
MODELS = dict(
    # Grouped queries, heads that are wider than hidden_size / heads, Llama 3.1's rotary scaling, short enough that it acts.
    llama3=(torch.float32, "5GB", dict(hidden_size=64, intermediate_size=112, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=24,
                                       vocab_size=96, max_position_embeddings=512, rms_norm_eps=1e-5, rope_parameters=LLAMA3)),
    # One weight for both ends, in several files.
    tied=(torch.bfloat16, "30KB", dict(hidden_size=48, intermediate_size=64, num_hidden_layers=2, num_attention_heads=6, num_key_value_heads=3,
                                       vocab_size=80, max_position_embeddings=128, tie_word_embeddings=True)),
    half=(torch.float16, "5GB", dict(hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=2, vocab_size=64, max_position_embeddings=128)),
)

for i, (name, (dtype, shard, sizes)) in enumerate(MODELS.items()):
    torch.manual_seed(i)
    model = LlamaForCausalLM(LlamaConfig(initializer_range=0.08, attn_implementation="eager", **sizes)).eval()
    with torch.no_grad():
        for n, p in model.named_parameters():
            if "norm" in n:  # which start at 1
                p.add_(torch.randn_like(p) * 0.1)
        model = model.to(dtype)
        model.save_pretrained(f"{out}/{name}", max_shard_size=shard)
        ids = torch.randint(0, sizes["vocab_size"], (2, 48))
        model = LlamaForCausalLM.from_pretrained(f"{out}/{name}", dtype=torch.float32, attn_implementation="eager").eval()  # model.float() would have rotary frequencies in dtype
        logits = model(ids).logits
    os.remove(f"{out}/{name}/generation_config.json")
    save_file({"ids": ids.int(), "logits": logits.contiguous()}, f"{out}/{name}.safetensors")
