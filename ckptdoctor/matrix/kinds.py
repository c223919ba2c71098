"""Which releases share the code that decides how a checkpointed training step goes.

Releases of one kind behave alike in a step, so that one of them need be run. A kind is told by content: by the definitions
that a step can reach, with comments, docstrings and positions left out. Whatever is in doubt makes a kind of its own.
"""

from __future__ import annotations

import ast
import hashlib
import os
import re
import sys
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Lock
from types import MappingProxyType
from typing import NamedTuple

import msgspec
from packaging.version import Version
from requests import Session

from ckptdoctor.matrix import archives
from ckptdoctor.matrix.archives import Archive, UnreadableError
from ckptdoctor.matrix.index import AT_ONCE, Release

FORMAT = 1
"""Changes whenever the same release would come out as another kind."""


class Source(NamedTuple):
    """Where a trainer keeps a checkpoint function of its own."""

    modules: tuple[str, ...]
    """Dotted names, newest first; the first whose file is there is used."""
    needs: str
    """A name that the module must mention for the function to exist in this release."""


SOURCES: dict[str, Source] = {
    "llamafactory": Source(("llamafactory.model.model_utils.checkpointing",), "get_custom_gradient_checkpointing_func"),
    "llamafactory:unsloth": Source(
        ("llamafactory.model.model_utils.checkpointing",), "get_unsloth_gradient_checkpointing_func"
    ),
    "axolotl:offload": Source(
        ("axolotl.monkeypatch.gradient_checkpointing", "axolotl.utils.gradient_checkpointing"),
        "hf_grad_checkpoint_offload_wrapper",
    ),
    "axolotl:offload-disk": Source(
        ("axolotl.monkeypatch.gradient_checkpointing", "axolotl.utils.gradient_checkpointing"),
        "hf_grad_checkpoint_disk_offload_wrapper",
    ),
}
"""The same table as in ``probes/trainers.py``; a test compares them."""


class Kind(msgspec.Struct, frozen=True):
    """What is alike in releases that behave alike. Compare digests, never whole kinds: a release may have a part only."""

    digests: dict[str, str]
    """By model family for transformers, by checkpoint function for a trainer; what a release does not have is left out."""
    functions: tuple[str, ...] = ()
    """Checkpoint functions that a trainer's release has."""
    families: tuple[str, ...] = ()
    """Model families, of those asked for, that a release of transformers has."""
    compared: tuple[str, ...] = ()
    """Versions that a trainer's code names. It may compare transformers' with them, so that two releases of transformers
    with one of them in between are not alike to it, whatever their code: see ``place_among``."""


def place_among(version: str, compared: Iterable[str]) -> tuple[int, int]:
    """Where a version stands among those that some code names; releases that stand alike compare alike.

    Args:
        version: A release of the package that is compared.
        compared: What the code names, ``Kind.compared``.
    """
    here = Version(version)
    named = [Version(one) for one in compared]
    return sum(one < here for one in named), sum(one <= here for one in named)


# --- the checkpoint functions that a release has ---


def functions_in(files: Mapping[str, bytes]) -> tuple[str, ...]:
    """The trainers' checkpoint functions that are among files, which are named as they would be installed."""
    return _functions(files.__contains__, files.__getitem__)


def functions_installed(folder: Path, package: str) -> tuple[str, ...]:
    """The checkpoint functions of a trainer in a folder of installed packages.

    Args:
        folder: Such as ``site-packages``, or an overlay.
        package: Name of the trainer.
    """

    def read(name: str) -> bytes:
        try:
            return (folder / name).read_bytes()
        except OSError:
            return b""

    return _functions(lambda name: (folder / name).is_file(), read, package)


def _functions(has: Callable[[str], bool], read: Callable[[str], bytes], package: str = "") -> tuple[str, ...]:
    names = [name for name in SOURCES if package in ("", name.partition(":")[0])]
    return tuple(name for name in names if _located(SOURCES[name], has, read))


def _located(source: Source, has: Callable[[str], bool], read: Callable[[str], bytes]) -> str:
    """The file that defines a checkpoint function, or an empty string."""
    for dotted in source.modules:
        file = _file_of(dotted, has)
        if file and source.needs.encode() in read(file):
            return file
    return ""


def _file_of(dotted: str, has: Callable[[str], bool]) -> str:
    path = dotted.replace(".", "/")
    return next(filter(has, (f"{path}.py", f"{path}/__init__.py")), "")


# --- kinds of releases ---


