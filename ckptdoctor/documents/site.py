"""The site: what is written by hand in ``docs/``, what is made from the code, and MkDocs, which makes web pages of both.

``prepare`` writes plain Markdown for each language, which any builder of sites can read; ``build`` runs MkDocs on it.
"""

from __future__ import annotations

import os
import posixpath
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ckptdoctor import knowledge
from ckptdoctor.documents import errors, installing, reference
from ckptdoctor.model import declared
from ckptdoctor.output import render

PROJECT = Path(__file__).parent.parent.parent
DOCUMENTS = PROJECT / "docs"
CONFIG = "mkdocs.yml"

_ERRORS = re.compile(r"<!-- the errors -->\n.*?<!-- /the errors -->", re.DOTALL)
"""What a page says in the place of the list of all errors, where it is read without the site."""

FIRST_SCREEN = "<!-- the first screen of README -->"
"""Where a page gets the first screen of the README in its language."""

THE_MAP = "<!-- the map of this site -->"
"""Where a page gets a button that leads to the page of the shipped map, which is a file of its own."""

MAP_FILE = "releases.html"

BESIDE = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md", "SECURITY.md": "report-a-hole.md"}
"""Files above ``docs/`` that are pages of the site too, with the name of the page."""

_LINK = re.compile(r"\]\((?![a-z]+:|#|/)(?P<target>[^)#\s]+)(?P<anchor>#[^)\s]*)?\)")
_CODE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_EXCERPT = re.compile(r"<!-- first screen -->\n(.*?)<!-- /first screen -->", re.DOTALL)


@dataclass(frozen=True)
class Language:
    """A language of the site.

    Attributes:
        folder: Where its pages are, in ``docs/`` and in the site; empty for English.
        readme: Its README.
    """

    folder: str
    readme: str


ENGLISH, CHINESE = Language("", "README.md"), Language("zh", "README_zh.md")


@dataclass(frozen=True)
class Addresses:
    """Where a site is published and where its source is. A copy of the repository knows neither.

    Attributes:
        site: Empty if it is not known.
        repository: Empty if it is not known.
    """

    site: str = ""
    repository: str = ""


def build(folder: Path, addresses: Addresses = Addresses()) -> None:
    """Build the site into a folder.

    Raises:
        ValueError: MkDocs warned of something, such as a link that leads nowhere; with what it said.
    """
    # What the builder says of its own future is no fault of a page.
    environ = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    with tempfile.TemporaryDirectory() as made:
        for config in prepare(Path(made), folder.absolute(), addresses):
            # With --quiet, warnings would not be counted.
            command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", str(config)]
            done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
            if done.returncode:
                raise ValueError(done.stdout + done.stderr)


def prepare(folder: Path, site: Path, addresses: Addresses) -> list[Path]:
    """Write the Markdown and a configuration of MkDocs for each language.

    Args:
        folder: Where to write.
        site: Where MkDocs is to write the site.
        addresses: Where both are published.

    Returns:
        The configurations, in the order in which they have to be built.
    """
    return [_prepare(language, folder, site, addresses) for language in (ENGLISH, CHINESE)]


def _prepare(language: Language, folder: Path, site: Path, addresses: Addresses) -> Path:
    source = folder / (language.folder or "en")
    texts = _texts(language)
    for name, text in texts.items():
        file = source / name
        file.parent.mkdir(parents=True, exist_ok=True)
        finished = installing.replaced(_completed(text, language), addresses.repository)
        file.write_text(_led(finished, name, language), encoding="utf-8")
    if language is ENGLISH:
        shutil.copytree(DOCUMENTS / "assets", source / "assets")
        (source / MAP_FILE).write_text(_map(), encoding="utf-8")
    config = folder / f"{source.name}.yml"
    config.write_text(yaml.safe_dump(_config(language, source, site, texts, addresses), allow_unicode=True), "utf-8")
    return config


def _texts(language: Language) -> dict[str, str]:
    """The pages as they are written or made, by their file in the site, those of a folder in their order."""
    root = DOCUMENTS / language.folder
    others = {CHINESE.folder} if language is ENGLISH else set()
    by_hand = [file for file in sorted(root.rglob("*.md")) if file.relative_to(root).parts[0] not in others]
    found = {file.relative_to(root).as_posix(): file.read_text(encoding="utf-8") for file in by_hand}
    if language is not ENGLISH:
        return found
    beside = {page: (PROJECT / name).read_text(encoding="utf-8") for name, page in BESIDE.items()}
    return {**beside, **made(), **found}


