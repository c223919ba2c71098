"""``ckptdoctor rehearse``."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import click

from ckptdoctor.cli import run, watch


@click.command("rehearse", **run.COMMAND)
@watch.WATCHING
@run.WORDS
def command(words: tuple[str, ...], evidence: str | None, **given: Any) -> int:
    """Run a training command small: on this machine's CPU or one GPU, in about a minute, and judge it.

    \b
    ckptdoctor rehearse -- llamafactory-cli train job.yaml
    ckptdoctor rehearse -- torchrun --nproc-per-node 8 train.py

    The command runs as it is, with its own trainer, patches, tokenizer and data. Small are: models, which get a few layers,
    random weights, and need no weight files; ranks, steps, batches, sequences, data sets and workers. Checkpoints,
    evaluation, loggers and uploads are off. Output goes to a temporary folder. The report says what was made small.

    The first steps are observed and judged as `ckptdoctor watch` does it. Then the command is ended.

    Exit status: 0 nothing found, 1 findings, 3 could not be judged; the command's own if it fails for another reason.
    127 if the command is not found, 126 if it cannot be started.
    """  # noqa: D301 - click wants the character itself
    from ckptdoctor.observe import folder, lacking, shrinking

    with tempfile.TemporaryDirectory(prefix="ckptdoctor-rehearsal-", ignore_cleanup_errors=True) as scratch:
        place = Path(evidence).absolute() if evidence else Path(scratch, "evidence")
        files = shrinking.read_files(words)
        small = shrinking.shrink(words, os.environ, shrinking.gpus(os.environ), shrinking.free_port(), files)
        shrinking.tell(place, small.said)
        status = watch.watch(
            small.words,
            ("watch", "rehearse"),
            "rehearse",
            evidence=str(place),
            exit_after=True,
            environ={**small.environ, shrinking.FOLDER: scratch},
            **given,
        )
        # A job may try to load what it can do without: what trained lacked nothing.
        if status and not any(one.steps for one in folder.read(place)):
            for sentence in lacking.sentences(place):
                watch.say("rehearse", sentence)
    return status
