"""The site: a page for each error that a rule knows, all commands, and no link that leads nowhere."""

import html
import posixpath
import re
import shlex
import shutil
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import click
import pytest

from ckptdoctor.cli import group
from ckptdoctor.documents import errors, installing, reference, site
from ckptdoctor.documents.commands import every, root
from ckptdoctor.documents.markdown import prose, slug
from ckptdoctor.explain.explain import explain
from ckptdoctor.rules import RULES, in_log

ROOT = Path(__file__).parent.parent
RULE_PAGES = ROOT / "docs" / "rules"
PAGES = errors.error_pages()

texts = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name.removesuffix(".md")[:60])


# -- errors -----------------------------------------------------------------------------------------------------------


def test_each_rule_that_a_log_can_show_has_a_page_for_an_error():
    assert {page.rule.code for page in PAGES} == {rule.code for rule, _ in in_log()}
    assert len({page.name for page in PAGES}) == len(PAGES)


@texts
def test_explain_knows_what_a_page_shows(page):
    for example in page.text.examples:
        assert page.text.title in example
        assert explain(example).rule == page.rule.code


@texts
def test_a_title_alone_is_of_its_rule_or_of_none_and_the_page_says_so(page):
    found = explain(page.text.title)
    assert found.rule in (page.rule.code, "")
    assert ("The line alone shows no fault" in written(page.name)) == (not found.rule)


@texts
def test_reports_are_public_threads(page):
    for link in page.text.reports:
        assert re.fullmatch(r"https://github\.com/[\w.-]+/[\w.-]+/(issues|pull)/\d+", link)


def test_a_warning_that_has_a_page_is_no_fault():
    text = (ROOT / "docs" / "errors" / "use-cache-true-is-incompatible.md").read_text(encoding="utf-8")
    title = re.search(r'^title: "(.*)"$', text, re.MULTILINE)[1]
    assert "`use_cache=True` is incompatible with gradient checkpointing" in title
    assert explain(title).verdict == "nothing found"


def written(name):
    [page] = [one for one in PAGES if one.name == name]
    return errors.written(page, RULE_PAGES)


