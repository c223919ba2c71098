"""What a SARIF 2.1.0 log holds beside its results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ckptdoctor.model.exit_status import ExitStatus
from ckptdoctor.words.escape import one_line

DOCUMENTATION = "https://docs.pytorch.org/docs/stable/checkpoint.html"
"""For a rule without a public report of its own."""
PROJECT, PACKAGES = "%SRCROOT%", "SITE-PACKAGES"
"""What the addresses of places are relative to."""


def log(run: dict[str, Any]) -> dict[str, Any]:
    """A log with one run."""
    return {"$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0", "runs": [run]}


def driver(version: str, rules: list[dict[str, Any]]) -> dict[str, Any]:
    """The tool, with the rules that results name."""
    return {"name": "ckptdoctor", "version": version, "rules": rules}


def bases(packages: str = "The folder of packages of the environment.") -> dict[str, Any]:
    """What ``PROJECT`` and ``PACKAGES`` are."""
    return {
        PROJECT: {"description": {"text": "The repository, or the project's folder."}},
        PACKAGES: {"description": {"text": packages}},
    }


def invocation(status: ExitStatus, notices: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """A command that ran to its end.

    Args:
        status: What it ended in.
        notices: Level and text of each.
    """
    return {
        "executionSuccessful": True,
        "exitCode": int(status),
        "exitCodeDescription": status.meaning,
        "toolExecutionNotifications": [
            {"level": level, "message": {"text": one_line(text)}} for level, text in notices
        ],
    }
