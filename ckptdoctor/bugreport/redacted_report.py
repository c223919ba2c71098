"""A report without what is private: what to look for in it, and what takes its place."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from ckptdoctor.bugreport import private as private_names
from ckptdoctor.bugreport.machine import facts
from ckptdoctor.bugreport.placeholders import CACHE, MODEL, PROJECT, VENV
from ckptdoctor.bugreport.redact import Redactor
from ckptdoctor.environment import pip_settings
from ckptdoctor.errors import DoctorError
from ckptdoctor.model.evidence import Environment
from ckptdoctor.model.report import Report
from ckptdoctor.store import locations


def redactor_for(report: Report, python: Path, private: Mapping[str, Sequence[str]]) -> Redactor:
    """A redactor that knows the machine of a report."""
    found = report.environment
    names, people, remotes = private_names.repositories(Path.cwd())
    names |= {Path.cwd().name: PROJECT} if len(Path.cwd().name) >= 6 else {}
    names |= {one: private_names.PACKAGE for name, more in private.items() for one in (name, *more)}
    return Redactor(
        facts(
            os.environ,
            dict(_folders(report, python)),
            filter(None, [*_urls(found), *remotes]),
            {one.name: one.version for one in found.packages if one.name not in private},
            names,
            people,
        )
    )


def _urls(environment: Environment) -> list[str]:
    """Indexes, hosts and the proxy in pip's settings."""
    prefix = Path(environment.executable).parent.parent
    try:
        settings = pip_settings.read(prefix, os.environ)
    except (DoctorError, OSError, ValueError):
        return []
    indexes = [settings.index_url, *settings.extra_index_urls, *settings.find_links]
    return [*indexes, *settings.trusted_hosts, settings.proxy]


def _folders(report: Report, python: Path) -> Iterable[tuple[str, str]]:
    """Folders that a report may name, and what stands for them; of those named twice the last one counts."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        if folder == here or (folder / ".git").exists():
            yield str(folder), PROJECT
    for probe in report.probes:
        where = probe.checkpoint_function.rpartition(":")[0]
        if where.endswith(".py") and os.sep in where:
            yield str(Path(where).parent), PROJECT
        if os.sep in probe.model:
            yield probe.model, MODEL
    yield str(locations.cache()), CACHE
    yield str(locations.probes()), "<ckptdoctor>/probes"
    yield str(Path(__file__).resolve().parents[1]), "<ckptdoctor>"
    for name in (report.environment.executable, str(python)):
        # The interpreter of a virtual environment is a link: its folder is the one that was named.
        yield os.path.dirname(os.path.dirname(os.path.abspath(name))), VENV  # noqa: PTH100, PTH120


def redacted(report: Report, redactor: Redactor, private: Mapping[str, Sequence[str]]) -> Report:
    """The report as it may be shown."""
    shown = msgspec.structs.replace(
        report,
        environment=msgspec.structs.replace(
            report.environment, packages=private_names.without(report.environment, private)
        ),
    )
    plain_data = redactor.clean_json(_without_releases(msgspec.to_builtins(shown), private))
    return msgspec.convert(plain_data, Report)


def _without_releases(value: Any, private: Mapping[str, Sequence[str]]) -> Any:
    """Plain data in which the releases of private packages are not told: beside their names, and in fields of their own."""
    if isinstance(value, dict):
        releases = {
            key: "" if key == "version" and value.get("package") in private else one for key, one in value.items()
        }
        return {key: "" if key in private else _without_releases(one, private) for key, one in releases.items()}
    if isinstance(value, (list, tuple)):
        return [_without_releases(one, private) for one in value]
    if isinstance(value, str):
        for name in private:
            value = re.sub(rf"(?i)\b({re.escape(name)})(?:[ =@-]{{1,3}})v?\d[\w.+!-]*", r"\1", value)
    return value


def packages(report: Report, private: Mapping[str, Sequence[str]]) -> str:
    """The installed packages, as ``pip freeze`` lists them; private ones are counted."""
    named = private_names.without(report.environment, private)
    found = sorted({(one.name, one.version) for one in named}, key=lambda one: one[0].lower())
    left_out = f"# {len(private)} more, not installed from an index, not named here\n" if private else ""
    return "".join(f"{name}=={version}\n" for name, version in found) + left_out or "no package is installed\n"


def without_versions(text: str) -> str:
    """A listing without the releases of packages that are not named in it."""
    return re.sub(rf"({private_names.PACKAGE}\S*(?:==?|[ \t@]+)(?:@[ \t]*)?)[^\s,;)]+", r"\g<1><version>", text)
