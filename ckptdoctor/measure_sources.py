"""Writes what ``ckptdoctor scan`` knows of the releases of transformers: ``python -m ckptdoctor.measure_sources``.

Their sources are read from the index; nothing is installed or run.
"""

from __future__ import annotations

import itertools
import os
from importlib import resources

import click

from ckptdoctor import scan
from ckptdoctor.environment import pip_settings
from ckptdoctor.environment.index import Index
from ckptdoctor.matrix import archives, axes
from ckptdoctor.matrix.archives import Archive
from ckptdoctor.matrix.measuring import today
from ckptdoctor.output.plain_json import indented
from ckptdoctor.scan import releases
from ckptdoctor.scan.releases import Facts, Group, Known, Read

REQUIREMENT = "transformers>=4.40"
"""As far back as the map of trainers goes."""
MODELLING = "transformers/models/", "/modeling_"


def main() -> None:
    """Read the releases, and write the file."""
    read: dict[str, Facts] = {}
    layers: dict[str, tuple[str, ...]] = {}
    with Index(pip_settings.read(None, os.environ)) as index:
        [axis] = axes.parse([REQUIREMENT], index)
        for release in axis.releases:
            click.echo(release.version, err=True)
            with archives.opened(release, index.session) as archive:
                read[release.version] = releases.read(_reader(archive))
                if release is axis.releases[-1]:
                    layers = releases.subclasses(_modelling(archive))
    groups = itertools.groupby(read.items(), key=lambda one: one[1])
    made = Known(
        date=today(),
        groups=tuple(Group(tuple(release for release, _ in group), facts) for facts, group in groups),
        layers=layers,
    )
    with resources.as_file(resources.files(scan).joinpath(releases.FILE)) as path:
        path.write_text(indented(made), encoding="utf-8")


def _reader(archive: Archive) -> Read:
    def read(file: str) -> bytes:
        if file not in archive.names:
            raise LookupError(file)
        return archive.read(file)

    return read


def _modelling(archive: Archive) -> dict[str, bytes]:
    folder, start = MODELLING
    files = [name for name in archive.names if name.startswith(folder) and start in name and name.endswith(".py")]
    return {name.removesuffix(".py").replace("/", "."): archive.read(name) for name in files}


if __name__ == "__main__":
    main()
