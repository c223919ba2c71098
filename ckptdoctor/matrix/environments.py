"""The environments of a matrix: the target or environments made for a torch, overlays, and the fork servers in them.

Everything is made once: the first thread that needs it makes it, the others wait.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar, cast

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ckptdoctor.environment import copies, overlay, pip_settings, uv_command, uv_errors
from ckptdoctor.environment.fork_server import ForkServer
from ckptdoctor.environment.session import Session
from ckptdoctor.environment.sources import Sources
from ckptdoctor.errors import Interrupted, TargetError
from ckptdoctor.matrix.combination import Base
from ckptdoctor.model.evidence import Environment
from ckptdoctor.store import locations, workspace

T = TypeVar("T")

FOLLOWS = ("transformers", "deepspeed", "accelerate", "peft")
"""Packages of the target that an environment made for another torch gets in the same release, unless they are varied."""


class Environments:
    """Makes what combinations run in. Use as a context manager."""

    def __init__(self, target: Path, facts: Environment, cache: Path, sources: Sources | None = None) -> None:
        """Make nothing yet.

        Args:
            target: The target's interpreter.
            facts: What is installed there.
            cache: Where overlays and environments are kept.
            sources: What copies commits that are to be installed; without it, their copies have to be in the cache.
        """
        self.located = sources.located if sources else partial(copies.located, cache=cache)
        self.target, self.facts, self.cache = target, facts, cache
        self._made: dict[object, Any] = {}
        self._locks: dict[object, threading.Lock] = {}
        self._guard = threading.Lock()
        self._is_closed = False

    def __enter__(self) -> Environments:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all fork servers now; no thread can start another one."""
        with self._guard:
            self._is_closed = True
            fork_servers = [made for made in self._made.values() if isinstance(made, ForkServer)]
        for fork_server in fork_servers:
            fork_server.__exit__(None, None, None)

    def python(self, base: Base) -> Path:
        """The interpreter that a base's packages are added to.

        Raises:
            TargetError: There is no such Python, or torch cannot be installed for it.
        """
        if base.is_target:
            return self.target
        return self._once(("python", base.python, base.torch), lambda: self._make_python(base))

    def overlay(self, base: Base) -> Path | None:
        """The folder of a base's packages; none where the target is taken as it is.

        Raises:
            TargetError: They cannot be had, together or with torch.
        """
        requirements = [*base.requirements, *(() if base.is_target else self._following(base))]
        return self._make_overlay(base, requirements) if requirements else None

    def trainer(self, base: Base, requirement: str) -> Path:
        """The folder of a trainer's release.

        A release made for another Python is added too, since only the module of its checkpoint function is loaded.

        Raises:
            TargetError: It cannot be had.
        """
        return self._once(
            ("trainer", self.python(base), requirement),
            lambda: self._make_overlay(base, [requirement], any_python=True),
        )

    def fork_server(self, base: Base) -> ForkServer:
        """The fork server of the base's Python."""
        python = self.python(base)
        return self._once(("fork_server", python), lambda: self._make_fork_server(python))

    def release(self, base: Base) -> None:
        """Let the fork server of a Python go that no base needs any more."""
        with self._guard:
            fork_server = self._made.pop(
                ("fork_server", self._made.get(("python", base.python, base.torch), self.target)), None
            )
        if fork_server is not None:
            fork_server.__exit__(None, None, None)

    def _once(self, key: object, make: Callable[[], T]) -> T:
        with self._guard:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            if key not in self._made:
                try:
                    self._made[key] = make()
                except TargetError as error:
                    self._made[key] = error  # it would fail again, after the same time
            made = self._made[key]
        if isinstance(made, TargetError):
            raise made
        return cast("T", made)

    def _make_fork_server(self, python: Path) -> ForkServer:
        with self._guard:
            if self._is_closed:
                raise Interrupted
            made = self._made["fork_server", python] = ForkServer(python, self.cache)
        return made

    def _make_overlay(self, base: Base, requirements: list[str], any_python: bool = False) -> Path:
        python = self.python(base)
        return overlay.make(
            python,
            [self.located(requirement) for requirement in requirements],
            with_dependencies=False,
            environment_packages=self._once(("installed", python), lambda: self._installed(python)),
            cache=self.cache,
            progress=lambda _: None,
            any_python=any_python,
        )

    def _installed(self, python: Path) -> dict[str, str]:
        if python == self.target:
            return {package.name: package.version for package in self.facts.packages}
        with Session(python, None, 1, self.cache) as session:
            return {package.name: package.version for package in session.look().packages}

    def _following(self, base: Base) -> list[str]:
        varied = {canonicalize_name(Requirement(requirement).name) for requirement in base.requirements}
        kept = [name for name in FOLLOWS if name not in varied and self.facts.version(name)]
        return [f"{name}=={self.facts.version(name)}" for name in kept]

    def _make_python(self, base: Base) -> Path:
        """A virtual environment with torch and nothing else, kept for the next time."""
        torch = base.torch or self.facts.version("torch").partition("+")[0]
        asked = base.python or str(self.target)
        name = hashlib.sha256(repr((asked, self.facts.python, torch)).encode()).hexdigest()[:32]
        folder = self.cache / "environments" / name
        workspace.hold(self.cache, f"environments/{name}")
        locations.mark_used(folder)
        if not (folder / "bin" / "python").exists():
            self._build(folder, asked, self.located(f"torch=={torch}"))
        return folder / "bin" / "python"

    def _build(self, folder: Path, python: str, torch: str) -> None:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with workspace.making_in(self.cache) as temporary:
            self._install(temporary / "made", python, torch)
            try:
                (temporary / "made").rename(folder)
            except OSError:
                # Another process was faster, unless the folder is not there.
                if not folder.is_dir():
                    raise

    def _install(self, made: Path, python: str, torch: str) -> None:
        settings = pip_settings.read(None, os.environ)
        environ = {**os.environ, **pip_settings.uv_environment(settings, os.environ), "NO_COLOR": "1"}
        venv = ["venv", "--clear", "--relocatable", "--no-python-downloads", "--python", python, str(made)]
        done = uv_command.run_uv(venv, environ)
        if done.returncode and "No space left" not in done.stderr:
            raise TargetError(f"There is no Python {python} on this machine.", "install it, or leave it out")
        if done.returncode:
            raise uv_errors.distil(done.stderr, {})
        arguments = pip_settings.uv_arguments(settings, os.environ)
        install = ["pip", "install", "--python", str(made / "bin" / "python"), *arguments, torch, "numpy"]
        done = uv_command.run_uv(install, environ)
        if done.returncode:
            raise uv_errors.distil(done.stderr, {})
