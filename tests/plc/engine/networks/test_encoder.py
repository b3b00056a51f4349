"""Gaps filled from the network's spectra; the networks here know the truth, or hardly anything."""

from collections.abc import Sequence
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from plc import inpaint
from plc.engine.networks.encoder import (
    EXTENSIONS,
    AnyRateEncoder,
    ContextEncoder,
    Network,
    open_context_encoder,
)
from plc.errors import ConfigError, ModelError
from plc.files.distances import ratio_db
from plc_bench.scores.metrics import snr_ms_db
from tests.signals import noise, tones

RATE = 16_000
START = 4000
# Windows begin so many samples before a gap of so many: forwards, backwards, centred.
LEADS = {
    1024: (0, 0, 0),
    768: (0, 256, 128),
    320: (0, 640, 256),
    160: (0, 768, 384),
    1: (0, 896, 384),
}
HANN = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(512) / 512)


def spectrogram(x: NDArray[np.float32], first: int, frames: int) -> NDArray[np.complex128]:
    """Return shape (257, frames) by the definition; frames begin every 128 from ``first`` on."""
    padded = np.pad(x.astype(np.float64), 4096)
    starts = 4096 + first + 128 * np.arange(frames)
    return np.array([np.fft.rfft(HANN * padded[s : s + 512]) for s in starts]).T


def truth_teller(x: NDArray[np.float32], leads: Sequence[int], is_complex: bool) -> Network:
    """Return a network that answers with the gap's true spectra in each window."""
    wanted = [spectrogram(x, START - lead - 384, 11) for lead in sorted(set(leads))]

    def network(contexts: NDArray[np.float32]) -> NDArray[np.float32]:
        assert contexts.shape == (len(wanted), 4, 257, 16)
        answers = [[s.real, s.imag] if is_complex else -np.abs(s) for s in wanted]
        return np.array(answers, np.float32)

    return network


def snr_db(truth: NDArray[np.float32], found: NDArray[np.float32]) -> float:
    return -ratio_db(float(((truth - found) ** 2).sum()), float((truth**2).sum()))


@pytest.mark.parametrize("gap_samples", LEADS)
@pytest.mark.parametrize("extension", [*EXTENSIONS, "all"])
def test_true_complex_spectra_give_the_true_samples(gap_samples: int, extension: str) -> None:
    x = tones(1, RATE, 9000)
    chosen = EXTENSIONS if extension == "all" else (extension,)
    leads = [LEADS[gap_samples][EXTENSIONS.index(name)] for name in chosen]
    encoder = ContextEncoder(truth_teller(x, leads, is_complex=True))
    hidden = x.copy()
    hidden[START : START + gap_samples] = np.nan
    filled = encoder.fill(hidden, (START, START + gap_samples), chosen)
    assert filled.dtype == np.float32
    np.testing.assert_allclose(filled, x[START : START + gap_samples], atol=1e-5)


@pytest.mark.parametrize("gap_samples", [1024, 768, 320])
def test_true_magnitudes_give_nearly_the_true_samples(gap_samples: int) -> None:
    # Of tones: the phases known around the gap carry over it.
    x = tones(2, RATE, 9000)
    encoder = ContextEncoder(truth_teller(x, LEADS[gap_samples], is_complex=False))
    filled = encoder.fill(x, (START, START + gap_samples))
    assert snr_db(x[START : START + gap_samples], filled) > 20.0


def test_the_network_is_shown_both_contexts_with_silence_towards_the_gap() -> None:
    x = noise(3, 9000)
    shown: list[NDArray[np.float32]] = []

    def network(contexts: NDArray[np.float32]) -> NDArray[np.float32]:
        shown.append(contexts.copy())
        return np.zeros((contexts.shape[0], 257, 11), np.float32)

    ContextEncoder(network).fill(x, (START, START + 768))
    (contexts,) = shown
    for context, lead in zip(contexts, (0, 128, 256), strict=True):
        start = START - lead
        heard = x.copy()
        heard[START : START + 768] = 0.0
        before, after = heard.copy(), heard.copy()
        before[start:] = 0.0
        after[: start + 1024] = 0.0
        sides = (
            spectrogram(before, start - 2048, 16),
            spectrogram(after, start + 1024 - 384, 16),
        )
        expected = [part for side in sides for part in (side.real, side.imag)]
        np.testing.assert_allclose(context, expected, atol=1e-3)


def test_answers_for_several_extensions_are_averaged_frame_by_frame() -> None:
    def network(contexts: NDArray[np.float32]) -> NDArray[np.float32]:
        # Frame k of window w: 100 w + k.
        frames = np.arange(11) + 100.0 * np.arange(contexts.shape[0])[:, None]
        return np.repeat(frames[:, None].astype(np.float32), 257, axis=1)

    encoder = ContextEncoder(network)
    x = noise(4, 9000)
    made = encoder.spectra(x, (START, START + 768))
    # The window that begins a hop earlier has the gap's first frame at place 1, and so on.
    assert made.shape == (9, 257)
    np.testing.assert_allclose(made[:, 0], np.arange(9) + (0 + 101 + 202) / 3)
    alone = encoder.spectra(x, (START, START + 768), ("backwards",))
    np.testing.assert_allclose(alone[:, 0], np.arange(9) + 2)


