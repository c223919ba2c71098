"""From a finding to a script that shows the fault with the libraries alone, and what such a script must end in.

Nothing of a report is put into the script but through ``repr``, as an identifier, or on one line of a comment.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from string import Template
from textwrap import indent

from packaging.version import InvalidVersion, Version

from ckptdoctor import catalog
from ckptdoctor.model.evidence import Environment, Error, Evidence
from ckptdoctor.model.report import Finding, ProbeResult, Report
from ckptdoctor.planning.plan import FALLBACK_FAMILIES, OWN_MODEL, TORCH, shares_entry
from ckptdoctor.store import locations
from ckptdoctor.words.escape import one_line
from ckptdoctor.words.wording import first_line, relative

LIMIT = 3
"""Findings that get a script; the first one tells a maintainer most."""

OWN_FILE = "own_function"
"""The module in which the user's own checkpoint function travels along."""

HANGS_AFTER = 30
"""Seconds after which a script of a hanging step ends itself and tells where it hangs."""

HANGS = "it hangs"

_ATTRIBUTE = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*")


@dataclass(frozen=True)
class Expected:
    """What a script ends in where the fault is there.

    Attributes:
        error: Type and first line of the message; for a silent fault those of the assertion, as far as they are known.
        file: Where it is raised, relative to the folder of packages; empty where that cannot be the same.
        line: The line there.
        death: For a step that kills or blocks its process: how.
    """

    error: str = ""
    file: str = ""
    line: int = 0
    death: str = ""

    @property
    def text(self) -> str:
        """In one line."""
        at = f" ({self.file}:{self.line})" if self.file else ""
        return self.error + at if self.error else self.death


@dataclass(frozen=True)
class Repro:
    """A script and what travels with it.

    Attributes:
        source: The script.
        expected: What it must end in.
        probe: The probe that it does again.
        beside: Files that must lie beside it, by name.
    """

    source: str
    expected: Expected
    probe: str
    beside: dict[str, str] = field(default_factory=dict)


def make(report: Report, number: int, finding: Finding, name: str) -> Repro | None:
    """The script for a finding; nothing for one that has nothing to show.

    Args:
        report: The whole diagnosis.
        number: From 0, among the scripts of a bundle.
        finding: What is to be shown.
        name: The script's file name.
    """
    probe = _simplest(report, finding)
    if probe is None:
        return None
    own = f"{OWN_FILE}_{number + 1}" if number else OWN_FILE
    expected = _expected(finding, probe, own)
    if expected is None:
        return None
    script = _Script(report.environment, finding, probe, expected, own)
    source = script.text(report.version, name)
    return Repro(source, expected, probe.id, script.beside)


def _simplest(report: Report, finding: Finding) -> ProbeResult | None:
    """The probe of a finding with the least around it: without engine and without a variant, where it fired there."""
    probes = [probe for probe in report.probes if probe.id in finding.probes]
    return min(
        probes,
        key=lambda one: (
            _has_more(one),
            bool(one.variant),
            shares_entry(one.checkpoint_function),
            _weight(one.engine),
            len(one.id),
        ),
        default=None,
    )


def _weight(engine: str) -> int:
    engines = list(catalog.engines())
    return engines.index(engine) if engine in engines else len(engines)


def _has_more(probe: ProbeResult) -> bool:
    """Whether a probe had settings of a job's own, which the script leaves out."""
    known = {probe.model, probe.checkpoint_function, probe.engine, probe.calling_convention, probe.variant}
    plain = "/".join([probe.model, probe.checkpoint_function, probe.engine])
    return not probe.id.startswith(plain) or not {*filter(None, probe.id[len(plain) :].split("/"))} <= known


def _expected(finding: Finding, probe: ProbeResult, own: str) -> Expected | None:
    evidence = probe.evidence
    if evidence.ended == "raised" and evidence.error is not None and finding.rule not in _BEFORE_BACKWARD:
        return _of_error(evidence.error, probe, own)
    if evidence.ended in ("crashed", "timeout"):
        return Expected(death=HANGS if evidence.ended == "timeout" else evidence.why)
    if finding.rule in _CHECKS:
        return Expected(error=f"AssertionError: {_CHECKS[finding.rule][0]}")
    return None


_BEFORE_BACKWARD = ("CKPT009",)
"""What these say of a step is seen before an exception that may have ended it."""


