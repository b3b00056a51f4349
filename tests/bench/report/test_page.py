"""The page in a browser: it decodes, plays, switches, rates."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from plc_bench.quality import excerpts, study
from plc_bench.report import build
from plc_bench.report.ratings import read_ratings
from tests.bench.quality.test_study import settings, write_clips
from tests.browser import ARGUMENTS, chromium

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytest.importorskip("matplotlib", reason="matplotlib is not installed")
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = chromium()

pytestmark = pytest.mark.system

# A shared machine may stall; nothing here takes seconds.
PATIENCE_MS = 120_000.0
METHODS = ("zeros", "repeat", "pitch")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    clips = write_clips(folder / "data", "music/a.wav", "speech/b.wav", samples=4 * 8000)
    study.run(folder / "out", clips, settings(methods=METHODS, excerpt_count=2, excerpt_s=4.0))
    build.build(folder / "out", folder / "report")
    return folder / "out"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_api.sync_playwright() as playwright:
        arguments = [*ARGUMENTS, "--autoplay-policy=no-user-gesture-required"]
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield opened
        opened.close()


def opened_page(browser: Browser, results: Path, **options: Any) -> Page:
    page = browser.new_page(**options)
    page.set_default_timeout(PATIENCE_MS)
    page.goto((results.parent / "report" / "index.html").resolve().as_uri())
    return page


@pytest.fixture
def page(browser: Browser, results: Path) -> Iterator[Page]:
    opened = opened_page(browser, results, viewport={"width": 1200, "height": 900})
    complaints: list[str] = []
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on(
        "console",
        lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None,
    )
    yield opened
    opened.close()
    assert not complaints


def click_at(page: Page, selector: str, share: float) -> None:
    """Click an element at ``share`` of its width from its left."""
    box = page.locator(selector).bounding_box()
    assert box
    page.locator(selector).click(position={"x": share * box["width"], "y": box["height"] / 2})


def test_every_version_is_decoded_to_the_last_bit(page: Page, results: Path) -> None:
    for number, excerpt in enumerate(excerpts.find(results)):
        heard = page.evaluate(
            f"versionsOf(study.clips[{number}]).then(all => Object.fromEntries([...all].map("
            "([name, buffer]) => [name, Array.from(buffer.getChannelData(0), x => x * 32768)])))"
        )
        assert set(heard) == {"reference", "lossy", *METHODS}
        for name, samples in heard.items():
            np.testing.assert_array_equal(samples, excerpt.read(name)[:, 0])


def test_keys_play_switch_and_seek(page: Page) -> None:
    assert page.evaluate("current.clip.id") == 0
    page.keyboard.press("Space")
    page.wait_for_function("Deck.current?.playing && Deck.current.position > 0.05")
    began = page.evaluate("Deck.current.began")
    page.keyboard.press("4")
    assert page.evaluate("current.deck.heard") == "repeat"
    # Switching does not start anything anew: the versions go on where they are.
    assert page.evaluate("Deck.current.began") == began
    page.wait_for_function(
        "[...current.deck.voices].every(([name, v]) => "
        "Math.abs(v.gain.gain.value - (name === 'repeat' ? 1 : 0)) < 1e-3)"
    )
    page.keyboard.press("ArrowDown")
    assert page.evaluate("current.deck.heard") == "pitch"
    before = page.evaluate("current.deck.position")
    page.keyboard.press("ArrowRight")
    page.wait_for_function("Deck.current.playing")
    assert page.evaluate("current.deck.position") >= before + 0.9
    page.keyboard.press("Space")
    assert not page.evaluate("current.deck.playing")
    stood = page.evaluate("current.deck.position")
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("current.deck.position") == pytest.approx(max(0.0, stood - 1), abs=1e-6)
    page.keyboard.press("n")
    assert page.evaluate("current.clip.id") == 1
    page.keyboard.press("p")
    assert page.evaluate("current.clip.id") == 0


def test_a_clip_ends_and_can_be_played_again(page: Page) -> None:
    page.evaluate("current.deck.seek(current.deck.duration - 0.1)")
    page.keyboard.press("Space")
    page.wait_for_function("!current.deck.playing && current.deck.position === 0")
    page.keyboard.press("Space")
    page.wait_for_function("current.deck.playing")
    page.keyboard.press("Space")


def test_the_pointer_chooses_a_version_and_a_place(page: Page) -> None:
    page.click("#clip-0 .track:nth-of-type(4) > button")
    assert page.evaluate("current.deck.heard") == "zeros"
    assert (
        page.evaluate(
            "document.querySelector('#clip-0 .track.on > button').getAttribute('aria-pressed')"
        )
        == "true"
    )
    click_at(page, "#clip-0 .track:nth-of-type(5) .picture", 0.25)
    assert page.evaluate("current.deck.heard") == "repeat"
    assert page.evaluate("current.deck.position / current.deck.duration") == pytest.approx(
        0.25, abs=0.01
    )
    page.click("#clip-1 summary")
    page.click("#clip-1 .play")
    page.wait_for_function("Deck.current?.playing && Deck.current.clip.id === 1")
    # The pointer leaves the keyboard to the page.
    page.keyboard.press("Space")
    assert not page.evaluate("Deck.current.playing")


def test_tables_sort_up_and_down(page: Page) -> None:
    column = (
        "[...document.querySelector('table.sortable').tBodies[0].rows]"
        ".map(row => Number(row.cells[1].dataset.value))"
    )
    heading = "table.sortable th:nth-child(2) button"
    page.click(heading)
    rising = page.evaluate(column)
    assert rising == sorted(rising)
    page.click(heading)
    assert page.evaluate(column) == rising[::-1]


def test_a_missing_audio_file_is_said(browser: Browser, results: Path) -> None:
    script = results.parent / "report" / "clips" / "0.js"
    aside = script.rename(script.with_suffix(".aside"))
    page = opened_page(browser, results)
    try:
        page.keyboard.press("Space")
        page.wait_for_function(
            "document.querySelector('#clip-0 .status').textContent.includes('0.js')"
        )
    finally:
        aside.rename(script)
    page.keyboard.press("Space")
    page.wait_for_function("Deck.current?.playing")
    page.close()


def test_the_page_fits_a_phone(browser: Browser, results: Path) -> None:
    phone = {"viewport": {"width": 360, "height": 700}, "device_scale_factor": 2}
    page = opened_page(browser, results, is_mobile=True, **phone)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.evaluate(
        "[...document.querySelectorAll('#clip-0 button')].every(b => "
        "b.getBoundingClientRect().height >= 38)"
    )
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_charts_take_the_colours_of_the_page(browser: Browser, results: Path, scheme: str) -> None:
    page = opened_page(browser, results, color_scheme=scheme)
    names = page.locator("svg.chart").first.locator("text").all_text_contents()
    assert {*METHODS, "length of the gap (ms)"} <= set(names)
    colours = page.evaluate(
        "[...document.querySelectorAll('svg.chart [style*=\"var(--c1)\"]')]"
        ".map(one => getComputedStyle(one).stroke)"
    )
    wanted = {"light": "rgb(213, 94, 0)", "dark": "rgb(255, 143, 71)"}[scheme]
    assert wanted in colours
    page.close()


def begin(page: Page) -> None:
    page.evaluate("document.getElementById('listener').value = 'Ada'; null")
    page.click("#listen-setup button[type=submit]")
    page.wait_for_function("!document.getElementById('listen').hidden")


def saved(page: Page, path: Path) -> Path:
    text = page.evaluate(
        "fetch(document.getElementById('ratings-file').href).then(answer => answer.text())"
    )
    path.write_text(text)
    assert json.loads(text)["listener"] == "Ada"
    return path


def rate(page: Page) -> None:
    """Hear all versions, rate them, go to the next clip."""
    next_button = "#listen .choices button"
    assert page.evaluate(f"document.querySelector('{next_button}').disabled")
    page.keyboard.press("Space")
    page.wait_for_function("Deck.current?.playing")
    for number in range(1, 5):
        page.keyboard.press(str(number))
    page.evaluate(
        "document.querySelectorAll('#listen input[type=range]').forEach((slider, i) => "
        "{ slider.value = 20 * i; slider.dispatchEvent(new Event('input')); })"
    )
    page.click(next_button)


def test_versions_are_rated_blind_and_read_back(page: Page, results: Path, tmp_path: Path) -> None:
    names = page.evaluate("study.clips[0].tracks.map(t => t.name)")
    assert "lossy" in names  # zeros are the anchor where they are a method
    begin(page)
    for _ in range(2):
        text = page.evaluate("document.getElementById('listen').textContent")
        assert not any(method in text for method in METHODS)
        rate(page)
    rated = read_ratings([saved(page, tmp_path / "r.json")], study.load(results))
    assert len(rated) == 2
    for one in rated:
        assert set(one.ratings) == {"reference", *METHODS}
        assert sorted(one.ratings.values()) == [0.0, 20.0, 40.0, 60.0]
    page.click("#listen > button")
    assert not page.evaluate("document.getElementById('report').hidden")


def break_off(page: Page) -> None:
    page.evaluate("document.querySelector('#listen .choices:last-child button:last-child').click()")


def heading(page: Page) -> str:
    text: str = page.evaluate("document.querySelector('#listen h2').textContent")
    return text


@pytest.mark.parametrize("stored", [True, False])
def test_a_test_that_was_broken_off_goes_on(
    page: Page, results: Path, tmp_path: Path, stored: bool
) -> None:
    if not stored:
        page.evaluate("Storage.prototype.setItem = () => { throw new Error('no storage') }; null")
    page.evaluate("localStorage.clear()")
    begin(page)
    break_off(page)  # before anything is answered
    assert not page.evaluate("document.getElementById('report').hidden")
    page.click("#listen-resume")
    assert heading(page) == "Clip 1 of 2"
    rate(page)
    break_off(page)
    assert heading(page) == "Broken off"
    assert "1 clip rated, 1 to go" in page.evaluate("document.getElementById('listen').textContent")
    part = saved(page, tmp_path / "part.json")
    page.click("#listen > button:last-child")  # back to the report
    if stored:
        page.reload()
    page.click("#listen-resume")
    assert heading(page) == "Clip 2 of 2"
    break_off(page)
    page.click("#listen > button")  # go on
    assert heading(page) == "Clip 2 of 2"
    rate(page)
    assert heading(page) == "Done"
    whole = saved(page, tmp_path / "whole.json")
    kept = study.load(results)
    assert [len(read_ratings([file], kept)) for file in (part, whole)] == [1, 2]
    assert len(read_ratings([part, whole], kept)) == 2
    page.click("#listen > button")
    assert page.evaluate("document.getElementById('listen-resume').hidden")
