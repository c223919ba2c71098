"""Tries the checkpoint functions that a scan found, as ``ckptdoctor check --checkpoint-fn`` does."""

from __future__ import annotations

import dataclasses

import msgspec

from ckptdoctor.diagnose import diagnose
from ckptdoctor.errors import DoctorError
from ckptdoctor.model.progress import Progress
from ckptdoctor.model.scan import Scan, ScanFinding, Trial
from ckptdoctor.planning.options import Options
from ckptdoctor.planning.request import Request


def with_trials(scan: Scan, request: Request, progress: Progress) -> Scan:
    """The scan with what comes of each function.

    Args:
        scan: What was found.
        request: Names the environment.
        progress: Told how it goes on.
    """
    trials = {}
    for function in dict.fromkeys(one.function for one in scan.findings if one.function):
        progress.part(f"trying {function}")
        trials[function] = _tried(function, request, progress)
    findings = tuple(_with(one, trials[one.function]) if one.function else one for one in scan.findings)
    return msgspec.structs.replace(scan, findings=findings)


def _tried(function: str, request: Request, progress: Progress) -> Trial:
    try:
        report = diagnose(
            dataclasses.replace(request, options=Options(functions=(function,)), find_remedies=False), progress
        )
    except DoctorError as error:
        return Trial("error", error.message)
    return Trial(report.verdict, report.summary)


def _with(finding: ScanFinding, trial: Trial) -> ScanFinding:
    """A function that fails is an error; one that works leaves a doubt, since not all code that calls it was run."""
    severity = finding.severity
    if trial.verdict == "fail":
        severity = "error"
    elif trial.verdict == "ok" and severity == "error":
        severity = "warning"
    return msgspec.structs.replace(finding, trial=trial, severity=severity)