def _of_error(error: Error, probe: ProbeResult, own: str) -> Expected:
    message = first_line(error.message)
    text = f"{error.type}: {message}" if message else error.type
    if not error.frames:
        return Expected(text)
    last, loaded = error.frames[-1], probe.evidence.loaded
    if last.file == probe.checkpoint_function.rpartition(":")[0] or (
        loaded and last.file == loaded.place.file and _travels(probe.evidence)
    ):
        return Expected(text, f"{own}.py", last.line)
    # What our own model raises, or torch on its behalf, is raised elsewhere in the script's shorter one.
    if last.file.startswith(str(locations.probes())) or (probe.model == OWN_MODEL and last.package == "torch"):
        return Expected(text)
    return Expected(text, relative(last.file), last.line)


def _travels(evidence: Evidence) -> bool:
    """Whether the checkpoint function is the user's own: in no package that others can install."""
    return evidence.loaded is not None and not evidence.loaded.place.package and evidence.loaded.how != "module only"


class _Script:
    """Puts the pieces together."""

    def __init__(
        self, environment: Environment, finding: Finding, probe: ProbeResult, expected: Expected, own: str
    ) -> None:
        self.environment, self.finding, self.probe, self.expected, self.own = environment, finding, probe, expected, own
        self.beside: dict[str, str] = {}
        self._imports = {"platform", "importlib.metadata", "torch"}
        self._is_own_model = probe.model == OWN_MODEL
        is_cleared = any(one.package == "deepspeed" for one in finding.ruled_out)
        self._hides = is_cleared and probe.engine in ("none", "partial") and probe.checkpoint_function != "deepspeed"
        self._imports |= {"sys"} if self._hides else set()
        self._has_zero = probe.engine.startswith("zero")
        # The rule whose assertion shows a fault that raises nothing.
        self._silent = finding.rule if expected.error.startswith("AssertionError: ") and finding.rule in _CHECKS else ""

    def text(self, version: str, name: str) -> str:
        """The whole script."""
        pieces = [
            self._versions(),
            self._model(),
            _PLAIN.get(self._silent, ""),
            self._enable(),
            self._engine(),
            self._step(),
        ]
        body = "\n".join(piece for piece in pieces if piece)
        body = re.sub(r"\n+(?=(?:class|def) )", "\n\n\n", body)
        return f"{self._head(version, name)}{self._import_lines()}\n{body.rstrip()}\n"

    def _head(self, version: str, name: str) -> str:
        lines = [
            one_line(self.finding.title, 110),
            "",
            *(f"    {command}" for command in commands(self.environment, self.probe)),
            f"    python {name}",
            "",
            f"It ends in: {one_line(self.expected.error or self.expected.death, 110)}",
            *([f"at {self.expected.file}:{self.expected.line}"] if self.expected.file else []),
            *([f"(The settings of {one_line(self.probe.id, 90)} are left out.)"] if _has_more(self.probe) else []),
            f"Written by ckptdoctor {version} ({self.finding.rule}), of which it needs nothing.",
        ]
        return "".join(f"# {line}".rstrip() + "\n" for line in lines)

    def _import_lines(self) -> str:
        others = sorted(name for name in self._imports if name.split(".")[0] in ("torch", "transformers"))
        lines = [f"import {name}\n" for name in sorted(self._imports - {*others})]
        hidden = (
            ['\nsys.modules["deepspeed"] = None  # hidden from all others: DeepSpeed has no part in it\n']
            if self._hides
            else []
        )
        return "".join([*lines, "\n", *(f"import {name}\n" for name in others), *hidden])

    def _versions(self) -> str:
        return _fill(_VERSIONS, names=repr(tuple(_packages(self.environment, self.probe))))

    def _model(self) -> str:
        made = self._own_model() if self._is_own_model else self._real_model()
        if self.probe.variant == "frozen":
            made += "model.get_input_embeddings().requires_grad_(False)\n"
        return made + _fill(_INPUTS, more="" if self._is_own_model else '\n    "use_cache": False,')

    def _own_model(self) -> str:
        self._imports |= {"functools", "types"}
        return _fill(_OWN_MODEL, hand_over=_HAND_OVER.get(self.probe.calling_convention, _HAND_OVER["bound-method"]))

    def _real_model(self) -> str:
        self._imports.add("transformers")
        kind = self.probe.evidence.model_class
        kind = f"transformers.{kind}" if kind.isidentifier() else ""
        is_plain = self.probe.model in FALLBACK_FAMILIES
        return _fill(
            _REAL_MODEL,
            config=self._config(kind),
            before="" if is_plain else _BEFORE_SIZES,
            sizes=_wrapped(_SIZES if is_plain else _SIZES + _MORE_SIZES),
            after=("" if is_plain else _AFTER_SIZES)
            + ("config.attention_dropout = 0.1\n" if self.probe.variant == "dropout" else ""),
            model=kind or "transformers.AutoModelForCausalLM.from_config",
        )

    def _config(self, kind: str) -> str:
        file = Path(self.probe.model) / "config.json"
        if file.is_file():
            self._imports.add("pathlib")
            self.beside["config.json"] = file.read_text(encoding="utf-8", errors="replace")
            config = "transformers.AutoConfig.from_pretrained(pathlib.Path(__file__).parent)"
            return f'{config}\nconfig = getattr(config, "text_config", config)'
        return f"{kind}.config_class()" if kind else f"transformers.AutoConfig.for_model({self.probe.model!r})"

    def _enable(self) -> str:
        function = self.probe.checkpoint_function
        if function == "none":
            return ""
        if function in TORCH:
            return self._torch(function)
        if function == "deepspeed":
            return self._deepspeed() + self._given("deepspeed.checkpointing.checkpoint")
        if catalog.is_trainer(function.split(":")[0]):
            return self._trainer(function)
        return self._users_own(function)

    def _torch(self, function: str) -> str:
        reentrant = function == "torch:reentrant"
        if not self._is_own_model:
            return _fill(_TORCH, reentrant=str(reentrant))
        self._imports.add("torch.utils.checkpoint")
        return self._given(f"functools.partial(torch.utils.checkpoint.checkpoint, use_reentrant={reentrant})")

    def _given(self, expression: str) -> str:
        """The model hands its layers to this very function."""
        if self._is_own_model:
            return f"model.checkpoint = {expression}\n"
        return f"model._set_gradient_checkpointing(enable=True, gradient_checkpointing_func={expression})\n"

    def _users_own(self, function: str) -> str:
        where, _, attribute = function.rpartition(":")
        is_file = where.endswith(".py")
        if not _is_name(attribute) or not (is_file or _is_name(where)):
            return "raise SystemExit('the checkpoint function has no name that a script can use')\n"
        module, loaded = where, self.probe.evidence.loaded
        if is_file or _travels(self.probe.evidence):
            file = where if is_file or loaded is None else loaded.place.file
            module = self.own
            self.beside[f"{module}.py"] = Path(file).read_text(encoding="utf-8", errors="replace")
        return f"import {module} as own  # the checkpoint function\n\n{self._given(f'own.{attribute}')}"

    def _trainer(self, function: str) -> str:
        self._imports |= {"importlib.util", "pathlib", "sys", "types"}
        loaded = self.probe.evidence.loaded
        stubbed = sorted(loaded.stubbed) if loaded else []
        if stubbed:
            self._imports |= {"importlib.machinery", "unittest.mock"}
        load = _fill(
            _LOAD,
            stand_ins="    sys.meta_path.append(StandIn())\n" if stubbed else "",
            module=repr(_dotted(function.split(":")[0], self.probe.evidence)),
        )
        return (_fill(_STAND_IN, missing=repr(stubbed)) if stubbed else "") + load + self._switch_on(function)

    def _switch_on(self, function: str) -> str:
        """As each trainer's own code does."""
        if function.startswith("llamafactory"):
            return self._llamafactory(is_unsloth=function.endswith(":unsloth"))
        wrapper = f"trainer.hf_grad_checkpoint_{'disk_' if function.endswith('-disk') else ''}offload_wrapper"
        if self._is_own_model:
            return self._given(f"functools.partial({wrapper}, use_reentrant=True)")
        self._imports.add("transformers.modeling_utils")
        return f"transformers.modeling_utils.checkpoint = {wrapper}\n{_fill(_TORCH, reentrant='True')}"

    def _llamafactory(self, is_unsloth: bool) -> str:
        if not self._is_own_model:
            unsloth = ", use_unsloth_gc=True" if is_unsloth else ""
            return f'trainer._gradient_checkpointing_enable(model, {{"use_reentrant": True}}{unsloth})\n'
        self._imports.add("torch.utils.checkpoint")
        inner = "functools.partial(torch.utils.checkpoint.checkpoint, use_reentrant=True)"
        inner = "trainer.get_unsloth_gradient_checkpointing_func()" if is_unsloth else inner
        return self._given(f"trainer.get_custom_gradient_checkpointing_func({inner})")

    def _deepspeed(self) -> str:
        self._imports.add("os")
        return _IMPORT_DEEPSPEED

    def _engine(self) -> str:
        if self.probe.engine == "partial":
            self._imports.add("functools")
            return _PARTIAL
        if not self._has_zero:
            return ""
        head = "" if self.probe.checkpoint_function == "deepspeed" else self._deepspeed()
        return head + _fill(_ZERO, stage=str(int(self.probe.engine[len("zero") : len("zero") + 1])))

    def _step(self) -> str:
        run = "engine" if self._has_zero else "model"
        backward = "engine.backward(loss)\n" if self._has_zero else "loss.backward()\n"
        forward = _FORWARD.get(self._silent, _FORWARD[""])
        check = _CHECKS[self._silent][1] if self._silent else 'print("no fault: the step came to its end")\n'
        if self._silent == "CKPT009":  # of a wrong loss, the backward pass may fail
            backward, check = check, ""
        step = forward + backward + self._again() + check
        if self.expected.error.startswith("SystemExit"):
            self._imports.add("traceback")
            step = f"try:\n{indent(step, '    ')}except SystemExit:\n    traceback.print_exc()\n"
        text = f'print("the step begins", flush=True)\ntorch.manual_seed(1)\n{step}'
        if self.expected.death == HANGS:
            self._imports.add("faulthandler")
            text = f"faulthandler.dump_traceback_later({HANGS_AFTER}, exit=True)\n{text}"
        if "$gradient" in text and self._has_zero:
            text = "from deepspeed.utils import safe_get_full_grad\n\n" + text
        gradient = "safe_get_full_grad(parameter)" if self._has_zero else "parameter.grad"
        return _fill(text, run=run, gradient=gradient)

    def _again(self) -> str:
        """A second step, for gradients that go wrong only when they are added up."""
        gradients = self.probe.evidence.gradients
        if self._silent not in ("CKPT004", "CKPT005") or gradients is None:
            return ""
        at_once: Sequence[object] = gradients.missing if self._silent == "CKPT004" else gradients.wrong
        return "" if at_once else _AGAIN


