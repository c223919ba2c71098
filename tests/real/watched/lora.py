"""LoRA by PEFT, reentrant or not, with input gradients or without; ``head`` trains the head too."""

import sys

import tiny
import torch
from peft import LoraConfig, get_peft_model


def main():
    base = tiny.model()
    if "inputs" in sys.argv:
        base.enable_input_require_grads()
    model = get_peft_model(base, LoraConfig(target_modules=["q_proj", "v_proj"], r=4, lora_dropout=0.1))
    if "head" in sys.argv:
        base.lm_head.weight.requires_grad_(True)
    model.gradient_checkpointing_enable({"use_reentrant": "reentrant" in sys.argv})
    model.train()
    optimizer = torch.optim.AdamW([one for one in model.parameters() if one.requires_grad], lr=1e-2)
    for row in tiny.rows(20):
        batch = {name: torch.tensor([one]) for name, one in row.items()}
        model(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    tiny.told(model)


if __name__ == "__main__":
    main()
