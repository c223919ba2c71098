from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import re
import tarfile
import threading
import time
import zipfile
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests

from ckptdoctor.environment.index import Index
from ckptdoctor.environment.pip_settings import PipSettings
from ckptdoctor.environment.releases import File, Release
from ckptdoctor.errors import TargetError, UsageFault
from ckptdoctor.matrix import archives
from ckptdoctor.matrix.archives import UnreadableError


def wheel(name: str, version: str, files: dict[str, str] | None = None, requires: tuple[str, ...] = ()) -> bytes:
    """The bytes of a wheel."""
    metadata = "".join(
        [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", *(f"{r}\n" for r in requires), "\n"]
    )
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, text in {
            **(files or {f"{name}/__init__.py": ""}),
            f"{name}-{version}.dist-info/METADATA": metadata,
        }.items():
            archive.writestr(member, text)
    return content.getvalue()


def sdist(name: str, version: str, files: dict[str, str], top: str = "") -> bytes:
    """The bytes of a source archive."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        for member, text in files.items():
            info = tarfile.TarInfo(f"{top or f'{name}-{version}'}/{member}")
            info.size = len(text.encode())
            archive.addfile(info, io.BytesIO(text.encode()))
    return content.getvalue()


def simple_index(root: Path, name: str, files: dict[str, bytes], attributes: dict[str, str] | None = None) -> Path:
    """A simple index in a folder, with hashes."""
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    links = []
    for file, content in files.items():
        (folder / file).write_bytes(content)
        more = (attributes or {}).get(file, "")
        links.append(f'<a href="{file}#sha256={hashlib.sha256(content).hexdigest()}" {more}>{file}</a>')
    (folder / "index.html").write_text("<!DOCTYPE html><html><body>" + "\n".join(links) + "</body></html>")
    return root


class Server(BaseHTTPRequestHandler):
    """Serves what a test puts into ``pages``: bytes, or a number as the status; ``ranges`` as some servers have them."""

    pages: dict[str, bytes | int | float]
    ranges: str
    seen: list[str]

    def do_GET(self):
        self.seen.append(self.path)
        page = self.pages.get(self.path.partition("?")[0], 404)
        if isinstance(page, float):
            time.sleep(page)
            page = 404
        if isinstance(page, int):
            self.send_error(page)
            return
        wanted = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        if wanted and (self.ranges == "all" or (self.ranges == "no suffix" and wanted[1])):
            first = int(wanted[1]) if wanted[1] else max(0, len(page) - int(wanted[2]))
            last = min(int(wanted[2]), len(page) - 1) if wanted[1] and wanted[2] else len(page) - 1
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(page)}")
            page = page[first : last + 1]
        else:
            self.send_response(200)
        kind = "application/vnd.pypi.simple.v1+json" if page[:1] == b"{" else "text/html"
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(page)

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server():
    handler = type("Handler", (Server,), {"pages": {}, "ranges": "all", "seen": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        running.daemon_threads = True
        running.block_on_close = False
        thread = threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        handler.url = f"http://127.0.0.1:{running.server_port}"
        yield handler
        running.shutdown()


def releases(name: str, **settings) -> list[Release]:
    with Index(PipSettings(**settings)) as index:
        return index.releases(name)


def versions(name: str, **settings) -> list[str]:
    return [release.version for release in releases(name, **settings)]


# --- which releases there are ---


def test_folder_as_index_oldest_first(tmp_path: Path):
    names = ("pack-1.10.0-py3-none-any.whl", "pack-1.9.0-py3-none-any.whl", "pack-2.0rc1-py3-none-any.whl")
    root = simple_index(tmp_path, "pack", {name: wheel("pack", "1") for name in names})
    assert versions("Pack", index_url=str(root)) == ["1.9.0", "1.10.0", "2.0rc1"]
    assert versions("pack", index_url=root.as_uri()) == ["1.9.0", "1.10.0", "2.0rc1"]


def test_what_cannot_be_installed_is_left_out(tmp_path: Path):
    files = dict.fromkeys(
        ("pack-1.0.exe", "pack-1.1-py3.11.egg", "other-1.2-py3-none-any.whl", "pack-1.3.tar.gz"), b"x"
    )
    assert versions("pack", index_url=str(simple_index(tmp_path, "pack", files))) == ["1.3"]


def test_yanked_and_required_python(tmp_path: Path):
    files = {f"pack-{one}-py3-none-any.whl": b"x" for one in ("1.0", "1.1")}
    attributes = {"pack-1.1-py3-none-any.whl": 'data-yanked="broken" data-requires-python="&gt;=3.9"'}
    old, new = releases("pack", index_url=str(simple_index(tmp_path, "pack", files, attributes)))
    assert (old.yanked, old.requires_python) == (False, "")
    assert (new.yanked, new.requires_python) == (True, ">=3.9")


def test_all_indexes_and_folders_count(tmp_path: Path, server):
    content = wheel("pack", "1.0")
    first = simple_index(tmp_path / "first", "pack", {"pack-1.0-py3-none-any.whl": content})
    links = tmp_path / "links"
    links.mkdir()
    (links / "pack-1.0-py3-none-any.whl").write_bytes(content)
    (links / "pack-3.0.tar.gz").write_bytes(b"")
    listed = {"filename": "pack-2.0.tar.gz", "url": "pack-2.0.tar.gz", "hashes": {}, "size": 7}
    page = {"meta": {"api-version": "1.1"}, "name": "pack", "files": [listed], "versions": ["2.0"]}
    server.pages["/simple/pack/"] = json.dumps(page).encode()
    found = releases(
        "pack", index_url=first.as_uri(), extra_index_urls=(f"{server.url}/simple",), find_links=(str(links), "missing")
    )
    assert [one.version for one in found] == ["1.0", "2.0", "3.0"]
    assert len(found[0].files) == 1  # the same bytes in two places
    assert found[1].files[0].url == f"{server.url}/simple/pack/pack-2.0.tar.gz"
    assert found[1].files[0].size == 7


def test_json_says_what_html_says(tmp_path: Path, server):
    files = [
        {
            "filename": "pack-1.0-py3-none-any.whl",
            "url": "../files/a.whl",
            "hashes": {"sha256": "ab"},
            "yanked": "broken",
        },
        {
            "filename": "Pack-1.1rc1.tar.gz",
            "url": "https://other/b.tar.gz",
            "requires-python": ">=3.9",
            "yanked": False,
        },
        {
            "filename": "pack-1.1rc1.zip",
            "url": "c.zip",
            "upload-time": "2026-01-02T03:04:05.678Z",
            "core-metadata": True,
        },
        {"filename": "pack-1.2.exe", "url": "d.exe"},
        {"filename": "other-1.3.tar.gz", "url": "e.tar.gz"},
        {"filename": "pack-one.tar.gz", "url": "f.tar.gz"},
    ]
    server.pages["/json/pack/"] = json.dumps({"meta": {"api-version": "1.9"}, "name": "pack", "files": files}).encode()
    old, new = releases("pack", index_url=f"{server.url}/json")
    wheel, archive, packed = (*old.files, *new.files)
    assert (old.version, new.version) == ("1.0", "1.1rc1")
    assert (wheel.url, wheel.sha256, wheel.yanked) == (f"{server.url}/json/files/a.whl", "ab", True)
    assert (archive.url, archive.requires_python, archive.is_wheel) == ("https://other/b.tar.gz", ">=3.9", False)
    assert packed.uploaded == "2026-01-02"
    links = (
        '<a href="../files/a.whl#sha256=ab" data-yanked="broken">pack-1.0-py3-none-any.whl</a>'
        '<a href="https://other/b.tar.gz" data-requires-python="&gt;=3.9">Pack-1.1rc1.tar.gz</a>'
        '<a href="c.zip">pack-1.1rc1.zip</a><a href="d.exe">pack-1.2.exe</a><a href="e.tar.gz">other-1.3.tar.gz</a>'
    )
    server.pages["/json/pack/"] = links.encode()
    [html_old, html_new] = releases("pack", index_url=f"{server.url}/json")
    assert html_old == old
    assert html_new.files == (archive, dataclasses.replace(packed, uploaded=""))


@pytest.mark.parametrize(
    "page", [{"meta": {"api-version": "2.0"}, "files": []}, {"meta": {}, "files": []}, {"files": 3}]
)
def test_json_of_another_kind(server, page):
    server.pages["/simple/pack/"] = json.dumps(page).encode()
    with pytest.raises(TargetError, match="answered with a page that cannot be read"):
        releases("pack", index_url=f"{server.url}/simple")


def test_no_index_leaves_indexes_out(tmp_path: Path, server):
    (tmp_path / "pack-3.0.tar.gz").write_bytes(b"")
    assert versions("pack", index_url=server.url, no_index=True, find_links=(tmp_path.as_uri(),)) == ["3.0"]
    assert server.seen == []


def test_unknown_package(tmp_path: Path, server):
    with pytest.raises(UsageFault, match="No package index in use has trnsformers") as caught:
        releases("trnsformers", index_url=server.url, extra_index_urls=(str(tmp_path),))
    assert "spelling" in caught.value.hint


def test_index_that_is_down_beside_one_that_answers(tmp_path: Path, server):
    server.pages["/pack/"] = 500
    root = simple_index(tmp_path, "pack", {"pack-1.0.tar.gz": b""})
    with Index(PipSettings(index_url=server.url, extra_index_urls=(str(root),))) as index:
        assert [one.version for one in index.releases("pack")] == ["1.0"]
        assert len(index.notes) == 1
        assert "answered 500" in index.notes[0]
    assert server.seen == ["/pack/", "/pack/"]


@pytest.mark.parametrize("status", [401, 403, 500, 503])
def test_all_indexes_down(server, status: int):
    server.pages["/pack/"] = status
    url = server.url.replace("//", "//me:secret@")
    with pytest.raises(TargetError, match=f"127.0.0.1:.* answered {status}") as caught:
        releases("pack", index_url=url)
    assert "secret" not in caught.value.message + caught.value.hint
    assert len(server.seen) == (2 if status >= 500 else 1)


def test_nothing_found_where_one_index_is_down(server, tmp_path: Path):
    server.pages["/pack/"] = 500
    with pytest.raises(TargetError):  # it may well be there, so this is no slip of the pen
        releases("pack", index_url=server.url, extra_index_urls=(str(tmp_path),))


def test_nothing_listens():
    with pytest.raises(TargetError, match=r"127\.0\.0\.1:9 cannot be reached"):
        releases("pack", index_url="http://me:secret@127.0.0.1:9/simple")


def test_index_that_hangs(server):
    server.pages["/pack/"] = 5.0
    started = time.monotonic()
    with pytest.raises(TargetError, match="cannot be reached"):
        releases("pack", index_url=server.url, timeout="0.3")
    assert time.monotonic() - started < 3


def test_page_that_is_no_index(server):
    server.pages["/pack/"] = b"{broken"
    with pytest.raises(TargetError, match="cannot be read as a package index"):
        releases("pack", index_url=server.url)


def test_timeout_that_is_no_number():
    with pytest.raises(TargetError, match="timeout"):
        Index(PipSettings(timeout="soon"))


def test_proxy_and_certificates(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/bundle.pem")
    with Index(PipSettings(proxy="proxy:3128", client_cert="/me.pem", trusted_hosts=("in.house",))) as index:
        assert index.session.proxies == {"http": "http://proxy:3128", "https": "http://proxy:3128"}
        assert (index.session.verify, index.session.cert) == ("/bundle.pem", "/me.pem")
        trusted = index.session.get_adapter("https://in.house/simple")
        assert trusted is not index.session.get_adapter("https://in.house.example/simple")


# --- single files out of them ---


@contextmanager
def opened(release: Release):
    with requests.Session() as session, archives.opened(release, session) as archive:
        yield archive


def at(url: str, name: str = "pack-1.0-py3-none-any.whl") -> Release:
    return Release("pack", "1.0", (File(name, url, name.endswith(".whl")),))


def local(path: Path, content: bytes) -> Release:
    path.write_bytes(content)
    return at(path.as_uri(), path.name)


CODE = {"pack/__init__.py": "", "pack/code.py": "x = 1\n", "pack/data.bin": "?" * 50_000}


@pytest.mark.parametrize("ranges", ["all", "no suffix"])
def test_wheel_is_read_in_parts(server, ranges: str):
    server.ranges = ranges
    server.pages["/w.whl"] = wheel("pack", "1.0", CODE)
    with opened(at(f"{server.url}/w.whl")) as archive:
        assert archive.names == {*CODE, "METADATA"}
        assert archive.read("pack/code.py") == b"x = 1\n"
        requested = len(server.seen)
        assert archive.read("pack/code.py") == b"x = 1\n"
        assert len(server.seen) == requested


def test_server_without_ranges(server):
    server.ranges = "none"
    server.pages["/w.whl"] = wheel("pack", "1.0", CODE)
    with pytest.raises(UnreadableError, match="in parts"), opened(at(f"{server.url}/w.whl")):
        pass


@pytest.mark.parametrize(
    "page",
    [404, 500, b"", b"no zip file", wheel("pack", "1.0", CODE)[:-30]],
    ids=["gone", "fails", "empty", "no-zip", "cut"],
)
def test_wheels_that_are_broken_or_gone(server, tmp_path: Path, page):
    server.pages["/w.whl"] = page
    with pytest.raises(UnreadableError), opened(at(f"{server.url}/w.whl")):
        pass
    if isinstance(page, bytes):
        with pytest.raises(UnreadableError), opened(local(tmp_path / "pack-1.0-py3-none-any.whl", page)):
            pass


def test_member_that_is_corrupt(tmp_path: Path):
    content = bytearray(wheel("pack", "1.0", {"pack/code.py": "abcdefgh" * 9}))
    place = content.index(b"pack/code.py") + len(b"pack/code.py") + 3
    content[place : place + 3] = b"\xff\xff\xff"
    with opened(local(tmp_path / "pack-1.0-py3-none-any.whl", bytes(content))) as archive:
        with pytest.raises(UnreadableError):
            archive.read("pack/code.py")
        with pytest.raises(UnreadableError):
            archive.read("pack/missing.py")


def test_member_that_is_huge(tmp_path: Path):
    huge = "#" * (archives.LARGEST_MEMBER + 1)
    release = local(
        tmp_path / "pack-1.0-py3-none-any.whl", wheel("pack", "1.0", {"pack/huge.py": huge, "pack/x.py": "1"})
    )
    with opened(release) as archive:
        assert archive.read("pack/x.py") == b"1"
        with pytest.raises(UnreadableError, match="too large"):
            archive.read("pack/huge.py")
    release = local(tmp_path / "pack-1.0.tar.gz", sdist("pack", "1.0", {"pack/huge.py": huge, "pack/x.py": "1"}))
    with opened(release) as archive:
        assert archive.read("pack/x.py") == b"1"
        with pytest.raises(UnreadableError, match="too large"):
            archive.read("pack/huge.py")


def test_two_members_of_one_name(tmp_path: Path):
    content = io.BytesIO(wheel("pack", "1.0", {"pack/code.py": "1"}))
    with zipfile.ZipFile(content, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("pack/code.py", "2")
    release = local(tmp_path / "pack-1.0-py3-none-any.whl", content.getvalue())
    with pytest.raises(UnreadableError, match="two members"), opened(release):
        pass


def test_source_archive(server, tmp_path: Path):
    files = {"PKG-INFO": "Name: pack\n", "src/pack/code.py": "x = 1\n", "tests/test.py": "", "data.txt": "?"}
    server.pages["/pack-1.0.tar.gz"] = content = sdist("pack", "1.0", files)
    for release in (at(f"{server.url}/p", "pack-1.0.tar.gz"), local(tmp_path / "pack-1.0.tar.gz", content)):
        server.pages["/p"] = content
        with opened(release) as archive:
            assert archive.names == {"PKG-INFO", "pack/code.py", "tests/test.py"}
            assert archive.read("pack/code.py") == b"x = 1\n"


@pytest.mark.parametrize("limit", ["LARGEST_ARCHIVE", "LARGEST_UNPACKED"])
def test_source_archive_that_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str):
    release = local(tmp_path / "pack-1.0.tar.gz", sdist("pack", "1.0", {"pack/x.py": "1", "bomb": "0" * 300_000}))
    with opened(release) as archive:
        assert archive.read("pack/x.py") == b"1"
    monkeypatch.setattr(archives, limit, 200)
    with pytest.raises(UnreadableError, match="too large"), opened(release):
        pass


@pytest.mark.parametrize(
    "content", [b"", b"no archive", sdist("pack", "1.0", {"x.py": "1" * 9999})[:60]], ids=["empty", "no archive", "cut"]
)
def test_source_archives_that_are_broken(tmp_path: Path, content: bytes):
    with pytest.raises(UnreadableError), opened(local(tmp_path / "pack-1.0.tar.gz", content)):
        pass


def test_which_archive_stands_for_a_release():
    built = File("pack-1.0-cp311-cp311-linux_x86_64.whl", "https://a/1", True)
    pure = File("pack-1.0-py3-none-any.whl", "https://a/2", True)
    source = File("pack-1.0.tar.gz", "https://a/3", False)
    odd = File("pack-1.0.tar.bz2", "https://a/4", False)
    assert archives.chosen(Release("pack", "1.0", (source, built, pure))) is pure
    assert archives.chosen(Release("pack", "1.0", (source, built))) is built
    assert archives.chosen(Release("pack", "1.0", (odd, source))) is source
    assert archives.chosen(Release("pack", "1.0", (odd,))) is None


def test_other_bytes_under_one_name_are_not_guessed_at(tmp_path: Path):
    roots = [
        simple_index(
            tmp_path / place, "pack", {"pack-1.0-py3-none-any.whl": wheel("pack", "1.0", {"pack/x.py": place})}
        )
        for place in ("a", "b")
    ]
    [release] = releases("pack", index_url=str(roots[0]), extra_index_urls=(str(roots[1]),))
    assert len(release.files) == 2
    assert archives.chosen(release) is None
