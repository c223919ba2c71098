"""Ranges of commits as releases."""

from __future__ import annotations

import shutil
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ckptdoctor.environment import copies
from ckptdoctor.environment.sources import Sources
from ckptdoctor.errors import TargetError, UsageFault
from ckptdoctor.matrix import archives, bisect
from ckptdoctor.matrix.axes import parse
from ckptdoctor.matrix.request import MatrixRequest
from ckptdoctor.model.sources import Source, own_version, titles
from tests.test_axes import SHELF
from tests.test_sources import cache, committed, git, project, taken

__all__ = ["cache", "taken"]


@pytest.fixture
def repository(tmp_path):
    """Five commits, of which three change what is installed; a branch leaves from the second."""
    folder = project(tmp_path / "repo", version="1.0")
    committed(folder, "first")
    git(folder, "tag", "v1")
    (folder / "docs").mkdir()
    (folder / "docs" / "index.md").write_text("a page")
    committed(folder, "a page")
    git(folder, "branch", "release")
    project(folder, version="1.1.dev0", code="TWO = 2\n")
    committed(folder, "second: [bold]")
    project(folder, version="1.1.dev0", code="ONE = 1\n")
    committed(folder, "third")
    git(folder, "tag", "v2")
    return folder


def shown(history):
    return [release.source.text for release in history.releases]


def test_a_range_holds_the_commits_that_change_what_is_installed(taken, repository, cache):
    history = taken.history("./repo@v1..v2")
    second = git(repository, "rev-parse", "v2~1")
    assert shown(history) == ["repo@v1", f"repo@{second[:10]}", "repo@v2"]
    assert [own_version(release.version) for release in history.releases] == ["1.0", "1.1.dev0", "1.1.dev0"]
    assert [release.source.subject for release in history.releases] == ["first", "second: [bold]", "third"]
    assert history.releases[1].source.commit == second
    assert not list((cache / "sources").glob("*")), "nothing is copied before it is run"


def test_a_commit_is_read_where_it_is_and_copied_once_it_is_installed(taken, repository, cache):
    release = taken.history("./repo@v1..v2").releases[1]
    with archives.opened(release, None) as archive:
        assert archive.read("pack/__init__.py") == b"TWO = 2\n"
        assert "docs/index.md" not in archive.names
    where = taken.located(f"pack=={release.version}")
    assert where == f"pack @ {(cache / 'sources' / release.commit.mark / 'code').as_uri()}"
    assert (cache / "sources" / release.commit.mark / "code/src/pack/__init__.py").read_text() == "TWO = 2\n"
    assert copies.located(f"pack=={release.version}", cache) == where
    assert git(repository, "status", "--porcelain") == ""


def test_the_ends_may_be_given_as_good_and_bad_in_either_order(taken, repository):
    forward = taken.history("./repo", "v1", "v2")
    assert (forward.good, forward.bad) == (forward.releases[0].version, forward.releases[-1].version)
    backward = taken.history(f"git+{repository.as_uri()}", "main", "v1")
    assert (backward.good, backward.bad) == (backward.releases[-1].version, backward.releases[0].version)
    assert shown(backward)[-1] == "repo@main"


def test_branches_that_have_diverged_are_searched_from_where_they_meet(taken, repository):
    git(repository, "switch", "--quiet", "release")
    project(repository, version="1.0.1", code="FIXED = 1\n")
    committed(repository, "a patch release")
    git(repository, "tag", "v1.0.1")
    history = taken.history("./repo", "v1.0.1", "v2")
    meeting = git(repository, "merge-base", "v1.0.1", "v2")
    assert shown(history)[0] == f"repo@{meeting[:10]}"
    assert "v1.0.1 and v2 have diverged" in history.notes[0]
    assert history.good == history.releases[0].version


def test_a_project_inside_of_a_repository(taken, tmp_path):
    project(tmp_path / "mono" / "python", code="ONE = 1\n")
    first = committed(tmp_path / "mono")
    (tmp_path / "mono" / "core.c").write_text("other")
    committed(tmp_path / "mono")
    project(tmp_path / "mono" / "python", code="TWO = 2\n")
    committed(tmp_path / "mono", "three")
    for text in (f"./mono/python@{first}..", f"git+{(tmp_path / 'mono').as_uri()}@{first}..main#subdirectory=python"):
        history = taken.history(text)
        assert [release.source.subject for release in history.releases] == ["one", "three"]
        with archives.opened(history.releases[1], None) as archive:
            assert archive.read("pack/__init__.py") == b"TWO = 2\n"
    assert taken.take(f"./mono/python@{first}").source.subject == "one"


def test_an_axis_keeps_the_order_of_a_history(taken, repository):
    project(repository, version="0.9", code="DOWN = 1\n")
    committed(repository, "the version goes down")
    [axis] = parse(["./repo@v1..main"], SHELF, sources=taken)
    assert [own_version(release.version) for release in axis.releases] == ["1.0", "1.1.dev0", "1.1.dev0", "0.9"]