def _is_name(text: str) -> bool:
    """Whether a dotted name can stand in a script."""
    return bool(_ATTRIBUTE.fullmatch(text)) and not any(map(keyword.iskeyword, text.split(".")))


def _fill(template: str, **values: str) -> str:
    return Template(template).substitute(values)


def commands(environment: Environment, probe: ProbeResult) -> Iterator[str]:
    """The commands that make such a stack: trainers without their dependencies, whose pins it may break."""
    found = _packages(environment, probe)
    rest = " ".join(f"{name}=={version}" for name, version in found.items() if not catalog.is_trainer(name))
    yield f"pip install {rest}"
    for name, version in found.items():
        if catalog.is_trainer(name):
            yield f"pip install --no-deps {name}=={version}"


def _packages(environment: Environment, probe: ProbeResult) -> dict[str, str]:
    """What a script needs: what the probe had imported and is of the stack, in the order of the stack."""
    modules = probe.evidence.modules
    wanted = {"torch", "numpy", *(["transformers"] if probe.model != OWN_MODEL else [])}
    trainer = probe.checkpoint_function.split(":")[0]
    wanted |= {trainer} if catalog.is_trainer(trainer) or trainer == "deepspeed" else set()
    wanted |= {"deepspeed"} if probe.engine.startswith("zero") else set()
    names = [*environment.stack, *(name for name in modules if name not in environment.stack)]
    versions = {name: modules.get(name) or environment.version(name) for name in names if name in wanted}
    return {name: _public(version) for name, version in versions.items() if version}


