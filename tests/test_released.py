"""Whether an installed package is what its release ships, told from the files of real installations."""

from __future__ import annotations

import base64
import hashlib

import pytest

from ckptdoctor.model.evidence import Environment, Package
from ckptdoctor.remedies import released

CODE = "VALUE = 1\n"


@pytest.fixture
def site(tmp_path):
    folder = tmp_path / "site-packages"
    (folder / "transformers").mkdir(parents=True)
    (folder / "transformers" / "utils.py").write_text(CODE)
    info = folder / "transformers-5.22.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Name: transformers\nVersion: 5.22.2\n")
    digest = base64.urlsafe_b64encode(hashlib.sha256(CODE.encode()).digest()).rstrip(b"=").decode()
    (info / "RECORD").write_text(f"transformers/utils.py,sha256={digest},{len(CODE)}\n")
    return folder


def edited(site, *more):
    package = Package("transformers", "5.22.2", location=str(site))
    environment = Environment("3.11.7", "python", "linux", [package], paths=[*map(str, more), str(site)])
    files = [str(file) for folder in (*more, site) for file in folder.rglob("*.py")]
    return released.edited(environment, ["transformers", "deepspeed"], files)


def test_what_the_installer_recorded_is_as_released(site):
    assert edited(site) == {}


def test_a_file_that_was_changed(site):
    (site / "transformers" / "utils.py").write_text("VALUE = 2\n")
    assert edited(site) == {"transformers": "transformers/utils.py was changed"}


def test_a_package_from_a_folder(site):
    (site / "transformers-5.22.2.dist-info" / "direct_url.json").write_text('{"url": "file:///src", "dir_info": {}}')
    assert "from a folder" in edited(site)["transformers"]


def test_code_that_stands_before_it_on_the_path(site, tmp_path):
    source = tmp_path / "source" / "transformers"
    source.mkdir(parents=True)
    (source / "utils.py").write_text(CODE)
    assert "is loaded from" in edited(site, source.parent)["transformers"]


def test_a_source_folder_that_is_used_in_place(tmp_path):
    folder = tmp_path / "checkout"
    (folder / "transformers.egg-info").mkdir(parents=True)
    (folder / "transformers.egg-info" / "PKG-INFO").write_text("Name: transformers\nVersion: 5.22.2\n")
    assert "used from the folder" in edited(folder)["transformers"]


def test_without_a_record_nothing_shows_a_change(site):
    (site / "transformers-5.22.2.dist-info" / "RECORD").unlink()
    (site / "transformers" / "utils.py").write_text("VALUE = 2\n")
    assert edited(site) == {}
