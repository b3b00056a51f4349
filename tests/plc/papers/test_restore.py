"""Lost frames of files, restored by a network."""

from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

pytest.importorskip("onnxruntime")

from plc import Concealer, inpaint
from plc.engine.models.catalogue import available, find
from plc.engine.networks.spectral_fill import interpolated
from plc.errors import ConfigError, ModelError
from plc.files.audio import read_audio
from plc.files.fill.signals import FillSettings
from plc.files.recordings import inpaint_file
from plc.papers.restore import (
    BINS,
    FRAME_SAMPLES,
    FRAMES,
    HOP_SAMPLES,
    HORIZON_MS,
    KIND,
    PATCH_SAMPLES,
    POINTS,
    RATES,
    SAMPLE_RATE,
    Restorer,
    between_bins,
)
from plc_bench.base.corpus import read_clip
from plc_bench.scores.metrics import snr_ms_db
from plc_kernels.spectra.offline import spectra_of
from plc_kernels.spectra.stft import Stft
from plc_kernels.spectra.windows import window
from tests.plc.tiny_models import OPSET, onnx, write_bytes
from tests.signals import noise, tones


def write_restorer(folder: Path, gain: float = 1.0, **changes: Any) -> str:
    """Write a network that answers with the patch as it sees it, times a gain."""
    helper, float32 = onnx.helper, onnx.TensorProto.FLOAT
    patch = ["b", 1, BINS, FRAMES]
    graph = helper.make_graph(
        [
            helper.make_node("Mul", ["patch", "gain"], ["louder"]),
            helper.make_node("Unsqueeze", ["lost", "axes"], ["wide"]),
            helper.make_node("Mul", ["wide", "nothing"], ["none"]),
            helper.make_node("Add", ["louder", "none"], ["restored"]),
        ],
        "restorer",
        [
            helper.make_tensor_value_info("patch", float32, patch),
            helper.make_tensor_value_info("lost", float32, ["b", FRAMES]),
        ],
        [helper.make_tensor_value_info("restored", float32, patch)],
        [
            helper.make_tensor("gain", float32, [], [gain]),
            helper.make_tensor("nothing", float32, [], [0.0]),
            helper.make_tensor("axes", onnx.TensorProto.INT64, [2], [1, 2]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    fields = {
        "name": "restorer",
        "kind": KIND,
        "drafts": ["linear"],
        "bin_hz": 16_000 / 255,
        "top_hz": None,
        "context_frames": 0,
        "horizon_ms": HORIZON_MS,
        "sample_rates": list(RATES),
    }
    return str(write_bytes(folder, model.SerializeToString(), **{**fields, **changes}))


def song(rate: int, seconds: float = 1.5, seed: int = 1) -> NDArray[np.float32]:
    samples = round(rate * seconds)
    return tones(seed, rate, samples) + np.float32(0.2) * noise(seed, samples)


def level(x: NDArray[np.float32]) -> float:
    return float(np.sqrt(np.mean(np.square(x, dtype=np.float64))))


def test_lost_frames_lie_on_lines_between_known_ones() -> None:
    rng = np.random.default_rng(0)
    frames = rng.random((40, 5), np.float32)
    lost = rng.random(40) < 0.6
    lost[[0, 39]] = True
    known = np.flatnonzero(~lost)
    expected = np.stack([np.interp(np.arange(40), known, line[known]) for line in frames.T], 1)
    np.testing.assert_allclose(interpolated(frames, lost), expected, atol=1e-6)
    one = np.arange(40) != 7
    assert (interpolated(frames, one) == frames[7]).all()


def test_bins_between_are_near_those_of_a_longer_transform() -> None:
    shape = np.hanning(257)[:255]
    wholes, longer = [], []
    for hertz in np.linspace(300.0, 7000.0, 50):
        x = shape * np.sin(2 * np.pi * hertz / SAMPLE_RATE * np.arange(255))
        wholes.append(np.abs(np.fft.rfft(x)))
        longer.append(np.abs(np.fft.rfft(x, 510)))
    made = between_bins(np.array(wholes, np.float32))
    np.testing.assert_array_equal(made[:, ::2], np.array(wholes, np.float32))
    assert np.abs(made - longer).max() < 0.08 * np.max(longer)


def test_a_network_that_says_what_is_there_changes_little(tmp_path: Path) -> None:
    x = tones(1, SAMPLE_RATE, 24_000)
    model = write_restorer(tmp_path)
    gaps = [(12_000, 12_064)]
    kept = np.asarray(
        inpaint(x, gaps, sample_rate=SAMPLE_RATE, method="restore", model=model), np.float32
    )
    assert snr_ms_db(x, kept, (11_500, 12_500)) > 15.0


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_the_networks_level_is_heard_below_8_khz_only(tmp_path: Path, rate: int) -> None:
    x = song(rate)
    gap = (round(0.7 * rate), round(0.75 * rate))

    def filled(gain: float) -> tuple[float, float]:
        folder = tmp_path / f"{gain}"
        folder.mkdir()
        model = write_restorer(folder, gain)
        y = inpaint(x, [gap], sample_rate=rate, quality="fast", method="restore", model=model)
        spectrum = np.abs(np.fft.rfft(y[slice(*gap)] * np.hanning(gap[1] - gap[0])))
        hertz = np.fft.rfftfreq(gap[1] - gap[0], 1 / rate)
        return level(spectrum[hertz < 6500.0]), level(spectrum[hertz > 9500.0]) if rate > 2e4 else 0

    loud, soft = filled(1.0), filled(0.0)
    assert 1.3 < loud[0] / soft[0] < 3.0  # half of the magnitude is the draft's
    assert soft[1] == pytest.approx(loud[1], rel=0.02)
    assert rate < 2e4 or soft[1] > 0.0


@pytest.mark.parametrize("rate", [16_000, 44_100, 192_000])
def test_samples_outside_the_gaps_are_as_they_were(rate: int) -> None:
    x = np.stack([song(rate, 0.6), song(rate, 0.6, 2)], 1)
    lost = np.zeros(len(x), np.bool_)
    for start_ms, ms in ((100, 4), (108, 4), (113, 1), (300, 40), (590, 10)):
        begin = round(rate * start_ms / 1000)
        lost[begin : begin + round(rate * ms / 1000)] = True
    lost[0] = True
    given = np.where(lost[:, None], np.float32(9.0), x)
    y = inpaint(given, lost, sample_rate=rate, quality="fast", method="restore")
    np.testing.assert_array_equal(y[~lost], x[~lost])
    assert np.isfinite(y).all()
    assert np.abs(y).max() < 1.6 * np.abs(x).max()


def test_a_file_is_restored_as_an_array_is(tmp_path: Path) -> None:
    rate = 44_100
    x = song(rate, 3.0)
    gaps = [(60_000, 60_500), (60_700, 61_200), (100_000, 102_000)]
    soundfile.write(tmp_path / "source.wav", x, rate, subtype="FLOAT")
    inpaint_file(
        tmp_path / "source.wav",
        tmp_path / "target.wav",
        [(start / rate, stop / rate) for start, stop in gaps],
        settings=FillSettings(quality="fast", method="restore"),
    )
    expected = inpaint(x, gaps, sample_rate=rate, quality="fast", method="restore")
    np.testing.assert_array_equal(read_audio(tmp_path / "target.wav")[0][:, 0], expected)


def test_a_gap_is_left_to_linear_prediction_where_it_is_too_long_or_at_an_end() -> None:
    x = song(SAMPLE_RATE)
    for gap in ((5000, 5000 + round(HORIZON_MS * 16) + 1), (0, 300), (x.size - 300, x.size)):
        plain, restored = (
            inpaint(x, [gap], sample_rate=SAMPLE_RATE, quality="fast", method=method)
            for method in ("ar", "restore")
        )
        np.testing.assert_array_equal(plain, restored)


def test_the_packages_network_is_nearer_to_music_than_straight_lines_are() -> None:
    pytest.importorskip("soxr")
    clip = Path(str(files("plc"))) / "data" / "music.flac"
    x = read_clip(clip, SAMPLE_RATE).signal.mean(axis=1, dtype=np.float32)
    plan = Stft.allocate(window("hann", FRAME_SAMPLES), HOP_SAMPLES, 2 * POINTS)
    restorer, rng = Restorer(find("restore-music"), SAMPLE_RATE), np.random.default_rng(0)
    errors = np.zeros(2)
    for start in range(0, x.size - PATCH_SAMPLES, 4 * PATCH_SAMPLES):
        frames = np.abs(spectra_of(x[start : start + PATCH_SAMPLES], plan)[3 : 3 + FRAMES, ::2])
        lost = rng.random(FRAMES) < 0.3
        straight = interpolated(frames, lost)
        answers = (straight, restorer._answer(frames, lost))
        errors += [10 * np.log10(np.square(each - frames).sum()) for each in answers]
    assert errors[0] - errors[1] > 1.5 * (x.size // (4 * PATCH_SAMPLES))  # dB, on average


@pytest.mark.parametrize(
    ("model", "rate", "said"),
    [
        ("ar", 16_000, "method restore needs a network, and model ar means none"),
        ("music-inpaint", 16_000, "music-inpaint is of kind inpaint; expected kind restore"),
        ("auto", 8_000, "restore-music is for 16000 to 192000 Hz, the recording has 8000 Hz"),
    ],
)
def test_what_cannot_restore_is_refused(model: str, rate: int, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        inpaint(song(rate, 0.2), [(900, 1000)], sample_rate=rate, method="restore", model=model)


def test_a_model_with_another_draft_or_a_wild_answer_is_refused(tmp_path: Path) -> None:
    other = write_restorer(tmp_path, drafts=["forward"])
    with pytest.raises(ConfigError, match="expected linear or none"):
        Restorer(find(other), SAMPLE_RATE)
    wild = write_restorer(tmp_path, 1e38)
    with pytest.raises(ModelError, match="not finite"):
        inpaint(
            1e5 * song(SAMPLE_RATE, 0.5),
            [(4000, 4200)],
            sample_rate=SAMPLE_RATE,
            quality="fast",
            method="restore",
            model=wild,
        )


def test_a_network_that_sees_damage_sees_zeros_in_lost_frames(tmp_path: Path) -> None:
    x = song(SAMPLE_RATE)
    gap = (12_000, 12_320)
    fills = []
    for drafts in (["linear"], []):
        folder = tmp_path / str(len(drafts))
        folder.mkdir()
        model = write_restorer(folder, drafts=drafts)
        y = inpaint(x, [gap], sample_rate=SAMPLE_RATE, method="restore", model=model)
        fills.append(level(np.asarray(y[slice(*gap)], np.float32)))
    assert fills[1] < 0.8 * fills[0]


def test_streams_refuse_the_method_and_its_model() -> None:
    wrong: dict[str, Any] = {"method": "restore"}
    with pytest.raises(ConfigError, match="fills gaps of recordings"):
        Concealer(sample_rate=16_000, packet_samples=160, **wrong)
    with pytest.raises(ConfigError, match="a stream needs one of causal"):
        Concealer(sample_rate=16_000, packet_samples=160, model="restore-music")


def test_naming_its_model_is_choosing_the_method() -> None:
    x, gaps = song(16_000), [(900, 1000), (6000, 6300)]
    by_model = inpaint(x, gaps, sample_rate=16_000, model="restore-music")
    by_method = inpaint(x, gaps, sample_rate=16_000, method="restore")
    np.testing.assert_array_equal(by_model, by_method)
    assert not np.array_equal(by_model, inpaint(x, gaps, sample_rate=16_000, method="ar"))


def test_the_package_holds_one_restorer() -> None:
    assert [model.name for model in available() if model.kind == KIND] == ["restore-music"]
    assert find("restore-music").bytes < 1_500_000