def _public(version: str) -> str:
    """A version as the index has it, without the mark of a build such as ``+cpu``."""
    try:
        return Version(version).public
    except InvalidVersion:
        return version


def _dotted(package: str, evidence: Evidence) -> str:
    """The name of the module from which a trainer's function came."""
    known = {
        "llamafactory": "llamafactory.model.model_utils.checkpointing",
        "axolotl": "axolotl.monkeypatch.gradient_checkpointing",
    }
    file = PurePath(evidence.loaded.place.file if evidence.loaded else "")
    parts = list(file.with_suffix("").parts) if file.name else []
    if package not in parts:
        return known[package]
    inside = parts[len(parts) - 1 - parts[::-1].index(package) :]
    dotted = ".".join(inside[:-1] if inside[-1] == "__init__" else inside)
    # axolotl splits it into a package, whose own module has the function.
    is_part = package == "axolotl" and dotted.startswith(f"{known[package]}.")
    return known[package] if is_part or not _ATTRIBUTE.fullmatch(dotted) else dotted


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


_VERSIONS = """\
print("python", platform.python_version())
for package in $names:
    print(package, importlib.metadata.version(package))
"""

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
"""The sizes that the probes take as well, ``probes/models.py``."""

_REAL_MODEL = """\
# A tiny model of the real class.
config = $config
${before}sizes = {
$sizes
}
for name, value in sizes.items():
    if getattr(config, name, None) is not None:
        setattr(config, name, value)
${after}config.use_cache = False
torch.manual_seed(0)
model = $model(config).float().train()

"""
_BEFORE_SIZES = """\
layers, heads = config.num_hidden_layers, getattr(config, "num_attention_heads", None)
shared = getattr(config, "num_key_value_heads", None)
"""
_AFTER_SIZES = """\
if shared is not None and shared in (1, heads):
    config.num_key_value_heads = 1 if shared == 1 else config.num_attention_heads
for name, value in list(vars(config).items()):
    if isinstance(value, list) and len(value) == layers:  # one value a layer
        setattr(config, name, value[:2])
if getattr(config, "rope_scaling", None) and not getattr(config, "rope_parameters", None):
    config.rope_scaling = None
"""

