"""HTML pages: what holds for all of them, and can be told without a browser."""

from __future__ import annotations

import base64
import hashlib
import itertools
import re
import types
import typing
from html.parser import HTMLParser
from pathlib import Path
from unittest import mock

import msgspec
import pytest

import ckptdoctor.output
from ckptdoctor import diagnose
from ckptdoctor.model.impact import Impact
from ckptdoctor.model.report import Report, RuledOut
from ckptdoctor.output import page, render
from ckptdoctor.output.views import probe_grid
from tests import test_output
from tests.conftest import call
from tests.test_impact import WHOLE, made
from tests.test_output import acting, failing, healthy, style, undiagnosed

FOLDER = Path(ckptdoctor.output.__path__[0])
VOID = {"meta", "br", "wbr", "hr", "img", "input", "link"}


class Parsed(HTMLParser):
    """A page's elements, their attributes and the text in them; it must be well formed."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self.open, self.text = [], [], {}
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes), [one for one, _ in self.open]))
        assert len(attributes) == len(dict(attributes))
        if tag not in VOID:
            self.open.append((tag, len(self.elements) - 1))

    def handle_endtag(self, tag):
        assert self.open[-1][0] == tag, (tag, self.open)
        self.open.pop()

    def handle_data(self, data):
        for _, at in self.open:
            self.text[at] = self.text.get(at, "") + data

    def all(self, tag):
        """Attributes and text of every element of a kind."""
        return [(one[1], self.text.get(at, "")) for at, one in enumerate(self.elements) if one[0] == tag]


def assert_sealed(text):
    """A page runs its own script alone, and loads nothing."""
    parsed = Parsed(text)
    policy = next(one["content"] for one, _ in parsed.all("meta") if one.get("http-equiv") == "Content-Security-Policy")
    rules = dict(one.strip().split(" ", 1) for one in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert set(rules) == {"default-src", "style-src", "script-src", "base-uri", "form-action"}
    for tag, rule in (("style", "style-src"), ("script", "script-src")):
        (content,) = [body for given, body in parsed.all(tag) if given.get("type") != "application/json"]
        assert rules[rule] == f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
    for tag, given, _ in parsed.elements:
        assert tag not in ("link", "img", "iframe", "object", "embed", "base", "form", "svg"), tag
        for name, value in given.items():
            assert not name.startswith("on"), name
            assert name not in ("style", "src", "srcset", "action", "srcdoc"), name
            assert name != "href" or re.fullmatch(r"#[\w-]+", value), value


def assert_accessible(text):
    """What axe-core holds pages to, as far as it can be told from the source; the browser test does the rest."""
    parsed = Parsed(text)
    assert [given for given, _ in parsed.all("html")] == [{"lang": "en"}]
    assert all(len(parsed.all(tag)) == 1 for tag in ("title", "header", "main", "footer", "h1"))
    assert parsed.all("title")[0][1].strip()
    assert "maximum-scale" not in text
    assert "user-scalable" not in text
    ids = [given["id"] for _, given, _ in parsed.elements if "id" in given]
    assert len(ids) == len(set(ids))
    levels = [int(tag[1]) for tag, _, _ in parsed.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    for at, (tag, given, around) in enumerate(parsed.elements):
        named = given.get("aria-label") or parsed.text.get(at, "").strip()
        if tag in ("a", "button", "summary", "th", *(f"h{one}" for one in range(1, 7))):
            assert named or (tag == "th" and "aria-hidden" in given), (tag, given)
        if tag == "button":
            assert given["type"] == "button"
            assert parsed.text[at].strip() in named  # what is said aloud holds what is seen
        for refers in ("aria-labelledby", "aria-describedby", "data-copies"):
            assert set(given.get(refers, "").split()) <= set(ids)
        if tag == "a":
            assert given["href"][1:] in ids
        if tag == "th":
            assert given["scope"] in ("row", "col")
        if tag == "summary":
            assert around[-1] == "details"
        if tag == "li":
            assert around[-1] in ("ul", "ol")
        if tag in ("dt", "dd"):
            assert around[-1] in ("dl", "div")
        if given.get("tabindex") == "0":
            assert given.get("aria-label") or given.get("aria-labelledby"), (tag, given)
            assert given.get("role") or tag in ("section", "nav"), (tag, given)


# -- the palette ------------------------------------------------------------------------------------------------------


def palettes():
    """The colours by name, of the light scheme and of the dark one."""
    style = (FOLDER / "page" / "frame.css").read_text()
    blocks = re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    light, dark = (dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block)) for block in blocks[:2])
    assert set(light) >= set(dark)
    return {"light": light, "dark": {**light, **dark}}


def contrast(one, other):
    """As WCAG has it."""

    def light(colour):
        channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        red, green, blue = [
            value / 12.92 if value <= 0.03928 else ((value + 0.055) / 1.055) ** 2.4 for value in channels
        ]
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    darker, brighter = sorted((light(one), light(other)))
    return (brighter + 0.05) / (darker + 0.05)


ON_PAPER = [(text, behind) for text in ("ink", "soft", "link") for behind in ("paper", "raised", "sunk")]
STATES = ("ok", "fail", "unjudged", "error")
ON_STATES = [pair for one in STATES for pair in ((f"{one}-ink", f"{one}-tint"), ("on-solid", one))]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("text", "behind"), [*ON_PAPER, *ON_STATES, ("unjudged-ink", "sunk")])
def test_every_text_can_be_read(scheme, text, behind):
    palette = palettes()[scheme]

    assert contrast(palette[text], palette[behind]) >= 4.5


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("behind", ["paper", "raised", "sunk"])
def test_focus_can_be_seen(scheme, behind):
    palette = palettes()[scheme]

    assert contrast(palette["focus"], palette[behind]) >= 3


# -- the frame --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(str(one.relative_to(FOLDER)) for one in FOLDER.glob("*/*.css")))
def test_styles_and_scripts_load_nothing_and_end_nowhere(name):
    for file in (FOLDER / name, (FOLDER / name).with_suffix(".js")):
        text = file.read_text() if file.is_file() else ""
        assert not re.search(
            r"</|<!--|https?:|url\(|@import|fetch\(|innerHTML|insertAdjacentHTML|document\.write", text
        )


def test_prose_and_paths_are_escaped():
    hostile = "a `<b>` & <script>alert(1)</script>"

    assert page.prose(hostile) == "a <code>&lt;b&gt;</code> &amp; &lt;script&gt;alert(1)&lt;/script&gt;"
    assert page.breakable("a/b_c.<i>") == "a/<wbr>b_<wbr>c.&lt;i&gt;"


# -- pages of reports and of impacts ----------------------------------------------------------------------------------


HOSTILE = """</code></script><script>alert(1)</script>"'><img src=x onerror=alert(1)>{{ 7 * 7 }}{% raw %}`javascript:alert(1)`
\x1b[31m\x9b2J\u202e\u2066\u200b\u2028\ud800&lt;&#x3c;"""


def hostile(value, text=HOSTILE):
    """A copy with hostile text behind every string."""
    with mock.patch.object(test_output, "HOSTILE", text):
        return test_output.plant(value)


def filled(type_, depth=0):
    """A value of a type with all its fields set, types that hold themselves to some depth."""
    if isinstance(type_, type) and issubclass(type_, msgspec.Struct):
        hints = typing.get_type_hints(type_)
        return type_(**{field.name: filled(hints[field.name], depth + 1) for field in msgspec.structs.fields(type_)})
    origin, given = typing.get_origin(type_), typing.get_args(type_)
    if origin is typing.Literal:
        return given[-1]
    if origin in (typing.Union, types.UnionType):
        return filled(given[0], depth) if depth < 9 else None
    if origin in (tuple, list):
        return origin([filled(given[0], depth)] if depth < 9 else [])
    if origin is not None:
        return {"key": filled(given[1], depth)}
    return {str: "text", int: 1, float: 1.5, bool: True}[type_]


REPORTS = {
    "failing": failing,
    "healthy": healthy,
    "undiagnosed": undiagnosed,
    "everything": lambda: filled(Report),
    "hostile": lambda: hostile(failing()),
    "everything hostile": lambda: hostile(filled(Report)),
}
IMPACTS = {
    "whole": lambda: WHOLE,
    "nothing": lambda: made(),
    "everything": lambda: filled(Impact),
    "hostile": lambda: hostile(WHOLE),
}
PAGES = [*REPORTS.items(), *((f"impact {name}", make) for name, make in IMPACTS.items())]


@pytest.fixture(params=PAGES, ids=[name for name, _ in PAGES])
def shown(request):
    return render("html", request.param[1](), style())


def test_a_page_loads_nothing_and_runs_nothing_but_its_own_script(shown):
    assert_sealed(shown)


def test_a_page_is_accessible_as_far_as_its_source_tells(shown):
    assert_accessible(shown)


def test_no_text_acts_or_hides(shown):
    assert acting(shown) == set()
    assert "<script>alert" not in shown
    assert "<img" not in shown


@pytest.mark.parametrize("type_", [Report, Impact])
def test_text_makes_no_element_and_no_attribute(type_):
    """Whatever stands in any field, at any depth: the page has the elements and attributes that it has anyway."""
    text = """</code></script><script>alert(1)</script>"'><img src=x onerror=alert(1)>{{ 7 * 7 }}{% raw %}&lt;"""
    pages = [Parsed(render("html", one, style())) for one in (filled(type_), hostile(filled(type_), text))]
    harmless, planted = (
        [(tag, sorted(given)) for tag, given, _ in one.elements if tag != "wbr" and given.get("class") != "word"]
        for one in pages
    )

    assert planted == harmless
    assert "<img src=x onerror=alert(1)>{{ 7 * 7 }}" in pages[1].text[0]


def test_commands_write_pages(monkeypatch, tmp_path):
    monkeypatch.setattr(diagnose, "diagnose", lambda *_: failing())
    (tmp_path / "impact.json").write_bytes(msgspec.json.encode(WHOLE))

    checked = call("check", "--format", "html=report.html", "--format", "json", cwd=tmp_path)
    fixed = call("fix", "--format", "html", "-o", "fix.html", cwd=tmp_path)
    compared = call("impact", "--read", "impact.json", "--format", "html", cwd=tmp_path)

    assert (checked.status, fixed.status, compared.status) == (1, 1, 1)
    assert (
        (tmp_path / "report.html").read_text()
        == (tmp_path / "fix.html").read_text()
        == render("html", failing(), style())
    )
    assert compared.out == render("html", WHOLE, style())


def test_the_answer_comes_before_all_else():
    """Whoever reads no further knows what is broken, who is to blame, what to do, and what was not tried."""
    report = msgspec.structs.replace(failing(), summary="It does not work.", not_tried=("FSDP2",))
    parsed = Parsed(render("html", report, style()))

    (head,) = (body for _, body in parsed.all("header"))
    for part in (
        report.findings[0].title,
        "llamafactory 0.9.2",
        "upgrade llamafactory to 0.9.3",
        test_output.COMMAND,
        "ok in all probes",
    ):
        assert part in head
    assert [body for _, body in parsed.all("h1")] == ["FAIL It does not work."]
    assert "Breaks: trl 0.9.6 requires llamafactory<0.9.3" in head
    assert "FSDP2" in head


def test_what_does_not_count_is_not_the_answer():
    accepted = msgspec.structs.replace(failing().findings[0], accepted="ignored", reason="--ignore CKPT001")
    parsed = Parsed(render("html", msgspec.structs.replace(failing(), findings=(accepted,)), style()))

    assert "Best fix" not in parsed.all("header")[0][1]
    assert "ignored by --ignore CKPT001: does not count" in parsed.all("main")[0][1]


def test_what_was_applied_is_shown_with_its_diff():
    patch = failing().findings[0].remedies[1]
    text = render("html", healthy().with_applied((msgspec.structs.replace(patch, file="/env/f.py"),)), style())

    assert "look through the partial" in Parsed(text).all("header")[0][1]
    assert "/env/f.py" in text
    assert Parsed(text).all("ins")


def test_a_failure_that_does_not_count_for_the_verdict_does_not_look_like_one():
    grids = [
        entry for grid in probe_grid.grids(failing()) for _, cells in grid.rows for cell in cells for entry in cell
    ]

    assert {entry.look for entry in grids if failing().probes[entry.number - 1].role in ("convention", "advisory")} <= {
        *["ok", "warned"]
    }
    assert {entry.look for entry in grids if failing().probes[entry.number - 1].outcome == "triggered"} == {
        "fail",
        "warned",
    }


def test_where_no_fix_was_looked_for_the_command_that_does_is_the_answer():
    found = msgspec.structs.replace(failing().findings[0], remedies=())
    command = "ckptdoctor fix --model glm4"
    report = msgspec.structs.replace(failing(), findings=(found,), notes=("A note.",), next_command=command)
    parsed = Parsed(render("html", report, style()))

    assert "Not looked for. This command looks for them:" in parsed.all("header")[0][1]
    assert [body for given, body in parsed.all("pre") if given.get("id", "").startswith("find-")] == [
        "ckptdoctor fix --model glm4"
    ]
    assert "To find what fixes it" not in parsed.all("main")[0][1]
    assert "A note." in parsed.all("main")[0][1]


@pytest.mark.parametrize(
    ("change", "label"),
    [
        ({}, "At fault"),  # the rule says what the line did
        ({"rule": "CKPT004", "ruled_out": ()}, "Where"),
        ({"rule": "CKPT004", "ruled_out": (RuledOut("torch", "2.13.0", "it trains the same model", ()),)}, "At fault"),
        ({"rule": "CKPT010", "culprit": test_output.GIVER}, "Where"),
        ({"rule": "CKPT900"}, "Where"),
        ({"severity": "warning"}, "Where"),
    ],
)
def test_nobody_is_blamed_for_a_line_that_only_says_where(change, label):
    report = failing()
    torch = (RuledOut("torch", "2.13.0", "it trains the same model", ()),)
    found = msgspec.structs.replace(report.findings[0], **{"ruled_out": torch, **change})

    head = Parsed(render("html", msgspec.structs.replace(report, findings=(found,)), style())).all("header")[0][1]

    assert [word for word in ("At fault", "Where") if word in head] == [label]


def test_what_cannot_be_diagnosed_is_no_fault():
    report = failing()
    found = msgspec.structs.replace(report.findings[0], rule="CKPT900")

    parsed = Parsed(render("html", msgspec.structs.replace(report, findings=(found,)), style()))

    assert parsed.all("dt")[0][1] == "Not diagnosed"
    assert [given["class"] for given, _ in parsed.all("div") if "answer" in given.get("class", "")] == ["answer error"]
    marks = [body for given, body in parsed.all("span") if given.get("class") == "mark"]
    assert "stops here" in marks
    assert "fails here" not in marks
