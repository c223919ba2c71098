"""The part of a script that builds the model and its inputs."""

from __future__ import annotations

import json
import pprint
from collections.abc import Sequence
from pathlib import Path

from ckptdoctor import catalog
from ckptdoctor.bugreport.repro.draft import Draft, template
from ckptdoctor.planning.options import FALLBACK_FAMILIES

_SIZES = [
    ("vocab_size", 64), ("hidden_size", 32), ("intermediate_size", 64), ("num_hidden_layers", 2),
    ("num_attention_heads", 4), ("num_key_value_heads", 2), ("head_dim", 8), ("max_position_embeddings", 128),
    ("pad_token_id", 0), ("bos_token_id", 1), ("eos_token_id", 1),
]  # fmt: skip
_MORE_SIZES = [
    ("moe_intermediate_size", 16), ("shared_expert_intermediate_size", 16), ("num_local_experts", 4), ("num_experts", 4),
    ("n_routed_experts", 4), ("num_experts_per_tok", 2), ("n_group", 1), ("topk_group", 1), ("first_k_dense_replace", 1),
    ("q_lora_rank", 16), ("kv_lora_rank", 16), ("qk_nope_head_dim", 8), ("qk_rope_head_dim", 8), ("qk_head_dim", 16),
    ("v_head_dim", 8), ("n_embd", 32), ("n_layer", 2), ("n_head", 4), ("n_inner", 64), ("n_positions", 128), ("ffn_dim", 64),
    ("sliding_window", 8),
]  # fmt: skip
"""The sizes that the probes take as well, ``probes/tiny_config.py``."""


def model(draft: Draft) -> str:
    """The model of the probe, tiny and with the same weights in every run, and a batch."""
    made = _own_model(draft) if draft.is_own_model else _real_model(draft)
    if draft.probe.variant == "frozen":
        made += "model.get_input_embeddings().requires_grad_(False)\n"
    return made + template("inputs", more="" if draft.is_own_model else '\n    "use_cache": False,')


def _own_model(draft: Draft) -> str:
    draft.imports |= {"collections", "functools"}
    conventions = catalog.conventions()
    passes = conventions.get(draft.probe.calling_convention) or next(iter(conventions.values()))
    return template("own_model", passes=passes.reproduction)


def _real_model(draft: Draft) -> str:
    draft.imports.add("transformers")
    kind = draft.probe.evidence.model_class
    kind = f"transformers.{kind}" if kind.isidentifier() else ""
    is_plain = draft.probe.model in FALLBACK_FAMILIES
    if kind and draft.probe.evidence.config and not is_plain:
        return template(
            "tried_model", config=_settings(draft.probe.evidence.config), kind=draft.probe.evidence.model_class
        )
    return template(
        "real_model",
        config=_config(draft, kind),
        before="" if is_plain else template("own_sizes"),
        sizes=_wrapped(_SIZES if is_plain else _SIZES + _MORE_SIZES),
        after=("" if is_plain else template("fitting_sizes"))
        + ("config.attention_dropout = 0.1\n" if draft.probe.variant == "dropout" else ""),
        model=kind or "transformers.AutoModelForCausalLM.from_config",
    )


def _settings(config: str) -> str:
    """A configuration in JSON as a dictionary of Python's."""
    return pprint.pformat(json.loads(config), indent=1, width=110, compact=True)


def _config(draft: Draft, kind: str) -> str:
    file = Path(draft.probe.model) / "config.json"
    if file.is_file():
        draft.imports.add("pathlib")
        draft.beside["config.json"] = file.read_text(encoding="utf-8", errors="replace")
        config = "transformers.AutoConfig.from_pretrained(pathlib.Path(__file__).parent)"
        return f'{config}\nconfig = getattr(config, "text_config", config)'
    return f"{kind}.config_class()" if kind else f"transformers.AutoConfig.for_model({draft.probe.model!r})"


def _wrapped(sizes: Sequence[tuple[str, int]]) -> str:
    """Settings as items of a dictionary, some to a line."""
    lines, line = [], "   "
    for name, value in sizes:
        item = f' "{name}": {value},'
        if len(line) + len(item) > 110:
            lines.append(line)
            line = "   "
        line += item
    return "\n".join([*lines, line])
