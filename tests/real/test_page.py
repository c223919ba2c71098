"""A map's page in a real browser."""

from __future__ import annotations

import os
import shutil
from itertools import product
from pathlib import Path

import axe_playwright_python
import pytest
from packaging.requirements import Requirement
from playwright.sync_api import expect, sync_playwright

from ckptdoctor import knowledge
from ckptdoctor.knowledge import asking
from ckptdoctor.output import render
from tests.test_maps import REQUIRES, TRANSFORMERS, build, planted, readme, style, whole

pytestmark = pytest.mark.real

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
AXE = Path(axe_playwright_python.__file__).with_name("axe.min.js").read_text(encoding="utf-8")
PHONE = {"width": 360, "height": 740}
DESK = {"width": 1400, "height": 900}


@pytest.fixture(scope="module")
def browser():
    """The machine's own Chromium; only where tests must all run is it an error that there is none."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None and not os.environ.get("CI"):
        pytest.skip(f"needs a browser: {', '.join(BROWSERS)}")
    assert found, f"no browser is installed: {', '.join(BROWSERS)}"
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=found)
        yield started
        started.close()


@pytest.fixture
def opened(browser, tmp_path):
    """Opens a map's page, and in the end makes sure that it was quiet: no errors, no requests, no dialogs."""
    contexts, noise = [], []

    def open_page(found, viewport=DESK, address="", **more):
        file = tmp_path / f"{len(contexts)}.html"
        file.write_text(found if isinstance(found, str) else render("html", found, style()), encoding="utf-8")
        contexts.append(browser.new_context(viewport=viewport, **more))
        contexts[-1].set_default_timeout(10_000)
        page = contexts[-1].new_page()
        page.on("console", lambda message: noise.append(message.text))
        page.on("pageerror", lambda error: noise.append(str(error)))
        page.on("dialog", lambda dialog: (noise.append(dialog.message), dialog.dismiss()))
        page.on(
            "request",
            lambda request: noise.append(request.url) if request.url.partition("#")[0] != file.as_uri() else None,
        )
        page.goto(file.as_uri() + address)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert noise == []


def told(page):
    """What the page answers."""
    return page.locator("#answer").inner_text()


def cell(page, row, column):
    return page.locator(f"#grid tbody tr:nth-child({row}) td").nth(column - 1)


def evidence(page):
    return page.locator("#details").inner_text()


def focused(page):
    """Row and column of the cell that has the focus, counted from 1."""
    return tuple(page.evaluate("[document.activeElement.parentElement.rowIndex, document.activeElement.cellIndex]"))


def test_the_map_is_a_grid_of_ranges(opened):
    page = opened(readme())

    assert page.locator("#grid thead th").all_inner_texts() == [
        *["transformers", "4.49.0 - 4.50.3", "4.51.0 - 4.51.3", "5.23.0"]
    ]
    assert page.locator("#grid tbody th").all_inner_texts() == ["llamafactory 0.9.1 - 0.9.2", "llamafactory 0.9.3"]
    name = (
        "FAILS, CKPT001, llamafactory reads `__self__` from a callable that does not have it, "
        "fix: llamafactory 0.9.3 or transformers 4.50.3, 2 of 4 measured, the others inferred"
    )
    assert page.get_by_role("gridcell", name=name).count() == 1
    assert page.get_by_role("rowheader").count() == 2
    assert "Choose a cell" in evidence(page)


def test_a_click_shows_what_a_range_rests_on(opened):
    page = opened(readme())

    cell(page, 1, 2).click()

    shown = evidence(page)
    for part in (
        "llamafactory 0.9.1 - 0.9.2 with transformers 4.51.0 - 4.51.3",
        "✕ FAILS",
        "4 combinations: 2 of 4 measured, the others inferred.",
        "llamafactory reads __self__ from a callable that does not have it.",
        "llamafactory 0.9.3 works instead in all 4.",
        "pip install --no-deps 'llamafactory==0.9.3'",
        "Rests on 2 runs",
        "AttributeError: 'functools.partial' object has no attribute '__self__'",
        "llamafactory 0.9.1, llamafactory/checkpointing.py:86\nmodule = func.__self__",
        "transformers 4.51.0, transformers/modeling_glm4.py:577",
        "functools.partial(Glm4DecoderLayer.__call__)",
        "torch 2.13.0",
    ):
        assert part in shown
    assert cell(page, 1, 2).get_attribute("aria-selected") == "true"
    # Folded away until it is asked for.
    assert "llamafactory 0.9.2, llamafactory/checkpointing.py:86" not in shown
    page.locator("#details summary").nth(1).click()
    assert "llamafactory 0.9.2, llamafactory/checkpointing.py:86" in evidence(page)


