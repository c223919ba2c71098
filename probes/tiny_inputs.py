"""Batches of random tokens."""

from __future__ import annotations

from typing import Any

import torch

BATCH, LENGTH, VOCABULARY, PADDING = 2, 16, 64, 3
"""Shape of a batch: sequences, tokens, vocabulary, and padding tokens at the end of the second sequence.

Padding at the beginning would leave rows of the attention mask with nothing to attend to, for which torch 2.13's fused CPU
attention gives wrong gradients: the plain step would be no measure of anything.
"""

SPECIAL = 16
"""Tokens at the end of the vocabulary that stand for images and the like; no text has them."""

TEXT = VOCABULARY - SPECIAL


def padded(batch: int = BATCH, length: int = LENGTH, padding: int = PADDING) -> dict[str, Any]:
    """Random tokens [batch, length], the last sequence padded."""
    tokens = torch.randint(2, TEXT, (batch, length))  # [B, T]
    mask = torch.ones_like(tokens)
    mask[-1, length - padding :] = 0
    tokens[-1, length - padding :] = 0
    return {"input_ids": tokens, "attention_mask": mask, "labels": tokens.masked_fill(mask == 0, -100)}


def packed() -> dict[str, Any]:
    """Two sequences in one row, with the keyword arguments that transformers' packing collator makes for flash-attention."""
    tokens = torch.randint(2, TEXT, (1, BATCH * LENGTH))  # [1, B * T]
    ends = torch.arange(0, BATCH * LENGTH + 1, LENGTH, dtype=torch.int32)  # [B + 1]
    return {
        "input_ids": tokens,
        "labels": tokens,
        "position_ids": torch.arange(LENGTH).repeat(1, BATCH),
        "cu_seq_lens_q": ends,
        "cu_seq_lens_k": ends,
        "max_length_q": LENGTH,
        "max_length_k": LENGTH,
    }


def fresh(inputs: dict[str, Any]) -> dict[str, Any]:
    """A copy of a batch for one forward pass: some models, such as XGLM, change their inputs in place."""
    return {name: value.clone() if torch.is_tensor(value) else value for name, value in inputs.items()}