class Reader:
    """Reads the kinds of releases, many at once, and keeps them."""

    def __init__(self, session: Session, cache_folder: Path) -> None:
        """Start with what an earlier one has kept.

        Args:
            session: What reads from the network; an ``Index`` has one.
            cache_folder: Where kinds are kept.
        """
        self._session = session
        self._folder = cache_folder
        self._parser = _Parser()

    def kinds(self, package: str, releases: Sequence[Release], families: Sequence[str] = ()) -> dict[str, Kind | None]:
        """The kind of each release by its version; None where it is not known, so that the release has to be run.

        Args:
            package: Normalised name. Only those of transformers and the trainers can be told.
            releases: Releases of that package.
            families: Model families that matter.
        """
        if package not in _READERS:
            return {release.version: None for release in releases}
        with ThreadPoolExecutor(AT_ONCE) as pool:
            found = pool.map(lambda release: self._kind(package, release, tuple(sorted(set(families)))), releases)
            return dict(zip((release.version for release in releases), found, strict=True))

    def _kind(self, package: str, release: Release, families: tuple[str, ...]) -> Kind | None:
        file = self._file(package, release, families)
        kept = _kept(file)
        if kept is not None:
            return kept
        try:
            with archives.opened(release, self._session) as archive:
                kind = _READERS[package](self._parser, archive, package, families)
        except (UnreadableError, RecursionError):
            return None
        _keep(file, kind)
        return kind

    def _file(self, package: str, release: Release, families: tuple[str, ...]) -> Path | None:
        """Where the kind of a release is kept; None if nothing tells its archive from another one."""
        archive = archives.chosen(release)
        if archive is None:
            return None
        identity = archive.digest() or (f"{archive.url} {archive.size}" if archive.size else "")
        if not identity:
            return None
        # Python's syntax trees differ between its minor versions.
        words = (str(FORMAT), *map(str, sys.version_info[:2]), package, *families, identity)
        return self._folder / f"{_digest(words)}.json"


def _kept(file: Path | None) -> Kind | None:
    if file is not None:
        with suppress(OSError, msgspec.DecodeError):
            return msgspec.json.decode(file.read_bytes(), type=Kind)
    return None


def _keep(file: Path | None, kind: Kind) -> None:
    """Write it whole or not at all; where that fails, it is read again next time."""
    if file is None:
        return
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=file.parent, prefix=".kind.")
        with os.fdopen(handle, "wb") as written:
            written.write(msgspec.json.encode(kind))
        Path(name).replace(file)


def _of_transformers(parser: _Parser, archive: Archive, package: str, families: tuple[str, ...]) -> Kind:
    digests = {}
    for family in families:
        folder = f"{package}/models/{family}"
        modeling = f"{folder}/modeling_{family}.py"
        if modeling not in archive.names:
            continue
        code = Slice(parser, archive, package, _NOT_REACHED)
        for file in (modeling, f"{folder}/configuration_{family}.py", f"{package}/modeling_layers.py"):
            code.take_whole(file)
        code.finish()
        if code.unparsed:
            raise UnreadableError(f"{code.unparsed} cannot be parsed, so that what it relies on is not known")
        digests[family] = _digest([*code.lines(), *_mapped(archive, package, family), *_requirements(archive)])
    return Kind(digests, families=tuple(digests))


def _mapped(archive: Archive, package: str, family: str) -> list[str]:
    """The lines that tell which classes a family has."""
    found = []
    for name in ("configuration_auto", "modeling_auto"):
        file = f"{package}/models/auto/{name}.py"
        text = archive.read(file).decode(errors="replace") if file in archive.names else ""
        found += [line.strip() for line in text.splitlines() if f'"{family}"' in line]
    return found


def _requirements(archive: Archive) -> list[str]:
    """What comes with a release, and differs between environments if the requirements do."""
    name = next((name for name in ("METADATA", "PKG-INFO") if name in archive.names), "")
    text = archive.read(name).decode(errors="replace").partition("\n\n")[0] if name else ""
    wanted = re.findall(r"^(Requires-(?:Dist|Python): .*)$", text, re.MULTILINE)
    return sorted(line.strip() for line in wanted if not re.search(r";.*\bextra\b", line))