def test_each_release_says_how_it_is_known(opened):
    page = opened(readme(requires={"llamafactory": {"0.9.2": ["transformers<=4.49.0"]}}))
    page.locator("#every").check()

    assert page.locator("#grid thead th").all_inner_texts()[1:] == TRANSFORMERS
    assert page.locator("#grid td").count() == 15
    cell(page, 2, 3).click()
    assert "Measured on 2026-11-24." in evidence(page)
    assert "transformers<=4.49.0" in evidence(page)
    cell(page, 2, 4).click()
    assert "Inferred from the run of transformers 4.51.0, llamafactory 0.9.2 on 2026-11-24" in evidence(page)
    measured, inferred = (
        place.evaluate("(cell) => [getComputedStyle(cell).backgroundImage, cell.textContent]")
        for place in (cell(page, 2, 3), cell(page, 2, 4))
    )
    assert measured == ["none", "✕"]
    assert "gradient" in inferred[0]
    page.locator("#every").uncheck()
    assert page.locator("#grid td").count() == 6


def test_each_cell_says_what_its_own_releases_require_and_whether_it_is_met(opened):
    found = readme(requires=REQUIRES)
    for one in found.cells:  # as if inferred from the run of another release
        if one.stack["llamafactory"] == "0.9.3" and one.verdict == "ok":
            one.how, one.run = "inferred", found.cells[5].run
    page = opened(found)
    assert found.run_of(found.cells[5]).stack["llamafactory"] == "0.9.2"

    cell(page, 1, 2).click()
    assert "llamafactory 0.9.2 requires transformers<=4.49.0; 2 of 4 combinations do not meet it." in evidence(page)
    assert page.get_by_role("gridcell", name="requirements forbid 2/4").count() == 1
    page.locator("#every").check()
    cell(page, 3, 4).click()
    shown = evidence(page)
    assert "llamafactory 0.9.3 requires transformers<=4.51.0,>=4.50; this combination does not meet it." in shown
    assert "llamafactory 0.9.2 requires" not in shown
    cell(page, 3, 2).click()
    assert "Declared requirements\nllamafactory 0.9.3 requires transformers<=4.51.0,>=4.50" in evidence(page)
    assert "not meet" not in evidence(page)
    cell(page, 1, 4).click()  # nothing is known of 0.9.1
    assert "llamafactory 0.9.1 requires" not in evidence(page)
    assert page.locator("#grid td.unmet").count() == 7


def test_many_requirements_are_folded(opened):
    axes = {"transformers": TRANSFORMERS, "llamafactory": [f"0.{number}" for number in range(5)]}
    requires = {"llamafactory": {release: ["transformers<4"] for release in axes["llamafactory"]}}
    page = opened(build(axes, lambda stack, model: "ok", requires=requires))

    cell(page, 1, 1).click()

    assert "25 of 25 combinations do not meet what their releases declare to require" in evidence(page)
    assert "llamafactory 0.4 requires" not in evidence(page)
    page.locator("#details summary").first.click()
    assert "llamafactory 0.4 requires transformers<4; 5 of 25 combinations do not meet it." in evidence(page)


def test_what_cannot_be_diagnosed_says_why_and_what_is_missing_says_nothing(opened):
    page = opened(whole())
    page.locator("#every").check()

    cell(page, 5, 1).click()
    assert "? cannot be diagnosed" in evidence(page)
    assert "transformers 4.49.0 cannot be imported." in evidence(page)
    cell(page, 5, 2).click()
    assert "not in the map" in evidence(page)
    assert cell(page, 5, 2).inner_text() == ""


def test_the_mouse_shows_evidence_in_passing(opened):
    page = opened(readme())
    cell(page, 1, 1).click()

    cell(page, 2, 3).hover()
    assert "llamafactory 0.9.3 with transformers 5.23.0" in evidence(page)
    page.mouse.move(5, 5)
    assert "llamafactory 0.9.1 - 0.9.2 with transformers 4.49.0 - 4.50.3" in evidence(page)


