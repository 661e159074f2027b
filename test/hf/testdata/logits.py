"""Loads models as AutoModelForCausalLM in float32 and prints of each {"logits": [...], "greedy": [...]}: the logits of ids, and the
ids that greedy generation adds.

usage: logits.py IDS NEW FOLDER...     IDS with commas between them
"""
import json, sys
import torch
from transformers import AutoModelForCausalLM

ids = torch.tensor([[int(i) for i in sys.argv[1].split(",")]])
torch.set_num_threads(1)
out = []
for folder in sys.argv[3:]:
    model, info = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
    wrong = {k: list(v) for k, v in info.items() if v}
    assert not wrong, f"{folder}: {wrong}"
    model.eval()
    with torch.no_grad():
        logits = model(ids).logits[0]
        greedy = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=int(sys.argv[2]), eos_token_id=None, pad_token_id=0)
    out.append({"logits": logits.flatten().tolist(), "greedy": greedy[0, ids.shape[1]:].tolist()})
print(json.dumps(out))
