"""Entry point in the target's Python: ``python <this folder>/__main__.py``."""

from __future__ import annotations

import _imp
import importlib.util
import os
import sys
from importlib.machinery import SourceFileLoader
from types import CodeType, ModuleType

PACKAGE = "_ckptdoctor_probes"
HERE = os.path.dirname(os.path.abspath(__file__))


def load(name: str) -> ModuleType:
    """Load this folder as a package under a private name, and nothing by accident from the folder itself; one module of it."""
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry or os.curdir) != HERE]
    spec = importlib.util.spec_from_file_location(
        PACKAGE, os.path.join(HERE, "__init__.py"), submodule_search_locations=[HERE]
    )
    if spec is None or spec.loader is None:
        raise ImportError(f"cannot load the probes from {HERE}")
    package = importlib.util.module_from_spec(spec)
    sys.modules[PACKAGE] = package
    spec.loader.exec_module(package)
    return importlib.import_module(f"{PACKAGE}.{name}")


def keep_bytecode_out_of_the_target(ours: tuple[str, ...], elsewhere: str) -> None:
    """Leave the target unchanged byte for byte: compiled files are written for our own folders only.

    A target that was never compiled would cost seconds at every run, so its compiled files are kept elsewhere.

    Args:
        ours: Folders that may be written to, such as an overlay.
        elsewhere: Folder for the compiled files of a target that has none.
    """
    _write_whole_files_only()
    _drop_damaged_files((elsewhere, *ours))
    original = getattr(SourceFileLoader, "_cache_bytecode", None)
    if original is None:
        return
    sys.dont_write_bytecode = False
    if sys.pycache_prefix is not None:  # the user keeps compiled files elsewhere already
        return
    if not is_compiled("torch"):
        sys.pycache_prefix = elsewhere
        _imp.check_hash_based_pycs = "always"  # nothing of ours is ever compiled to be run unchecked
        return

    def cache(self: SourceFileLoader, source_path: str, bytecode_path: str, data: bytes) -> None:
        if source_path.startswith(ours):
            original(self, source_path, bytecode_path, data)

    SourceFileLoader._cache_bytecode = cache  # type: ignore[attr-defined]


def _write_whole_files_only() -> None:
    """On a full disk Python itself puts part of a compiled file in its place, and fails on it at every later run."""

    def write(path: str, data: bytes, mode: int = 0o666) -> None:
        temporary = f"{path}.{os.getpid()}"
        try:
            with open(os.open(temporary, os.O_EXCL | os.O_CREAT | os.O_WRONLY, mode & 0o666), "wb") as file:
                file.write(data)
            os.replace(temporary, path)
        except OSError:
            if os.path.exists(temporary):
                os.unlink(temporary)
            raise

    machinery = sys.modules[SourceFileLoader.__module__]
    if hasattr(machinery, "_write_atomic"):
        machinery._write_atomic = write  # type: ignore[attr-defined]


def _drop_damaged_files(ours: tuple[str, ...]) -> None:
    """Compile anew where a compiled file of ours cannot be read; one of the target's own is a fault of the target's."""
    original = SourceFileLoader.get_code

    def get_code(self: SourceFileLoader, fullname: str) -> CodeType | None:
        try:
            return original(self, fullname)
        except (EOFError, ValueError, TypeError):
            compiled = importlib.util.cache_from_source(self.get_filename(fullname))
            if not compiled.startswith(ours) or not os.path.exists(compiled):
                raise
            os.unlink(compiled)
            return original(self, fullname)

    SourceFileLoader.get_code = get_code  # type: ignore[method-assign,assignment]


def is_compiled(package: str) -> bool:
    """Whether a package's compiled files lie beside it."""
    spec = importlib.util.find_spec(package)
    return bool(spec and spec.origin and os.path.exists(importlib.util.cache_from_source(spec.origin)))


if __name__ == "__main__":
    folders = tuple(folder for folder in os.environ.get("CKPTDOCTOR_OWN", "").split(os.pathsep) if folder)
    if folders:
        keep_bytecode_out_of_the_target(folders, os.environ["CKPTDOCTOR_BYTECODE"])
    sys.exit(load("fork_server" if sys.argv[1:2] == ["--fork-server"] else "worker").main())
