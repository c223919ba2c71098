"""Which releases came since the knowledge was measured: asked of the index once a day, and never in the way."""

import json
import os
import subprocess
import sys
import time

import msgspec
import pytest

from ckptdoctor import knowledge, since
from tests.conftest import call

PAIR = ("llamafactory==0.9.3", "transformers==4.51.3")


@pytest.fixture
def index(tmp_path, monkeypatch):
    """An index of the test's own, by which releases came, and a cache of its own."""
    folder = tmp_path / "index"

    def has(**releases):
        for name, versions in releases.items():
            package = name.replace("_", "-")
            page = folder / package
            page.mkdir(parents=True, exist_ok=True)
            links = [f'<a href="{package}-{one}.tar.gz">{package}-{one}.tar.gz</a>' for one in versions]
            (page / "index.html").write_text("<html><body>" + "".join(links))

    for name in ("PIP_CONFIG_FILE", "PIP_NO_INDEX", "PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", since.OFFLINE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", folder.as_uri())
    monkeypatch.setenv("CKPTDOCTOR_CACHE", str(tmp_path / "cache"))
    newest = {name.replace("-", "_"): releases[-1:] for name, releases in knowledge.shipped().axes.items()}
    has(**newest, deepspeed=["0.19.8"])
    return has


def test_releases_that_came_since_are_named_but_for_special_ones(index):
    last = knowledge.shipped().axes["transformers"][-1]
    index(transformers=["4.1.0", last, "98.0.0rc1", "98.0.0", "99.0.0.dev1"])

    ran = call("known", "--format", "json", *PAIR)
    found = json.loads(ran.out)

    assert ran.status == 0
    assert found["since"] == {"transformers": ["98.0.0"]}
    assert "transformers 98.0.0." in found["notes"][-1]
    assert "known --extend" in found["notes"][-1]
    assert "transformers 98.0.0." in " ".join(call("known", "llamafactory").out.split())


def test_the_index_is_asked_once_a_day(index, monkeypatch):
    index(llamafactory=["98.0"])
    assert json.loads(call("known", "--format", "json", *PAIR).out)["since"] == {"llamafactory": ["98.0"]}
    index(llamafactory=["99.0"])
    assert json.loads(call("known", "--format", "json", *PAIR).out)["since"] == {"llamafactory": ["98.0"]}

    later = time.time() + since.DAY + 1
    monkeypatch.setattr(time, "time", lambda: later)

    assert json.loads(call("known", "--format", "json", *PAIR).out)["since"] == {"llamafactory": ["99.0"]}


@pytest.mark.parametrize("how", ["option", since.OFFLINE, "UV_OFFLINE", "PIP_NO_INDEX"])
def test_no_index_is_asked_if_it_must_not_be(index, monkeypatch, how):
    index(llamafactory=["98.0"])
    if how != "option":
        monkeypatch.setenv(how, "1")

    found = json.loads(call("known", "--format", "json", *PAIR, *(["--offline"] if how == "option" else [])).out)

    assert found["since"] is None
    assert not [note for note in found["notes"] if "index" in note or "Released since" in note]


def test_an_index_that_does_not_answer_costs_a_second_at_most_and_is_said_so(index, monkeypatch):
    """A host whose packets are lost, as behind a firewall: 203.0.113.0/24 is nobody's (RFC 5737)."""
    monkeypatch.setenv("PIP_INDEX_URL", "http://203.0.113.1/simple")
    call("known", "--offline", *PAIR)

    started = time.monotonic()
    ran = call("known", *PAIR)

    assert ran.status == 0
    assert "The index did not answer" in ran.out
    assert time.monotonic() - started < 10  # of which a second is waiting, and pip's own limit is fifteen
    monkeypatch.setattr(since, "_ask", lambda _: pytest.fail("asked again within the hour"))
    assert "The index did not answer" in call("known", *PAIR).out


def test_an_empty_or_damaged_note_of_what_the_index_said_is_no_answer(index, tmp_path):
    folder = tmp_path / "cache" / "knowledge"
    folder.mkdir(parents=True, mode=0o700)
    folder.parent.chmod(0o700)
    (folder / since.FILE).write_bytes(b"\xff{")

    assert "did not answer" not in call("known", *PAIR).out
    assert msgspec.json.decode((folder / since.FILE).read_bytes())["releases"]["transformers"]


def test_what_a_command_needs_of_it_imports_no_client_of_the_network():
    code = "import sys, ckptdoctor.since; sys.exit('requests' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
