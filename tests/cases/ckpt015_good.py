"""A training script whose layers draw the same dropout mask in recomputation as in the forward pass."""

import os

import torch
from torch.utils.checkpoint import checkpoint


class Layer(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first = torch.nn.Linear(16, 16)
        self.dropout = torch.nn.Dropout(0.2)
        self.second = torch.nn.Linear(16, 16)

    def forward(self, x):
        return x + self.second(self.dropout(self.first(x)))


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = torch.nn.ModuleList(Layer() for _ in range(3))

    def forward(self, x):
        for layer in self.layers:
            x = checkpoint(layer, x, use_reentrant=False)
        return x


torch.manual_seed(0)
model = Model()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(int(os.environ.get("STEPS", "3"))):
    model(torch.randn(4, 8, 16)).square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()
