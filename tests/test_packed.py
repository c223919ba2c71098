"""Maps in the compact form: what is in one comes out again, and what ships stays small."""

import subprocess
import sys
import zlib
from pathlib import Path

import msgspec
import pytest

from ckptdoctor import knowledge
from ckptdoctor.knowledge import packed
from ckptdoctor.model.compatibility import Map

ROOT = Path(__file__).parent.parent
LIMIT = 1_000_000
"""Bytes of all maps together."""


def test_all_maps_together_are_small():
    maps = list(knowledge.FOLDER.glob("*.json.gz"))
    assert {knowledge.TRAINERS_FILE, knowledge.DEEPSPEED_FILE} <= {one.name for one in maps}
    data = [one for one in knowledge.FOLDER.iterdir() if one.is_file() and one.suffix != ".py"]
    assert sum(one.stat().st_size for one in data) < LIMIT


@pytest.mark.parametrize("file", [knowledge.TRAINERS_FILE, knowledge.DEEPSPEED_FILE])
def test_a_map_comes_out_as_it_went_in(file):
    shipped = (knowledge.FOLDER / file).read_bytes()
    found = packed.unpack(shipped)
    printed = msgspec.json.decode(msgspec.json.encode(found), type=Map)
    assert printed == found
    again = packed.pack(printed)
    assert packed.unpack(again) == found
    assert len(again) < 1.1 * len(shipped)
    assert packed.pack(found) == again


def test_a_map_is_read_packed_or_as_it_is_printed(tmp_path):
    found = knowledge.load(knowledge.DEEPSPEED_FILE)
    (tmp_path / "plain").write_bytes(msgspec.json.encode(found))
    (tmp_path / "packed").write_bytes(packed.pack(found))
    assert packed.read(tmp_path / "plain") == packed.read(tmp_path / "packed") == found


def test_an_empty_map_is_packed_too():
    found = msgspec.structs.replace(knowledge.load(), runs=[], cells=[])
    assert packed.unpack(packed.pack(found)) == found


@pytest.mark.parametrize("harm", ["cut", "column", "index", "length"])
def test_a_damaged_file_is_an_error_and_no_smaller_map(harm):
    content = packed.pack(knowledge.load(knowledge.DEEPSPEED_FILE))
    data = msgspec.json.decode(zlib.decompress(content, 31))
    if harm == "column":
        del data["cells"]["verdict"]
    elif harm == "index":
        data["runs"]["verdict"]["rows"][3] = 99
    elif harm == "length":
        data["runs"]["verdict"]["rows"].pop()
    harmed = msgspec.json.encode(data)
    compressed = zlib.compressobj(wbits=31)
    content = compressed.compress(harmed) + compressed.flush()
    with pytest.raises((msgspec.MsgspecError, zlib.error)):
        packed.unpack(content[:-400] if harm == "cut" else content)


def as_text(file):
    command = [sys.executable, ROOT / ".github/map_as_text.py", file]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def test_what_git_compares_names_each_fact_and_depends_on_no_order(tmp_path):
    found = knowledge.load(knowledge.DEEPSPEED_FILE)
    backwards = list(reversed(found.runs))
    cells = [msgspec.structs.replace(cell, run=len(backwards) - 1 - cell.run) for cell in reversed(found.cells)]
    (tmp_path / "other.json.gz").write_bytes(packed.pack(msgspec.structs.replace(found, runs=backwards, cells=cells)))
    text = as_text(knowledge.FOLDER / knowledge.DEEPSPEED_FILE)
    assert as_text(tmp_path / "other.json.gz") == text
    assert len(text) > len(found.runs) + len(found.cells)
    changed = [msgspec.structs.replace(found.cells[0], how="inferred", run=1), *found.cells[1:]]
    (tmp_path / "changed.json.gz").write_bytes(packed.pack(msgspec.structs.replace(found, cells=changed)))
    [line] = set(as_text(tmp_path / "changed.json.gz")) - set(text)
    assert line.startswith("cell deepspeed==0.16.0")
    assert "inferred from" in line
