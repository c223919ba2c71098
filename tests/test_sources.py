"""Folders, wheels, archives and commits as releases."""

from __future__ import annotations

import html
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
from packaging.requirements import Requirement

from ckptdoctor.environment import copies, snapshots, sources, tagging, uv_errors
from ckptdoctor.environment.sources import Sources
from ckptdoctor.errors import TargetError, UsageFault
from ckptdoctor.matrix import archives
from ckptdoctor.matrix.axes import parse
from ckptdoctor.model import pins
from ckptdoctor.model.compatibility import Cell, Map, Run
from ckptdoctor.model.evidence import Environment
from ckptdoctor.model.sources import MARK, Source, readable, titles
from ckptdoctor.output import Style, render
from tests.test_axes import SHELF

PYPROJECT = '[project]\nname = "{name}"\nversion = "{version}"\nrequires-python = ">=3.9"\n'


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "cache"
    folder.mkdir()
    return folder


@pytest.fixture
def taken(cache):
    return Sources(Path(sys.executable), cache)


def project(folder: Path, name: str = "pack", version: str = "1.2.dev0", code: str = "ONE = 1\n") -> Path:
    package = folder / "src" / name
    package.mkdir(parents=True, exist_ok=True)
    (folder / "pyproject.toml").write_text(PYPROJECT.format(name=name, version=version))
    (package / "__init__.py").write_text(code)
    return folder


def git(folder: Path, *arguments: str) -> str:
    who = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b"}
    who |= dict.fromkeys(
        ("GIT_AUTHOR_DATE", "GIT_COMMITTER_DATE"), "2026-01-01T00:00:00Z"
    )  # the same commits each time
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, **who}).stdout.strip()


def committed(folder: Path, message: str = "one") -> str:
    if not (folder / ".git").exists():
        git(folder, "init", "--quiet", "--initial-branch", "main")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", message)
    return git(folder, "rev-parse", "HEAD")


def test_a_folder_is_a_release_of_its_own_version_and_content(taken, cache, tmp_path):
    project(tmp_path / "my pack")
    release = taken.take("./my pack")
    version, mark = release.version.split("+")
    assert (release.name, version, release.source) == ("pack", "1.2.dev0", Source("./my pack"))
    assert MARK.fullmatch(mark)
    assert release.requires_python == ">=3.9"
    assert copies.located(f"pack==1.2.dev0+{mark}", cache) == f"pack @ {(cache / 'sources' / mark / 'code').as_uri()}"
    with archives.opened(release, None) as archive:
        assert archive.read("pack/__init__.py") == b"ONE = 1\n"


