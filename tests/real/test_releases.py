"""Fingerprints of the releases that there are, read from the index that pip is set up for."""

from __future__ import annotations

import os

import pytest

from ckptdoctor.environment import pip_settings
from ckptdoctor.environment.index import Index
from ckptdoctor.errors import UsageFault
from ckptdoctor.matrix.axes import parse
from ckptdoctor.matrix.fingerprints import Reader

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def index():
    with Index(pip_settings.read(None, os.environ)) as opened:
        yield opened


@pytest.fixture(scope="module")
def read(index, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fingerprints")

    def fingerprints(requirement: str, *families: str):
        [axis] = parse([requirement], index)
        return Reader(index.session, folder).fingerprints(axis.name, axis.releases, families)

    return fingerprints


def test_axes(index):
    transformers, llamafactory = parse(["transformers>=4.50,<4.52", "llamafactory>=0.9,<0.9.6"], index, "minor")
    assert [one.version for one in transformers.releases] == ["4.50.3", "4.51.3"]
    assert [one.version for one in llamafactory.releases] == ["0.9.5"]
    with pytest.raises(UsageFault, match="No release of transformers matches"):
        parse(["transformers==4.51.9"], index)


def test_yanked_release_only_where_it_is_pinned(index):
    [axis] = parse(["transformers>=4.57,<4.57.2"], index)
    assert [one.version for one in axis.releases] == ["4.57.1"]
    [axis] = parse(["transformers==4.57.0"], index)
    assert [one.version for one in axis.releases] == ["4.57.0"]


def test_families_come_with_releases(read):
    found = read("transformers>=4.51.0,<4.52", "glm4", "glm")
    assert {version: tuple(sorted(fingerprint.digests)) for version, fingerprint in found.items()} == {
        "4.51.0": ("glm",),
        "4.51.1": ("glm",),
        "4.51.2": ("glm",),
        "4.51.3": ("glm", "glm4"),
    }


@pytest.mark.parametrize(("before", "after"), [("4.50.3", "4.51.0"), ("5.22.2", "5.23.0")])
def test_the_measured_boundaries_lie_between_kinds(read, before: str, after: str):
    [old] = read(f"transformers=={before}", "glm", "llama").values()
    [new] = read(f"transformers=={after}", "glm", "llama").values()
    assert all(old.digests[family] != new.digests[family] for family in ("glm", "llama"))


def test_patch_releases_collapse(read):
    found = read("transformers>=4.56,<4.57", "glm4")
    assert len(found) == 3
    assert len({fingerprint.digests["glm4"] for fingerprint in found.values()}) == 1


def test_trainers(read):
    old, new = (read(f"llamafactory=={version}")[version] for version in ("0.9.2", "0.9.3"))
    assert tuple(old.digests) == tuple(new.digests) == ("llamafactory", "llamafactory:unsloth")
    assert old.digests["llamafactory"] != new.digests["llamafactory"]
    found = read("axolotl>=0.12.0,<0.13")  # the last of them has no wheel
    assert len(found) == 3
    assert len({fingerprint.digests["axolotl:offload"] for fingerprint in found.values()}) == 1
    assert "4.51.3" in found["0.12.2"].compared


def test_second_read_comes_from_the_cache(read, monkeypatch: pytest.MonkeyPatch):
    first = read("transformers==4.51.3", "glm4")
    monkeypatch.setattr("ckptdoctor.matrix.archives.opened", None)
    assert read("transformers==4.51.3", "glm4") == first
