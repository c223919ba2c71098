"""uv, run as pip is set up on this machine."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ckptdoctor.environment import pip_settings, uv_errors
from ckptdoctor.environment.installation import Installation
from ckptdoctor.environment.process import does_not_start
from ckptdoctor.errors import TargetError

RETRIES = "2"
"""How often uv tries again when an index does not answer, unless its own variable says so. uv waits 1 to 2 seconds before
the first time and twice as long before each further one: two get over a short failure, and a machine without a network
is told so after 4 seconds. uv's default takes 10 to 30."""
_INSTALL_UV = "Install it beside ckptdoctor: `pip install uv`."


@dataclass
class Uv:
    """uv, set up as pip is and held to the target's torch."""

    target: Installation
    settings: pip_settings.PipSettings
    pins: Mapping[str, str]
    folder: Path
    """Temporary; holds the constraints."""
    extra: list[str] = field(default_factory=list)
    """Options that a run turned out to need; all later runs get them too."""
    lost: list[str] = field(default_factory=list)
    """Hosts of indexes that could not be reached and were left out."""
    progress: Callable[[str], None] = lambda _: None
    any_python: bool = False
    """Whether to add a release that is made for another Python."""
    again: list[str] = field(default_factory=list)
    """Options that reinstall packages which the target has in the same version."""

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run ``uv pip install``; a failed build gets a second attempt, with the target's torch at hand."""
        done = self._reaching(arguments)
        other = uv_errors.wanted_python(done.stderr) if done.returncode and self.any_python else ""
        if other:
            self.any_python = False
            self.extra = ["--python-version", other]
            return self(*arguments)
        if done.returncode and uv_errors.is_build_failure(done.stderr) and not self.extra:
            self.extra = ["--no-build-isolation"]
            second = self._reaching(arguments)
            if second.returncode == 0:
                return second
            self.extra = []
            # If both builds fail, the one with torch tells what is missing.
            done = second if uv_errors.is_build_failure(second.stderr) else done
        if done.returncode:
            raise self._error(done.stderr)
        return done

    def _error(self, stderr: str) -> TargetError:
        error = uv_errors.distil(stderr, self.pins)
        if not self.lost:
            return error
        # The index that cannot be reached now may have the release: the error must not say that it never can be had.
        hosts = " and ".join(self.lost)
        message = f"{hosts} cannot be reached, and without it this is all that is known: {error.message}"
        return TargetError(message, uv_errors.NETWORK)

    def _reaching(self, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Run, and again without each index that cannot be reached while others can, as pip does."""
        while True:
            done = self._run(arguments)
            fewer = without_index(self.settings, uv_errors.unreachable_url(done.stderr)) if done.returncode else None
            if fewer is None:
                return done
            host = uv_errors.host(uv_errors.unreachable_url(done.stderr))
            self.progress(f"{host} cannot be reached: going on without it")
            self.settings = fewer
            self.lost.append(host)

    def _run(self, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
        environment = {
            "DS_BUILD_OPS": "0",
            "UV_HTTP_RETRIES": RETRIES,
            **os.environ,
            "PYTHONDONTWRITEBYTECODE": "1",
            "NO_COLOR": "1",
        }
        environment.update(pip_settings.uv_environment(self.settings, os.environ))
        options = ["--python", str(self.target.python), "--color", "never", "--no-progress", *self.extra]
        options += pip_settings.uv_arguments(self.settings, os.environ)
        return run_uv(["pip", "install", *options, *self._constraints(), *arguments], environment)

    def _constraints(self) -> list[str]:
        if not self.pins:
            return []
        if self.target.sees_base:
            # uv would look for the base's torch in the indexes, and many are in none: demand no torch instead.
            lines = [f"{name} ; python_version < '0'\n" for name in self.pins]
            return self._listed("--overrides", "UV_OVERRIDE", lines)
        lines = [f"{name}=={version}\n" for name, version in self.pins.items()]
        return self._listed("--constraints", "UV_CONSTRAINT", lines)

    def _listed(self, option: str, variable: str, lines: Sequence[str]) -> list[str]:
        file = self.folder / "held.txt"
        file.write_text("".join(lines), encoding="utf-8")
        # Options beat variables in uv, so the files that a variable names are named again.
        others = os.environ.get(variable, "").split()
        return [argument for name in (str(file), *others) for argument in (option, name)]


def run_uv(arguments: Sequence[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run uv and collect its output; uv ends too when this process is interrupted.

    Raises:
        TargetError: uv is missing, or cannot be started.
    """
    try:
        from uv import find_uv_bin

        command = [find_uv_bin(), *arguments]
    except (ImportError, OSError) as error:
        raise TargetError("uv, which makes overlays, is missing.", _INSTALL_UV) from error
    try:
        return subprocess.run(
            command,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
    except OSError as error:
        raise does_not_start("uv, which makes overlays,", error, _INSTALL_UV) from error


def without_index(settings: pip_settings.PipSettings, url: str) -> pip_settings.PipSettings | None:
    """The settings without the index that a URL belongs to, or None if no index would be left."""
    if not url or settings.no_index:
        return None
    extras = settings.extra_index_urls
    if gone := _owner(url, extras):
        return replace(settings, extra_index_urls=tuple(index for index in extras if index != gone))
    # uv's default index is recognised only by the form of its URL.
    if not _owner(url, [settings.index_url or url.partition("/simple/")[0] + "/simple"]):
        return None
    if extras:
        return replace(settings, index_url=extras[0], extra_index_urls=extras[1:])
    return replace(settings, no_index=True) if settings.find_links else None


def _owner(url: str, indexes: Sequence[str]) -> str:
    # uv leaves passwords out of the URLs that it prints.
    def bare(text: str) -> str:
        return re.sub(r"(?<=://)[^/\s@]+@", "", text).rstrip("/") + "/"

    return next((index for index in indexes if bare(url).startswith(bare(index))), "")
