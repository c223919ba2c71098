"""The pages of a report and of an impact in a real browser."""

from __future__ import annotations

from pathlib import Path

import axe_playwright_python
import msgspec
import pytest

from tests.real.test_page import DESK, browser, opened  # noqa: F401 - fixtures
from tests.test_chain import found, ruled, seen
from tests.test_chain import report as report_of
from tests.test_impact import WHOLE
from tests.test_output import failing
from tests.test_pages import hostile

pytestmark = pytest.mark.real

AXE = Path(axe_playwright_python.__file__).with_name("axe.min.js").read_text(encoding="utf-8")
NARROW = {"width": 380, "height": 800}
OPEN_ALL = "for (const fold of document.querySelectorAll('details')) fold.open = true"


def whole():
    """A report with every link of a chain, what was ruled out, fixes and all kinds of probes."""
    probes = [seen(outcome="triggered"), seen(outcome="triggered", engine="zero3"), *failing().probes]
    finding = found(*probes[:2], ruled_out=[ruled("deepspeed"), ruled("torch")])
    return msgspec.structs.replace(report_of(*probes), findings=(finding,))


VALUES = {"report": whole, "impact": lambda: WHOLE, "hostile report": lambda: hostile(failing())}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("value", VALUES)
def test_axe_finds_nothing(opened, value, scheme):  # noqa: F811
    page = opened(VALUES[value](), viewport=DESK, color_scheme=scheme)
    page.evaluate(OPEN_ALL)
    page.evaluate(AXE)
    for size in (NARROW, {"width": 1600, "height": 900}):
        page.set_viewport_size(size)
        found = page.evaluate("axe.run()")

        assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in found["violations"]] == []
        assert found["passes"]
        assert page.evaluate("document.documentElement.scrollWidth") == size["width"]


def test_a_button_copies_the_command_and_says_so(opened):  # noqa: F811
    page = opened(whole(), permissions=["clipboard-read", "clipboard-write"])
    button = page.get_by_role("button", name="Copy the command of the best fix for CKPT001")

    button.click()

    assert page.evaluate("navigator.clipboard.readText()") == "\n".join(whole().findings[0].remedies[0].commands)
    assert button.inner_text() == "Copied"
    assert page.get_by_role("status").inner_text() == "The command of the best fix for CKPT001 is copied."


def test_without_the_clipboard_the_text_is_copied_by_hand(opened):  # noqa: F811
    page = opened(whole())
    page.evaluate("Object.defineProperty(navigator, 'clipboard', {value: undefined})")

    page.locator("button.copy").first.click()

    page.wait_for_function("document.querySelector('#said').textContent")
    assert page.locator("button.copy").first.inner_text() in ("Copied", "Selected")


def test_a_cell_leads_to_the_evidence_of_its_probe(opened):  # noqa: F811
    page = opened(whole())
    number = 1 + [one.id for one in whole().probes].index("glm4/llamafactory/zero3")

    page.locator(f"table a[href='#probe-{number}']").click()

    evidence = page.locator(f"#probe-{number}")
    assert evidence.is_visible()
    assert "AttributeError: 'functools.partial' object has no attribute '__self__'" in evidence.inner_text()
    assert page.locator("details.probe[open]").count() == 1


def test_the_keyboard_is_enough(opened):  # noqa: F811
    page = opened(whole())

    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    assert page.locator(".skip").bounding_box()["x"] >= 0
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    fold = page.locator("details.probe summary").first
    fold.focus()
    assert fold.evaluate("(one) => getComputedStyle(one).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    assert page.locator("details.probe").first.evaluate("(one) => one.open")


def test_a_screen_reader_hears_the_chain_in_order(opened):  # noqa: F811
    page = opened(whole())

    heard = page.get_by_role("list", name="The call chain of CKPT001").aria_snapshot()

    places = [heard.index(word) for word in ("no engine", "Glm4ForCausalLM", "is passed as", "has no", "fails here")]
    assert places == sorted(places)
    assert heard.count("ruled out") == 2


def test_folds_are_open_on_paper_but_for_probes(opened):  # noqa: F811
    page = opened(whole())

    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details[data-print]:not([open])").count() == 0
    assert page.locator("details.probe[open]").count() == 0
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("details[data-print][open]").count() == 0
    assert page.pdf().startswith(b"%PDF")


def test_without_scripts_all_can_be_read_and_no_button_is_dead(opened):  # noqa: F811
    page = opened(whole(), java_script_enabled=False)

    assert page.locator("button:visible").count() == 0
    page.locator("details.probe summary").first.click()
    assert page.locator(".evidence").first.is_visible()
