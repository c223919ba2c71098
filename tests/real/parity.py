"""Holds our tiny GLM-4 against transformers' with the same weights, and prints the differences as JSON.

Runs in an environment that has torch and transformers, not in the doctor's. Its arguments are the calling conventions.
A difference is the largest absolute one over the largest absolute value of the reference.
"""

from __future__ import annotations

import importlib
import json
import sys
import types
from dataclasses import asdict
from itertools import product
from pathlib import Path

import torch
import transformers
from torch.utils.checkpoint import checkpoint

PROBES = "_probes_under_test"
sys.modules[PROBES] = types.ModuleType(PROBES)
sys.modules[PROBES].__path__ = [str(Path(__file__).resolve().parents[2] / "probes")]
tiny_glm4 = importlib.import_module(PROBES + ".tiny_glm4")

PADDING = 5
UNLABELLED = 3


def batch():
    """Two rows of 16 tokens, the first padded on the left; neither padding nor the first real tokens have labels."""
    input_ids = torch.randint(2, 64, (2, 16))
    attention_mask = torch.ones_like(input_ids)
    attention_mask[0, :PADDING] = 0
    labels = input_ids.clone()
    labels[0, : PADDING + UNLABELLED] = -100
    labels[1, :UNLABELLED] = -100
    return {"input_ids": input_ids, "attention_mask": attention_mask, "labels": labels}


def reference(config, attention):
    """Transformers' model; every weight is off its default, so that two exchanged norms show."""
    model = transformers.Glm4ForCausalLM._from_config(
        transformers.Glm4Config(
            **asdict(config),
            max_position_embeddings=64,
            pad_token_id=None,
            eos_token_id=1,
            tie_word_embeddings=False,
            use_cache=False,
        ),
        attn_implementation=attention,
    )
    assert model.config._attn_implementation == attention
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter), alpha=0.2)
    return model.float().train()


def ours(theirs, config, convention="module"):
    """Our model with the reference's weights, which it gives back unchanged."""
    model = tiny_glm4.TinyGlm4ForCausalLM(config, convention)
    model.load_state_dict(theirs.state_dict(), strict=True)
    theirs.load_state_dict(model.state_dict(), strict=True)
    return model.train()


def step(model, inputs):
    """One forward and backward pass: loss, logits [B, T, V], gradients by name, and how often an MLP ran."""
    runs = []
    hooks = [layer.mlp.register_forward_hook(lambda *_: runs.append(1)) for layer in model.model.layers]
    model.zero_grad()
    output = model(**inputs)
    output.loss.backward()
    for hook in hooks:
        hook.remove()
    gradients = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    return output.loss.detach(), output.logits.detach(), gradients, len(runs)


def difference(found, expected):
    """Largest absolute difference over the largest absolute value expected; no unit."""
    return ((found - expected).abs().max() / expected.abs().max()).item()


def differences(found, expected):
    """Differences of every gradient."""
    assert found.keys() == expected.keys()
    return {name: difference(found[name], expected[name]) for name in expected}


def compare(attention, bias):
    """Our model against transformers'."""
    config = tiny_glm4.TinyGlm4Config(attention_bias=bias)
    theirs, inputs = reference(config, attention), batch()
    attended = inputs["attention_mask"].bool()
    their_loss, their_logits, their_gradients, _ = step(theirs, inputs)
    our_loss, our_logits, our_gradients, _ = step(ours(theirs, config), inputs)
    return {
        "attention": attention,
        "bias": bias,
        "finite": bool(our_logits.isfinite().all()),
        "loss": difference(our_loss, their_loss),
        "logits": difference(our_logits[attended], their_logits[attended]),
        "gradients": differences(our_gradients, their_gradients),
    }


def compare_checkpointed():
    """Checkpointed steps against plain ones, for transformers' model and for ours in each convention."""
    config = tiny_glm4.TinyGlm4Config()
    theirs, inputs = reference(config, "eager"), batch()
    _, _, their_plain, _ = step(theirs, inputs)
    _, _, our_plain, _ = step(ours(theirs, config), inputs)
    pairs = {}
    for convention in sys.argv[1:]:
        model = ours(theirs, config, convention)
        model.checkpoint_with(lambda function, *inputs: checkpoint(function, *inputs, use_reentrant=False))
        pairs[convention] = (step(model, inputs), our_plain)
    theirs.gradient_checkpointing_enable({"use_reentrant": False})
    pairs["transformers"] = (step(theirs, inputs), their_plain)
    return {
        name: {"gradients": differences(found[2], plain), "forwards": found[3]}
        for name, (found, plain) in pairs.items()
    }


def main():
    """Prints the differences."""
    torch.manual_seed(0)
    result = {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "plain": [compare(*case) for case in product(("eager", "sdpa"), (False, True))],
        "checkpointed": compare_checkpointed(),
    }
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