@pytest.mark.parametrize("is_complex", [False, True])
def test_a_fill_has_no_step_at_its_ends(is_complex: bool) -> None:
    x = tones(5, RATE, 9000, level=0.3)
    steps = np.abs(np.diff(x)).max()
    shape = (1, 2, 257, 11) if is_complex else (1, 257, 11)
    encoder = ContextEncoder(lambda contexts: np.zeros(shape, np.float32))
    line = x.copy()
    line[START : START + 1024] = encoder.fill(x, (START, START + 1024))
    assert np.abs(np.diff(line[START - 1 : START + 1])).max() <= 1.5 * steps
    assert np.abs(np.diff(line[START + 1023 : START + 1025])).max() <= 1.5 * steps


@pytest.mark.parametrize(("start", "samples"), [(0, 1024), (7976, 1024), (0, 300), (100, 300)])
def test_a_gap_at_an_end_of_the_signal_is_filled(start: int, samples: int) -> None:
    encoder = ContextEncoder(lambda contexts: np.ones((len(contexts), 257, 11), np.float32))
    filled = encoder.fill(tones(6, RATE, 9000), (start, start + samples))
    assert filled.shape == (samples,)
    assert np.isfinite(filled).all()
    short = encoder.fill(noise(6, samples), (0, samples))
    assert np.isfinite(short).all()


def test_silence_is_filled_with_silence() -> None:
    encoder = ContextEncoder(lambda contexts: np.zeros((len(contexts), 257, 11), np.float32))
    assert not encoder.fill(np.zeros(9000, np.float32), (START, START + 1024)).any()


@pytest.mark.parametrize("gap", [(10, 10), (10, 1035), (-1, 5), (8990, 9001)])
def test_gaps_that_cannot_be_filled_are_refused(gap: tuple[int, int]) -> None:
    encoder = ContextEncoder(truth_teller(noise(7, 9000), (0,), is_complex=False))
    with pytest.raises(ConfigError, match="may have 1 to 1024"):
        encoder.fill(noise(7, 9000), gap)


def test_unknown_extensions_are_refused() -> None:
    encoder = ContextEncoder(truth_teller(noise(7, 9000), (0,), is_complex=False))
    with pytest.raises(ConfigError, match="known: forwards, backwards, centred"):
        encoder.fill(noise(7, 9000), (START, START + 768), ("sideways",))
    with pytest.raises(ConfigError, match="no extension"):
        encoder.fill(noise(7, 9000), (START, START + 768), ())


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (np.zeros((1, 257, 12), np.float32), "expected"),
        (np.zeros((1, 3, 257, 11), np.float32), "expected"),
        (np.full((1, 257, 11), np.nan, np.float32), "not finite"),
    ],
)
def test_an_unsound_answer_is_refused(answer: NDArray[np.float32], complaint: str) -> None:
    with pytest.raises(ModelError, match=complaint):
        ContextEncoder(lambda contexts: answer).fill(noise(8, 9000), (START, START + 1024))


