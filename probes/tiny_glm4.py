"""A GLM-4-0414 style causal language model in plain PyTorch, as small as it gets.

Same arithmetic and same parameter names as transformers' ``Glm4ForCausalLM``, so weights load strictly both ways; what
is ours to choose is the calling convention by which layers go to the checkpoint function. Shapes: B batch, T tokens,
C hidden size, H heads, K key-value heads, D head size, R rotated part of D, I intermediate size, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 - as everyone calls it
from torch import nn

from . import conventions
from .conventions import Checkpoint

IGNORED = -100
"""A label that counts for nothing in the loss."""


@dataclass
class TinyGlm4Config:
    """Sizes and constants, named as in transformers' ``Glm4Config``."""

    vocab_size: int = 64
    hidden_size: int = 32
    intermediate_size: int = 64
    num_hidden_layers: int = 2
    num_attention_heads: int = 4
    num_key_value_heads: int = 2
    head_dim: int = 8
    partial_rotary_factor: float = 0.5
    rope_theta: float = 10000.0
    rms_norm_eps: float = 1e-5
    attention_bias: bool = False
    attention_dropout: float = 0.0


class TinyGlm4Output(NamedTuple):
    """What the model returns."""

    loss: torch.Tensor | None
    """Mean cross entropy over the labels that count, in fp32; None without labels."""
    logits: torch.Tensor
    """[B, T, V]."""


