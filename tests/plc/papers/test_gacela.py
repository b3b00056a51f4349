"""Long gaps of files, filled by a generator."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from typer.testing import CliRunner

pytest.importorskip("onnxruntime")

from plc import Concealer, inpaint
from plc.engine.models.catalogue import find
from plc.engine.models.onnx_file import read_graph
from plc.engine.networks.gap_filler import Hints
from plc.errors import ConfigError, ModelError
from plc.papers.gacela import (
    BINS,
    DECADES,
    HOP_SAMPLES,
    KIND,
    RATES,
    SAMPLE_RATE,
    STRETCH,
    WINDOW_SAMPLES,
    LongGapNetwork,
    LongGaps,
    between,
    bring_to_level,
    levels_of,
    long_gap_signature,
)
from plc.programs.cli.app import app
from plc_bench.scores.metrics import rms
from tests.plc.tiny_models import OPSET, onnx, write_bytes
from tests.signals import noise, tones

GAP, SIDE = 32, 40
GAP_SAMPLES = GAP * HOP_SAMPLES


def write_generator(folder: Path, gap: int = GAP, gain: float = 0.3, **changes: Any) -> str:
    """Write a network that answers with each bin's mean level, moved by the mean of the noise.

    The mean is in levels, the noise's mean from -gain to gain.
    """
    helper, float32 = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["sides", "sides_axes"], ["level"], keepdims=0),
            helper.make_node("Unsqueeze", ["level", "last"], ["levels"]),
            helper.make_node("ReduceMean", ["noise", "noise_axes"], ["drawn"], keepdims=0),
            helper.make_node("Unsqueeze", ["drawn", "twice"], ["wide"]),
            helper.make_node("Sub", ["wide", "half"], ["centred"]),
            helper.make_node("Mul", ["centred", "gain"], ["moved"]),
            helper.make_node("Add", ["levels", "moved"], ["sum"]),
            helper.make_node("Tile", ["sum", "times"], ["gap"]),
        ],
        "generator",
        [
            helper.make_tensor_value_info("sides", float32, ["b", 2, BINS, SIDE]),
            helper.make_tensor_value_info("noise", float32, ["b", 1, 1, 1]),
        ],
        [helper.make_tensor_value_info("gap", float32, ["b", BINS, gap])],
        [
            helper.make_tensor("gain", float32, [], [2.0 * gain]),
            helper.make_tensor("half", float32, [], [0.5]),
            *(
                helper.make_tensor(name, onnx.TensorProto.INT64, [len(values)], values)
                for name, values in {
                    "sides_axes": [1, 3],
                    "noise_axes": [1, 2, 3],
                    "last": [2],
                    "twice": [1, 2],
                    "times": [1, 1, gap],
                }.items()
            ),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    fields = {
        "name": "generator",
        "kind": KIND,
        "drafts": [],
        "bin_hz": SAMPLE_RATE / WINDOW_SAMPLES,
        "top_hz": None,
        "context_frames": SIDE,
        "context_frames_after": SIDE,
        "horizon_ms": 1000.0 * gap * HOP_SAMPLES / SAMPLE_RATE,
        "sample_rates": list(RATES),
    }
    return str(write_bytes(folder, model.SerializeToString(), **{**fields, **changes}))


@pytest.fixture
def model(tmp_path: Path) -> str:
    return write_generator(tmp_path)


def song(rate: int, seconds: float = 1.6, seed: int = 1) -> NDArray[np.float32]:
    samples = round(rate * seconds)
    return tones(seed, rate, samples) + np.float32(0.03) * noise(seed, samples)


def spectrum(x: NDArray[np.float32], centre: int) -> NDArray[np.float64]:
    """Return the magnitudes of the frame about a sample, by the definition."""
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW_SAMPLES) / WINDOW_SAMPLES)
    part = x[centre - WINDOW_SAMPLES // 2 : centre + WINDOW_SAMPLES // 2].astype(np.float64)
    return np.abs(np.fft.rfft(hann * part))


def test_the_network_is_shown_levels_of_whole_frames(model: str) -> None:
    x = song(SAMPLE_RATE)
    start = 14_000
    network = LongGapNetwork(find(model), SAMPLE_RATE)
    row = x.copy()
    row[start : start + GAP_SAMPLES] = 0.0
    assert network.fill(row, start, start + GAP_SAMPLES, seed=3)
    shown, drawn = network._session.inputs
    first = start + HOP_SAMPLES // 2
    # Frames 38 and 39 of the first side touch the gap, as do 0 and 1 of the second.
    before = [spectrum(x, first - HOP_SAMPLES * max(k, 3)) for k in range(SIDE, 0, -1)]
    after = [spectrum(x, first + HOP_SAMPLES * (GAP + max(k, 2))) for k in range(SIDE)]
    sides = np.array([before, after])[..., :BINS]
    expected = 1.0 + 0.4 * np.log10(np.maximum(sides / sides.max(), 1e-5))
    np.testing.assert_allclose(shown[0], expected.transpose(0, 2, 1), atol=2e-3)
    assert drawn[0, 0, 0, 0] == np.random.default_rng(3).random((1, 1, 1), np.float32)


@pytest.mark.parametrize(("rate", "share"), [(22_050, 1.0), (44_100, 0.35), (48_000, 1.0)])
def test_true_magnitudes_give_nearly_the_true_spectrum(
    model: str, rate: int, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = song(rate, seed=4)
    network = LongGapNetwork(find(model), rate)
    start = round(0.6 * rate)
    stop = start + int(share * network.unstretched)
    wanted: list[NDArray[np.float32]] = []

    def keep(magnitudes: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
        wanted.append(magnitudes[SIDE : SIDE + GAP].copy())
        return wanted[-1]

    monkeypatch.setattr(network, "_answer", keep)
    assert network.fill(truth.copy(), start, stop, 0)
    monkeypatch.setattr(network, "_answer", lambda magnitudes, seed: wanted[0])
    row = truth.copy()
    row[start:stop] = 0.0
    assert network.fill(row, start, stop, 0)
    assert np.array_equal(row[:start], truth[:start])
    assert np.array_equal(row[stop:], truth[stop:])
    scale = rate / SAMPLE_RATE
    inside = slice(start + round(600 * scale), stop - round(600 * scale))
    made, true = (np.abs(np.fft.rfft(x[inside])) for x in (row, truth))
    low = made.size * SAMPLE_RATE // (rate * 2) * 8 // 10
    error = np.sum((made[:low] - true[:low]) ** 2) / np.sum(true[:low] ** 2)
    assert error < 0.15
    assert rms(row[inside]) == pytest.approx(rms(truth[inside]), rel=0.2)


def test_levels_are_stretched_to_a_longer_gap(model: str) -> None:
    rate = SAMPLE_RATE
    x = song(rate, seconds=2.6, seed=8)
    network = LongGapNetwork(find(model), rate)
    assert network.longest == int(STRETCH * GAP_SAMPLES)
    start = rate
    row = x.copy()
    row[start : start + network.longest] = 0.0
    assert network.fill(row, start, start + network.longest, seed=1)
    assert np.array_equal(row[:start], x[:start])
    assert np.array_equal(row[start + network.longest :], x[start + network.longest :])
    for part in np.array_split(row[start : start + network.longest], 8):
        assert 0.3 < rms(part) / rms(x) < 3.0


def test_a_seed_is_a_fill(model: str) -> None:
    x = song(44_100)
    gap = [(30_000, 45_000)]
    fill = partial(inpaint, x, gap, sample_rate=44_100, method=KIND, model=model)
    first, again, other = fill(seed=1), fill(seed=1), fill(seed=2)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    for each in (first, other):
        assert np.array_equal(each[:30_000], x[:30_000])
        assert np.array_equal(each[45_000:], x[45_000:])


@pytest.mark.parametrize("rate", [22_050, 44_100])
def test_a_fill_joins_without_a_step(model: str, rate: int) -> None:
    x = song(rate, seed=5)
    start, stop = round(0.6 * rate), round(0.9 * rate)
    filled = inpaint(x, [(start, stop)], sample_rate=rate, method=KIND, model=model)
    steps = np.abs(np.diff(filled))
    usual = float(np.abs(np.diff(x)).max())
    assert steps[start - 1] <= 1.2 * usual
    assert steps[stop - 1] <= 1.2 * usual
    # The middle sounds: it is neither faded nor silent.
    middle = filled[(start + stop) // 2 - rate // 20 : (start + stop) // 2 + rate // 20]
    assert rms(middle.astype(np.float32)) > 0.2 * rms(x)


def test_each_channel_is_filled_from_its_own_sides(model: str) -> None:
    left, right = song(22_050, seed=6), 0.1 * song(22_050, seed=7)
    both = np.stack([left, right], axis=1)
    gap = [(15_000, 20_000)]
    filled = inpaint(both, gap, sample_rate=22_050, method=KIND, model=model)
    alone = inpaint(right, gap, sample_rate=22_050, method=KIND, model=model)
    np.testing.assert_allclose(filled[:, 1], alone, atol=1e-6)


def test_a_gap_at_an_end_is_left_to_prediction(model: str) -> None:
    x = song(22_050)
    for gap in ((0, 3000), (x.size - 3000, x.size)):
        made = inpaint(x, [gap], sample_rate=22_050, method=KIND, model=model)
        drafted = inpaint(x, [gap], sample_rate=22_050, method="ar")
        np.testing.assert_array_equal(made, drafted)


def test_naming_its_model_is_choosing_the_method(model: str) -> None:
    x, gap = song(44_100), [(30_000, 45_000)]
    fills = [
        inpaint(x, gap, sample_rate=44_100, method=method, model=model, seed=2, quality=quality)
        for method, quality in ((KIND, "good"), ("auto", "good"), (KIND, "fast"), ("auto", "fast"))
    ]
    np.testing.assert_array_equal(fills[0], fills[1])
    np.testing.assert_array_equal(fills[2], fills[3])


def test_a_gap_is_filled_by_the_shortest_network_that_reaches(tmp_path: Path) -> None:
    networks = []
    for frames in (64, 32):
        (tmp_path / str(frames)).mkdir()
        manifest = find(write_generator(tmp_path / str(frames), frames, name=f"of-{frames}"))
        networks.append(LongGapNetwork(manifest, SAMPLE_RATE))
    gaps = LongGaps(networks, SAMPLE_RATE)
    x = song(SAMPLE_RATE, 2.5)
    hints = Hints(np.ones(x.size, np.bool_))
    for samples, chosen in ((8192, 1), (8193, 0), (16_384, 0), (33_587, 0)):
        expected, found = x.copy(), x.copy()
        assert networks[chosen].fill(expected, 18_000, 18_000 + samples, 0)
        assert gaps.refine(found, 18_000, 18_000 + samples, x.size, hints)
        assert np.array_equal(expected, found)
    with pytest.raises(ConfigError, match=r"1523\.3 ms is too long .* up to 1523\.2 ms"):
        gaps.refine(x, 18_000, 18_000 + 33_588, x.size, hints)


def test_what_cannot_be_is_refused(tmp_path: Path, model: str) -> None:
    method: Any = KIND
    x = song(22_050)
    fill = partial(inpaint, x, [(12_000, 15_000)], sample_rate=22_050, method=KIND)
    with pytest.raises(ConfigError, match=r"a gap of 771\.0 ms is too long for method gacela"):
        inpaint(x, [(12_000, 29_000)], sample_rate=22_050, method=KIND, model=model)
    with pytest.raises(ConfigError, match="model ar means none"):
        fill(model="ar")
    with pytest.raises(ConfigError, match="seed is -1; expected at least 0"):
        fill(model=model, seed=-1)
    with pytest.raises(ConfigError, match="expected kind gacela"):
        fill(model="music")
    with pytest.raises(ConfigError, match="for 22050 to 192000 Hz, the recording has 16000 Hz"):
        inpaint(x, [(12_000, 15_000)], sample_rate=16_000, method=KIND, model=model)
    with pytest.raises(ConfigError, match="fills gaps of recordings"):
        Concealer(44_100, method=method)
    (tmp_path / "nan").mkdir()
    with pytest.raises(ModelError, match="not finite"):
        fill(model=write_generator(tmp_path / "nan", gain=float("nan")))


def test_another_graph_is_refused(tmp_path: Path, model: str) -> None:
    graph = read_graph(find(model).onnx_path.read_bytes(), "it").summary
    assert long_gap_signature(3, graph).inputs == (
        ("sides", (3, 2, BINS, SIDE)),
        ("noise", (3, 1, 1, 1)),
    )
    for port, shape in (("sides", [1, 3, BINS, SIDE]), ("gap", [1, 500, GAP]), ("noise", [1, 4])):
        changed = read_graph(find(model).onnx_path.read_bytes(), "it").summary
        for each in (*changed.inputs, *changed.outputs):
            if each.name == port:
                each.shape = list(shape)
        with pytest.raises(ModelError, match="expected sides"):
            long_gap_signature(1, changed)


def test_levels_and_lines_are_by_their_definitions() -> None:
    magnitudes = np.array([1.0, 10.0 ** (-DECADES / 2), 0.0], np.float32)
    np.testing.assert_allclose(levels_of(magnitudes), [1.0, 0.0, -1.0], atol=1e-6)
    frames = np.array([[1.0], [7.0], [7.0], [8.0], [7.0]], np.float32)
    between(frames, np.array([False, True, True, False, True]))
    np.testing.assert_allclose(frames[:, 0], [1.0, 2.0, 4.0, 8.0, 8.0], rtol=1e-5)


def test_generated_frames_are_brought_to_the_levels_beside_them() -> None:
    rng = np.random.default_rng(0)
    frames = rng.uniform(0.5, 1.5, (60, BINS + 1)).astype(np.float32)
    known = np.ones(60, np.bool_)
    known[18:42] = False
    generated = np.zeros(60, np.bool_)
    generated[20:40] = True  # two frames at either end are neither
    beside = frames.copy()
    frames[generated] *= 0.1  # 20 dB too soft
    frames[40:, 300:] *= 0.01  # and what follows has hardly anything above 6 kHz
    made = frames.copy()
    bring_to_level(made, generated, known)
    assert np.array_equal(made[~generated], frames[~generated])

    def level_db(rows: slice, bins: slice) -> float:
        power = (made[rows, bins].astype(np.float64) ** 2).mean()
        return 10.0 * float(np.log10(power / (beside[rows, bins].astype(np.float64) ** 2).mean()))

    low, high = slice(0, 250), slice(400, BINS + 1)
    for rows in (slice(20, 24), slice(28, 32), slice(36, 40)):
        assert level_db(rows, low) == pytest.approx(0.0, abs=0.5)
    assert level_db(slice(20, 22), high) == pytest.approx(0.0, abs=3.0)
    # There would be 20 dB to lower; the limit is that many, and the far end has all of them.
    assert level_db(slice(39, 40), high) == pytest.approx(-40.0, abs=1.0)
    silent = made.copy()
    silent[generated] = 0.0
    bring_to_level(silent, generated, known)
    assert not silent[generated].any()


def run(*arguments: object, status: int = 0) -> str:
    result = CliRunner().invoke(app, ["inpaint", *map(str, arguments)])
    assert result.exit_code == status, result.output
    return result.output


def test_the_command_writes_variants_that_differ(tmp_path: Path, model: str) -> None:
    x = song(44_100)
    soundfile.write(tmp_path / "in.wav", x, 44_100, subtype="FLOAT")
    options = ("--gap", "0.7:0.9", "--method", KIND, "--model", model)
    said = run(tmp_path / "in.wav", tmp_path / "out.wav", *options, "--variants", 3, "--seed", 5)
    assert said.count("filled 1 gap, 200.0 ms") == 3
    assert sorted(path.name for path in tmp_path.glob("out*")) == [
        f"out-{k}.wav" for k in (1, 2, 3)
    ]
    made = [soundfile.read(tmp_path / f"out-{k}.wav", dtype="float32")[0] for k in (1, 2, 3)]
    gap = slice(30_870, 39_690)
    for k, each in enumerate(made):
        expected = inpaint(
            x, [(gap.start, gap.stop)], sample_rate=44_100, method=KIND, model=model, seed=5 + k
        )
        np.testing.assert_allclose(each, expected, atol=1e-6)
        assert all(not np.array_equal(each[gap], other[gap]) for other in made[:k])
    # One variant keeps its name.
    run(tmp_path / "in.wav", tmp_path / "one.wav", *options, "--seed", 6)
    np.testing.assert_array_equal(soundfile.read(tmp_path / "one.wav", dtype="float32")[0], made[1])


def test_the_command_refuses_variants_of_what_has_one_result(tmp_path: Path, model: str) -> None:
    soundfile.write(tmp_path / "in.wav", song(44_100), 44_100)
    paths = (tmp_path / "in.wav", tmp_path / "out.wav", "--gap", "0.7:0.9", "--variants", 2)
    assert "method ar of quality good has one result" in run(*paths, "--method", "ar", status=2)
    assert "quality fast has one result" in run(*paths, "--quality", "fast", status=2)
    options = ("--method", KIND, "--model", model)
    said = run(tmp_path / "in.wav", "-", *paths[2:], *options, status=1)
    assert "stdout takes one variant" in said
    said = run(*paths[:2], "--gap", "0.4:1.2", *options, status=1)
    assert "too long for method gacela" in said
    assert not list(tmp_path.glob("out*"))