def test_equal_code_is_one_release_wherever_it_lies(taken, tmp_path):
    project(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    (tmp_path / "b" / "tests").mkdir()
    (tmp_path / "b" / "tests" / "test_it.py").write_text("beside it")
    (tmp_path / "b" / "src" / "pack" / "__pycache__").mkdir()
    (tmp_path / "b" / "src" / "pack" / "__pycache__" / "x.pyc").write_text("compiled")
    assert taken.take("./a").version == taken.take("./b").version


def test_another_content_is_another_release_and_the_copy_stays(taken, cache, tmp_path):
    project(tmp_path / "a")
    before = taken.take("./a")
    (tmp_path / "a" / "src" / "pack" / "__init__.py").write_text("TWO = 2\n")
    after = Sources(Path(sys.executable), cache).take("./a")
    assert before.version != after.version
    with archives.opened(before, None) as archive:
        assert archive.read("pack/__init__.py") == b"ONE = 1\n"


def test_a_wheel_a_source_archive_and_a_zip(taken, tmp_path):
    project(tmp_path / "pack-1.2.dev0")
    with tarfile.open(tmp_path / "pack-1.2.dev0.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "pack-1.2.dev0", "pack-1.2.dev0")
    with zipfile.ZipFile(tmp_path / "pack-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("pack/__init__.py", "ONE = 1\n")
    assert taken.take("pack-1.2.dev0.tar.gz").version == taken.take("./pack-1.2.dev0").version
    wheel = taken.take(f"pack @ {(tmp_path / 'pack-1.0-py3-none-any.whl').as_uri()}")
    assert (wheel.version.split("+")[0], wheel.source) == ("1.0", Source("pack-1.0-py3-none-any.whl"))
    with archives.opened(wheel, None) as archive:
        assert archive.read("pack/__init__.py") == b"ONE = 1\n"


def test_a_commit_is_the_release_that_its_folder_would_be(taken, tmp_path):
    folder = project(tmp_path / "repo")
    first = committed(folder)
    release = taken.take("./repo")
    (folder / "src" / "pack" / "__init__.py").write_text("TWO = 2\n")
    second = committed(folder, "two")
    for ref in (first, first[:9], "main~1"):
        assert taken.take(f"git+{folder.as_uri()}@{ref}").version == release.version
    newest = taken.take(f"git+{folder.as_uri()}")
    assert newest.version != release.version
    assert newest.source == Source("repo@HEAD", second, "two")
    assert git(folder, "status", "--porcelain") == ""


def test_what_git_ignores_is_no_part_of_a_folder(taken, tmp_path):
    folder = project(tmp_path / "repo")
    (folder / ".gitignore").write_text("outputs/\n")
    committed(folder)
    before = taken.take("./repo").version
    (folder / "outputs").mkdir()
    (folder / "outputs" / "weights.bin").write_text("0" * 1000)
    assert Sources(Path(sys.executable), tmp_path / "cache").take("./repo").version == before
    (folder / "src" / "pack" / "new.py").write_text("not yet added")
    assert Sources(Path(sys.executable), tmp_path / "cache").take("./repo").version != before


def test_in_a_repository_that_ignores_it_a_folder_is_whole(taken, tmp_path):
    (tmp_path / "outer").mkdir()
    (tmp_path / "outer" / ".gitignore").write_text("*\n!.gitignore\n")
    committed(tmp_path / "outer")
    project(tmp_path / "outer" / "pack")
    project(tmp_path / "pack")
    assert taken.take("./outer/pack").version == taken.take("./pack").version


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("./nowhere", UsageFault, "no folder or file"),
        ("./empty", UsageFault, "is not a Python package"),
        ("./repo@main..main", UsageFault, "names several commits"),
        ("pack @ file://{}/empty", UsageFault, "is not a Python package"),
        ("other @ file://{}/pack", UsageFault, "is the package pack, not other"),
        ("git+file://{}/pack@main", UsageFault, "is not a git repository"),
        ("git+file://{}/repo@gone", UsageFault, "repo has no branch, tag or commit gone"),
        ("git+file://{}/repo@--output=x", UsageFault, "has no branch, tag or commit --output=x"),
        ("./broken-1.0.tar.gz", UsageFault, "cannot be unpacked"),
        ("https://host/pack-1.0.tar.gz", UsageFault, "is not on this machine"),
    ],
)
def test_what_cannot_be_taken_is_one_sentence(taken, tmp_path, text, error, said):
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken-1.0.tar.gz").write_text("no archive")
    project(tmp_path / "pack")
    committed(project(tmp_path / "repo"))
    with pytest.raises(error, match=said):
        taken.take(text.format(tmp_path))


def test_a_copy_that_is_gone_is_told(cache):
    with pytest.raises(TargetError, match="is not in the cache any more"):
        copies.located("pack==1.0+src0123456789abcdef", cache)


def test_requirements_are_pinned_to_what_they_are_now(taken, tmp_path):
    project(tmp_path / "pack")
    release = taken.take("./pack")
    assert taken.pinned("./pack[more]") == f"pack[more]=={release.version}"
    assert taken.pinned("pack>=1") == "pack>=1"
    requirement = Requirement(copies.located(taken.pinned("-e ./pack[more]"), tmp_path / "cache"))
    assert (requirement.extras, requirement.url) == ({"more"}, release.files[0].url)


def test_sources_stand_beside_releases_on_an_axis(taken, tmp_path):
    project(tmp_path / "b", version="1.1.0", code="B = 1\n")
    project(tmp_path / "a", version="1.1.0", code="A = 1\n")
    project(tmp_path / "old", version="0.1")
    [axis] = parse(["./b", "pack>=1.0.1,<1.2", "./a", "./old"], SHELF, sources=taken)
    told = [release.source.text if release.source else release.version for release in axis.releases]
    assert told == ["./old", "1.0.1", "1.1.0", "./b", "./a", "1.1.2", "1.1.2.post1"]


def test_paths_of_the_home_and_of_others_are_not_shown(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "home" / "alice"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    assert sources.shown(tmp_path / "work" / "a b") == "./a b"
    assert sources.shown(tmp_path / "work") == "."
    assert sources.shown(tmp_path / "home" / "alice" / "code" / "trl") == "~/code/trl"
    assert sources.shown(tmp_path / "bob" / "trl") == ".../trl"


def test_a_folder_says_which_commit_it_is_at_and_whether_it_was_edited(taken, tmp_path):
    folder = project(tmp_path / "repo")
    commit = committed(folder)
    (folder / "docs").mkdir()
    (folder / "docs" / "index.md").write_text("beside it")
    assert taken.take("./repo").source == Source("./repo", commit)
    (folder / "src" / "pack" / "__init__.py").write_text("TWO = 2\n")
    assert Sources(Path(sys.executable), tmp_path / "cache").take("./repo").source == Source(
        "./repo", commit, edited=True
    )


def test_titles_tell_different_code_apart():
    first, second, third = "1.0+src0000000000000000", "1.0+src1111111111111111", "2.0+cpu.src2222222222222222"
    told = {"pack": {first: Source("./a"), second: Source("./a"), third: Source("./a")}}
    assert titles(told) == {first: "1.0 (./a, 000000)", second: "1.0 (./a, 111111)", third: "2.0+cpu (./a)"}


def test_a_map_names_sources_as_people_do():
    release = "2.0+src0123456789abcdef"
    cell = Cell({"pack": release}, "", "error", "measured", 0)
    run = Run({"pack": release}, "", "error", f"pack=={release} could not be built.")
    found = Map("", "", "", "", "", "", {"pack": ["1.0", release]}, [run], [cell], notes=[f"In all: pack {release}."])
    found = msgspec.structs.replace(found, sources={"pack": {release: Source("./[pack]", "1" * 40, edited=True)}})
    style = Style(color=False, width=100, verbose=False, unicode=False)
    for name in ("text", "markdown", "html", "csv"):
        text = html.unescape(render(name, found, style))
        assert release not in text
        assert "2.0 (./[pack])" in text.replace("\\", "")
    text = render("text", found, style)
    assert "./[pack] is at commit 1111111111, with changes that are not committed." in text
    assert release in render("json", found, style)


def test_a_build_that_asks_git_for_the_version_gets_an_answer_in_the_copy(taken, tmp_path, cache):
    folder = project(tmp_path / "repo")
    (folder / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["setuptools_scm>=8"]\n[project]\nname = "pack"\ndynamic = ["version"]\n'
    )
    committed(folder)
    git(folder, "tag", "v0.9.3")
    (folder / "src" / "pack" / "__init__.py").write_text("TWO = 2\n")
    committed(folder, "two")
    requirement = sources.installed(Requirement(f"pack @ {folder.as_uri()}"), cache)
    copy = Path(requirement.url.removeprefix("file://"))
    assert git(copy, "describe", "--tags") == "v0.9.4.dev1"
    assert git(copy, "status", "--porcelain") == ""
    assert git(folder, "describe", "--tags").startswith("v0.9.3-1-g")


@pytest.mark.parametrize(
    ("tag", "later", "version"),
    [
        ("v1.2", 0, "1.2"),
        ("v1.2", 2, "1.3.dev2"),
        ("1.3.0rc1", 1, "1.3.0.dev1"),
        ("pack-2.0.1", 0, "2.0.1"),
        ("nightly", 1, "0"),
        ("v1-x-2", 0, "0"),
    ],
)
def test_versions_out_of_tags(tmp_path, tag, later, version):
    folder = project(tmp_path / "repo")
    committed(folder)
    git(folder, "tag", tag)
    for at in range(later):
        (folder / "more.txt").write_text(str(at))
        committed(folder)
    assert tagging.described(folder) == version


def test_a_version_that_is_not_known_breaks_no_requirement():
    environment = Environment("3.11", "", "linux")
    assert pins.allows(Requirement("pack>=2"), "0+git0123456789abcdef", environment)
    assert not pins.allows(Requirement("pack>=2"), "1.9+src0123456789abcdef", environment)
    assert pins.allows(Requirement("pack<=2.0"), "2.0+src0123456789abcdef", environment)


@pytest.mark.parametrize(
    "text", ["./pack[more]", "pack[more] @ file://{}/pack", "pack @ file://{}/pack ; os_name == 'x'"]
)
def test_an_axis_refuses_what_is_more_than_a_release(taken, tmp_path, text):
    project(tmp_path / "pack")
    with pytest.raises(UsageFault, match="what is varied is the release alone"):
        parse([text.format(tmp_path)], SHELF, sources=taken)


def test_an_overlay_refuses_a_range(taken, tmp_path, cache):
    folder = project(tmp_path / "repo")
    committed(folder)
    with pytest.raises(UsageFault, match="names several commits"):
        sources.installed(Requirement(f"pack @ git+{folder.as_uri()}@main..main"), cache)


def test_errors_of_uv_name_a_package_and_no_path():
    said = "error: Failed to read `x @ file:///home/alice/.cache/ckptdoctor/sources/src0123456789abcdef/x.whl`\n"
    assert uv_errors.distil(said, {}).message == "The overlay could not be made: Failed to read `x`."


def test_errors_name_a_release_as_people_do():
    told = {"pack": {"1.0+src0123456789abcdef": Source("./pack")}}
    assert readable("pack 1.0+src0123456789abcdef is not good", told) == "pack 1.0 (./pack) is not good"


def test_what_a_build_names_is_copied_and_does_not_count(taken, tmp_path, cache):
    folder = project(tmp_path / "pack")
    with (folder / "pyproject.toml").open("a") as file:
        file.write('readme = "docs/README.md"\n')
    for name in ("docs/README.md", "docs/__pycache__/x.pyc", "examples/one.py"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("text")
    release = taken.take("./pack")
    copy = cache / "sources" / release.version.partition("+")[2] / "code"
    assert (copy / "docs" / "README.md").is_file()
    assert not (copy / "docs" / "__pycache__").exists()
    assert not (copy / "examples").exists()
    (folder / "docs" / "README.md").write_text("another text")
    assert Sources(Path(sys.executable), cache).take("./pack").version == release.version


def test_an_archive_writes_nothing_outside_of_its_folder(taken, tmp_path):
    project(tmp_path / "pack-1.0")
    with tarfile.open(tmp_path / "pack-1.0.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "pack-1.0" / "pyproject.toml", "../../../evil/pyproject.toml")
    with zipfile.ZipFile(tmp_path / "pack-1.1.zip", "w") as archive:
        archive.write(tmp_path / "pack-1.0" / "pyproject.toml", "../../../evil/pyproject.toml")
    for name in ("pack-1.0.tar.gz", "pack-1.1.zip"):
        with suppress(UsageFault):
            taken.take(f"./{name}")
    assert not list(tmp_path.parent.rglob("evil"))


def test_a_folder_that_is_edited_while_it_is_read_is_read_again(taken, tmp_path, monkeypatch, cache):
    folder = project(tmp_path / "pack")
    edits = iter(["TWO = 2\n"])
    real = snapshots.digest

    def digest(path):
        for text in edits:
            (folder / "src" / "pack" / "__init__.py").write_text(text)
        return real(path)

    first = real(folder)
    monkeypatch.setattr(snapshots, "digest", digest)
    assert snapshots.copy(folder, tmp_path / "made") == real(folder) != first
    assert (tmp_path / "made/code/src/pack/__init__.py").read_text() == "TWO = 2\n"