def write_context_encoder(folder: Path, is_complex: bool, **changes: Any) -> Path:
    """Write a network that answers with the first 11 frames before the gap."""
    onnx = pytest.importorskip("onnx")
    from tests.plc.tiny_models import OPSET, write_bytes

    helper, float32 = onnx.helper, onnx.TensorProto.FLOAT
    names = ("begin", "end", "axes")
    bounds = ([0, 0], [2, 11], [1, 3]) if is_complex else ([0], [11], [2])
    nodes = [helper.make_node("Slice", ["context", *names], ["gap"])]
    if not is_complex:
        nodes = [
            helper.make_node("Gather", ["context", "line"], ["real"], axis=1),
            helper.make_node("Slice", ["real", *names], ["gap"]),
        ]
    shape = ["b", 2, 257, 11] if is_complex else ["b", 257, 11]
    graph = helper.make_graph(
        nodes,
        "paper",
        [helper.make_tensor_value_info("context", float32, ["b", 4, 257, 16])],
        [helper.make_tensor_value_info("gap", float32, shape)],
        [
            helper.make_tensor(name, onnx.TensorProto.INT64, [len(values)], values)
            for name, values in zip(names, bounds, strict=True)
        ]
        + [helper.make_tensor("line", onnx.TensorProto.INT64, [], [0])] * (not is_complex),
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    fields = {
        "kind": "context_encoder",
        "drafts": [],
        "bin_hz": 31.25,
        "top_hz": None,
        "context_frames": 16,
        "context_frames_after": 16,
        "horizon_ms": 64.0,
        "sample_rates": [RATE, RATE],
    }
    return write_bytes(folder, model.SerializeToString(), **{**fields, **changes})


@pytest.mark.parametrize("is_complex", [False, True])
def test_a_model_file_fills_as_its_formula_does(tmp_path: Path, is_complex: bool) -> None:
    pytest.importorskip("onnxruntime")

    def formula(contexts: NDArray[np.float32]) -> NDArray[np.float32]:
        return contexts[:, :2, :, :11] if is_complex else contexts[:, 0, :, :11]

    encoder = open_context_encoder(write_context_encoder(tmp_path, is_complex))
    x = tones(9, RATE, 9000)
    for gap_samples in (1024, 768):  # one window, and three
        gap = (START, START + gap_samples)
        expected = ContextEncoder(formula).fill(x, gap)
        np.testing.assert_allclose(encoder.fill(x, gap), expected, atol=1e-6)


def test_a_model_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = write_context_encoder(tmp_path, False, kind="inpaint", drafts=["forward"])
    with pytest.raises(ConfigError, match="of kind inpaint"):
        open_context_encoder(path)


@pytest.mark.parametrize(("model", "least_db"), [("paper-music", 4.5), ("context-encoder", 6.0)])
def test_the_packages_networks_fill_gaps_of_music(model: str, least_db: float) -> None:
    pytest.importorskip("onnxruntime")
    soxr = pytest.importorskip("soxr")
    with as_file(files("plc") / "data" / "music.flac") as path:
        recorded, rate = soundfile.read(path, dtype="float32")
    music = soxr.resample(recorded, rate, RATE).astype(np.float32)
    encoder = open_context_encoder(model)
    scores = []
    for start in range(8000, music.size - 8000, 16_000):
        filled = music.copy()
        filled[start : start + 1024] = encoder.fill(music, (start, start + 1024))
        scores.append(snr_ms_db(music, filled, (start, start + 1024)))
    assert len(scores) == 5
    assert np.mean(scores) > least_db  # silence has 0


def test_the_packages_network_answers_with_silence_between_silent_contexts() -> None:
    pytest.importorskip("onnxruntime")
    encoder = open_context_encoder("context-encoder")
    filled = encoder.fill(np.zeros(8000, np.float32), (3000, 4024))
    assert np.abs(filled).max() < 1e-6


def partials(sample_rate: int, seconds: float = 0.8) -> NDArray[np.float32]:
    """Return tones below 2 kHz that are the same at every rate."""
    t = np.arange(round(seconds * sample_rate)) / sample_rate
    waves = [np.sin(2.0 * np.pi * hertz * t + hertz) for hertz in (220.0, 930.0, 1_700.0)]
    sound: NDArray[np.float32] = (0.1 * np.sum(waves, axis=0)).astype(np.float32)
    return sound


@pytest.mark.parametrize("rate", [44_100, 48_000, 96_000])
def test_at_another_rate_the_fill_is_that_of_16_khz_and_what_lies_above_8_khz_stays(
    rate: int,
) -> None:
    encoder = ContextEncoder(lambda contexts: contexts[:, :2, :, :11])
    slow = partials(RATE)
    expected = slow.copy()
    expected[6_400:7_200] = encoder.fill(slow, (6_400, 7_200))
    gap = (round(0.4 * rate), round(0.45 * rate))
    high = 0.05 * np.sin(2.0 * np.pi * 13_000.0 * np.arange(round(0.8 * rate)) / rate)
    row = partials(rate) + high.astype(np.float32)
    fill = AnyRateEncoder(encoder, rate).fill(row, gap)
    inside = np.arange(gap[0], gap[1])
    wanted = np.interp(inside / rate, np.arange(slow.size) / RATE, expected)
    # Both as seen below 5 kHz, away from the ends, where resamplers look at both sides.
    spectra = [
        np.abs(np.fft.rfft(np.hanning(x.size) * x))[: round(5_000.0 * x.size / rate)]
        for x in (fill, wanted)
    ]
    assert np.square(spectra[0] - spectra[1]).sum() < 0.02 * np.square(spectra[1]).sum()
    above = slice(round(11_000.0 * fill.size / rate), round(15_000.0 * fill.size / rate))
    kept, was = (
        np.abs(np.fft.rfft(np.hanning(fill.size) * x))[above] for x in (fill, row[slice(*gap)])
    )
    np.testing.assert_allclose(kept, was, atol=0.02 * was.max())


def test_below_16_khz_nothing_is_filled() -> None:
    encoder = ContextEncoder(lambda contexts: contexts[:, :2, :, :11])
    with pytest.raises(ConfigError, match="for 16000 to 192000 Hz, the signal has 12000 Hz"):
        AnyRateEncoder(encoder, 12_000)


def test_files_are_filled_at_their_own_rate(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    path = write_context_encoder(tmp_path, True)
    row = partials(48_000)
    gap = (19_200, 21_600)
    filled = inpaint(row, [gap], sample_rate=48_000, model=str(path))
    drafted = inpaint(row, [gap], sample_rate=48_000, method="ar").astype(np.float32)
    encoder = AnyRateEncoder(open_context_encoder(path), 48_000)
    np.testing.assert_allclose(filled[slice(*gap)], encoder.fill(drafted, gap), atol=1e-6)
    assert np.abs(filled[slice(*gap)] - drafted[slice(*gap)]).max() > 1e-3
    assert np.array_equal(
        np.delete(filled, np.s_[19_200:21_600]), np.delete(row, np.s_[19_200:21_600])
    )