def test_the_keyboard_is_enough(opened):
    page = opened(readme())
    page.locator("#every").focus()

    # The frame can be reached for scrolling, the grid once, as a whole.
    for _ in range(3):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.tagName") == "TD":
            break
    assert focused(page) == (1, 1)
    for keys, place in (
        (["ArrowRight", "ArrowDown"], (2, 2)),
        (["ArrowDown", "ArrowRight", "ArrowRight"], (2, 3)),
        (["Home"], (2, 1)),
        (["ArrowUp", "ArrowUp", "ArrowLeft"], (1, 1)),
        (["Control+End"], (2, 3)),
        (["Control+Home", "End"], (1, 3)),
    ):
        for key in keys:
            page.keyboard.press(key)
        assert focused(page) == place
        assert page.locator('#grid [tabindex="0"]').count() == 1
    assert "llamafactory 0.9.1 - 0.9.2 with transformers 5.23.0" in evidence(page)
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "details"
    page.keyboard.press("Escape")
    assert focused(page) == (1, 3)


def test_arrows_bring_cells_out_from_under_the_headers(opened):
    page = opened(whole(), viewport=PHONE)
    page.locator("#every").check()
    cell(page, 1, 1).focus()

    for key in ["Control+End", "ArrowLeft", "ArrowLeft", "ArrowLeft", "ArrowLeft", "ArrowUp", "Control+Home"]:
        page.keyboard.press(key)
        inside = page.evaluate("""() => {
            const box = document.activeElement.getBoundingClientRect();
            const seen = document.elementFromPoint(box.left + box.width / 2, box.top + box.height / 2);
            return seen === document.activeElement;
        }""")
        assert inside, key


def test_models_have_sheets(opened):
    page = opened(whole())
    assert page.locator("#sheets label").all_inner_texts() == ["glm4", "llama, qwen2"]

    page.get_by_role("radio", name="llama, qwen2").check()
    cell(page, 1, 1).click()

    assert page.locator("#grid td.fail").count() == 0
    assert "llamafactory 0.9.1 - 0.9.3" in evidence(page)
    page.get_by_role("radio", name="glm4").check()
    assert page.locator("#grid td.fail").count() > 0
    assert "Choose a cell" in evidence(page)


def test_one_model_needs_no_switch(opened):
    page = opened(readme())

    assert page.locator("#sheets input").count() == 0
    assert "glm4" in page.locator("#sheets").inner_text()


@pytest.mark.parametrize("every", [False, True])
def test_a_phone_scrolls_the_grid_and_never_the_page_sideways(opened, every):
    page = opened(
        planted(whole(), " " + "long" * 40, keys=False) if every else large(),
        viewport=PHONE,
        has_touch=True,
        is_mobile=True,
    )
    page.locator("#every").set_checked(every)
    page.locator("#grid td.fail").first.tap()

    # Further right than there is page.
    page.evaluate("window.scrollTo(1000, window.scrollY)")
    assert page.evaluate("[window.scrollX, document.documentElement.scrollWidth]") == [0, PHONE["width"]]
    frame = page.locator("#frame")
    assert frame.evaluate("(frame) => frame.scrollWidth > frame.clientWidth")
    frame.evaluate("(frame) => { frame.scrollLeft = 300; }")
    header, edge = page.locator("#grid tbody th").first.bounding_box(), frame.bounding_box()
    assert abs(header["x"] - edge["x"]) < 3
    assert header["width"] < PHONE["width"] / 2
    details = page.locator("#details").bounding_box()
    assert details["y"] >= edge["y"] + edge["height"]


def test_a_tap_brings_the_verdict_into_view(opened):
    page = opened(readme(), viewport=PHONE, has_touch=True, is_mobile=True)

    cell(page, 1, 1).tap()

    badge = page.locator("#details .badge").bounding_box()
    assert 0 < badge["y"] < PHONE["height"]


def test_light_and_dark(opened):
    paper = [
        opened(readme(), color_scheme=scheme).evaluate("getComputedStyle(document.body).backgroundColor")
        for scheme in ("light", "dark")
    ]

    assert paper[0] != paper[1]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_in_the_grid_can_be_read(opened, scheme):
    page = opened(whole(), color_scheme=scheme)
    for every in (False, True):
        page.locator("#every").set_checked(every)

        ratios = page.evaluate("""() => {
            const channel = (value) => (value /= 255) <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
            const light = (color) => {
                const [red, green, blue] = color.match(/\\d+/g).map(Number);
                return 0.2126 * channel(red) + 0.7152 * channel(green) + 0.0722 * channel(blue);
            };
            return [...document.querySelectorAll("#grid td:not(.none)")].map((cell) => {
                const look = getComputedStyle(cell);
                const [dark, bright] = [light(look.color), light(look.backgroundColor)].sort((a, b) => a - b);
                return (bright + 0.05) / (dark + 0.05);
            });
        }""")

        # WCAG's AA for text of any size.
        assert min(ratios) >= 4.5