def _of_trainer(parser: _Parser, archive: Archive, package: str, families: tuple[str, ...]) -> Kind:
    digests, compared = {}, set[str]()
    for name in (name for name, source in SOURCES.items() if source.modules[0].partition(".")[0] == package):
        file = _located(SOURCES[name], archive.names.__contains__, archive.read)
        if not file:
            continue
        code = Slice(parser, archive, package)
        for part in _parts(file, archive.names):
            code.take_whole(part)
        code.finish()
        digests[name] = _digest(code.lines())
        compared |= code.versions
    return Kind(digests, functions=tuple(digests), compared=tuple(sorted(compared, key=Version)))


def _parts(file: str, names: Collection[str]) -> list[str]:
    """The file, and all modules below it if it is a package."""
    folder, _, base = file.rpartition("/")
    if base != "__init__.py":
        return [file]
    return sorted(name for name in names if name.startswith(f"{folder}/") and name.endswith(".py"))


_READERS: dict[str, Callable[[_Parser, Archive, str, tuple[str, ...]], Kind]] = {
    "transformers": _of_transformers,
    **{source.modules[0].partition(".")[0]: _of_trainer for source in SOURCES.values()},
}


# --- the code that a step can reach ---

_NOT_REACHED = (
    "__init__",  # the version, and names to be imported lazily
    "cache_utils",  # steps are taken with use_cache=False
    "generation",
    "models/auto",  # only the entries of the family count
    # Nothing is loaded, saved, quantized or spread over devices.
    "conversion_mapping",
    "core_model_loading",
    "distributed/checkpoint",
    "distributed/expert_parallel",
    "distributed/fsdp",
    "distributed/pipeline_parallel",
    "distributed/tensor_parallel",
    "distributed/utils",
    "dynamic_module_utils",
    "integrations/accelerate",
    "integrations/peft",
    "integrations/tensor_parallel",
    "modeling_gguf",
    "quantizers",
    "safetensors_conversion",
    "trainer",
    "utils/hub",
    "utils/loading_report",
    "utils/quantization_config",
    # Attention is torch's own.
    "integrations/deepgemm",
    "integrations/eager_paged",
    "integrations/finegrained_fp8",
    "integrations/flash_attention",
    "integrations/flash_paged",
    "integrations/flex_attention",
    "integrations/npu",
    "integrations/sdpa_paged",
    "integrations/sonicmoe",
    "modeling_flash_attention_utils",
    # The loss is that of a causal language model.
    "loss/loss_d",
    "loss/loss_for_object",
    "loss/loss_grounding",
    "loss/loss_l",
    "loss/loss_r",
    "loss/loss_t",
    # What goes into a step are tokens made by the probes.
    "feature_extraction",
    "image_",
    "processing_utils",
    "tokenization",
    "video_",
    # Words
    "utils/auto_docstring",
    "utils/doc",
    "utils/logging",
)
"""How the paths of modules of transformers begin that a probe's step does not run, or not so that it matters."""

_IN_PARTS = frozenset({"PreTrainedModel", "PretrainedConfig", "PreTrainedConfig", "DistributedMixin"})
"""Classes of which a step runs the smaller part: their methods count only where something reachable names them."""

_CALLED = frozenset(
    {
        "_set_gradient_checkpointing",
        "activation_checkpointing_enable",
        "enable_input_require_grads",
        "float",
        "get_input_embeddings",
        "gradient_checkpointing_enable",
        "is_gradient_checkpointing",
        "loss_function",
        "post_init",
        "train",
    }
)
"""Methods of such a class that the probes call, or torch."""

_NOT_CALLED = frozenset(
    {
        "__repr__",
        "_load_pretrained_model",
        "from_dict",
        "from_pretrained",
        "get_config_dict",
        "push_to_hub",
        "save_pretrained",
        "to_dict",
        "to_diff_dict",
        "to_json_string",
    }
)
"""Methods of such a class that something names, and no step runs."""

_VERSION = re.compile(r"\d+(?:\.\d+)+(?:\.?(?:a|b|rc|dev|post)\d+)?")


