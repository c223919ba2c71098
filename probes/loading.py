"""Checkpoint functions of trainers, loaded as installed and without the rest of the trainer.

Importing all of LLaMA-Factory or axolotl pulls in datasets, trl, peft and more; the function under test needs torch and
functools. So only its module is imported, its parent packages standing as bare shells with nothing but their paths.
Packages that are not installed are stood in for while it loads. Where that cannot work, the real import is tried.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import inspect
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from . import catalog, excerpt, imported, places, stack


def available() -> list[str]:
    """Names of the trainers' checkpoint functions that are installed, found without importing anything."""
    return [name for name in catalog.FUNCTIONS if locate(name)]


def locate(name: str) -> tuple[str, str] | None:
    """The dotted name and the file of the module that defines a trainer's checkpoint function."""
    source = catalog.FUNCTIONS[name]
    root = stack.root_of(source["modules"][0].split(".")[0])
    for dotted in source["modules"] if root else ():
        file = _file_of(root, dotted)
        if file and any(_mentions(file, name) for name in source["needs"]):
            return dotted, file
    return None


def load(name: str, replacement: str = "") -> tuple[ModuleType, dict[str, Any]]:
    """The module that defines a trainer's checkpoint function, and how it was loaded.

    Args:
        name: A key of ``catalog.FUNCTIONS``.
        replacement: A file to take in place of the installed one, such as a patched copy.

    Raises:
        ImportError: The trainer is not installed, or its module can be loaded neither alone nor by the real import.
    """
    found = locate(name)
    if found is None:
        raise ImportError(f"{name.split(':')[0]} has no checkpoint function of its own here")
    dotted, file = found
    newest = imported.newest()
    try:
        module, stubbed = _alone(dotted, replacement or file, os.path.dirname(file), catalog.FUNCTIONS[name])
        how = "module only"
    except Exception:
        _forget(newest)
        module, stubbed, how = importlib.import_module(dotted), [], "import"
    function = next(
        (found for needed in catalog.FUNCTIONS[name]["needs"] if (found := getattr(module, needed, None))), None
    )
    code = getattr(function, "__code__", None)
    place = places.of_code(code) if code is not None else places.at(str(module.__file__), 1)
    loaded = {"place": place, "how": how, "stubbed": stubbed}
    ASKED.clear()
    return module, loaded


def _alone(dotted: str, file: str, folder: str, source: dict[str, Any]) -> tuple[ModuleType, list[str]]:
    """Import one module with bare parents; names of the missing packages that were stood in for.

    Args:
        dotted: The module's name.
        file: What to load as it.
        folder: Where its submodules lie, should it be a package.
        source: What the catalog says of the function: whether to run it alone, with what it uses.
    """
    if source["whole"]:
        raise ImportError(f"{dotted} is imported with its package")
    parents = _parents(dotted)
    root = stack.root_of(parents[0])
    for parent in parents:
        if parent not in sys.modules:
            sys.modules[parent] = _bare(parent, os.path.join(root, *parent.split(".")[1:]))
    with _stand_ins(exclude=parents[0]) as stubbed:
        is_package = os.path.basename(file) == "__init__.py"
        spec = importlib.util.spec_from_file_location(
            dotted,
            file,
            loader=excerpt.Loader(dotted, file, source["needs"], source["given"]) if source["alone"] else None,
            submodule_search_locations=[folder] if is_package else None,
        )
        if spec is None or spec.loader is None:
            raise ImportError(f"cannot load {file}")
        module = importlib.util.module_from_spec(spec)
        sys.modules[dotted] = module
        spec.loader.exec_module(module)
    return module, sorted(stubbed)


def _parents(dotted: str) -> list[str]:
    names = dotted.split(".")
    return [".".join(names[:count]) for count in range(1, len(names))]


def _bare(name: str, folder: str) -> ModuleType:
    shell = ModuleType(name)
    shell.__path__ = [folder]
    shell.__spec__ = importlib.machinery.ModuleSpec(name, None, is_package=True)
    shell.__spec__.submodule_search_locations = [folder]
    shell.__ckptdoctor_bare__ = True  # type: ignore[attr-defined]
    return shell


def _forget(newest: str) -> None:
    """Forget the modules that came after one."""
    for name in imported.since(newest) if newest in sys.modules else ():
        del sys.modules[name]


def _file_of(root: str, dotted: str) -> str:
    path = os.path.join(root, *dotted.split(".")[1:])
    return next((file for file in (f"{path}.py", os.path.join(path, "__init__.py")) if os.path.isfile(file)), "")


def _mentions(file: str, name: str) -> bool:
    try:
        with open(file, encoding="utf-8", errors="replace") as handle:
            return name in handle.read()
    except OSError:
        return False


ASKED: set[str] = set()
"""Packages that are not installed, and that a checkpoint function made use of while it ran: what answered was a stand-in, so
that what came of it proves nothing. While a module is loaded, its names are merely bound, which does no harm."""


class _Anything(type):
    """A class that has every attribute, can be called, subclassed and subscripted: a stand-in for a missing name."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        ASKED.add(cls.__module__.partition(".")[0])
        return _Anything(name, (), {"__module__": cls.__module__})

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        ASKED.add(cls.__module__.partition(".")[0])
        # Used as a decorator, it leaves the decorated function alone.
        return args[0] if len(args) == 1 and callable(args[0]) and not kwargs else cls

    def __getitem__(cls, item: Any) -> Any:
        ASKED.add(cls.__module__.partition(".")[0])
        return cls


class _StandIn(ModuleType):
    """A module that is not installed."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__path__ = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        ASKED.add(self.__name__.partition(".")[0])
        return _Anything(name, (), {"__module__": self.__name__})


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Last in line: whatever no other finder has, it stands in for, as far as it is the trainer itself that imports it.

    Other packages look for what they can do without, and would believe that it is there.
    """

    def __init__(self, exclude: str) -> None:
        self.exclude = exclude
        self.made: set[str] = set()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        top = fullname.split(".")[0]
        # A submodule that an installed package lacks is a real fault of the stack, not a missing dependency.
        if top == self.exclude or (top in sys.modules and top not in self.made):
            return None
        if top not in self.made and not self._is_trainer_asking():
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def _is_trainer_asking(self) -> bool:
        """Whether the import statement stands in the trainer's code; a mere look whether there is such a package does not."""
        frame = inspect.currentframe()
        while frame is not None:
            file = frame.f_code.co_filename
            if file == importlib.util.__file__:
                return False
            if file not in (__file__, importlib.__file__) and not file.startswith("<frozen importlib"):
                return str(frame.f_globals.get("__name__", "")).partition(".")[0] == self.exclude
            frame = frame.f_back
        return False

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        self.made.add(spec.name.split(".")[0])
        return _StandIn(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing to run."""


@contextmanager
def _stand_ins(exclude: str) -> Iterator[set[str]]:
    finder, newest = _Finder(exclude), imported.newest()
    sys.meta_path.append(finder)
    try:
        yield finder.made
    finally:
        sys.meta_path.remove(finder)
        for name in [name for name in imported.since(newest) if name.split(".")[0] in finder.made]:
            del sys.modules[name]