@texts
def test_commands_on_a_page_are_ones_that_the_doctor_takes(page):
    for block in re.findall(r"^```console\n(.*?)^```", written(page.name), re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            program, name, *arguments = shlex.split(line.removeprefix("$ "), comments=True)
            assert program == "ckptdoctor"
            context = click.Context(group, **group.context_settings)
            command = group.get_command(context, name)
            if "train.log" not in arguments:  # explain asks whether the file is there
                command.make_context(name, list(arguments), parent=context)


def test_who_is_to_blame_comes_from_the_map():
    text = written("attributeerror-functools-partial-object-has-no-attribute-self.md")
    assert (
        "| llamafactory 0.7.1 to 0.9.2 | 4.51.0 to 5.22.2 | `pip install --no-deps 'llamafactory==0.9.3'`; its own"
        in text
    )
    newest = written("attributeerror-function-object-has-no-attribute-self.md")
    assert "no newer llamafactory; the newest pair that works is llamafactory 0.9.5 with transformers 5.22.2" in newest
    unknown = written("runtimeerror-expected-to-mark-a-variable-ready-only-once.md")
    assert "No release in [the map](../map.md) that ships with ckptdoctor fails with this error." in unknown


def test_markup_in_an_error_is_no_markup():
    assert prose("'__self__' of <b>[x](y)`a_b`") == r"'\_\_self\_\_' of &lt;b&gt;\[x\](y)`a_b`"
    assert slug("TypeError: f() got `x`") == "typeerror-f-got-x"


# -- commands ---------------------------------------------------------------------------------------------------------


def test_the_reference_has_every_command_and_option():
    pages = reference.pages()
    for command in every(root()):
        name = command.name if command.above else "index"
        text = pages[f"reference/{name}.md"]
        for names, _ in command.options:
            assert re.search(rf"^### `{re.escape(names.split(' ')[0])}", text, re.MULTILINE), names


# -- lines that install -----------------------------------------------------------------------------------------------

LINES = [
    *(ROOT / name for name in ("README.md", "README_zh.md")),
    *(ROOT / "docs" / language / name for language in ("", "zh") for name in ("index.md", "start.md")),
]


@pytest.mark.parametrize("file", LINES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_lines_that_install_name_what_the_reader_can_have(file):
    text = file.read_text(encoding="utf-8")
    assert "pipx install ./ckptdoctor-main.zip" in text
    published = installing.replaced(text, "https://git.example/a/ckptdoctor")
    assert "pipx install git+https://git.example/a/ckptdoctor\n" in published
    released = installing.replaced(text, release=True)
    assert "\npipx install ckptdoctor==" in released
    for one in (published, released):
        assert "ckptdoctor-main.zip" not in one
        assert "PyPI" not in one


# -- the site ---------------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """What a page leads to, what it loads, and what its parts are called."""

    def __init__(self, text):
        super().__init__()
        self.links, self.loads, self.ids = [], [], set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.ids.add(found.get("id"))
        if tag in ("a", "link") and found.get("href"):
            is_page = tag == "a" or found.get("rel") in ("canonical", "alternate", "prev", "next")
            (self.links if is_page else self.loads).append(found["href"])
        if found.get("src"):
            self.loads.append(found["src"])


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    site.build(folder)
    return folder


@cache
def parsed(file):
    return Page(file.read_text(encoding="utf-8"))


def pages_of(folder):
    return [file for file in sorted(folder.rglob("*.html")) if file.name != "404.html"]


def test_every_link_leads_to_a_page_and_its_part(built):
    for file in pages_of(built):
        for href in parsed(file).links:
            parts = urlsplit(href)
            if parts.scheme in ("http", "https", "mailto"):
                continue
            assert not parts.path.startswith("/"), (file, href)
            path = Path(posixpath.normpath(posixpath.join(file.parent.as_posix(), unquote(parts.path))))
            target = file if not parts.path else path / "index.html" if path.is_dir() else path
            assert target.is_file(), f"{file.relative_to(built)}: {href}"
            if parts.fragment and target.suffix == ".html":
                assert unquote(parts.fragment) in parsed(target).ids, f"{file.relative_to(built)}: {href}"


def test_nothing_is_loaded_from_elsewhere(built):
    for file in pages_of(built):
        for address in parsed(file).loads:
            assert not urlsplit(address).netloc, f"{file.relative_to(built)}: {address}"
            path = posixpath.normpath(posixpath.join(file.parent.as_posix(), urlsplit(address).path))
            assert Path(path).is_file(), f"{file.relative_to(built)}: {address}"
    for file in built.rglob("*.css"):
        assert not re.search(r"(?:@import|url\()\s*['\"]?(?:https?:)?//", file.read_text(encoding="utf-8")), file


@texts
def test_an_error_is_the_title_of_its_page_and_can_be_searched_for(built, page):
    text = (built / "errors" / page.name.removesuffix(".md") / "index.html").read_text(encoding="utf-8")
    title = html.unescape(re.search(r"<title>(.*?)</title>", text, re.DOTALL)[1])
    assert title.startswith(page.text.title)
    [heading] = re.findall(r"<h1[^>]*>(.*?)</h1>", text, re.DOTALL)
    assert html.unescape(re.sub(r"<a class=.*?</a>|<[^>]+>", "", heading)).startswith(page.text.title)
    assert slug(page.text.title) in (built / "search" / "search_index.json").read_text(encoding="utf-8")


def test_every_rule_and_the_chinese_pages_are_there(built):
    assert all((built / "rules" / code / "index.html").is_file() for code in RULES)
    for name in ("", "start", "error", "offline", "slurm"):
        text = (built / "zh" / name / "index.html").read_text(encoding="utf-8")
        assert '<html lang="zh"' in text


def test_the_map_is_a_page_of_the_site(built):
    text = (built / site.MAP_FILE).read_text(encoding="utf-8")
    assert "5.24.0" in text
    assert len(text) < 500_000
    assert f"../{site.MAP_FILE}" in parsed(built / "map" / "index.html").links


def test_a_link_that_leads_nowhere_and_a_page_outside_of_the_navigation_fail_the_build(tmp_path, monkeypatch):
    shutil.copytree(site.DOCUMENTS / "assets", tmp_path / "docs" / "assets")
    (tmp_path / "docs" / "zh").mkdir()
    for name in (site.CONFIG, f"zh/{site.CONFIG}"):
        shutil.copy(site.DOCUMENTS / name, tmp_path / "docs" / name)
    (tmp_path / "docs" / "lost.md").write_text("# Lost\n\n[nowhere](nowhere.md)\n")
    monkeypatch.setattr(site, "DOCUMENTS", tmp_path / "docs")
    monkeypatch.setattr(site, "made", dict)
    monkeypatch.setattr(site, "_map", str)
    with pytest.raises(ValueError, match="WARNING") as caught:
        site.build(tmp_path / "site")
    assert "lost.md" in str(caught.value)
    assert "nowhere.md" in str(caught.value)


def test_a_published_site_names_its_repository_and_address(tmp_path):
    addresses = site.Addresses("https://a.example/ckptdoctor/", "https://git.example/a/ckptdoctor")
    english, chinese = site.prepare(tmp_path, tmp_path / "site", addresses)
    assert "site_url: https://a.example/ckptdoctor/\n" in english.read_text()
    assert "site_url: https://a.example/ckptdoctor/zh/\n" in chinese.read_text()
    for language in ("en", "zh"):
        assert "git+https://git.example/a/ckptdoctor" in (tmp_path / language / "start.md").read_text(encoding="utf-8")