def made() -> dict[str, str]:
    """The pages that are made from the code, as Markdown, by their file in the site."""
    rules = DOCUMENTS / "rules"
    found = {f"{errors.FOLDER}/{page.name}": errors.written(page, rules) for page in errors.error_pages()}
    return {**found, **reference.pages()}


def _completed(text: str, language: Language) -> str:
    """A page with the list and the excerpt for which it has a place."""
    if _ERRORS.search(text):
        text = _ERRORS.sub(lambda _: errors.index("../" if language.folder else ""), text)
    if THE_MAP in text:
        text = text.replace(THE_MAP, f"[Open the map]({MAP_FILE}){{ .md-button .md-button--primary }}")
    if FIRST_SCREEN in text:
        excerpt = _EXCERPT.search((PROJECT / language.readme).read_text(encoding="utf-8"))
        text = text.replace(FIRST_SCREEN, excerpt[1].rstrip() if excerpt else "")
    return text


def _map() -> str:
    """The page of what ships, without what was measured on this machine."""
    trainers, families = (knowledge.shipped(file) for file in (knowledge.TRAINERS_FILE, knowledge.FAMILIES_FILE))
    return render("html", knowledge.Knowledge(declared.marked(trainers), families), errors.STYLE)


def _led(text: str, name: str, language: Language) -> str:
    """A page whose links to files of the repository lead to the pages of the site."""
    above = {page: file for file, page in BESIDE.items()}
    source = above.get(name) or posixpath.join("docs", language.folder, name)

    def lead(link: re.Match[str]) -> str:
        wanted = posixpath.normpath(posixpath.join(posixpath.dirname(source), link["target"]))
        page = BESIDE.get(wanted) or posixpath.relpath(wanted, posixpath.join("docs", language.folder))
        here = posixpath.dirname(name) or "."
        is_other = page.startswith("../")
        target = _address(page, name) if is_other else posixpath.relpath(page, here)
        return f"]({target}{link['anchor'] or ''})"

    parts = [_LINK.sub(lead, part) for part in _CODE.split(text)]
    return "".join(part + code for part, code in zip(parts, [*_CODE.findall(text), ""], strict=True))


def _address(page: str, name: str) -> str:
    """The address of a page of another language, which MkDocs does not know, from the address of a page."""
    folder, file = posixpath.split(page.removesuffix(".md"))
    wanted = folder if file in ("index", "README") else posixpath.join(folder, file)
    here = name.removesuffix(".md").removesuffix("index") or "."
    return f"{posixpath.relpath(wanted or '.', here)}/"


def _config(language: Language, source: Path, site: Path, texts: Iterable[str], addresses: Addresses) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DOCUMENTS / CONFIG).read_text(encoding="utf-8"))
    if language is not ENGLISH:
        found = _merged(found, yaml.safe_load((DOCUMENTS / language.folder / CONFIG).read_text(encoding="utf-8")))
    found["nav"] = _expanded(found["nav"], list(texts))
    found["docs_dir"], found["site_dir"] = str(source), str(site / language.folder)
    if "mkdocstrings" in found["plugins"]:
        found["plugins"]["mkdocstrings"]["handlers"]["python"]["paths"] = [str(PROJECT)]
    if addresses.site:
        found["site_url"] = posixpath.join(addresses.site, language.folder, "")
    if addresses.repository:
        link = {"icon": "fontawesome/brands/git-alt", "link": addresses.repository, "name": addresses.repository}
        found["extra"]["social"] = [link]
    return found


def _merged(common: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Settings with those of a language in their place."""
    return common | {
        key: _merged(common[key], value) if isinstance(value, dict) and key in common else value
        for key, value in own.items()
    }


def _expanded(entries: Any, names: list[str]) -> Any:
    """The navigation with each folder in it replaced by all of its pages, the first one of the folder first."""
    if isinstance(entries, dict):
        return {title: _expanded(one, names) for title, one in entries.items()}
    if not isinstance(entries, list):
        return entries
    found: list[Any] = []
    for one in entries:
        if isinstance(one, str) and one.endswith("/"):
            pages = [name for name in names if name.startswith(one)]
            found += sorted(pages, key=lambda name: not name.endswith(("index.md", "README.md")))
        else:
            found.append(_expanded(one, names))
    return found
