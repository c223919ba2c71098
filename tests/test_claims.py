"""Bases that are claimed by one run and waited for by another, with real processes."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from contextlib import contextmanager

import pytest

from ckptdoctor.matrix.claims import Claims

BASE, OTHER = "f" * 32, "0" * 32
HOLDER = """
import sys
from pathlib import Path
from ckptdoctor.matrix.claims import Claims
claims = Claims(Path(sys.argv[1]))
print(*(claims.take(base) for base in sys.argv[2:]), flush=True)
for line in sys.stdin:
    claims.release(line.strip())
    print("released", flush=True)
"""


class Holder:
    """Another process, which has claimed bases."""

    def __init__(self, store, *bases):
        command = [sys.executable, "-c", HOLDER, str(store), *bases]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.taken = self.process.stdout.readline().split()

    def release(self, base):
        self.process.stdin.write(f"{base}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "released\n"

    def kill(self):
        self.process.kill()
        self.process.communicate()


@contextmanager
def held(store, *bases):
    """Have another process claim bases."""
    holder = Holder(store, *bases)
    try:
        assert set(holder.taken) == {"True"}
        yield holder
    finally:
        holder.kill()


@pytest.fixture
def claims(tmp_path):
    made = Claims(tmp_path / "store")
    yield made
    made.close()


def test_what_another_process_holds_is_not_had_and_all_else_is(claims, tmp_path):
    with held(tmp_path / "store", BASE) as holder:
        assert (claims.take(BASE), claims.take(OTHER)) == (False, True)
        holder.release(BASE)
        assert claims.take(BASE)
    claims.release(OTHER)
    with held(tmp_path / "store", OTHER):
        assert not claims.take(OTHER)


def test_what_a_killed_process_held_can_be_had(claims, tmp_path):
    with held(tmp_path / "store", BASE) as holder:
        holder.kill()
        assert claims.take(BASE)


def test_closing_lets_all_go(claims, tmp_path):
    assert claims.take(BASE)
    claims.close()

    with held(tmp_path / "store", BASE):
        pass


def test_a_child_does_not_inherit_a_claim(claims, tmp_path):
    assert claims.take(BASE)
    child = os.fork()
    if not child:
        os._exit(claims.take(BASE))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOTSUP, errno.EINVAL])
def test_without_locks_every_claim_succeeds(claims, monkeypatch, code):
    def refuse(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "lockf", refuse)

    assert claims.take(BASE)
    claims.release(BASE)


def test_without_a_file_every_claim_succeeds(tmp_path):
    (tmp_path / "store.lock").mkdir()
    claims = Claims(tmp_path / "store")

    assert claims.take(BASE)
    claims.release(BASE)
    claims.close()