class Slice:
    """The definitions that some modules of a package rely on, found by name and followed from module to module."""

    def __init__(self, parser: _Parser, archive: Archive, package: str, not_reached: tuple[str, ...] = ()) -> None:
        """Start with nothing.

        Args:
            parser: What reads modules.
            archive: Where the package's modules are.
            package: Name of the package; nothing outside of it is followed.
            not_reached: How the paths of modules begin, below the package, that are not followed.
        """
        self.versions: set[str] = set()
        self.unparsed = ""
        self._parser = parser
        self._archive = archive
        self._package = package
        self._not_reached = tuple(f"{package}/{path}" for path in not_reached)
        self._modules: dict[str, _Module] = {}
        self._found: dict[tuple[str, str], list[_Facts]] = {}
        self._wanted: list[tuple[str, str]] = []
        self._attributes: set[str] = set()
        self._in_parts: list[tuple[str, _Definition]] = []

    def take_whole(self, file: str) -> None:
        """Take all that a module defines, if there is such a file."""
        if file in self._archive.names:
            self._wanted += [(file, name) for name in self._module(file).definitions]

    def finish(self) -> None:
        """Follow what was taken until nothing new is met."""
        while self._wanted:
            while self._wanted:
                self._take(*self._wanted.pop())
            for file, whole in self._in_parts:
                for name, method in whole.methods.items():
                    special = name.startswith("__") and name.endswith("__")
                    if (special or name in _CALLED or name in self._attributes) and name not in _NOT_CALLED:
                        self._add(file, f"{whole.name}.{name}", method)

    def lines(self) -> list[str]:
        """One line for each definition, in an order that does not depend on how it was found."""
        lines = [f"{file} {name} {facts.digest}" for (file, name), several in self._found.items() for facts in several]
        # The order of several definitions of one name matters, and sorting by file and name alone keeps it.
        lines.sort(key=lambda line: line.rpartition(" ")[0])
        return [*lines, *(f"{file} {module.digest}" for file, module in sorted(self._modules.items()))]

    def _module(self, file: str) -> _Module:
        if file not in self._modules:
            module = self._parser.module(self._archive.read(file), file.endswith("/__init__.py"))
            self._modules[file] = module
            self.unparsed = self.unparsed or ("" if module.is_parsed else file)
            for facts in module.bare:
                self._follow(file, facts)
        return self._modules[file]

    def _take(self, file: str, name: str) -> None:
        if (file, name) in self._found:
            return
        self._found[file, name] = []
        module = self._module(file)
        for definition in module.definitions.get(name, ()):
            if definition.imports is not None:
                self._import(file, definition.imports, name)
                continue
            self._add(file, name, definition.facts)
            if definition.methods:
                self._in_parts.append((file, definition))
        if name not in module.definitions:
            for star in module.stars:
                self._import(file, star, name)

    def _add(self, file: str, name: str, facts: _Facts) -> None:
        known = self._found.setdefault((file, name), [])
        if facts not in known:
            known.append(facts)
            self._follow(file, facts)

    def _follow(self, file: str, facts: _Facts) -> None:
        definitions = self._module(file).definitions
        self.versions |= facts.versions
        self._attributes |= facts.attributes
        self._wanted += [(file, name) for name in facts.names if name in definitions]
        for one in facts.imports:
            self._import(file, one)
        for name, attribute in facts.pairs:
            own = [definition.imports for definition in definitions.get(name, ()) if definition.imports is not None]
            for one in (*own, *facts.imports):
                if submodule := self._submodule(file, one, name):
                    self._wanted.append((submodule, attribute))

    def _import(self, file: str, statement: _Import, only: str = "") -> None:
        """Want the names that an import statement binds, or one of them."""
        target = self._reached(statement.target(file))
        for name, bound in statement.names:
            if only not in ("", bound) and name != "*":
                continue
            if statement.is_plain:  # `import package.module`
                self.take_whole(self._reached(name))
            elif target and not self._submodule(file, statement, bound):
                self._wanted.append((target, only if name == "*" else name))

    def _submodule(self, file: str, statement: _Import, bound: str) -> str:
        """The module that an import statement binds to a name, if it is one that is followed."""
        names = [name for name, other in statement.names if other == bound]
        return self._reached(f"{statement.target(file)}.{names[0]}") if names and not statement.is_plain else ""

    def _reached(self, dotted: str) -> str:
        if dotted.partition(".")[0] != self._package:
            return ""
        file = _file_of(dotted, self._archive.names.__contains__)
        return "" if file.startswith(self._not_reached) else file


class _Import(NamedTuple):
    """An import statement."""

    module: str
    level: int
    names: tuple[tuple[str, str], ...]
    """What is imported, and the name that it is bound to."""
    is_plain: bool
    """Without ``from``."""

    def target(self, file: str) -> str:
        """The module that is imported from, for a statement in that file."""
        if not self.level:
            return self.module
        folder = file.split("/")[: -self.level]
        return ".".join([*folder, self.module] if self.module else folder)


class _Facts(NamedTuple):
    """What a piece of code says and names."""

    digest: str
    names: frozenset[str]
    attributes: frozenset[str]
    pairs: frozenset[tuple[str, str]]
    """A name and an attribute read from it."""
    imports: tuple[_Import, ...]
    versions: frozenset[str]
    """Strings that are versions."""


