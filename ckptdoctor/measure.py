"""Writes the knowledge: ``python -m ckptdoctor.measure --python TARGET --transformers 4.51.3 --trainers ...``.

Every combination is laid over the target, which needs torch, and run with real packages. What it writes is all there is in
``measured.json``: no line of that file is typed by hand.
"""

from __future__ import annotations

import datetime
from pathlib import Path

import click
import msgspec

from ckptdoctor import __version__, knowledge
from ckptdoctor.diagnose import diagnose
from ckptdoctor.errors import DoctorError
from ckptdoctor.knowledge import Knowledge, Measurement
from ckptdoctor.plan import Options
from ckptdoctor.report import Report
from ckptdoctor.request import Request
from ckptdoctor.rules.case import is_sound_as_far_as_can_be_told


@click.command()
@click.option("--python", required=True, help="A Python with torch, over which the combinations are laid.")
@click.option("--transformers", "releases", multiple=True, required=True, help="A release. Repeatable.")
@click.option(
    "--trainers",
    "groups",
    multiple=True,
    required=True,
    help="Trainers to lay in together, as llamafactory==0.9.3,axolotl==0.8.1. Repeatable.",
)
@click.option("--output", default=str(Path(knowledge.__file__).with_name(knowledge.FILE)), show_default=True)
def main(python: str, releases: tuple[str, ...], groups: tuple[str, ...], output: str) -> None:
    """Run every release of transformers with every group of trainers, and write down what came of it."""
    measured: dict[tuple[str, str, str, str], Measurement] = {}
    requires: dict[str, dict[str, list[str]]] = {}
    report: Report | None = None
    for release in releases:
        for group in groups:
            click.echo(f"transformers {release} with {group}: ", err=True, nl=False)
            requirements = [f"transformers=={release}", *group.split(",")]
            try:
                report = _run(python, requirements)
            except DoctorError as error:
                click.echo(error.message, err=True)
                continue
            found = _measurements(report, release)
            measured.update({(one.transformers, one.package, one.version, one.function): one for one in found})
            _note_requirements(report, requires)
            click.echo(", ".join(f"{one.function} {one.verdict}" for one in found), err=True)
    if report is None:
        raise click.ClickException("nothing could be measured")
    environment = report.environment
    written = Knowledge(
        date=datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        ckptdoctor=__version__,
        python=environment.python,
        torch=environment.version("torch"),
        platform=environment.platform,
        requires=requires,
        measurements=[measured[key] for key in sorted(measured)],
    )
    Path(output).write_bytes(msgspec.json.format(msgspec.json.encode(written), indent=1) + b"\n")


def _run(python: str, requirements: list[str]) -> Report:
    names = [requirement.split("==")[0] for requirement in requirements[1:]]
    options = Options(functions=names, engines=("none",))
    return diagnose(Request(python, requirements, options=options, use_cache=False, find_remedies=False))


def _measurements(report: Report, release: str) -> list[Measurement]:
    found = []
    for probe in report.probes:
        if probe.role != "subject" or probe.variant:
            continue
        package = probe.checkpoint_function.split(":")[0]
        # A function of which only the forward pass could be judged, not even with a stand-in, is not known to work.
        unproven = probe.evidence.forward_only and not is_sound_as_far_as_can_be_told(probe.evidence)
        undecided = probe.outcome == "skipped" or "CKPT900" in probe.rules or (unproven and not probe.rules)
        verdict = "ok" if probe.outcome == "ok" else "error" if undecided else "fail"
        found.append(
            Measurement(
                transformers=release,
                package=package,
                version=report.environment.version(package),
                function=probe.checkpoint_function,
                model=probe.model,
                verdict=verdict,  # type: ignore[arg-type]
                forward_only=probe.evidence.forward_only,
                rules=probe.rules,
                detail=(probe.error or "")[:200],
            )
        )
    return found


def _note_requirements(report: Report, requires: dict[str, dict[str, list[str]]]) -> None:
    trainers = {name.split(":")[0] for name in report.environment.trainers}
    for package in report.environment.packages:
        if package.name in trainers and package.requires:
            requires.setdefault(package.name, {})[package.version] = package.requires


if __name__ == "__main__":
    main()
