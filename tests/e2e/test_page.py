"""The server's page in a real browser: what one draws with the mouse is read right, and nothing is loaded from elsewhere."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests import drawings
from tests.asking import start
from tests.chromium import chromium
from tests.pictures import packed
from tests.preprocessing.test_reader import seven

pytestmark = pytest.mark.browser
Points = list[tuple[float, float]]


def arc(x: float, y: float, width: float, height: float, begin: float, end: float) -> Points:
    """Return points of an ellipse's arc; angles in turns, clockwise from the right."""
    turns = [begin + (end - begin) * step / 24 for step in range(25)]
    return [(x + width * math.cos(2 * math.pi * turn), y + height * math.sin(2 * math.pi * turn)) for turn in turns]


DIGITS: dict[str, Points] = {  # as shares of the pad
    "7": [(0.3, 0.25), (0.7, 0.25), (0.45, 0.8)],
    "1": [(0.52, 0.2), (0.48, 0.8)],
    "0": arc(0.5, 0.5, 0.2, 0.3, 0, 1),
    "3": arc(0.45, 0.35, 0.18, 0.15, -0.4, 0.25) + arc(0.45, 0.65, 0.2, 0.15, -0.25, 0.4),
}


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    process, port = start()
    try:
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as made:
        yield made


@pytest.fixture(params=["light", "dark"])
def page(request: pytest.FixtureRequest, browser: Browser, address: str) -> Iterator[Page]:
    """Open the page; at the end, nothing was asked elsewhere and nothing was complained about."""
    page = browser.new_page(color_scheme=request.param, viewport={"width": 1280, "height": 800})
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    yield page
    page.close()
    # Chromium tells of every answer from 400 on; the first strokes are no digit yet.
    assert [text for text in complaints if "422" not in text] == []
    assert [url for url in asked if not url.startswith(("data:", address))] == []


def draw(page: Page, points: Points) -> None:
    box = page.locator("#pad").bounding_box()
    assert box
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for x, y in places[1:]:
        page.mouse.move(x, y, steps=4)
    page.mouse.up()


def test_digits_drawn_with_the_mouse_are_read(page: Page, tmp_path: Path) -> None:
    expect(page.locator("#words")).to_have_text("Nothing drawn yet.")
    for digit, points in DIGITS.items():
        page.get_by_role("button", name="Clear").click()
        expect(page.locator("#digit")).to_have_text("")
        draw(page, points)
        expect(page.locator("#digit")).to_have_text(digit)
        expect(page.locator("li")).to_have_count(10)
        expect(page.locator("li.best")).to_have_text(re.compile(rf"^{digit}\d+\.\d %$"))
        expect(page.get_by_role("img", name="28 by 28")).to_be_visible()
    page.wait_for_timeout(300)  # the bars move
    page.screenshot(path=tmp_path / "wide.png")
    page.set_viewport_size({"width": 390, "height": 844})
    page.screenshot(path=tmp_path / "phone.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_a_number_is_read_from_a_picture_and_from_the_pad_with_a_box_for_each_digit(page: Page, tmp_path: Path) -> None:
    def has_accent(x: float, y: float) -> bool:
        """Say whether the pad has the colour of boxes near a place, given as shares of its sides."""
        script = """([x, y]) => {
            const pad = document.getElementById("pad");
            const accent = getComputedStyle(document.body).getPropertyValue("--accent");
            const wanted = accent.trim().match(/[0-9a-f]{2}/gi).map((part) => parseInt(part, 16));
            const at = [x * pad.width - 6, y * pad.height - 6];
            const copy = Object.assign(document.createElement("canvas"), { width: pad.width, height: pad.height });
            const pen = copy.getContext("2d", { willReadFrequently: true });
            pen.drawImage(pad, 0, 0);
            const { data } = pen.getImageData(...at, 12, 12);
            return [...Array(144).keys()].some((i) => wanted.every((value, c) => Math.abs(data[4 * i + c] - value) < 8));
        }"""
        return bool(page.evaluate(script, [x, y]))

    sheet = drawings.Sheet((500, 250), drawings.WHITE)
    for column, label in enumerate((2, 0, 5)):
        sheet.digit(label, (60 + 140 * column, 75, 60, 100), 10, drawings.BLACK)
    choose = page.get_by_label("Choose a picture", exact=True)
    choose.set_input_files({"name": "number.png", "mimeType": "image/png", "buffer": sheet.packed()})
    expect(page.locator("#digit")).to_have_text("205")
    expect(page.get_by_role("status")).to_contain_text("3 digits")
    for column in range(3):  # the left side of each box; the picture is half as tall as the pad
        assert has_accent((55 + 140 * column) / 500, 0.25 + 125 / 500)
    assert not has_accent(0.02, 0.5)
    page.screenshot(path=tmp_path / "number.png")
    page.get_by_role("button", name="Clear").click()
    expect(page.locator("#digit")).to_have_text("")
    assert not has_accent(55 / 500, 0.5)
    draw(page, [(0.2, 0.2), (0.2, 0.8)])
    draw(page, [(0.45, 0.2), (0.8, 0.2), (0.6, 0.8)])
    expect(page.locator("#digit")).to_have_text("17")


def test_a_chosen_picture_is_read_and_an_error_is_told(page: Page) -> None:
    choose = page.get_by_label("Choose a picture", exact=True)
    choose.set_input_files({"name": "seven.jpg", "mimeType": "image/jpeg", "buffer": packed(seven(), "JPEG")})
    expect(page.get_by_role("status")).to_contain_text("dark on light")
    expect(page.locator("#digit")).to_have_text("7")
    choose.set_input_files({"name": "white.png", "mimeType": "image/png", "buffer": packed(seven(ink="white"))})
    expect(page.get_by_role("status")).to_contain_text("no digit")
    choose.focus()
    page.keyboard.press("Shift+Tab")
    expect(page.get_by_role("button", name="Clear")).to_be_focused()