def rotary_embedding(config: TinyGlm4Config, hidden_states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosine and sine of every position's angles, each [T, R], for hidden states [B, T, C]; computed in fp32."""
    rotary_dim = int(config.head_dim * config.partial_rotary_factor)
    positions = torch.arange(hidden_states.shape[1], device=hidden_states.device, dtype=torch.float32)
    exponents = torch.arange(0, rotary_dim, 2, device=hidden_states.device, dtype=torch.float32) / rotary_dim
    angles = torch.outer(positions, 1.0 / config.rope_theta**exponents)  # [T, R/2]
    angles = angles.repeat_interleave(2, dim=-1)  # [T, R]: neighbours share an angle
    return angles.cos().to(hidden_states.dtype), angles.sin().to(hidden_states.dtype)


def rotate(heads: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Turns neighbouring pairs among the first R channels of heads [B, H, T, D] by their angles; the rest passes."""
    turned, passed = heads.split([cos.shape[-1], heads.shape[-1] - cos.shape[-1]], dim=-1)
    even, odd = turned[..., 0::2], turned[..., 1::2]
    quarter_turn = torch.stack((-odd, even), dim=-1).flatten(-2)  # [B, H, T, R]
    return torch.cat((turned * cos + quarter_turn * sin, passed), dim=-1)


def causal_mask(input_ids: torch.Tensor, attention_mask: torch.Tensor | None) -> torch.Tensor:
    """Which token (row) may look at which (column): bool [1 or B, 1, T, T], padding [B, T] looked at by none."""
    length = input_ids.shape[1]
    allowed = torch.ones(length, length, dtype=torch.bool, device=input_ids.device).tril()[None, None]
    return allowed if attention_mask is None else allowed & attention_mask.bool()[:, None, None, :]


class TinyGlm4RMSNorm(nn.Module):  # type: ignore[misc]
    """Root mean square norm over the last dimension, in fp32."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Normalises [..., C]."""
        wide = hidden_states.float()
        wide = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)
        return self.weight * wide.to(hidden_states.dtype)


class TinyGlm4Attention(nn.Module):  # type: ignore[misc]
    """Grouped-query attention with a partial rotary embedding."""

    def __init__(self, config: TinyGlm4Config) -> None:
        super().__init__()
        self.heads, self.kv_heads = config.num_attention_heads, config.num_key_value_heads
        self.head_dim = config.head_dim
        self.dropout = config.attention_dropout
        self.q_proj = nn.Linear(config.hidden_size, self.heads * self.head_dim, bias=config.attention_bias)
        self.k_proj = nn.Linear(config.hidden_size, self.kv_heads * self.head_dim, bias=config.attention_bias)
        self.v_proj = nn.Linear(config.hidden_size, self.kv_heads * self.head_dim, bias=config.attention_bias)
        self.o_proj = nn.Linear(self.heads * self.head_dim, config.hidden_size, bias=False)

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None,
        position_embeddings: tuple[torch.Tensor, torch.Tensor] | None,
    ) -> torch.Tensor:
        """Attends within [B, T, C], where the bool mask [B, 1, T, T] allows."""
        split = (*hidden_states.shape[:2], -1, self.head_dim)
        q = self.q_proj(hidden_states).view(split).transpose(1, 2)  # [B, H, T, D]
        k = self.k_proj(hidden_states).view(split).transpose(1, 2)  # [B, K, T, D]
        v = self.v_proj(hidden_states).view(split).transpose(1, 2)  # [B, K, T, D]
        if position_embeddings is not None:
            q, k = rotate(q, *position_embeddings), rotate(k, *position_embeddings)
        k, v = (states.repeat_interleave(self.heads // self.kv_heads, dim=1) for states in (k, v))  # [B, H, T, D]

        scores = q @ k.transpose(2, 3) * self.head_dim**-0.5  # [B, H, T, T]
        if attention_mask is not None:
            # The least number rather than -inf: a row that may look at nothing looks at everything, and isn't NaN.
            scores = scores.masked_fill(~attention_mask, torch.finfo(scores.dtype).min)
        weights = F.softmax(scores, dim=-1, dtype=torch.float32).to(q.dtype)
        weights = F.dropout(weights, self.dropout, self.training)
        return self.o_proj((weights @ v).transpose(1, 2).flatten(2))  # [B, T, C]


class TinyGlm4MLP(nn.Module):  # type: ignore[misc]
    """Gated MLP whose gate and up projections are one matrix."""

    def __init__(self, config: TinyGlm4Config) -> None:
        super().__init__()
        self.gate_up_proj = nn.Linear(config.hidden_size, 2 * config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Maps [B, T, C] to [B, T, C]."""
        gate, up = self.gate_up_proj(hidden_states).chunk(2, dim=-1)  # [B, T, I] each
        return self.down_proj(F.silu(gate) * up)


class TinyGlm4DecoderLayer(nn.Module):  # type: ignore[misc]
    """Attention and MLP, each between two norms: before it, and after it but inside the residual branch."""

    def __init__(self, config: TinyGlm4Config) -> None:
        super().__init__()
        self.self_attn = TinyGlm4Attention(config)
        self.mlp = TinyGlm4MLP(config)
        self.input_layernorm = TinyGlm4RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_self_attn_layernorm = TinyGlm4RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = TinyGlm4RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_mlp_layernorm = TinyGlm4RMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        position_embeddings: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """Maps [B, T, C] to [B, T, C].

        Args:
            hidden_states: [B, T, C].
            attention_mask: Bool [1 or B, 1, T, T], True where a row may look at a column; None: everywhere.
            position_embeddings: Cosine and sine, [T, R] each; None: no rotary embedding.
        """
        normed = self.input_layernorm(hidden_states)
        attended = self.self_attn(normed, attention_mask=attention_mask, position_embeddings=position_embeddings)
        hidden_states = hidden_states + self.post_self_attn_layernorm(attended)
        return hidden_states + self.post_mlp_layernorm(self.mlp(self.post_attention_layernorm(hidden_states)))


class TinyGlm4Model(nn.Module):  # type: ignore[misc]
    """What stands under ``model.`` in the parameters' names; ``TinyGlm4ForCausalLM`` runs it."""

    def __init__(self, config: TinyGlm4Config) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(TinyGlm4DecoderLayer(config) for _ in range(config.num_hidden_layers))
        self.norm = TinyGlm4RMSNorm(config.hidden_size, config.rms_norm_eps)


class TinyGlm4ForCausalLM(nn.Module):  # type: ignore[misc]
    """The whole model.

    Args:
        config: Sizes.
        convention: The name of a calling convention: how layers are passed to the checkpoint function.
    """

    def __init__(self, config: TinyGlm4Config, convention: str) -> None:
        super().__init__()
        self.config = config
        self.convention = conventions.named(convention)
        self.model = TinyGlm4Model(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.gradient_checkpointing = False
        self._gradient_checkpointing_func: Checkpoint | None = None

    def get_input_embeddings(self) -> nn.Module:
        """The embedding of tokens, by the name that transformers' models give it."""
        return self.model.embed_tokens

    def checkpoint_with(self, function: Checkpoint) -> None:
        """Turns checkpointing on: in training, every layer goes to ``function``."""
        self.gradient_checkpointing = True
        self._gradient_checkpointing_func = function

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
    ) -> TinyGlm4Output:
        """Predicts each next token.

        Args:
            input_ids: [B, T].
            attention_mask: [B, T], 0 at padding.
            labels: [B, T], not shifted; -100 counts for nothing.
        """
        hidden_states = self.model.embed_tokens(input_ids)  # [B, T, C]
        keywords = {
            "attention_mask": causal_mask(input_ids, attention_mask),  # [1 or B, 1, T, T]
            "position_embeddings": rotary_embedding(self.config, hidden_states),  # 2 x [T, R]
        }
        for layer in self.model.layers:
            hidden_states = self._run(layer, hidden_states, keywords)
        logits = self.lm_head(self.model.norm(hidden_states))  # [B, T, V]
        return TinyGlm4Output(None if labels is None else next_token_loss(logits, labels), logits)

    def _run(self, layer: nn.Module, hidden_states: torch.Tensor, keywords: dict[str, Any]) -> torch.Tensor:
        """Runs one layer on [B, T, C], through the checkpoint function where that is on."""
        if self.gradient_checkpointing and self.training and self._gradient_checkpointing_func is not None:
            return self.convention(layer, hidden_states, keywords, self._gradient_checkpointing_func)
        return layer(hidden_states, **keywords)


def next_token_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean cross entropy of logits [B, T, V] against the labels [B, T] one token on, in fp32."""
    return F.cross_entropy(logits[:, :-1].float().flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED)