def test_a_merge_is_one_commit(taken, repository):
    git(repository, "switch", "--quiet", "--create", "topic", "main")
    project(repository, code="THREE = 3\n")
    committed(repository, "work")
    project(repository, code="FOUR = 4\n")
    committed(repository, "more work")
    git(repository, "switch", "--quiet", "main")
    git(repository, "merge", "--quiet", "--no-ff", "--message", "merged", "topic")
    subjects = [release.source.subject for release in taken.history("./repo@v2..main").releases]
    assert subjects == ["third", "merged"]


def test_a_version_that_is_in_another_file_or_nowhere(taken, tmp_path):
    folder = project(tmp_path / "repo")
    (folder / "pyproject.toml").write_text(
        '[project]\nname = "pack"\ndynamic = ["version"]\n[tool.hatch.version]\npath = "src/pack/env.py"\n'
    )
    (folder / "src/pack/env.py").write_text('import os\nVERSION = "2.0.dev0"\n')
    committed(folder)
    (folder / "pyproject.toml").write_text('[project]\nname = "pack"\ndynamic = ["version"]\n')
    committed(folder)
    releases = taken.history("./repo@main~1..main").releases
    assert [own_version(release.version) for release in releases] == ["2.0.dev0", "2.0.dev0"]
    shutil.rmtree(folder)
    folder = project(tmp_path / "repo")
    (folder / "pyproject.toml").write_text('[project]\nname = "pack"\ndynamic = ["version"]\n')
    committed(folder)
    project(folder, code="X = 1\n")
    (folder / "pyproject.toml").write_text('[project]\nname = "pack"\ndynamic = ["version"]\n')
    committed(folder)
    again = Sources(Path(sys.executable), tmp_path / "cache")
    first, _ = again.history("./repo@main~1..main").releases
    assert titles(again.told)[first.version] == f"repo@{git(folder, 'rev-parse', 'main~1')[:10]}" or "main~1"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("./repo@v2..v2",), "changes what is installed"),
        (("./repo@v2..v1",), "changes what is installed"),
        (("./repo@v1..gone",), "has no branch, tag or commit gone"),
        (("./repo@v1..v2", "v1", "v2"), "has its ends already"),
        (("./repo", "v1", "v1"), "are the same"),
        (("./loose", "v1", "v2"), "is not in a git repository"),
        (("./repo@v1..other",), "have no commit of repo in common"),
    ],
)
def test_ends_that_make_no_sense_are_one_sentence(taken, tmp_path, repository, arguments, said):
    project(tmp_path / "loose")
    git(repository, "switch", "--quiet", "--orphan", "other")
    committed(project(repository), "unrelated")
    git(repository, "switch", "--quiet", "main")
    with pytest.raises(UsageFault, match=said):
        taken.history(*arguments)


@pytest.fixture
def served(repository, tmp_path):
    """The repository over plain HTTP."""
    git(tmp_path, "clone", "--quiet", "--bare", str(repository), "served.git")
    git(tmp_path / "served.git", "update-server-info")
    handler = partial(QuietHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"git+http://user:secret@127.0.0.1:{server.server_port}/served.git"
        server.shutdown()
        thread.join()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


def test_a_repository_on_the_network_is_fetched_once_and_its_password_is_not_shown(taken, served, repository, cache):
    second = git(repository, "rev-parse", "v2~1")
    assert taken.take(f"{served}@v1").source == Source("served@v1", git(repository, "rev-parse", "v1"), "first")
    assert taken.take(f"{served}@{second}").source.subject == "second: [bold]"
    assert taken.take(f"{served}@{second[:8]}").source.subject == "second: [bold]"
    history = taken.history(f"pack @ {served}@v1..main")
    assert shown(history) == ["served@v1", f"served@{second[:10]}", "served@main"]
    assert shown(taken.history(f"{served}@v1.."))[-1] == "served@HEAD"
    assert taken.located(f"pack=={history.releases[1].version}").endswith("/code")
    assert len(list((cache / "repositories").iterdir())) == 1
    with pytest.raises(UsageFault, match="served has no branch, tag or commit gone"):
        taken.take(f"{served}@gone")
    with pytest.raises(TargetError, match=r"^http://127.0.0.1:\d+/nothing.git cannot be fetched: ") as caught:
        taken.take(f"{served.replace('served', 'nothing')}@main")
    assert "secret" not in caught.value.message + caught.value.hint


def test_a_folder_stands_as_an_end_against_releases(taken, tmp_path):
    project(tmp_path / "pack", version="1.1.2.dev1")
    request = MatrixRequest(["pack"])
    axis, good, bad = bisect._axis(request, "1.0.0", "./pack", SHELF, taken)
    told = [release.source.text if release.source else release.version for release in axis.releases]
    assert told == ["1.0.0", "1.0.1", "1.1.0", "./pack"]
    assert (good, bad) == ("1.0.0", axis.releases[-1].version)
