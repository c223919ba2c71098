"""No transformers: layers of plain torch, with torch's checkpoint function, in each way that people call it."""

import sys

import tiny
import torch
from torch.utils.checkpoint import checkpoint, checkpoint_sequential


class Layer(torch.nn.Module):
    def __init__(self, size):
        super().__init__()
        self.norm, self.dropout = torch.nn.LayerNorm(size), torch.nn.Dropout(0.1)
        self.up, self.down = torch.nn.Linear(size, 2 * size), torch.nn.Linear(2 * size, size)

    def forward(self, hidden):
        return hidden + self.dropout(self.down(torch.nn.functional.gelu(self.up(self.norm(hidden)))))


class Model(torch.nn.Module):
    def __init__(self, way):
        super().__init__()
        self.way = way
        self.embedding, self.head = torch.nn.Embedding(64, 32), torch.nn.Linear(32, 64)
        layers = [Layer(32) for _ in range(4)]
        self.layers = torch.nn.Sequential(*layers) if way.startswith("sequential") else torch.nn.ModuleList(layers)

    def forward(self, ids):
        hidden = self.embedding(ids)
        if self.way == "sequential segments":
            return self.head(checkpoint_sequential(self.layers, 2, hidden, use_reentrant=False))
        for layer in self.layers:
            if self.way == "lambda":
                hidden = checkpoint(lambda given, layer=layer: layer(given), hidden, use_reentrant=False)
            else:
                hidden = checkpoint(layer, hidden, use_reentrant="reentrant" in self.way)
        return self.head(hidden)


def main():
    torch.manual_seed(0)
    model = Model(sys.argv[1] if len(sys.argv) > 1 else "non")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    rows = torch.tensor([row["input_ids"] for row in tiny.rows(40)])
    for ids in rows.split(2):
        loss = torch.nn.functional.cross_entropy(model(ids).flatten(0, 1), ids.flatten())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    tiny.told(model)


if __name__ == "__main__":
    main()
