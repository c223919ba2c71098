"""Acts on modules once a job has imported them, and changes nothing about how they are found and loaded.

What ``ckptdoctor run``, ``watch`` and ``rehearse`` share in each Python of a job. Python 3.9 and later, standard library only.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import os
import sys
from types import ModuleType
from typing import Any, Callable

DO = "CKPTDOCTOR_DO"
"""Variable that names what is done in the processes of a job: some of ``adapt``, ``watch`` and ``rehearse``, with commas."""

EVIDENCE = "CKPTDOCTOR_EVIDENCE"
"""Variable with the folder that holds ``settings.json`` and takes what processes report."""

PROBES = "_ckptdoctor_probes"
"""Private name of the package beside this folder."""

Act = Callable[[ModuleType], None]


def parts() -> list[str]:
    """What is to be done in this process; to adapt where nothing is said."""
    return [word for word in os.environ.get(DO, "adapt").split(",") if word]


class Finder:
    """Finds awaited modules as everybody else would, and calls what waits for them after they were executed."""

    def __init__(self) -> None:
        self.awaited: dict[str, list[Act]] = {}

    def find_spec(
        self, name: str, path: Any = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """The spec of an awaited module, by the other finders; of any other module nothing."""
        if name not in self.awaited:
            return None
        for finder in sys.meta_path:
            find = None if finder is self else getattr(finder, "find_spec", None)
            spec: importlib.machinery.ModuleSpec | None = find(name, path, target) if find else None
            if spec is not None:
                harmless(self._listen, spec)
                return spec
        return None

    def _listen(self, spec: importlib.machinery.ModuleSpec) -> None:
        """Have the loader, which stays the one it is, call us when it has executed the module."""
        loader: Any = spec.loader
        execute = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            for act in self.awaited.get(spec.name, ()):
                harmless(act, module)

        loader.exec_module = exec_module


def when_executed(name: str, act: Act) -> None:
    """Call ``act`` with a module after it was executed: at once if it is there already."""
    finder = next((one for one in sys.meta_path if isinstance(one, Finder)), None)
    if finder is None:
        finder = Finder()
        sys.meta_path.insert(0, finder)
    waiting = finder.awaited.setdefault(name, [])
    if act in waiting:
        return
    waiting.append(act)
    if name in sys.modules:
        harmless(act, sys.modules[name])


def probes(name: str) -> ModuleType:
    """A module of the package beside this folder, under the package's private name."""
    if PROBES not in sys.modules:
        folder = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        spec = importlib.util.spec_from_file_location(
            PROBES, os.path.join(folder, "__init__.py"), submodule_search_locations=[folder]
        )
        if spec is None or spec.loader is None:
            raise ImportError(f"cannot load {folder}")
        package = importlib.util.module_from_spec(spec)
        sys.modules[PROBES] = package
        spec.loader.exec_module(package)
    return importlib.import_module(f"{PROBES}.{name}")


def harmless(act: Callable[[Any], None], on: Any) -> None:
    """Call ``act``; an error in it is told, and goes no further."""
    try:
        act(on)
    except Exception as error:
        say(f"not active: {type(error).__name__}: {error}")


def say(text: str) -> None:
    """A line on standard error."""
    try:
        shown = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
        command = "run" if "adapt" in parts() else parts()[-1]
        sys.stderr.write(f"ckptdoctor {command}: {shown}\n")
        sys.stderr.flush()
    except Exception:
        pass  # there is nobody to tell
