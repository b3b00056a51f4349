"""The network that fills gaps of files."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("onnxruntime")

from plc import inpaint, notice
from plc.engine.models.catalogue import find
from plc.engine.networks.encoder import open_context_encoder
from plc.engine.networks.gap_filler import Hints
from plc.engine.networks.gap_spectra import GapSpectra
from plc.engine.predict.sides import bridged_along_the_pitch
from plc.engine.predict.similar import find_passages
from plc.errors import ConfigError, ModelError
from plc.files.fill import gap_drafts as drafts_module
from plc.files.fill import networks as module
from plc.files.fill.gap_drafts import TwoSidedDraft
from plc.files.fill.networks import TwoSidedNetworks, open_gap_filler
from tests.plc.engine.networks.test_encoder import write_context_encoder
from tests.plc.tiny_models import write_model
from tests.signals import noise, tones, voice

RATE = 16_000


def _model(folder: Path, graph: str = "last", **changes: Any) -> str:
    settings: dict[str, Any] = {
        "drafts": TwoSidedDraft.KNOWN,
        "kind": "inpaint",
        "context_frames_after": 2,
        "top_hz": 8000.0,
    } | changes
    return str(write_model(folder, graph, **settings))


def hints(row: NDArray[np.float32], doubt_db: float = np.inf, speech: float = 0.0) -> Hints:
    return Hints(np.ones(row.size, np.bool_), doubt_db, speech)


def test_a_network_that_gives_the_last_draft_back_changes_nothing(tmp_path: Path) -> None:
    signal = tones(1, RATE, RATE)
    gaps = [(4000, 4800), (9000, 9160)]
    plain = inpaint(signal, gaps, sample_rate=RATE, model="ar")
    np.testing.assert_allclose(
        inpaint(signal, gaps, sample_rate=RATE, model=_model(tmp_path)), plain, atol=1e-5
    )


def uncertain(seed: int) -> NDArray[np.float32]:
    """Return a signal that predictors disagree on."""
    return tones(seed, RATE, RATE) + np.float32(0.3) * noise(seed, RATE)


def test_what_the_network_makes_is_what_fills_the_gap(tmp_path: Path) -> None:
    signal = uncertain(2)
    gaps = [(4000, 4800)]
    plain = inpaint(signal, gaps, sample_rate=RATE, model="ar")
    forward = inpaint(signal, gaps, sample_rate=RATE, model=_model(tmp_path, "pass"))
    assert np.abs(forward - plain)[4100:4700].max() > 1e-4
    outside = np.ones(RATE, bool)
    outside[4000:4800] = False
    np.testing.assert_array_equal(forward[outside], signal[outside])
    assert abs(forward[4000] - plain[4000]) < 0.1 * np.abs(forward - plain).max()


def test_a_passage_that_came_before_is_one_of_the_drafts(tmp_path: Path) -> None:
    signal = np.tile(noise(11, 6_000), 4)
    start, stop = 14_000, 14_640
    model = _model(tmp_path, "pass", drafts=("similar", "interpolated"))
    seen = signal.copy()
    seen[start:stop] = 0.0
    filled = inpaint(seen, [(start, stop)], sample_rate=RATE, model=model)[start:stop]
    plain = inpaint(seen, [(start, stop)], sample_rate=RATE, model="ar")[start:stop]
    truth = signal[start:stop]
    # Nothing of noise can be predicted; what came before is all there is to know of it.
    assert np.dot(plain - truth, plain - truth) > 0.8 * np.dot(truth, truth)
    assert np.dot(filled - truth, filled - truth) < 0.1 * np.dot(truth, truth)


def test_a_voice_is_bridged_along_its_pitch(tmp_path: Path) -> None:
    signal = voice(RATE, 1.0, 180.0, 0.8)
    start, stop = 8_000, 8_640
    model = _model(tmp_path, "pass", drafts=("contour", "interpolated"))
    filled, plain = (
        inpaint(signal, [(start, stop)], sample_rate=RATE, model=each)[start:stop]
        for each in (model, "ar")
    )
    truth = signal[start:stop]
    assert np.sum((filled - truth) ** 2) < 0.5 * np.sum((plain - truth) ** 2)
    made = bridged_along_the_pitch(signal[:start], signal[stop:], stop - start, RATE)
    assert made is not None
    np.testing.assert_allclose(filled[16:-16], made[16:-16], atol=1e-3)


def test_where_there_is_no_pitch_the_interpolation_stands_in_for_its_draft(tmp_path: Path) -> None:
    signal = noise(2, RATE)
    model = _model(tmp_path, "pass", drafts=("contour", "interpolated"))
    filled, plain = (
        inpaint(signal, [(4000, 4800)], sample_rate=RATE, model=each) for each in (model, "ar")
    )
    np.testing.assert_allclose(filled, plain, atol=1e-4)


def test_a_damaged_contour_is_a_clear_error_or_leaves_gaps_to_the_interpolation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged() -> None:
        raise ModelError("contour.npz is not sound")

    path = _model(tmp_path, "pass", drafts=("contour", "interpolated"))
    monkeypatch.setattr(module, "contour_model", damaged)
    monkeypatch.setattr(module, "available", lambda: [find(path)])
    with pytest.raises(ModelError, match=r"contour\.npz"):
        open_gap_filler("auto", path, RATE)
    told: list[str] = []
    monkeypatch.setattr(notice, "tell", told.append)
    monkeypatch.setattr(module.opened, "fillers", {}, raising=False)
    assert open_gap_filler("auto", "auto", RATE) is None
    assert "contour.npz" in told[0]


def test_networks_that_see_unlike_stretches_search_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drafts = ("similar", "interpolated")
    paths = {"music": tmp_path / "a", "speech": tmp_path / "b"}
    manifests = {}
    for after, (content, folder) in enumerate(paths.items(), 2):
        folder.mkdir()
        model = _model(folder, "pass", drafts=drafts, context_frames_after=after, name=content)
        manifests[content] = find(model)
    networks = TwoSidedNetworks(manifests, RATE)
    searched: list[int] = []

    def counting(*arguments: Any) -> Any:
        searched.append(1)
        return find_passages(*arguments)

    monkeypatch.setattr(drafts_module, "find_passages", counting)
    signal = np.tile(noise(11, 6_000), 4)
    row = signal.copy()
    row[14_000:14_640] = 0.0
    assert networks.refine(row, 14_000, 14_640, row.size, hints(row, speech=0.5))
    assert searched == [1]
    error, truth = row[14_000:14_640] - signal[14_000:14_640], signal[14_000:14_640]
    assert np.dot(error, error) < 0.1 * np.dot(truth, truth)


def test_drafts_that_are_not_known_are_refused(tmp_path: Path) -> None:
    for drafts in (("forward", "pitch", "interpolated"), ("interpolated", "forward")):
        with pytest.raises(ConfigError, match="the last of them last"):
            inpaint(
                tones(6, RATE, RATE),
                [(4000, 4800)],
                sample_rate=RATE,
                model=_model(tmp_path, drafts=drafts),
            )


@pytest.mark.parametrize("gap", [(300, 700), (15_000, 15_400)])
def test_where_less_is_known_than_the_network_sees_the_rest_is_predicted(
    tmp_path: Path, gap: tuple[int, int]
) -> None:
    signal = uncertain(2)
    start, stop = gap
    seen: list[NDArray[np.float32]] = []

    class Seeing(GapSpectra):
        def analyse(self) -> None:
            seen.append(self.rows[0].copy())
            super().analyse()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "GapSpectra", Seeing)
        patch.setattr(module, "LEAST_KNOWN_MS", 10.0)
        model = _model(tmp_path, "pass")
        filled = inpaint(signal, [gap], sample_rate=RATE, model=model)
    assert (filled != inpaint(signal, [gap], sample_rate=RATE, model="ar"))[start:stop].any()
    [lines] = seen
    spectra = GapSpectra(find(model), RATE, 1)
    first = start - spectra.gap_start
    known = signal[max(0, first) : first + lines.shape[1]]
    assert known.size < lines.shape[1]
    place = max(0, -first)
    outside = np.ones(lines.shape[1], bool)
    outside[spectra.gap_start : spectra.gap_start + stop - start] = False
    for line in lines:
        parts = outside[place : place + known.size]
        shown = line[place : place + known.size][parts]
        gain = np.abs(shown).max() / np.abs(known[parts]).max()
        np.testing.assert_allclose(shown, gain * known[parts], rtol=1e-6)
    # Chords go on as they were: prediction is near them, silence is not.
    extended = np.delete(lines[-1], slice(place, place + known.size))
    assert 0.5 < np.std(extended) / np.std(shown) < 2.0


@pytest.mark.parametrize("gap", [(200, 600), (15_000, 15_800), (4000, 8000)])
def test_where_the_context_is_short_or_the_gap_long_the_draft_stays(
    tmp_path: Path, gap: tuple[int, int]
) -> None:
    signal = tones(3, RATE, RATE)
    plain = inpaint(signal, [gap], sample_rate=RATE, model="ar")
    filled = inpaint(signal, [gap], sample_rate=RATE, model=_model(tmp_path, "pass"))
    np.testing.assert_array_equal(filled, plain)


def test_a_network_that_fails_leaves_the_draft(tmp_path: Path) -> None:
    signal = tones(4, RATE, RATE)
    plain = inpaint(signal, [(4000, 4800)], sample_rate=RATE, model="ar")
    filled = inpaint(signal, [(4000, 4800)], sample_rate=RATE, model=_model(tmp_path, "root"))
    np.testing.assert_array_equal(filled, plain)


def test_fast_and_the_plain_ladder_use_no_network(tmp_path: Path) -> None:
    signal = tones(5, RATE, RATE)
    model = _model(tmp_path, "pass")
    settings: list[dict[str, Any]] = [{"quality": "fast"}, {"method": "ar"}]
    for setting in settings:
        np.testing.assert_array_equal(
            inpaint(signal, [(4000, 4800)], sample_rate=RATE, model=model, **setting),
            inpaint(signal, [(4000, 4800)], sample_rate=RATE, model="ar", **setting),
        )


def test_a_model_that_fills_no_gaps_of_files_is_refused(tmp_path: Path) -> None:
    model = str(write_model(tmp_path, "last", drafts=("ar",), top_hz=8000.0))
    with pytest.raises(ConfigError, match="of kind causal, which fills no gaps of files"):
        inpaint(tones(6, RATE, RATE), [(4000, 4800)], sample_rate=RATE, model=model)


def test_a_gap_is_filled_by_the_papers_network(tmp_path: Path) -> None:
    signal = tones(7, RATE, RATE)
    start, stop = 6000, 6900
    model = write_context_encoder(tmp_path, is_complex=False)
    filled = inpaint(signal, [(start, stop), (14_500, 15_400)], sample_rate=RATE, model=str(model))
    hidden = signal.copy()
    hidden[start:stop] = 0.0
    hidden[14_500:] = 0.0  # beyond the next gap nothing is known
    expected = open_context_encoder(model).fill(hidden, (start, stop))
    np.testing.assert_array_equal(filled[start:stop], expected)
    # With less than 128 ms on a side the interpolation stays.
    last = [(14_500, 15_400)]
    np.testing.assert_array_equal(
        inpaint(signal, last, sample_rate=RATE, model=str(model)),
        inpaint(signal, last, sample_rate=RATE, model="ar"),
    )


def test_the_papers_network_is_for_16_khz_and_more(tmp_path: Path) -> None:
    model = str(write_context_encoder(tmp_path, is_complex=False))
    with pytest.raises(ConfigError, match="for 16000 to 192000 Hz"):
        inpaint(tones(8, 8_000, 8_000), [(4000, 4100)], sample_rate=8_000, model=model)


def test_what_can_be_predicted_is_left_to_prediction(tmp_path: Path) -> None:
    gaps = [(4000, 4160)]
    model = _model(tmp_path, "pass")
    steady = np.sin(0.2 * np.arange(RATE)).astype(np.float32)
    np.testing.assert_array_equal(
        inpaint(steady, gaps, sample_rate=RATE, model=model),
        inpaint(steady, gaps, sample_rate=RATE, model="ar"),
    )


def test_the_networks_say_grows_with_the_doubt(tmp_path: Path) -> None:
    path = find(_model(tmp_path, "pass"))
    networks = TwoSidedNetworks({"music": path, "speech": path}, RATE)
    signal = tones(9, RATE, RATE)
    moved = []
    for doubt_db in (-60.0, -38.0, -30.0, -22.0, 0.0, np.inf):
        row = signal.copy()
        row[4000:4800] *= 0.5
        filled = row[4000:4800].copy()
        assert networks.refine(row, 4000, 4800, row.size, hints(row, doubt_db)) == (
            doubt_db > -38.0
        )
        moved.append(row[4000:4800] - filled)
    assert not moved[0].any()
    assert not moved[1].any()
    np.testing.assert_allclose(moved[2], 0.5 * moved[3], atol=1e-6)
    np.testing.assert_array_equal(moved[3], moved[5])
    np.testing.assert_array_equal(moved[4], moved[5])
    assert np.abs(moved[5]).max() > 1e-2


def test_a_network_is_opened_once(tmp_path: Path) -> None:
    model = _model(tmp_path)
    assert open_gap_filler("auto", model, RATE) is open_gap_filler("auto", model, RATE)
    assert open_gap_filler("auto", "ar", RATE) is None


def unasked() -> float:
    raise AssertionError("somebody asked what it is")


def test_where_one_network_serves_all_nobody_asks_what_it_is(tmp_path: Path) -> None:
    manifest = find(_model(tmp_path, "last"))
    networks = TwoSidedNetworks({"music": manifest, "speech": manifest}, RATE)
    assert networks.speech_share(unasked) == 0.0
    row = tones(9, RATE, RATE)
    assert networks.refine(row, 4000, 4800, row.size, hints(row))


@pytest.mark.parametrize(("content", "share"), [("music", 0.0), ("speech", 1.0)])
def test_what_is_told_nobody_asks(content: str, share: float) -> None:
    networks = open_gap_filler("auto", "auto", RATE, content)
    assert isinstance(networks, TwoSidedNetworks)
    assert [*networks._networks] == [content]
    assert (networks._spoken is not None) == (content == "speech")
    assert networks.speech_share(unasked) == share


def test_where_the_content_is_in_doubt_both_networks_are_heard(tmp_path: Path) -> None:
    paths = {"music": _model(tmp_path, "last"), "speech": _model(tmp_path, "pass")}
    networks = TwoSidedNetworks({content: find(path) for content, path in paths.items()}, RATE)
    signal = tones(9, RATE, RATE)
    fills = {}
    for share in (0.0, 0.25, 1.0):
        row = signal.copy()
        row[4000:4800] *= 0.5
        assert networks.speech_share(partial(float, share)) == share
        assert networks.refine(row, 4000, 4800, row.size, hints(row, speech=share))
        fills[share] = row[4000:4800]
    assert np.abs(fills[1.0] - fills[0.0]).max() > 1e-3
    mixed = 0.75 * fills[0.0] + 0.25 * fills[1.0]
    np.testing.assert_allclose(fills[0.25], mixed, atol=1e-6)
