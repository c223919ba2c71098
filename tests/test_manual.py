"""The man pages: one for each command, with all that its help says, and no fault that groff sees."""

import shutil
import subprocess
import sys

import click
import pytest

from ckptdoctor import manual
from ckptdoctor.cli import COMMANDS, group

PAGES = manual.pages()
ONLY = {"_cffi_backend", "click", "ckptdoctor", "msgspec", "packaging", "tomli", "typing_extensions"}
"""What the build installs, and what it takes along."""


def shown(page):
    """A page as text, without roff's escapes."""
    return page.replace("\\-", "-").replace("\\:", "").replace("\\fB", "").replace("\\fR", "").replace("\\e", "\\")


def test_every_command_has_a_page():
    assert {"ckptdoctor.1", *(f"ckptdoctor-{name}.1" for name in COMMANDS)} <= set(PAGES)
    assert "ckptdoctor-cache-clear.1" in PAGES


@pytest.mark.parametrize("name", COMMANDS)
def test_a_page_has_every_option_with_its_help(name):
    root = click.Context(group, info_name="ckptdoctor", **group.context_settings)
    command = group.get_command(root, name)
    context = click.Context(command, info_name=name, parent=root)
    text = shown(PAGES[f"ckptdoctor-{name}.1"])

    for option in command.get_params(context):
        record = option.get_help_record(context)
        assert record is None or (record[0] in text and record[1].replace("`", "") in text), option.name


def test_a_page_says_how_the_command_ends():
    assert '.SH "EXIT STATUS"\n.PP\n0 nothing found' in PAGES["ckptdoctor-check.1"]


def test_text_is_no_command_of_roff():
    assert manual._escaped(".so /etc/passwd") == "\\&.so /etc/passwd"
    assert manual._escaped("'x \\n --y `z`") == "\\&'x \\en \\-\\-y \\fBz\\fR"


@pytest.mark.skipif(not shutil.which("groff"), reason="there is no groff")
def test_groff_sees_no_fault():
    for name, text in PAGES.items():
        done = subprocess.run(
            ["groff", "-man", "-ww", "-Tutf8", "-Kutf8"], input=text, capture_output=True, encoding="utf-8", check=True
        )
        assert not done.stderr, (name, done.stderr)


def test_the_pages_are_made_with_no_more_than_the_build_installs():
    code = (
        "import sys; before = set(sys.modules); from ckptdoctor.manual import pages; pages();"
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) <= ONLY
