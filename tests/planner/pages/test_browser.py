"""Pages as a browser shows them: every label can be read, columns sort, commands are copied, nothing is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

SCREENS = {"light": (1280, "light"), "dark": (1280, "dark"), "tablet": (820, "light"), "phone": (390, "light"),
           "dark phone": (390, "dark"), "small phone": (340, "light")}  # fmt: skip
KINDS = ("fit", "front", "estimate", "machines", "models", "prices", "batches", "nothing fits")
LEAST_CONTRAST, LEAST_OF_MARKS = 4.5, 3.0  # WCAG 2.2, 1.4.3 and 1.4.11
SMALLEST_TEXT = 10.5
LOOKED_AT = Path(__file__).with_name("looked_at.js").read_text()


@pytest.fixture
def opened(browser: Any, pages: dict[str, str], tmp_path: Path) -> Iterator[Any]:
    """Opens a page of a kind on a screen; afterwards nothing must have failed or been loaded."""
    contexts, problems, asked = [], [], []

    def open_page(kind: str, screen: str) -> Any:
        width, scheme = SCREENS[screen]
        file = tmp_path / "report.html"
        file.write_text(pages[kind])
        contexts.append(browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme))
        page = contexts[-1].new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(file.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert problems == []
    assert all(url.startswith("file:") for url in asked)
    assert len(asked) == len(contexts)


def overlap(a: dict[str, Any], b: dict[str, Any]) -> bool:
    """Whether two texts cover each other; the boxes of lines are a little higher than letters."""
    off = 0.18
    top_a, bottom_a = (a[edge] + sign * off * (a["bottom"] - a["top"]) for edge, sign in (("top", 1), ("bottom", -1)))
    top_b, bottom_b = (b[edge] + sign * off * (b["bottom"] - b["top"]) for edge, sign in (("top", 1), ("bottom", -1)))
    return a["left"] + 1 < b["right"] and b["left"] + 1 < a["right"] and top_a < bottom_b and top_b < bottom_a


@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_label_can_be_read(opened: Any, kind: str, screen: str) -> None:
    seen = opened(kind, screen).evaluate(LOOKED_AT)
    texts = seen["texts"]
    assert len(texts) > 50
    assert seen["scrolls"] <= seen["width"]
    assert [t["words"] for t in texts if t["left"] < 0 or t["right"] > seen["width"]] == []
    cards = [t for t in texts if t["card"]]
    assert [t["words"] for t in cards if t["left"] < t["card"][0] or t["right"] > t["card"][1]] == []
    assert [(t["words"], t["contrast"]) for t in texts if t["contrast"] < LEAST_CONTRAST] == []
    assert min(seen["marks"]) >= LEAST_OF_MARKS
    assert [(t["words"], t["size"]) for t in texts if t["size"] < SMALLEST_TEXT] == []
    texts.sort(key=lambda t: t["top"])
    covered = []
    for i, a in enumerate(texts):
        for b in texts[i + 1 :]:
            if b["top"] > a["bottom"]:
                break
            if overlap(a, b):
                covered.append((a["words"], b["words"]))
    assert covered == []


def cells(page: Any, column: int) -> list[str]:
    found: list[str] = page.eval_on_selector_all(
        f"#ranking tbody td:nth-child({column})", "cells => cells.map(cell => cell.dataset.key)"
    )
    return found


def test_a_click_on_a_heading_sorts_and_a_second_one_turns_it_round(opened: Any) -> None:
    page = opened("fit", "light")
    asked = cells(page, 1)
    assert [float(key) for key in asked] == sorted(float(key) for key in asked)
    for column, heading in ((3, "batch"), (4, "memory"), (5, "speed"), (6, "step")):
        page.click(f"#ranking th:nth-child({column}) button")
        numbers = [float(key) for key in cells(page, column)]
        assert numbers == sorted(numbers, reverse=True), heading
        assert page.get_attribute("#ranking th[aria-sort]", "aria-sort") == "descending"
    page.click("#ranking th:nth-child(6) button")
    assert numbers[::-1] == [float(key) for key in cells(page, 6)]
    page.focus("#ranking th:nth-child(2) button")
    page.keyboard.press("Enter")
    names = cells(page, 2)
    assert names == sorted(names)
    assert len(set(names)) > 1


def test_a_command_is_copied(opened: Any) -> None:
    page = opened("fit", "light")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.click(".command button >> nth=0")
    page.wait_for_function("document.querySelector('.command button').textContent === 'copied'")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == page.text_content(".command code >> nth=0")
    assert copied.startswith("planner estimate llama-2-7b --gpu A100-40GB-SXM ")


def test_pointing_at_a_mark_says_its_numbers_within_the_view(opened: Any) -> None:
    page = opened("fit", "phone")
    for index in range(page.locator("svg.narrow .point").count()):
        mark = page.locator("svg.narrow .point").nth(index)
        mark.focus()
        tip = page.locator("#tip")
        assert tip.text_content() == mark.get_attribute("data-tip")
        box = tip.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390


def test_a_page_says_all_without_scripts(browser: Any, pages: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text(pages["fit"])
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(file.as_uri())
    text = page.inner_text("body")
    context.close()
    for said in ("start of backward, the peak", "budget", "4,251", "planner verify", "qlora nf4-double, rest bf16"):
        assert said in text
