from __future__ import annotations

import pytest

from ckptdoctor.cli.hyperlinks import opened

VTE = {"TERM": "xterm-256color", "VTE_VERSION": "6800"}


@pytest.mark.parametrize(
    "environ",
    [
        VTE,
        {"TERM_PROGRAM": "vscode"},
        {"TERM_PROGRAM": "iTerm.app", "TERM_PROGRAM_VERSION": "3.4.19"},
        {"TERM": "xterm-kitty"},
        {"TERM": "foot-extra"},
        {"WT_SESSION": "1"},
    ],
)
def test_a_terminal_that_is_known_for_links_gets_them(environ):
    assert opened(environ, is_terminal=True)
    assert not opened(environ, is_terminal=False)
    for silent in (
        {"NO_COLOR": "1"},
        {"CI": "true"},
        {"TMUX": "/tmp/tmux"},
        {"TERM": "dumb"},
        {"FORCE_HYPERLINK": "0"},
    ):
        assert not opened({**environ, **silent}, is_terminal=True)


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"TERM": "xterm-256color"},
        {"TERM_PROGRAM": "Apple_Terminal"},
        {"TERM_PROGRAM": "iTerm.app", "TERM_PROGRAM_VERSION": "3.0.1"},
        {"VTE_VERSION": "4800"},
        {"VTE_VERSION": "new"},
        {"TERM": "screen-256color", "VTE_VERSION": "6800"},
    ],
)
def test_others_get_none_unless_they_are_asked_for(environ):
    assert not opened(environ, is_terminal=True)
    assert opened({**environ, "FORCE_HYPERLINK": "1", "CI": "1"}, is_terminal=False)