_HAND_OVER = {
    "bound-method": "self.checkpoint(layer.__call__, hidden_states, *keywords.values())",
    "partial-bound": "self.checkpoint(functools.partial(layer.__call__, **keywords), hidden_states)",
    "partial-function": "self.checkpoint(functools.partial(type(layer).forward, layer, **keywords), hidden_states)",
    "nested-partial": (
        "self.checkpoint(functools.partial(functools.update_wrapper(functools.partial("
        "layer.__call__, mask=keywords['mask']), layer.forward), position=keywords['position']), hidden_states)"
    ),
    "module": "self.checkpoint(layer, hidden_states, *keywords.values())",
    "closure": "self.checkpoint(lambda states: layer(states, **keywords), hidden_states)",
    "wraps": (
        "self.checkpoint(functools.wraps(layer.forward)(lambda *inputs: layer(*inputs)), hidden_states, *keywords.values())"
    ),
    "deepspeed-partial": (
        "self.checkpoint(vars(layer).setdefault('forward', functools.partial(layer.forward)), "
        "hidden_states, *keywords.values())"
    ),
}
"""How our own model passes a layer on, as in ``probes/conventions.py``."""

_OWN_MODEL = '''\
class Attention(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv, self.out = torch.nn.Linear(32, 96), torch.nn.Linear(32, 32)

    def forward(self, hidden_states, mask=None, position=None):
        q, k, v = (self.qkv(hidden_states) + (0 if position is None else position)).chunk(3, dim=-1)
        scores = q @ k.transpose(1, 2) / 32**0.5
        scores = scores if mask is None else scores.masked_fill(~mask, -1e9)
        return self.out(scores.softmax(-1) @ v)


def normed(states):
    wide = states.float()
    return wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + 1e-5)


class Layer(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = Attention()
        self.mlp = torch.nn.Sequential(torch.nn.Linear(32, 64), torch.nn.GELU(), torch.nn.Linear(64, 32))

    def forward(self, hidden_states, mask=None, position=None):
        hidden_states = hidden_states + self.attention(normed(hidden_states), mask=mask, position=position)
        return hidden_states + self.mlp(normed(hidden_states))


class Model(torch.nn.Module):
    """Hands each layer to its checkpoint function as transformers' models do."""

    def __init__(self):
        super().__init__()
        self.embedding, self.head = torch.nn.Embedding(64, 32), torch.nn.Linear(32, 64)
        self.layers = torch.nn.ModuleList([Layer(), Layer()])
        self.checkpoint = None

    def forward(self, input_ids, attention_mask, labels):
        hidden_states = self.embedding(input_ids)
        length = input_ids.shape[1]
        causal = torch.ones(length, length, dtype=torch.bool).tril().to(input_ids.device)
        position = torch.arange(length, device=input_ids.device)[:, None] / length
        keywords = {"mask": causal & attention_mask.bool()[:, None], "position": position}
        for layer in self.layers:
            if self.checkpoint is None:
                hidden_states = layer(hidden_states, **keywords)
            else:
                hidden_states = $hand_over
        logits = self.head(hidden_states)[:, :-1].flatten(0, 1)
        return types.SimpleNamespace(loss=torch.nn.functional.cross_entropy(logits, labels[:, 1:].flatten()))


torch.manual_seed(0)
model = Model().train()

'''