class _Definition(NamedTuple):
    """What a statement binds to a name, with the conditions that it stands under."""

    name: str
    facts: _Facts
    imports: _Import | None = None
    """Where it is an import statement."""
    methods: Mapping[str, _Facts] = MappingProxyType({})
    """Of a class that is taken in parts; its own facts are those of the rest."""


class _Module:
    """What the statements of a module bind.

    Attributes:
        definitions: By name; a name may be bound more than once.
        bare: Statements that bind no name.
        stars: Imports of all that another module has.
        digest: Of what counts once any of the module is reached.
        is_parsed: Whether this Python knows the module's syntax; of one that it does not, the bytes count.
    """

    def __init__(self, source: bytes, is_package: bool, known: dict[tuple[object, ...], _Facts]) -> None:
        self.definitions: dict[str, list[_Definition]] = {}
        self.bare: list[_Facts] = []
        self.stars: list[_Import] = []
        self._imports: list[str] = []
        self._known = known
        self._lines = source.splitlines()
        try:
            body = ast.parse(source).body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            self.is_parsed, self.digest = False, _digest([source.hex()])
            return
        self.is_parsed = True
        for statement, conditions in _flat(body, ()):
            self._add(statement, conditions)
        # An import that fails makes the whole module fail. A package's own are those of its modules.
        said = [] if is_package else sorted(self._imports)
        self.digest = _digest([*said, *(facts.digest for facts in self.bare)])

    def _add(self, statement: ast.stmt, conditions: Sequence[ast.AST]) -> None:
        if isinstance(statement, ast.ClassDef) and statement.name in _IN_PARTS:
            self._bind(self._in_parts(statement, conditions))
            return
        facts = self._facts((statement, *conditions))
        if isinstance(statement, (ast.Import, ast.ImportFrom)):
            self._imports.append(facts.digest)
            one = _as_import(statement)
            for _, bound in one.names:
                self._bind(_Definition(bound, facts, one))
                if bound == "*":
                    self.stars.append(one)
        elif names := list(_bound(statement)):
            for name in names:
                self._bind(_Definition(name, facts))
        elif not isinstance(statement, ast.Pass) and not _is_text(statement):
            self.bare.append(facts)

    def _bind(self, definition: _Definition) -> None:
        self.definitions.setdefault(definition.name, []).append(definition)

    def _in_parts(self, node: ast.ClassDef, conditions: Sequence[ast.AST]) -> _Definition:
        """A class without its methods, and the methods apart; a property has several functions of one name."""
        head: list[ast.AST] = [*node.bases, *node.keywords, *node.decorator_list, *conditions]
        methods: dict[str, list[ast.AST]] = {}
        for part in node.body:
            if isinstance(part, (ast.FunctionDef, ast.AsyncFunctionDef)):
                methods.setdefault(part.name, []).append(part)
            elif not _is_text(part):
                head.append(part)
        return _Definition(
            node.name, self._facts(head), methods={name: self._facts(nodes) for name, nodes in methods.items()}
        )

    def _facts(self, nodes: Sequence[ast.AST]) -> _Facts:
        """Facts by the lines that say them: from one release to the next, most stay."""
        key = tuple(part for node in nodes for part in self._place(node))
        if key not in self._known:
            self._known[key] = _facts(nodes)
        return self._known[key]

    def _place(self, node: ast.AST) -> tuple[object, ...]:
        if isinstance(node, ast.UnaryOp) and not hasattr(node, "lineno"):  # made here, for an `else`
            return ("not", *self._place(node.operand))
        if not hasattr(node, "lineno"):
            return (ast.dump(node),)
        decorators = getattr(node, "decorator_list", ())
        first = min(one.lineno for one in (node, *decorators))
        columns = (getattr(node, "col_offset", 0), getattr(node, "end_col_offset", 0))
        return (type(node), columns, *self._lines[first - 1 : getattr(node, "end_lineno", first)])


class _Parser:
    """Reads modules, each once: releases share most of theirs."""

    def __init__(self) -> None:
        self._modules: dict[tuple[bytes, bool], _Module] = {}
        self._known: dict[tuple[object, ...], _Facts] = {}
        self._one_at_a_time = Lock()

    def module(self, source: bytes, is_package: bool) -> _Module:
        """A module by its content."""
        key = hashlib.sha256(source).digest(), is_package
        with self._one_at_a_time:  # Threads would only get in each other's way.
            if key not in self._modules:
                self._modules[key] = _Module(source, is_package, self._known)
            return self._modules[key]