def test_without_scripts_there_is_a_table(opened):
    page = opened(readme(), java_script_enabled=False)

    header = page.locator("#plain tbody th").first
    assert "Scripts are switched off" in page.locator("#plain").inner_text()
    assert header.is_visible()
    assert header.inner_text() == "llamafactory 0.9.1 - 0.9.2"
    assert not page.locator("#map").is_visible()
    assert not page.locator("#ask").is_visible()


def test_hostile_text_is_shown_and_does_not_run(opened):
    page = opened(planted(whole(), keys=False))
    for every in (False, True):
        page.locator("#every").set_checked(every)
        for row in range(page.locator("#grid tbody tr").count()):
            cell(page, row + 1, 1).click()
    cell(page, 1, 3).click()

    assert "<img src=x onerror=alert(1)>" in evidence(page)
    assert page.locator("img, a:not(.skip), #grid i").count() == 0
    assert page.locator("script").count() == 2


def test_hostile_text_does_not_run_without_scripts_either(opened):
    page = opened(planted(whole()), java_script_enabled=False)

    assert page.locator("img, a:not(.skip)").count() == 0


def test_an_empty_map_says_so(opened):
    page = opened(build({}, None, stacks=[]))

    assert page.get_by_text("This map is empty.").is_visible()
    assert not page.locator("#map").is_visible()


def test_a_single_axis_is_a_column(opened):
    page = opened(build({"transformers": TRANSFORMERS}, lambda stack, model: "ok"))

    cell(page, 1, 1).click()

    assert page.locator("#grid thead th").all_inner_texts() == ["", "verdict"]
    assert "transformers 4.49.0 - 5.23.0" in evidence(page)