_INPUTS = """\
device = "cuda" if torch.cuda.is_available() else "cpu"
model.to(device)
tokens = torch.randint(2, 64, (2, 16), device=device)
mask = torch.ones_like(tokens)
mask[1, -3:] = 0  # padding
inputs = {
    "input_ids": tokens,
    "attention_mask": mask,
    "labels": tokens.masked_fill(mask == 0, -100),$more
}
"""

_TORCH = """\
# Switched on as transformers' users do; renamed in 5.21.
enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
enable({"use_reentrant": $reentrant})
"""

_LOAD = '''\
def load(name):
    """The trainer's module, or it alone where the rest of the trainer does not import here."""
    try:
        return importlib.import_module(name)
    except Exception as error:
        print(f"loading {name} alone: the whole does not import ({type(error).__name__}: {error})")
$stand_ins    parts = name.split(".")
    root = pathlib.Path(importlib.util.find_spec(parts[0]).origin).parent
    for count in range(1, len(parts)):
        shell = types.ModuleType(".".join(parts[:count]))
        shell.__path__ = [str(root.joinpath(*parts[1:count]))]
        sys.modules.setdefault(shell.__name__, shell)
    return importlib.import_module(name)


trainer = load($module)
'''
_STAND_IN = '''\
class StandIn:
    """Packages that are not installed here and have no part in this."""

    def find_spec(self, name, path=None, target=None):
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if name.split(".")[0] in $missing else None

    def create_module(self, spec):
        return unittest.mock.MagicMock()

    def exec_module(self, module):
        pass
'''

_PARTIAL = """\
# As an engine does that wraps each layer's forward.
for layer in next(one for one in model.modules() if isinstance(one, torch.nn.ModuleList)):
    layer.forward = functools.partial(layer.forward)
"""

_IMPORT_DEEPSPEED = """\
if device == "cpu":
    os.environ.setdefault("DS_ACCELERATOR", "cpu")
import deepspeed

"""
_ZERO = """\
# DeepSpeed itself, in one process.
if device == "cpu" and "deepspeed_shm_comm" in getattr(deepspeed.ops, "__compatible_ops__", {}):
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False  # would be compiled, and is for several ranks
os.environ.update(RANK="0", LOCAL_RANK="0", WORLD_SIZE="1", MASTER_ADDR="127.0.0.1", MASTER_PORT="29500")
torch.distributed.init_process_group(
    "gloo" if device == "cpu" else "nccl", store=torch.distributed.HashStore(), rank=0, world_size=1
)
trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
engine, *_ = deepspeed.initialize(
    model=model,
    optimizer=torch.optim.SGD(trained, lr=0.0),
    config={
        "train_micro_batch_size_per_gpu": 2,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "zero_optimization": {"stage": $stage, "stage3_param_persistence_threshold": 0},
    },
)
"""

_FORWARD = {
    "": "loss = $run(**inputs).loss\n",
    "CKPT002": "loss = $run(**inputs).loss\nin_forward = list(runs)\n",
    "CKPT008": "loss, now = loss_and_bytes($run)\n",
}
"""The forward pass, by the rule whose assertion follows."""

_AGAIN = """\
loss = $run(**inputs).loss  # a second step, its gradients added
loss.backward()
plain = {name: 2 * gradient for name, gradient in plain.items()}
"""

