"""``ckptdoctor watch``."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ckptdoctor.cli import progress
from ckptdoctor.cli.grouping import grouped
from ckptdoctor.cli.printing import Destination, several_formats, style
from ckptdoctor.cli.run import COMMAND
from ckptdoctor.errors import UsageFault
from ckptdoctor.model.exit_status import ExitStatus

if TYPE_CHECKING:
    from ckptdoctor.model.report import Report
    from ckptdoctor.observe.following import Followed, Watching
    from ckptdoctor.observe.hooked import Part

ANY_WORDS = click.argument("words", metavar="COMMAND [ARGUMENTS]...", nargs=-1, type=click.UNPROCESSED)

WATCHING = grouped(
    click.option(
        "--steps",
        type=click.IntRange(1, 100),
        default=2,
        show_default=True,
        help="Steps of the optimizer to observe. Then every hook is taken out, and the job goes on.",
    ),
    click.option(
        "--stop-on",
        type=click.Choice(["never", "error", "warning"]),
        default="never",
        show_default=True,
        help="End the command, all its ranks, on a finding of this severity or a higher one. Exit 1.",
    ),
    click.option(
        "--evidence", metavar="DIR", help="Folder in which processes report, shared by all machines of the job."
    ),
    several_formats("report", "standard error"),
)
"""Options of the commands that observe."""


@click.command("watch", **COMMAND)
@WATCHING
@click.option("--exit-after", is_flag=True, help="End the command once the steps are observed. Exit by the verdict.")
@click.option(
    "--collect", metavar="DIR", help="Start nothing: judge what the processes of a job reported in this folder."
)
@ANY_WORDS
def command(words: tuple[str, ...], collect: str | None, **given: Any) -> int:
    """Run a training command unchanged, observe its first steps, and say whether checkpointing works in it.

    \b
    ckptdoctor watch -- torchrun --nproc-per-node 8 train.py
    ckptdoctor watch --exit-after --stop-on error -- llamafactory-cli train job.yaml
    ckptdoctor watch --evidence /shared/job17 -- srun python train.py

    Each Python of the command that trains a model is observed, whatever trainer, engine and model it uses: which layers are
    recomputed, how often, and with what; which parameters get a gradient; what was replaced; and any error. The observer
    changes no value and no random state, and takes its hooks out after the steps.

    A line on standard error gives the verdict as soon as it is known. The report follows when the command has ended. See
    `ckptdoctor run` for what cannot be reached.

    Exit status: the status of the command. After --stop-on or --exit-after ended it: 0 nothing found, 1 findings,
    3 could not be judged. 127 if the command is not found, 126 if it cannot be started.
    """  # noqa: D301 - click wants the character itself
    if collect is not None:
        return _collect(Path(collect), words, **given)
    if not words:
        raise UsageFault("There is no command to run.", "write it after --, as in: ckptdoctor watch -- python train.py")
    return watch(words, ("watch",), "watch", **given)


def watch(
    words: Sequence[str],
    parts: Sequence[Part],
    name: str,
    *,
    steps: int,
    stop_on: Any,
    evidence: str | None,
    destinations: Sequence[Destination],
    exit_after: bool = False,
    environ: dict[str, str] | None = None,
) -> int:
    """Run a command with the hook, follow it, and print the report; the exit status.

    Args:
        words: The command.
        parts: What the hook does.
        name: The command of ckptdoctor, for lines on standard error.
        steps: Steps to observe.
        stop_on: Which findings end the command.
        evidence: The folder of evidence; a temporary one if there is none.
        destinations: Formats of the report.
        exit_after: Whether to end the command after the steps.
        environ: The command's environment, but for the hook; ours if there is none.
    """
    from ckptdoctor.observe import folder, following, hooked

    watching = following.Watching(steps, stop_on, exit_after, _label(words))
    with _folder(evidence) as place:
        folder.prepare(place, steps)
        hooks = hooked.environment(parts, os.environ if environ is None else environ, place)
        say(name, f"observing {_label(words)}")
        with ExitStack() as until_verdict:
            run = [list(words), steps, list(parts)]
            going = until_verdict.enter_context(progress.reporter(name, run, between=True))
            followed = following.follow(words, hooks, place, watching, _teller(name, until_verdict), going)
    report = followed.report
    if "adapt" in parts:
        report = report.with_notes(["`ckptdoctor run` adapts callables: without it, the command may fail."])
    show(report, destinations)
    return _status(followed, watching)


def _collect(place: Path, words: Sequence[str], steps: int, destinations: Sequence[Destination], **others: Any) -> int:
    from ckptdoctor.observe import folder, judging
    from ckptdoctor.observe.job import EVERYWHERE, Job

    if words:
        raise UsageFault("--collect starts nothing, so there is no place for a command.", "leave the command out")
    if not (place / folder.SETTINGS).is_file():
        raise UsageFault(f"{place} is no folder of evidence.", "name the folder that --evidence named")
    processes, small = folder.read(place), folder.read_small(place)
    report = judging.judge(Job(processes, steps, small=small, over_on=EVERYWHERE))
    for one in sorted(destinations, key=lambda one: not one.file):
        one.show(report)
    return report.status


def show(report: Report, destinations: Sequence[Destination]) -> None:
    """Write each format to its file, and what has none to standard error: standard output is the command's."""
    from ckptdoctor.output import render

    for one in destinations:
        if one.file:
            one.show(report)
            continue
        # No tables: of the steps of ranks, the verdict says how many there are.
        text = render(one.format, report, style(None, probes=False, stream=sys.stderr))
        with suppress(OSError, ValueError):  # closed
            click.echo(text, err=True, nl=False)


@contextmanager
def _folder(named: str | None) -> Iterator[Path]:
    if named is not None:
        yield Path(named).absolute()
        return
    with tempfile.TemporaryDirectory(prefix="ckptdoctor-", ignore_cleanup_errors=True) as made:
        yield Path(made)


def _label(words: Sequence[str]) -> str:
    """The program and the first file that it names: other arguments may hold secrets, and this may go to a log."""
    from ckptdoctor.words.escape import one_line

    files = (word for word in words[1:] if word.endswith(_FILES) and Path(word).is_file())
    return one_line(" … ".join([Path(words[0]).name, *(Path(one).name for one in list(files)[:1])]), 200)


_FILES = (".py", ".yaml", ".yml", ".json", ".sh")


def _teller(name: str, until_verdict: ExitStack) -> Callable[[Report], None]:
    def tell(report: Report) -> None:
        from ckptdoctor.output.sentences import VERDICTS

        until_verdict.close()  # a job may go on for days
        say(name, f"{VERDICTS[report.verdict]}: {report.summary}")

    return tell


def say(name: str, text: str) -> None:
    """A line on standard error."""
    from ckptdoctor.words.escape import one_line

    with suppress(OSError, ValueError):  # closed
        click.echo(f"{progress.fresh_line()}ckptdoctor {name}: {one_line(text, 1000)}", err=True)


def _status(followed: Followed, watching: Watching) -> int:
    """The exit status: the command's own, unless it was to be ended or to be judged by what was found."""
    if followed.stopped == "finding" or followed.fires(watching.stop_on):
        return ExitStatus.FOUND
    is_judged = followed.stopped or (watching.exit_after and (not followed.status or followed.report.verdict == "fail"))
    return followed.report.status if is_judged else followed.status
