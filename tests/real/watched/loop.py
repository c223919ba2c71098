"""accelerate with a loop of its own, which accumulates; ``reentrant`` or not."""

import sys

import tiny
import torch
from accelerate import Accelerator


def main():
    accelerator = Accelerator(gradient_accumulation_steps=2, cpu=True, mixed_precision="bf16")
    model = tiny.model()
    model.gradient_checkpointing_enable({"use_reentrant": "reentrant" in sys.argv})
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    rows = [{name: torch.tensor(one) for name, one in row.items()} for row in tiny.rows(80)]
    loader = torch.utils.data.DataLoader(rows, batch_size=2)
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    for batch in loader:
        with accelerator.accumulate(model):
            loss = model(**batch).loss
            accelerator.backward(loss)
            if accelerator.sync_gradients:
                accelerator.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
    tiny.told(accelerator.unwrap_model(model))
    accelerator.end_training()


if __name__ == "__main__":
    main()