_GRADIENTS_BEFORE = """\
# The measure: the same step without checkpointing.
torch.manual_seed(1)
model(**inputs).loss.backward()
plain = {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}
model.zero_grad(set_to_none=True)
"""
_RUNS_BEFORE = """\
# Counts how often each layer runs.
layers = next(one for one in model.modules() if isinstance(one, torch.nn.ModuleList))
runs = [0] * len(layers)


def count(index):
    def hook(*_):
        runs[index] += 1

    return hook


for index, layer in enumerate(layers):
    next(layer.children()).register_forward_pre_hook(count(index))
"""
_KEYWORDS_BEFORE = """\
# Notes the keyword arguments that reach the inside of each layer.
layers = next(one for one in model.modules() if isinstance(one, torch.nn.ModuleList))
given = {}


def note(module, args, kwargs):
    names = {name for name, value in kwargs.items() if value is not None}
    given[module] = given.get(module, names) & names


for layer in layers:
    for child in layer.children():
        child.register_forward_pre_hook(note, with_kwargs=True)
model(**inputs)
plain = dict(given)
given.clear()
"""
_SAVED_BEFORE = """\
parameters = {parameter.data_ptr() for parameter in model.parameters()}


def loss_and_bytes(run):
    \"\"\"The loss, and the bytes that are kept for backward.\"\"\"
    kept = {}

    def pack(tensor):
        if tensor.data_ptr() not in parameters:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = run(**inputs).loss
    return loss, sum(kept.values())


plain = loss_and_bytes(model)[1]
"""
_LOSS_BEFORE = """\
# The measure: the same step without checkpointing.
torch.manual_seed(1)
plain = float(model(**inputs).loss)
"""

_PLAIN = {
    "CKPT002": _RUNS_BEFORE,
    "CKPT003": _RUNS_BEFORE,
    "CKPT004": _GRADIENTS_BEFORE,
    "CKPT005": _GRADIENTS_BEFORE,
    "CKPT006": _KEYWORDS_BEFORE,
    "CKPT008": _SAVED_BEFORE,
    "CKPT009": _LOSS_BEFORE,
}
"""What is noted before checkpointing is switched on, by rule."""

_NOW = """\
now = {name: $gradient for name, parameter in model.named_parameters()}
now = {name: gradient for name, gradient in now.items() if gradient is not None}
"""

_CHECKS = {
    "CKPT002": (
        "layers that are not run again in backward",
        """\
idle = [index for index, count in enumerate(runs) if count <= in_forward[index]]
assert not idle, f"layers that are not run again in backward: {idle}"
""",
    ),
    "CKPT003": (
        "layers that run more than twice in a step",
        """\
again = [index for index, count in enumerate(runs) if count > 2]
assert not again, f"layers that run more than twice in a step: {again}, {runs} times"
""",
    ),
    "CKPT004": (
        "parameters without a gradient",
        _NOW
        + """\
missing = [name for name, one in plain.items() if one.any() and (name not in now or not now[name].any())]
assert not missing, f"parameters without a gradient: {missing}"
""",
    ),
    "CKPT005": (
        "gradients that differ from those without checkpointing",
        _NOW
        + """\
both = {name: (now[name], one) for name, one in plain.items() if one.any() and name in now}
off = {name: float((one - other).abs().max() / other.abs().max()) for name, (one, other) in both.items()}
wrong = {name: value for name, value in off.items() if not value <= 1e-4}
assert not wrong, f"gradients that differ from those without checkpointing: {wrong}"
""",
    ),
    "CKPT006": (
        "keyword arguments that do not reach the layers",
        """\
lost = {name for child, names in plain.items() for name in names - given.get(child, names)}
lost -= {"use_cache", "past_key_value", "past_key_values", "layer_past", "cache_position"}
assert not lost, f"keyword arguments that do not reach the layers: {sorted(lost)}"
""",
    ),
    "CKPT008": (
        "no fewer bytes are kept for backward",
        """\
assert now < 0.9 * plain, f"no fewer bytes are kept for backward: {now} with checkpointing, {plain} without"
""",
    ),
    "CKPT009": (
        "the loss is another one",
        """\
loss = float(loss)
assert abs(loss - plain) <= 1e-4 * abs(plain), f"the loss is another one: {loss}, without checkpointing {plain}"
""",
    ),
}
"""For faults that raise nothing: how the assertion's message begins, and the check."""