def _is_text(statement: ast.stmt) -> bool:
    """Whether it is a docstring, or another string that stands alone."""
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def _flat(body: Iterable[ast.stmt], conditions: tuple[ast.AST, ...]) -> Iterator[tuple[ast.stmt, tuple[ast.AST, ...]]]:
    """Statements out of the blocks that they stand in, with what each stands under."""
    for statement in body:
        if isinstance(statement, ast.If):
            yield from _flat(statement.body, (*conditions, statement.test))
            yield from _flat(statement.orelse, (*conditions, ast.UnaryOp(ast.Not(), statement.test)))
        elif isinstance(statement, ast.Try):
            yield from _flat(statement.body, conditions)
            for handler in statement.handlers:
                yield from _flat(handler.body, (*conditions, ast.ExceptHandler(handler.type, handler.name, [])))
            yield from _flat((*statement.orelse, *statement.finalbody), conditions)
        elif isinstance(statement, ast.With):
            yield from _flat(statement.body, (*conditions, *statement.items))
        else:
            yield statement, conditions


def _bound(statement: ast.stmt) -> Iterator[str]:
    """Names that a statement binds, or whose object it changes."""
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        yield statement.name
    elif isinstance(statement, ast.Assign):
        for target in statement.targets:
            yield from _roots(target)
    elif isinstance(statement, (ast.AnnAssign, ast.AugAssign)):
        yield from _roots(statement.target)
    elif isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        yield from _roots(statement.value.func) if isinstance(statement.value.func, ast.Attribute) else ()


def _roots(target: ast.expr) -> Iterator[str]:
    if isinstance(target, ast.Name):
        yield target.id
    elif isinstance(target, (ast.Attribute, ast.Subscript, ast.Starred)):
        yield from _roots(target.value)
    elif isinstance(target, ast.Call):
        yield from _roots(target.func)
    elif isinstance(target, (ast.Tuple, ast.List)):
        for element in target.elts:
            yield from _roots(element)


def _as_import(node: ast.Import | ast.ImportFrom) -> _Import:
    plain = isinstance(node, ast.Import)
    names = tuple((one.name, one.asname or (one.name.partition(".")[0] if plain else one.name)) for one in node.names)
    if isinstance(node, ast.ImportFrom):
        return _Import(node.module or "", node.level, names, False)
    return _Import("", 0, names, True)


def _facts(nodes: Iterable[ast.AST]) -> _Facts:
    writer = _Writer()
    for node in nodes:
        writer.write(node)
    return _Facts(
        _digest(writer.said),
        frozenset(writer.names),
        frozenset(writer.attributes),
        frozenset(writer.pairs),
        tuple(writer.imports),
        frozenset(writer.versions),
    )


class _Writer:
    """Writes a syntax tree down without positions and docstrings, as ``ast.dump`` would, and notes what it names."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.names: set[str] = set()
        self.attributes: set[str] = set()
        self.pairs: set[tuple[str, str]] = set()
        self.imports: list[_Import] = []
        self.versions: set[str] = set()

    def write(self, node: ast.AST) -> None:
        """Write a node and all below it."""
        self._note(node)
        self.said.append(type(node).__name__)
        for field in node._fields:
            value = getattr(node, field, None)
            if isinstance(value, ast.AST):
                self.write(value)
            elif isinstance(value, list):
                self._write_list(value)
            else:
                self.said.append(repr(value))

    def _write_list(self, items: list[object]) -> None:
        self.said.append("[")
        for item in items:
            if not isinstance(item, ast.AST):
                self.said.append(repr(item))
            elif not (isinstance(item, ast.stmt) and _is_text(item)):
                self.write(item)
        self.said.append("]")

    def _note(self, node: ast.AST) -> None:
        if isinstance(node, ast.Name):
            self.names.add(node.id)
        elif isinstance(node, ast.Attribute):
            self.attributes.add(node.attr)
            if isinstance(node.value, ast.Name):
                self.pairs.add((node.value.id, node.attr))
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            self.imports.append(_as_import(node))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and _VERSION.fullmatch(node.value):
            self.versions.add(node.value)


def _digest(words: Iterable[str]) -> str:
    """A digest of words in their order."""
    return hashlib.sha256("\0".join(words).encode("utf-8", "surrogatepass")).hexdigest()