def large():
    axes = {
        "transformers": [f"4.{number}.0" for number in range(100)],
        "llamafactory": [f"0.{number}" for number in range(25)],
        "axolotl": [f"0.{number}" for number in range(15)],
    }
    verdicts = ("ok", "fail", "error")
    return build(
        axes,
        lambda stack, model: verdicts[(len(model) + int(stack["transformers"][2:-2]) // 7) % 3],
        models=("glm4", "glm", "llama"),
    )


def test_a_large_map_shows_every_release(opened):
    page = opened(large())
    page.locator("#every").check()

    assert page.locator("#grid td").count() == 4_000
    cell(page, 40, 100).click()
    assert "axolotl 0.14 with transformers 4.99.0" in evidence(page)
    # Headers stay where they are while the grid is scrolled.
    edge = page.locator("#frame").bounding_box()
    assert abs(page.locator("#grid thead th").first.bounding_box()["y"] - edge["y"]) < 3
    assert abs(page.locator("#grid tbody tr:last-child th").bounding_box()["x"] - edge["x"]) < 3


# -- the question -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shipped():
    """The page of what ships."""
    return render("html", knowledge.Knowledge(knowledge.about(), knowledge.load(knowledge.FAMILIES_FILE)), style())


def test_a_question_is_answered_and_its_address_leads_to_it(opened, shipped):
    page = opened(shipped)
    assert "Choose your transformers and your trainer" in told(page)

    page.get_by_label("Your transformers").select_option("5.23.0")
    page.get_by_label("Your trainer").select_option("llamafactory")
    page.get_by_label("Its release").select_option("0.9.4")

    assert page.evaluate("location.hash") == "#transformers=5.23.0&trainer=llamafactory&release=0.9.4"
    assert "✕ FAILS llamafactory 0.9.4 with transformers 5.23.0 fails (CKPT001)" in told(page)
    assert "What fails: llamafactory reads __self__ from a callable that does not have it." in told(page)
    assert "pip install 'transformers==4.57.1'" in told(page)
    page.go_back()
    assert "llamafactory 0.9.4" not in told(page)
    assert page.get_by_label("Its release").input_value() == ""
    page.go_forward()
    assert "✕ FAILS llamafactory 0.9.4" in told(page)
    page.evaluate("location.hash = 'main'")
    assert "✕ FAILS llamafactory 0.9.4" in told(page)


def test_the_browser_says_what_known_says(opened, shipped):
    page = opened(shipped)
    axes = knowledge.load().axes
    for number, (library, family) in enumerate(product(axes["transformers"][::17], ["", "glm4", "cpmant"])):
        trainer = ("llamafactory", "axolotl", "ms-swift")[number % 3]
        release = axes[trainer][number % len(axes[trainer])]
        said = asking.ask([Requirement(f"{trainer}=={release}"), Requirement(f"transformers=={library}")], family)
        page.evaluate(
            "(text) => { location.hash = text; }",
            f"transformers={library}&trainer={trainer}&release={release}" + (f"&model={family}" if family else ""),
        )
        expect(page.locator("#answer")).to_contain_text(f"{trainer} {release}")
        shown = " ".join(told(page).split())
        for text in (said.summary, *said.notes, *(one.sentence for one in said.nearest)):
            for sentence in text.replace("`", "").split(". "):
                assert sentence.rstrip(".") in shown, (library, trainer, release, family)
        assert all(one.command in shown for one in said.nearest)


def test_an_address_with_names_that_are_not_there_says_so(opened, shipped):
    page = opened(shipped, address="#transformers=9.9&trainer=llamafactory&release=0.9.5&model=gpt9&colour=red")

    for part in (
        "This page does not know what “colour” in its address means.",
        "transformers 9.9 is not in this map, so nothing is known of it; measured were 4.40.0 to 5.24.0.",
        "The model family gpt9 was not measured.",
        "Of the rest of the question, this is known:",
        "llamafactory 0.9.5",
    ):
        assert part in told(page)
    page.evaluate("location.hash = 'trainer=%3Cimg src=x onerror=alert(1)%3E'")
    expect(page.locator("#answer")).to_contain_text("onerror")
    assert page.locator("#answer img").count() == 0


def test_a_family_is_answered_without_a_trainer_and_never_by_another_release(opened, shipped):
    page = opened(shipped, address="#transformers=5.24.0&model=gemma3n_text")
    assert "✕ FAILS gemma3n_text with transformers 5.24.0 fails" in told(page)

    page.evaluate("location.hash = 'transformers=5.22.2&trainer=llamafactory&release=0.9.5&model=qwen3'")
    expect(page.locator("#answer .badge")).to_have_text("? NOT MEASURED")
    assert "qwen3 was not measured with a trainer; other families: llamafactory 0.9.5 with" in told(page)

    page.evaluate("location.hash = 'model=gemma3n_text'")
    page.get_by_label("Your transformers").select_option("4.50.3")  # it came with 4.53.0
    assert "? NOT KNOWN gemma3n_text was not measured in these releases of transformers." in told(page)


def test_the_keyboard_is_enough_for_the_question(opened, shipped):
    page = opened(shipped)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Tab")
    page.keyboard.type("5.23.0")
    page.keyboard.press("Tab")
    page.keyboard.type("llama")
    page.keyboard.press("Tab")
    page.keyboard.type("0.9.5")

    expect(page.locator("#answer")).to_contain_text("✕ FAILS llamafactory 0.9.5 with transformers 5.23.0")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Copy"
    page.keyboard.press("Enter")
    expect(page.locator("#answer button").first).not_to_have_text("Copy")


@pytest.mark.parametrize("width", [420, 1400])
def test_the_answer_never_makes_the_page_scroll_sideways(opened, shipped, width):
    page = opened(
        shipped,
        viewport={"width": width, "height": 900},
        address="#transformers=5.23.0&trainer=axolotl&release=0.21.0&model=llama",
    )

    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_a_browser_that_is_too_old_gets_the_tables(browser, tmp_path):
    file = tmp_path / "map.html"
    file.write_text(render("html", readme(), style()), encoding="utf-8")
    page = browser.new_page()
    page.add_init_script("delete window.DecompressionStream")
    page.goto(file.as_uri())

    assert page.locator("#plain tbody th").first.is_visible()
    assert not page.locator("#ask").is_visible()
    page.close()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1400), ("dark", 420)])
def test_axe_finds_nothing(opened, shipped, scheme, width):
    page = opened(
        shipped,
        viewport={"width": width, "height": 900},
        color_scheme=scheme,
        address="#transformers=5.23.0&trainer=llamafactory&release=0.9.4",
    )
    cell(page, 1, 2).click()
    page.evaluate(AXE)
    found = page.evaluate("axe.run()")

    assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in found["violations"]] == []
    assert found["passes"]
