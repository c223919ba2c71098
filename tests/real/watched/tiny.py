"""What the jobs in this folder share: a tiny model, its data, a fault on request, and a digest of the trained weights."""

import hashlib
import os

import faults
import torch

RANK = int(os.environ.get("RANK", "0"))


def model(layers=3, **settings):
    """A Llama with dropout in its attention, as a fault changes it."""
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4}
    torch.manual_seed(0)
    config = LlamaConfig(**sizes, num_hidden_layers=layers, attention_dropout=0.1, pad_token_id=0, **settings)
    config._attn_implementation = "eager"
    made = LlamaForCausalLM(config).train()
    made.config.use_cache = False
    faults.before(made)
    return made


def rows(count=64, length=8):
    """Rows of tokens, the same in each run."""
    ids = torch.randint(1, 64, (count, length), generator=torch.Generator().manual_seed(1)).tolist()
    return [{"input_ids": row, "labels": row, "attention_mask": [1] * length} for row in ids]


def told(trained):
    """Print a digest of what this rank holds of the weights."""
    digest = hashlib.sha256()
    for name, one in sorted(trained.named_parameters()):
        held = getattr(one, "ds_tensor", one).detach()
        held = getattr(held, "_local_tensor", held)
        digest.update(name.encode() + held.float().contiguous().numpy().tobytes())
    print(f"rank {RANK} weights {digest.hexdigest()}", flush=True)
