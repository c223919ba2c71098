from __future__ import annotations

import os
from pathlib import Path

import pytest

from ckptdoctor.environment import pip_settings
from ckptdoctor.environment.pip_settings import PipSettings, read, uv_arguments, uv_environment
from ckptdoctor.errors import TargetError


class Machine:
    """A made-up machine with pip's configuration files in their places."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.prefix = root / "venv"
        self.environ = {"HOME": str(root / "home"), "XDG_CONFIG_DIRS": f"{root / 'xdg1'}{os.pathsep}{root / 'xdg2'}"}

    def write(self, place: str, text: str) -> Path:
        file = self.root / place
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        return file

    def read(self, **environ: str) -> PipSettings:
        return read(self.prefix, {**self.environ, **environ})


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setattr(pip_settings, "UNIX_GLOBAL", tmp_path / "etc")
    monkeypatch.setattr(pip_settings.sys, "platform", "linux")
    return Machine(tmp_path)


def test_nothing_set(machine: Machine):
    settings = machine.read()
    assert settings == PipSettings()
    assert uv_arguments(settings) == []


# Weakest first, as in pip: each place beats all before it.
PLACES = [
    "xdg1/pip/pip.conf",
    "xdg2/pip/pip.conf",
    "etc/pip.conf",
    "home/.pip/pip.conf",
    "home/.config/pip/pip.conf",
    "venv/pip.conf",
]


@pytest.mark.parametrize("strongest", range(len(PLACES)))
def test_later_files_win(machine: Machine, strongest: int):
    for place in PLACES[: strongest + 1]:
        machine.write(place, f"[global]\nindex-url = https://{place}\n")
    assert machine.read().index_url == f"https://{PLACES[strongest]}"


def test_xdg_config_home_moves_the_users_file(machine: Machine):
    machine.write("home/.config/pip/pip.conf", "[global]\nindex-url = https://left\n")
    machine.write("moved/pip/pip.conf", "[global]\nindex-url = https://moved\n")
    assert machine.read(XDG_CONFIG_HOME=str(machine.root / "moved")).index_url == "https://moved"


def test_install_section_of_a_weaker_file_beats_global_of_a_stronger(machine: Machine):
    machine.write("etc/pip.conf", "[install]\nindex-url = https://install\n")
    machine.write("venv/pip.conf", "[global]\nindex-url = https://global\n")
    assert machine.read().index_url == "https://install"


def test_sections_of_other_commands_are_left_out(machine: Machine):
    machine.write("etc/pip.conf", "[download]\nindex-url = https://download\n")
    assert machine.read().index_url == ""


def test_variables_win_and_empty_ones_do_not_count(machine: Machine):
    machine.write("venv/pip.conf", "[install]\nindex-url = https://file\nproxy = file:1\n")
    settings = machine.read(PIP_INDEX_URL="https://variable", PIP_PROXY="")
    assert (settings.index_url, settings.proxy) == ("https://variable", "file:1")


def test_named_file_wins_and_takes_the_users_place(machine: Machine):
    machine.write("etc/pip.conf", "[global]\nproxy = etc:1\n")
    machine.write("home/.pip/pip.conf", "[global]\ntimeout = 7\n")
    machine.write("venv/pip.conf", "[global]\nindex-url = https://venv\n")
    named = machine.write("named.conf", "[global]\nindex-url = https://named\n")
    settings = machine.read(PIP_CONFIG_FILE=str(named))
    assert (settings.index_url, settings.proxy, settings.timeout) == ("https://named", "etc:1", "")


def test_null_device_means_no_files(machine: Machine):
    machine.write("etc/pip.conf", "[global]\nindex-url = https://etc\n")
    assert machine.read(PIP_CONFIG_FILE=os.devnull, PIP_TIMEOUT="5") == PipSettings(timeout="5")


def test_several_values_and_spellings(machine: Machine):
    machine.write(
        "etc/pip.conf", "[global]\nextra_index_url =\n    https://a\n    https://b https://c\nDefault-Timeout = 180\n"
    )
    settings = machine.read(PIP_FIND_LINKS="one two")
    assert settings.extra_index_urls == ("https://a", "https://b", "https://c")
    assert settings.find_links == ("one", "two")
    assert settings.timeout == "180"


def test_percent_signs_are_left_alone(machine: Machine):
    machine.write("etc/pip.conf", "[global]\nindex-url = https://me:a%40b@host/simple\n")
    assert machine.read().index_url == "https://me:a%40b@host/simple"


@pytest.mark.parametrize(("value", "meant"), [("1", True), ("Yes", True), ("off", False), ("0", False)])
def test_flags(machine: Machine, value: str, meant: bool):
    assert machine.read(PIP_NO_INDEX=value).no_index is meant


def test_flag_that_is_none(machine: Machine):
    with pytest.raises(TargetError, match="no-index is neither"):
        machine.read(PIP_NO_INDEX="perhaps")


def test_broken_file(machine: Machine):
    file = machine.write("etc/pip.conf", "index-url = https://no-section\n")
    with pytest.raises(TargetError, match="cannot be read") as caught:
        machine.read()
    assert str(file) in caught.value.message


def test_binary_lists_take_names_from_each_other(machine: Machine):
    machine.write("etc/pip.conf", "[global]\nno-binary = Foo_Bar,other\n[install]\nonly-binary = foo-bar\n")
    settings = machine.read()
    assert (settings.no_binary, settings.only_binary) == (("other",), ("foo-bar",))
    assert machine.read(PIP_ONLY_BINARY=":all:,x").only_binary == (":all:", "x")
    assert machine.read(PIP_ONLY_BINARY=":all:").no_binary == ()
    assert machine.read(PIP_NO_BINARY=":none:").no_binary == ()


def test_indexes_are_merged_as_pip_does():
    arguments = uv_arguments(PipSettings(index_url="https://main", extra_index_urls=("https://a", "https://b")))
    assert arguments == [
        "--default-index", "https://main", "--index", "https://a", "--index", "https://b",
        "--index-strategy", "unsafe-best-match",
    ]  # fmt: skip


def test_no_index_leaves_indexes_out(tmp_path: Path):
    settings = PipSettings(index_url="https://main", no_index=True, find_links=(str(tmp_path),))
    assert uv_arguments(settings) == ["--find-links", str(tmp_path), "--no-index"]


def test_missing_link_folders_are_left_out(tmp_path: Path):
    there, missing = tmp_path / "a b", tmp_path / "missing"
    there.mkdir()
    links = (str(missing), missing.as_uri(), there.as_uri(), "https://host/links")
    assert uv_arguments(PipSettings(find_links=links)) == [
        "--find-links", there.as_uri(), "--find-links", "https://host/links",
    ]  # fmt: skip


def test_folder_as_index_becomes_a_url(tmp_path: Path):
    assert uv_arguments(PipSettings(index_url=str(tmp_path))) == ["--default-index", tmp_path.as_uri()]


def test_constraints(tmp_path: Path):
    file = tmp_path / "c.txt"
    settings = PipSettings(constraints=(str(file), "https://host/c.txt"))
    with pytest.raises(TargetError, match="does not exist"):
        uv_arguments(settings)
    file.touch()
    assert uv_arguments(settings) == ["--constraints", str(file), "--constraints", "https://host/c.txt"]


def test_other_options():
    settings = PipSettings(trusted_hosts=("h:1",), pre=True, no_binary=(":all:",), only_binary=("x",))
    assert uv_arguments(settings) == [
        "--allow-insecure-host", "h:1", "--prerelease", "allow", "--no-binary", ":all:", "--only-binary", "x",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("variable", "option"),
    [
        ("UV_DEFAULT_INDEX", "--default-index"),
        ("UV_INDEX", "--index"),
        ("UV_INDEX_STRATEGY", "--index-strategy"),
        ("UV_FIND_LINKS", "--find-links"),
        ("UV_CONSTRAINT", "--constraints"),
        ("UV_INSECURE_HOST", "--allow-insecure-host"),
        ("UV_PRERELEASE", "--prerelease"),
    ],
)
def test_variables_of_uv_beat_settings_of_pip(tmp_path: Path, variable: str, option: str):
    file = tmp_path / "c.txt"
    file.touch()
    settings = PipSettings("https://m", ("https://a",), (str(tmp_path),), (str(file),), trusted_hosts=("h",), pre=True)
    options = set(uv_arguments(settings)[::2])
    assert option in options
    assert set(uv_arguments(settings, {variable: "mine"})[::2]) == options - {option}


def test_environment():
    added = uv_environment(PipSettings(cert="/c.pem", client_cert="/me.pem", proxy="proxy:3128", timeout="2.6"))
    assert added["SSL_CERT_FILE"] == "/c.pem"
    assert added["SSL_CLIENT_CERT"] == "/me.pem"
    assert {added[name] for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")} == {"http://proxy:3128"}
    assert added["UV_HTTP_TIMEOUT"] == "3"
    assert "UV_HTTP_TIMEOUT" not in uv_environment(PipSettings(timeout="3"), {"UV_HTTP_TIMEOUT": "9"})


def test_certificates_of_requests_are_used_unless_others_are_set():
    environ = {"REQUESTS_CA_BUNDLE": "/r.pem"}
    assert uv_environment(PipSettings(), environ)["SSL_CERT_FILE"] == "/r.pem"
    assert uv_environment(PipSettings(), {**environ, "SSL_CERT_FILE": "/s.pem"}) == {}
    assert uv_environment(PipSettings(cert="/c.pem"), environ)["SSL_CERT_FILE"] == "/c.pem"


def test_timeout_that_is_no_number():
    with pytest.raises(TargetError, match="timeout"):
        uv_environment(PipSettings(timeout="soon"))
