"""Folders and commits of real packages as releases: a trainer's history, made from the code of two of its releases."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path

import pytest

from ckptdoctor.environment import pip_settings
from ckptdoctor.environment.index import Index
from tests import conftest
from tests.test_sources import committed, git

pytestmark = pytest.mark.real

FUNCTION = "src/llamafactory/model/model_utils/checkpointing.py"
WITH = ("--with", "transformers==4.51.3")


@pytest.fixture(scope="module")
def unpacked(environments, tmp_path_factory):
    """The source archives of two releases, of which the newer one takes what transformers 4.51.3 passes."""
    folder = tmp_path_factory.mktemp("unpacked")
    with Index(pip_settings.read(None, os.environ)) as index:
        for release in index.releases("llamafactory"):
            if release.version in ("0.9.2", "0.9.3"):
                file = next(file for file in release.files if file.name.endswith(".tar.gz"))
                archive = folder / file.name
                archive.write_bytes(file.path.read_bytes() if file.path else index.session.get(file.url).content)
                with tarfile.open(archive) as packed:
                    packed.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="module")
def history(unpacked, tmp_path_factory):
    """From the one release to the other in six commits; the fourth has the newer checkpoint function."""
    folder = tmp_path_factory.mktemp("alice") / "LLaMA-Factory"
    shutil.copytree(unpacked / "llamafactory-0.9.2", folder)
    (folder / "PKG-INFO").unlink()
    committed(folder, "Version 0.9.2")
    git(folder, "tag", "v0.9.2")
    with (folder / FUNCTION).open("a") as file:
        file.write("\n# a comment\n")
    committed(folder, "Comment it")
    data = Path("src/llamafactory/data")
    shutil.copytree(unpacked / "llamafactory-0.9.3" / data, folder / data, dirs_exist_ok=True)
    committed(folder, "Work on the data")
    shutil.copy(unpacked / "llamafactory-0.9.3" / FUNCTION, folder / FUNCTION)
    fix = committed(folder, "Take what is partial")
    (folder / "tests").mkdir(exist_ok=True)
    (folder / "tests" / "test_more.py").write_text("def test():\n    pass\n")
    committed(folder, "Test more")
    shutil.rmtree(folder / "src")
    shutil.copytree(unpacked / "llamafactory-0.9.3" / "src", folder / "src")
    committed(folder, "Version 0.9.3")
    return folder, fix


@pytest.fixture(scope="module")
def found(torch_python, history, tmp_path_factory):
    store = tmp_path_factory.mktemp("store") / "results.sqlite"
    options = ["--python", torch_python, "--store", store, *WITH, "--format", "json"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(history[0].parent)
        return conftest.run("bisect", "./LLaMA-Factory", "--bad", "v0.9.2", "--good", "HEAD", *options), store


def rows(store):
    with closing(sqlite3.connect(store)) as database:
        return set(database.execute("SELECT base, item, made FROM results").fetchall())


def test_the_commit_that_fixed_it_is_found(found, history):
    folder, fix = history
    ran, _ = found
    assert ran.status == 0, ran.err
    [line] = ran.report["lines"]
    source = ran.report["sources"]["llamafactory"][line["after"]]
    assert (source["commit"], source["subject"]) == (fix, "Take what is partial")
    assert (line["run_before"]["verdict"], line["run_after"]["verdict"]) == ("fail", "ok")
    assert line["run_before"]["faults"][0]["culprit"]["file"] == FUNCTION.removeprefix("src/")
    assert len(ran.report["releases"]) == 5  # a commit that changes only tests is left out
    assert len(ran.report["measured"]) == 4  # both ends, and both sides of the line
    assert git(folder, "status", "--porcelain") == ""
    assert str(folder.parent) not in ran.out


def test_a_map_of_its_commits_takes_what_is_known_and_names_them(found, history, torch_python, monkeypatch):
    monkeypatch.chdir(history[0].parent)
    before = rows(found[1])
    options = ["--python", torch_python, "--store", found[1], *WITH]
    ran = conftest.run("matrix", "--vary", "./LLaMA-Factory@v0.9.2..", *options, "--format", "csv")
    lines = [line.split(",") for line in ran.out.splitlines()[1:]]
    assert [line[2] for line in lines] == ["fail", "fail", "fail", "ok", "ok"]
    assert lines[0][0] == "LLaMA-Factory@v0.9.2"
    assert lines[3][0] == f"LLaMA-Factory@{history[1][:10]}"
    assert rows(found[1]) == before


def test_a_folder_goes_by_its_content(unpacked, torch_python, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = tmp_path / "results.sqlite"

    def verdict(folder):
        options = ["--python", torch_python, "--store", store, *WITH]
        ran = conftest.run("matrix", "--vary", f"./{folder}", *options, "--format", "json")
        [cell] = ran.report["cells"]
        assert ran.report["sources"]["llamafactory"][cell["stack"]["llamafactory"]]["text"] == f"./{folder}"
        return cell["verdict"]

    shutil.copytree(unpacked / "llamafactory-0.9.2", "my trainer")
    assert verdict("my trainer") == "fail"
    kept = rows(store)
    shutil.copytree("my trainer", "a copy")
    (tmp_path / "a copy" / "tests").mkdir(exist_ok=True)
    (tmp_path / "a copy" / "tests" / "note.txt").write_text("beside it")
    assert verdict("a copy") == "fail"
    assert rows(store) == kept
    shutil.copy(unpacked / "llamafactory-0.9.3" / FUNCTION, tmp_path / "my trainer" / FUNCTION)
    assert verdict("my trainer") == "ok"
    assert rows(store) > kept


def test_shards_of_sources_make_one_map_wherever_the_folders_lie(unpacked, torch_python, tmp_path, monkeypatch):
    stores = []
    for number in (1, 2):
        shutil.copytree(unpacked / "llamafactory-0.9.2", tmp_path / str(number) / "lf")
        monkeypatch.chdir(tmp_path / str(number))
        stores.append(tmp_path / str(number) / "part.sqlite")
        arguments = ["--vary", "./lf", "--vary", "transformers==4.50.3", "--vary", "transformers==4.51.3"]
        options = ["--python", torch_python, "--store", stores[-1], "--shard", f"{number}/2"]
        assert conftest.run("matrix", *arguments, *options).status in (0, 1)
    whole = tmp_path / "whole.sqlite"
    assert conftest.run("matrix", "merge", *stores, "--store", whole).status == 0
    before = rows(whole)
    ran = conftest.run("matrix", *arguments, "--python", torch_python, "--store", whole, "--format", "json")
    assert [cell["verdict"] for cell in ran.report["cells"]] == ["ok", "fail"]
    assert rows(whole) == before
