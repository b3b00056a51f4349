"""The page in a browser: it decodes, plays, switches, rates."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from plc_bench.quality import excerpts, study
from plc_bench.report import build
from plc_bench.report.ratings import rating_tables, read_ratings
from tests.bench.quality.test_study import settings, write_clips
from tests.bench.report.browser import Browser, find_chromium

pytest.importorskip("matplotlib", reason="matplotlib is not installed")
if find_chromium() is None:
    pytest.skip("Chromium is not installed (Debian: chromium)", allow_module_level=True)

pytestmark = pytest.mark.system

METHODS = ("zeros", "repeat", "pitch")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    clips = write_clips(folder / "data", "music/a.wav", "speech/b.wav", samples=4 * 8000)
    study.run(folder / "out", clips, settings(methods=METHODS, excerpt_count=2, excerpt_s=4.0))
    build.build(folder / "out", folder / "report")
    return folder / "out"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture
def page(browser: Browser, results: Path) -> Iterator[Browser]:
    browser.complaints.clear()
    browser.resize(1200, 900)
    browser.open(results.parent / "report" / "index.html")
    yield browser
    assert not browser.complaints


def test_every_version_is_decoded_to_the_last_bit(page: Browser, results: Path) -> None:
    for number, excerpt in enumerate(excerpts.find(results)):
        heard = page.evaluate(
            f"versionsOf(study.clips[{number}]).then(all => Object.fromEntries([...all].map("
            "([name, buffer]) => [name, Array.from(buffer.getChannelData(0), x => x * 32768)])))"
        )
        assert set(heard) == {"reference", "lossy", *METHODS}
        for name, samples in heard.items():
            np.testing.assert_array_equal(samples, excerpt.read(name)[:, 0])


def test_keys_play_switch_and_seek(page: Browser) -> None:
    assert page.evaluate("current.clip.id") == 0
    page.key(" ")
    page.wait("Deck.current?.playing && Deck.current.position > 0.05")
    began = page.evaluate("Deck.current.began")
    page.key("4")
    assert page.evaluate("current.deck.heard") == "repeat"
    # Switching does not start anything anew: the versions go on where they are.
    assert page.evaluate("Deck.current.began") == began
    page.wait(
        "[...current.deck.voices].every(([name, v]) => "
        "Math.abs(v.gain.gain.value - (name === 'repeat' ? 1 : 0)) < 1e-3)"
    )
    page.key("ArrowDown")
    assert page.evaluate("current.deck.heard") == "pitch"
    before = page.evaluate("current.deck.position")
    page.key("ArrowRight")
    page.wait("Deck.current.playing")
    assert page.evaluate("current.deck.position") >= before + 0.9
    page.key(" ")
    assert not page.evaluate("current.deck.playing")
    stood = page.evaluate("current.deck.position")
    page.key("ArrowLeft")
    assert page.evaluate("current.deck.position") == pytest.approx(max(0.0, stood - 1), abs=1e-6)
    page.key("n")
    assert page.evaluate("current.clip.id") == 1
    page.key("p")
    assert page.evaluate("current.clip.id") == 0


def test_a_clip_ends_and_can_be_played_again(page: Browser) -> None:
    page.evaluate("current.deck.seek(current.deck.duration - 0.1)")
    page.key(" ")
    page.wait("!current.deck.playing && current.deck.position === 0")
    page.key(" ")
    page.wait("current.deck.playing")
    page.key(" ")


def test_the_pointer_chooses_a_version_and_a_place(page: Browser) -> None:
    page.click("#clip-0 .track:nth-of-type(4) > button")
    assert page.evaluate("current.deck.heard") == "zeros"
    assert (
        page.evaluate(
            "document.querySelector('#clip-0 .track.on > button').getAttribute('aria-pressed')"
        )
        == "true"
    )
    page.click("#clip-0 .track:nth-of-type(5) .picture", share=0.25)
    assert page.evaluate("current.deck.heard") == "repeat"
    assert page.evaluate("current.deck.position / current.deck.duration") == pytest.approx(
        0.25, abs=0.01
    )
    page.click("#clip-1 summary")
    page.click("#clip-1 .play")
    page.wait("Deck.current?.playing && Deck.current.clip.id === 1")
    # The pointer leaves the keyboard to the page.
    page.key(" ")
    assert not page.evaluate("Deck.current.playing")


def test_tables_sort_up_and_down(page: Browser) -> None:
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
    folder = results.parent / "report"
    script = folder / "clips" / "0.js"
    aside = script.rename(folder / "clips" / "0.aside")
    try:
        browser.open(folder / "index.html")
        browser.key(" ")
        browser.wait("document.querySelector('#clip-0 .status').textContent.includes('0.js')")
    finally:
        aside.rename(script)
    browser.key(" ")
    browser.wait("Deck.current?.playing")


def test_the_page_fits_a_phone(page: Browser) -> None:
    page.resize(360, 700, mobile=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.evaluate(
        "[...document.querySelectorAll('#clip-0 button')].every(b => "
        "b.getBoundingClientRect().height >= 38)"
    )


def begin(page: Browser, mode: str) -> None:
    page.evaluate(
        f"document.getElementById('listener').value = 'Ada'; const m = "
        f"document.getElementById('listen-mode'); m.value = '{mode}'; "
        "m.dispatchEvent(new Event('change')); "
        "document.getElementById('ab-first').value = 'repeat'; "
        "document.getElementById('ab-second').value = 'pitch';"
    )
    page.click("#listen-setup button[type=submit]")
    page.wait("!document.getElementById('listen').hidden")


def saved(page: Browser, path: Path) -> Path:
    text = page.evaluate(
        "fetch(document.getElementById('ratings-file').href).then(answer => answer.text())"
    )
    path.write_text(text)
    assert json.loads(text)["listener"] == "Ada"
    return path


def test_versions_are_rated_blind_and_read_back(
    page: Browser, results: Path, tmp_path: Path
) -> None:
    begin(page, "mushra")
    for _ in range(2):
        text = page.evaluate("document.getElementById('listen').textContent")
        assert not any(method in text for method in METHODS)
        next_button = "#listen .choices button"
        assert page.evaluate(f"document.querySelector('{next_button}').disabled")
        page.key(" ")
        page.wait("Deck.current?.playing")
        names = page.evaluate("study.clips[0].tracks.map(t => t.name)")
        assert "lossy" in names  # zeros are the anchor where they are a method
        for number in range(1, 5):
            page.key(str(number))
        page.evaluate(
            "document.querySelectorAll('#listen input[type=range]').forEach((slider, i) => "
            "{ slider.value = 20 * i; slider.dispatchEvent(new Event('input')); })"
        )
        page.click(next_button)
    ratings = read_ratings([saved(page, tmp_path / "r.json")], study.load(results))
    assert len(ratings.rated) == 2
    for one in ratings.rated:
        assert set(one.ratings) == {"reference", *METHODS}
        assert sorted(one.ratings.values()) == [0.0, 20.0, 40.0, 60.0]
    assert rating_tables(ratings)
    page.click("#listen > button")
    assert not page.evaluate("document.getElementById('report').hidden")


def prefer(page: Browser) -> None:
    """Hear both versions, prefer the first, go to the next clip."""
    page.key(" ")
    page.wait("Deck.current?.playing")
    page.key("1")
    page.key("2")
    page.evaluate("document.querySelectorAll('#listen .choices button')[0].click()")
    page.evaluate("document.querySelector('#listen .choices:last-child button').click()")


def break_off(page: Browser) -> None:
    page.evaluate("document.querySelector('#listen .choices:last-child button:last-child').click()")


def heading(page: Browser) -> str:
    text: str = page.evaluate("document.querySelector('#listen h2').textContent")
    return text


def test_one_of_two_is_preferred_and_a_break_is_survived(
    page: Browser, results: Path, tmp_path: Path
) -> None:
    begin(page, "ab")
    prefer(page)
    page.open(results.parent / "report" / "index.html")
    page.click("#listen-resume")
    assert heading(page) == "Clip 2 of 2"
    break_off(page)
    part = saved(page, tmp_path / "part.json")
    (one,) = read_ratings([part], study.load(results)).preferences
    assert one.choice in ("repeat", "pitch")
    assert {one.first, one.second} == {"repeat", "pitch"}


@pytest.mark.parametrize("stored", [True, False])
def test_a_test_that_was_broken_off_goes_on(
    page: Browser, results: Path, tmp_path: Path, stored: bool
) -> None:
    if not stored:
        page.evaluate("Storage.prototype.setItem = () => { throw new Error('no storage') }")
    page.evaluate("localStorage.clear()")
    begin(page, "ab")
    break_off(page)  # before anything is answered
    assert not page.evaluate("document.getElementById('report').hidden")
    page.click("#listen-resume")
    assert heading(page) == "Clip 1 of 2"
    prefer(page)
    break_off(page)
    assert heading(page) == "Broken off"
    assert "1 clip rated, 1 to go" in page.evaluate("document.getElementById('listen').textContent")
    part = saved(page, tmp_path / "part.json")
    page.click("#listen > button:last-child")  # back to the report
    if stored:
        page.open(results.parent / "report" / "index.html")
    page.click("#listen-resume")
    assert heading(page) == "Clip 2 of 2"
    break_off(page)
    page.click("#listen > button")  # go on
    assert heading(page) == "Clip 2 of 2"
    prefer(page)
    assert heading(page) == "Done"
    whole = saved(page, tmp_path / "whole.json")
    kept = study.load(results)
    assert [len(read_ratings([file], kept).preferences) for file in (part, whole)] == [1, 2]
    assert len(read_ratings([part, whole], kept).preferences) == 2
    page.click("#listen > button")
    assert page.evaluate("document.getElementById('listen-resume').hidden")
