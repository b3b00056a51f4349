"""The page on which a person chooses what is filled."""

import json
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from plc.files.audio import read_audio
from plc.restore import choosing
from plc.restore.choosing import choices_page
from plc.restore.repair import REPAIRED, SOUND, RepairReport, RepairSettings, run_repair
from tests.browser import ARGUMENTS, chromium
from tests.signals import tones

pytestmark = pytest.mark.usefixtures("at_once")

RATE = 16_000
SETTINGS = RepairSettings(method="ar")
HOLES = (8_000, 24_000)


@pytest.fixture
def report(tmp_path: Path) -> RepairReport:
    """Return what would be done to a gate, to a recording with two holes, and to a sound one."""
    signals = {name: tones(seed, RATE, 3 * RATE) for seed, name in enumerate(("gate", "<b>ü", "c"))}
    for start in HOLES:
        signals["<b>ü"][start : start + 320] = 0.0
    for start in range(0, 3 * RATE, RATE // 4):
        signals["gate"][start : start + 800] = 0.0
    for name, signal in signals.items():
        path = tmp_path / f"tapes/{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, signal, RATE, subtype="PCM_16")
    return run_repair(str(tmp_path / "tapes"), str(tmp_path / "out"), SETTINGS, dry_run=True)


def embedded(page: str, name: str) -> Any:
    """Return the JSON that stands in a page."""
    found = re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', page, re.S)
    assert found is not None
    return json.loads(found[1])


def test_each_place_is_on_the_page_and_doubtful_ones_are_not_ticked(
    report: RepairReport, tmp_path: Path
) -> None:
    text = choices_page(report, SETTINGS)
    told, clips = embedded(text, "choices"), embedded(text, "data")
    assert told["files"] == ["<b>ü.wav.txt", "c.wav.txt", "gate.wav.txt"]
    ticked = [each for each in told["places"] if each["ticked"]]
    assert [each["file"] for each in ticked] == ["<b>ü.wav.txt"] * 2
    starts_s = [float(each["label"].split("\t")[0]) for each in ticked]
    np.testing.assert_allclose(starts_s, np.array(HOLES) / RATE, atol=2e-4)
    doubtful = [each for each in told["places"] if not each["ticked"]]
    assert len(doubtful) > 5
    assert {each["file"] for each in doubtful} == {"gate.wav.txt"}
    assert [each["clip"] for each in told["places"]] == list(range(len(clips)))
    assert [track["label"] for track in clips[0]["tracks"]] == ["before", "after"]
    waves = [track["near"] for each in clips for track in each["tracks"]]
    assert all(wave.startswith("data:image/svg+xml;base64,") for wave in waves)
    assert "<b>ü" not in text
    assert not (tmp_path / "out").exists()


def test_more_places_than_players_are_told_and_none_recording_is_silent(
    report: RepairReport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choosing, "_PLAYERS", 3)
    text = choices_page(report, SETTINGS)
    places = embedded(text, "choices")["places"]
    heard = [each["file"] for each in places if each["clip"] is not None]
    assert sorted(set(heard)) == ["<b>ü.wav.txt", "gate.wav.txt"]
    assert len(heard) == 3 < len(places)
    assert "To listen to: 3" in text


def test_the_player_has_what_the_repair_makes(report: RepairReport, tmp_path: Path) -> None:
    (outcome,) = [each for each in report.outcomes if each.state == REPAIRED]
    place = choosing._Found(outcome, outcome.findings[0])
    ((_, clip),) = choosing._clips([place], [0], tmp_path / "tapes", SETTINGS)
    run_repair(str(tmp_path / "tapes"), str(tmp_path / "out"), SETTINGS)
    first = outcome.findings[0].start - round(choosing._MARGIN_S * RATE)
    before, after = (
        read_audio(tmp_path / where / outcome.name)[0][max(0, first) :][: len(clip.lost)]
        for where in ("tapes", "out")
    )
    np.testing.assert_array_equal(clip.versions[0].signal, before)
    np.testing.assert_allclose(clip.versions[1].signal, after, atol=1e-3)
    assert np.abs(after[clip.lost]).max() > 0.01


def test_the_player_leaves_intact_channels_as_they_are(tmp_path: Path) -> None:
    signal = np.stack([tones(seed, RATE, 3 * RATE) for seed in (1, 2)], axis=1)
    signal[RATE : RATE + 320, 0] = 0.0
    (tmp_path / "tapes").mkdir()
    soundfile.write(tmp_path / "tapes/left.wav", signal, RATE, subtype="PCM_16")
    report = run_repair(str(tmp_path / "tapes"), str(tmp_path / "out"), SETTINGS, dry_run=True)
    place = choosing._Found(report.outcomes[0], report.outcomes[0].findings[0])
    ((_, clip),) = choosing._clips([place], [0], tmp_path / "tapes", SETTINGS)
    before, after = (version.signal for version in clip.versions)
    np.testing.assert_array_equal(after[:, 1], before[:, 1])
    assert np.abs(after[clip.lost, 0]).max() > 0.01
    cells = re.findall(r"<td[^>]*>(.*?)</td>", choices_page(report, SETTINGS))
    assert cells[6] == place.channels == "1"


@pytest.mark.system
def test_what_is_ticked_is_saved_and_repaired(report: RepairReport, tmp_path: Path) -> None:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    page, labels = tmp_path / "look.html", tmp_path / "labels.zip"
    page.write_text(choices_page(report, SETTINGS))
    errors: list[str] = []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=list(ARGUMENTS))
        tab = browser.new_page()
        tab.on("console", lambda message: errors.append(message.text))
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.goto(page.as_uri())
        assert tab.inner_text("#ticked").startswith("2 of ")
        tab.locator("#places input").nth(0).uncheck()
        assert not tab.locator("label.fill input").nth(0).is_checked()
        tab.locator("label.fill input").nth(2).check()
        with tab.expect_download() as saved:
            tab.click("#save")
        saved.value.save_as(labels)
        browser.close()
    assert errors == []
    with zipfile.ZipFile(labels) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["<b>ü.wav.txt", "c.wav.txt", "gate.wav.txt"]
    settings = RepairSettings(gaps=str(labels), method="ar")
    done = run_repair(str(tmp_path / "tapes"), str(tmp_path / "out"), settings)
    assert [each.state for each in done.outcomes] == [REPAIRED, SOUND, REPAIRED]
    assert [len(each.gaps) for each in done.outcomes] == [1, 0, 1]
