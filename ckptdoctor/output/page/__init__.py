"""The frame of every HTML page: one file that loads nothing, in which only the frame's own style and script may run.

A page of a type has its template in the type's folder, ``report/page.html``, and beside it what only that page needs of
styles (``page.css``) and scripts (``page.js``). ``frame.html`` is what pages extend, ``parts.html`` holds what they share:
commands with a button that copies them, diffs, folds. ``frame.css`` has the palette, light and dark, and the looks of these
parts; ``frame.js`` copies, and opens folds for the printer.

Templates get everything escaped. Whatever is markup already is made by a function in here.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import re
from importlib import resources
from typing import TYPE_CHECKING, Any

from ckptdoctor.output.sentences import proof

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

_OUTPUT = "ckptdoctor.output"
_BREAKS = r"(?<=[/\\])(?=\w)|(?<=\w\.)(?=[A-Za-z_](?!y\b))|(?<=[^\W_]_)(?=[^\W_])"


def render(folder: str, **values: Any) -> str:
    """Prints a page.

    Args:
        folder: The type's folder in ``ckptdoctor/output/``, which has a ``page.html``.
        values: What the template shows. Text out of packages must be ``escaped`` before: HTML hides control characters.
    """
    from markupsafe import Markup

    look, act = (f"{_read('page', f'frame.{kind}')}{_read(folder, f'page.{kind}')}" for kind in ("css", "js"))
    page = _templates().get_template(f"{folder}/page.html")
    # The style and the script are ours.
    frame = {"look": Markup(look), "act": Markup(act), "policy": policy(look, act)}  # noqa: S704
    return page.render(**values, frame=frame) + "\n"


def policy(look: str, act: str) -> str:
    """What a page may load and run: this style and this script, and nothing else from anywhere."""
    return f"default-src 'none'; style-src {_hash(look)}; script-src {_hash(act)}; base-uri 'none'; form-action 'none'"


def prose(text: str) -> Markup:
    """A sentence, with what stands between backticks as code."""
    from markupsafe import Markup, escape

    parts = re.split("`([^`]+)`", text)
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if at % 2 else escape(part) for at, part in enumerate(parts)
    )


def breakable(text: str) -> Markup:
    """A path or a qualified name that may be broken after slashes, dots and underscores, but not in ``__call__`` or ``.py``."""
    from markupsafe import Markup, escape

    return Markup("<wbr>").join(escape(part) for part in re.split(_BREAKS, text))


def words(text: str) -> Markup:
    """A command whose words stay in one piece where the line is long enough; its text is the same."""
    from markupsafe import Markup, escape

    parts = re.split(r"(\s+)", text)
    return Markup("").join(
        Markup('<span class="word">{}</span>').format(part) if part.strip() else escape(part) for part in parts
    )


@functools.cache
def _templates() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("ckptdoctor", "output"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"prose": prose, "breakable": breakable, "words": words, "proof": proof}
    return made


@functools.cache
def _read(folder: str, name: str) -> str:
    """A file beside a template; empty where a page needs none."""
    file = resources.files(f"{_OUTPUT}.{folder}").joinpath(name)
    return file.read_text(encoding="utf-8") if file.is_file() else ""


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
