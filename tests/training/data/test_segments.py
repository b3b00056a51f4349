"""Segments: what stands in each line, and that it is what the engine makes."""

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import plc
from plc.engine.loss import GilbertElliott
from plc.engine.networks.encoder import GAP_SAMPLES
from plc.engine.predict.sides import bridged_along_the_pitch, continued
from plc.errors import ConfigError
from plc_bench.base.workers import score_clips
from plc_bench.scores.metrics import rms
from plc_kernels.stream.gap import LINES, NETS, START
from plc_training.data import segments as module
from plc_training.data.library import Decoded, decode_library, find_library, read_samples
from plc_training.data.segments import CausalPlan, InpaintPlan, Segments, prepare_segments
from plc_training.tasks.context_encoder_plan import ContextEncoderPlan, trimmed
from tests.signals import glide, noise, tones, voice
from tests.training.clips import RATE, write_clips, write_manifest

TWO_SIDED = InpaintPlan(
    margin=704, gaps_ms=(32.0, 20.0), contexts_ms=(64.0,), per_second={"music": 6.0, "any": 6.0}
)
CAUSAL = CausalPlan(
    sample_rate=RATE,
    packet_ms=(20.0,),
    loss=0.1,
    burst=1.5,
    margin=1280,
    horizon=960,
    rung=(8.0, 32.0),
    domains=("music", "any"),
)


def signal() -> NDArray[np.float32]:
    return tones(3, RATE, 2 * RATE)


def centroid(segments: Segments) -> float:
    """Return the mean frequency of what is true, in Hz."""
    power = np.abs(np.fft.rfft(segments.lines[:, 0])).mean(axis=0) ** 2
    hertz = np.fft.rfftfreq(segments.lines.shape[2], 1.0 / RATE)
    return float(hertz @ power / power.sum())


def drafts_of_a_stream(played: NDArray[Any], burst: int, model: Any) -> NDArray[np.float32]:
    """Return what a stream drafts for a network of the package behind what was played."""
    stream = plc.Concealer(
        RATE,
        1,
        RATE // 50,
        model=model,
        content=model,
        budget_ms=float("inf"),
        prepare="never",
    )
    for packet in played.reshape(-1, RATE // 50, 1)[:burst]:
        stream.push(packet.astype(np.float32))
    stream.push(None)
    memory, net = stream._memory, NETS[model]
    drafts: NDArray[np.float32] = memory.array(net + LINES)[:, memory.block[net + START] :]
    return drafts


def place_of(part: NDArray[np.float32], x: NDArray[np.float32]) -> int:
    """Return where ``part`` stands in ``x``."""
    windows = np.lib.stride_tricks.sliding_window_view(x, part.size)
    [place] = np.flatnonzero((windows == part).all(axis=1))
    return int(place)


def test_lines_are_alike_outside_the_gap_and_the_first_is_the_truth() -> None:
    x = signal()
    cut = list(TWO_SIDED.cut(x, "music", np.random.default_rng(0)))
    assert cut
    for lines, gap in cut:
        assert lines.shape == (4, TWO_SIDED.samples)
        place = place_of(lines[0], x)
        np.testing.assert_array_equal(lines[0], x[place : place + TWO_SIDED.samples])
        outside = np.ones(TWO_SIDED.samples, np.bool_)
        outside[704 : 704 + gap] = False
        assert (lines[:, outside] == lines[0, outside]).all()
        assert (lines[1:, ~outside] != lines[0, ~outside]).any()


def test_drafts_of_two_sides_are_those_of_the_engine() -> None:
    lines, gap = next(TWO_SIDED.cut(signal(), "music", np.random.default_rng(0)))
    x, start, stop, context = signal(), 704, 704 + gap, 64 * RATE // 1000
    first = place_of(lines[0], x) + start
    before, after = x[first - context : first], x[first + gap : first + gap + context]
    hole = slice(start, stop)
    np.testing.assert_array_equal(lines[1, hole], continued(before, gap, RATE))
    np.testing.assert_array_equal(lines[2, hole], continued(after[::-1], gap, RATE)[::-1])
    seen = np.concatenate([before, np.zeros(gap, np.float32), after])
    filled = plc.inpaint(seen, [(context, context + gap)], sample_rate=RATE, model="ar")
    np.testing.assert_array_equal(lines[3, hole], filled[context : context + gap])


def test_silence_gives_nothing() -> None:
    x = np.zeros(2 * RATE, np.float32)
    for plan in (TWO_SIDED, CAUSAL, ContextEncoderPlan(domains=("any",))):
        assert not list(plan.cut(x, "any", np.random.default_rng(0)))


def test_the_past_of_a_burst_is_what_the_engine_played() -> None:
    x = glide(2, RATE, 4 * RATE)
    n = RATE // 50
    seed = int(np.random.default_rng(5).integers(2**31))
    trace = GilbertElliott(CAUSAL.loss, CAUSAL.burst).trace(x.size // n, seed)
    played = plc.conceal(
        x[: x.size // n * n], trace, sample_rate=RATE, packet_samples=n, model="ar"
    )
    starts = [k * n for k in range(1, trace.size) if trace[k] and not trace[k - 1]]
    cut = list(CAUSAL.cut(x, "music", np.random.default_rng(5)))
    inside = [s for s in starts if CAUSAL.margin <= s <= x.size - CAUSAL.horizon]
    assert len(cut) == len(inside) >= 5
    for (lines, gap), start in zip(cut, inside, strict=True):
        past = played[start - CAUSAL.margin : start]
        assert (lines[:, : CAUSAL.margin] == past).all()
        np.testing.assert_array_equal(lines[0, CAUSAL.margin :], x[start : start + CAUSAL.horizon])
        burst = int(np.argmin(np.append(trace[start // n :], False)))
        assert gap == min(burst * n, CAUSAL.horizon)


def test_drafts_from_passages_are_those_of_the_engine() -> None:
    plan = replace(CAUSAL, passages=True, rung=(40.0, 250.0))
    assert plan.lines == ("truth", "passages", "joined")
    x = np.tile(noise(3, RATE), 4)  # the same second four times
    n = RATE // 50
    seed = int(np.random.default_rng(5).integers(2**31))
    trace = GilbertElliott(plan.loss, plan.burst).trace(x.size // n, seed)
    played = plc.conceal(x, trace, sample_rate=RATE, packet_samples=n, model="ar")
    starts = [k * n for k in range(1, trace.size) if trace[k] and not trace[k - 1]]
    inside = [s for s in starts if plan.margin <= s <= x.size - plan.horizon]
    cut = list(plan.cut(x, "music", np.random.default_rng(5)))
    assert len(cut) == len(inside)
    for (lines, _), start in zip(cut, inside, strict=True):
        drafts = drafts_of_a_stream(played, start // n, "music")[:, : plan.horizon]
        np.testing.assert_array_equal(lines[1:, plan.margin :], drafts)
        assert (lines[2, : plan.margin] == played[start - plan.margin : start]).all()
        if start > 3 * RATE // 2:  # and they say what comes
            error = lines[2, plan.margin :] - lines[0, plan.margin :]
            assert rms(error) < 0.3 * rms(lines[0, plan.margin :])


def test_causal_drafts_know_nothing_of_the_future() -> None:
    x = glide(2, RATE, 4 * RATE)
    # Another future from the first burst on; up to there both streams are the same.
    first = list(CAUSAL.cut(x, "music", np.random.default_rng(5)))
    changed = x.copy()
    start = place_of(first[0][0][0, CAUSAL.margin :], x)
    changed[start:] *= -0.5
    again = list(CAUSAL.cut(changed, "music", np.random.default_rng(5)))
    np.testing.assert_array_equal(first[0][0][1:], again[0][0][1:])
    assert (first[0][0][0] != again[0][0][0]).any()


def test_the_papers_segments_follow_each_other_every_32_ms() -> None:
    x = signal()
    cut = list(ContextEncoderPlan(domains=("any",)).cut(x, "any", np.random.default_rng(0)))
    assert len(cut) == (x.size - 5120) // 512 + 1
    for k, (lines, gap) in enumerate(cut):
        assert gap == GAP_SAMPLES
        np.testing.assert_array_equal(lines[0], x[512 * k : 512 * k + 5120])


def test_silence_at_both_ends_is_left_out_by_the_paper() -> None:
    loud = signal()[: 2 * 5120]
    silence = np.full(4096, 0.001)
    x = np.concatenate([silence, loud, silence]).astype(np.float32)
    plan = ContextEncoderPlan(domains=("any",))
    found = trimmed(x, plan.silence_rms)
    # Frames of 1024 every 512: the first and the last that hold enough of what is loud.
    first = (found.ctypes.data - x.ctypes.data) // x.itemsize
    assert 4096 - 1024 < first <= 4096
    assert loud.size <= found.size <= loud.size + 2 * 1024
    with_silence = len(list(replace(plan, silence_rms=0.0).cut(x, "any", np.random.default_rng(0))))
    assert len(list(plan.cut(x, "any", np.random.default_rng(0)))) < with_silence
    assert trimmed(silence.astype(np.float32), plan.silence_rms).size == 0
    assert trimmed(x, 0.0).size == x.size // 512 * 512


def test_each_note_of_a_file_is_a_clip_where_bounds_are_known(tmp_path: Path) -> None:
    paths = write_clips(tmp_path, 2, seconds=3.0)
    write_manifest(tmp_path, [(path.name, "instruments", "train") for path in paths])
    (tmp_path / "instruments").mkdir()
    table = "path,start_s,duration_s,midi\nclip0.wav,0.0,1.0,60\nclip0.wav,1.5,0.8,62\n"
    (tmp_path / "instruments" / "notes.csv").write_text(table)
    decoded, _ = decode_library(find_library(tmp_path), RATE, tmp_path / "decoded")
    notes, whole = decoded
    assert notes.clip.notes == ((0.0, 1.0), (1.5, 0.8))
    assert whole.clip.notes == ()
    plan = ContextEncoderPlan(domains=("instruments",), silence_rms=0.0)
    cache = tmp_path / "segments"
    found, _ = prepare_segments(plan, [notes], cache)
    x = read_samples(notes)
    expected = [
        start + 512 * k
        for start, samples in ((0, RATE), (24_000, 12_800))
        for k in range((samples - 5120) // 512 + 1)
    ]
    cut = found.at_their_level(slice(None))[:, 0]
    assert len(cut) == len(expected)
    for line, start in zip(cut, expected, strict=True):
        np.testing.assert_allclose(line, x[start : start + 5120], atol=2e-4)
    # A plan that takes no notes has the file as a whole, from a cache of its own.
    as_one, _ = prepare_segments(replace(plan, single_notes=False), [notes], cache)
    assert as_one.gaps.size == (3 * RATE - 5120) // 512 + 1


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Segments]:
    folder = tmp_path_factory.mktemp("segments")
    write_clips(folder / "clips", 3)
    decoded, _ = decode_library(find_library(folder / "clips"), RATE, folder / "decoded")
    made, failures = prepare_segments(TWO_SIDED, decoded, folder / "cache")
    assert not failures
    return folder, made


def test_prepared_segments_are_scaled_to_their_peaks(prepared: tuple[Path, Segments]) -> None:
    folder, made = prepared
    decoded, _ = decode_library(find_library(folder / "clips"), RATE, folder / "decoded")
    assert made.lines.dtype == np.int16
    assert made.lines.shape[1:] == (4, TWO_SIDED.samples)
    assert len(made.lines) == made.gaps.size == made.peaks.size == made.domains.size
    np.testing.assert_array_equal(np.abs(made.lines.astype(np.int32)).max(axis=(1, 2)), 30_000)
    clips = np.concatenate([read_samples(each) for each in decoded])
    assert 0.0 < made.peaks.min() <= made.peaks.max() <= 1.5 * np.abs(clips).max()


def test_prepared_segments_come_from_the_cache_the_second_time(
    prepared: tuple[Path, Segments], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, made = prepared
    decoded, _ = decode_library(find_library(folder / "clips"), RATE, folder / "decoded")
    monkeypatch.setattr(module, "score_clips", None)
    again, _ = prepare_segments(TWO_SIDED, decoded, folder / "cache")
    np.testing.assert_array_equal(made.lines, again.lines)
    np.testing.assert_array_equal(made.gaps, again.gaps)


def test_two_runs_that_prepare_at_once_do_not_disturb_each_other(
    prepared: tuple[Path, Segments], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second comes while the first cuts, and reads what that made."""
    folder, made = prepared
    decoded, _ = decode_library(find_library(folder / "clips"), RATE, folder / "decoded")
    shared = folder / "shared"
    second: list[Segments] = []
    runs: list[threading.Thread] = []

    def prepare_too() -> None:
        second.append(prepare_segments(TWO_SIDED, decoded, shared)[0])

    def cut_while_another_comes(*arguments: Any) -> Any:
        runs.append(threading.Thread(target=prepare_too))
        runs[-1].start()
        return score_clips(*arguments)

    monkeypatch.setattr(module, "score_clips", cut_while_another_comes)
    first, _ = prepare_segments(TWO_SIDED, decoded, shared)
    runs[0].join(60.0)
    assert len(runs) == 1
    for each in (first, *second):
        np.testing.assert_array_equal(each.lines, made.lines)
    assert len(second) == 1


def test_what_a_killed_run_left_is_made_again(prepared: tuple[Path, Segments]) -> None:
    folder, made = prepared
    decoded, _ = decode_library(find_library(folder / "clips"), RATE, folder / "decoded")
    name = next(each.name for each in (folder / "cache").iterdir() if each.is_dir())
    for unfinished in (name, f"{name}.part"):
        (folder / "killed" / unfinished).mkdir(parents=True)
        (folder / "killed" / unfinished / "lines.npy").write_bytes(b"half")
    again, _ = prepare_segments(TWO_SIDED, decoded, folder / "killed")
    np.testing.assert_array_equal(made.lines, again.lines)
    assert [each.name for each in (folder / "killed").iterdir() if each.is_dir()] == [name]


def test_a_clip_that_gave_nothing_is_told_of_each_time(
    prepared: tuple[Path, Segments], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = prepared
    decoded, _ = decode_library(find_library(folder / "clips"), RATE, folder / "decoded")
    read = read_samples

    def fail(clip: Decoded) -> Any:
        if clip.clip.path.name == "clip1.wav":
            raise OSError("disk error")
        return read(clip)

    monkeypatch.setattr(module, "read_samples", fail)
    told = [prepare_segments(TWO_SIDED, decoded, folder / "failing")[1] for _ in range(2)]
    assert told[0] == told[1]
    assert [failure.reason for failure in told[0]] == ["OSError: disk error"]


def test_clips_are_heard_at_every_speed(tmp_path: Path) -> None:
    """At twice the speed all is an octave higher, and there is half as much of it."""
    write_clips(tmp_path / "clips", 2, seconds=8.0)
    decoded, _ = decode_library(find_library(tmp_path / "clips"), RATE, tmp_path / "decoded")
    made = {}
    for speeds in ((1.0,), (2.0,), (1.0, 2.0)):
        plan = replace(TWO_SIDED, speeds=speeds)
        made[speeds] = prepare_segments(plan, decoded, tmp_path / "cache")[0]
    alone, fast, both = made.values()
    assert centroid(fast) == pytest.approx(2.0 * centroid(alone), rel=0.1)
    assert 0.25 < fast.gaps.size / alone.gaps.size < 0.8
    assert 1.25 < both.gaps.size / alone.gaps.size < 1.8


def test_a_library_of_silence_is_refused(tmp_path: Path) -> None:
    write_clips(tmp_path / "clips", 2, seconds=0.02)
    decoded, _ = decode_library(find_library(tmp_path / "clips"), RATE, tmp_path / "decoded")
    with pytest.raises(ConfigError, match="no clip is long and loud enough"):
        prepare_segments(TWO_SIDED, decoded, tmp_path / "cache")


def test_both_sides_are_bridged_along_the_pitch_where_there_is_one() -> None:
    plan = replace(TWO_SIDED, contour=True)
    assert plan.lines == ("truth", "forward", "backward", "contour", "interpolated")
    voiced = voice(RATE, 2.0, 200.0, 0.5)
    context = 64 * RATE // 1000
    for x, followed in ((voiced, True), (noise(3, 2 * RATE), False)):
        lines, gap = next(plan.cut(x, "music", np.random.default_rng(0)))
        hole = slice(plan.margin, plan.margin + gap)
        first = place_of(lines[0], x) + plan.margin
        before, after = x[first - context : first], x[first + gap : first + gap + context]
        bridged = bridged_along_the_pitch(before, after, gap, RATE)
        assert (bridged is not None) == followed
        np.testing.assert_array_equal(
            lines[3, hole], lines[4, hole] if bridged is None else bridged
        )
        np.testing.assert_array_equal(lines[3, : plan.margin], lines[0, : plan.margin])


def test_passages_like_the_surroundings_are_searched_for_where_more_is_known() -> None:
    plan = replace(TWO_SIDED, contexts_ms=(64.0, 200.0), similar_s=1.5)
    x = np.tile(glide(4, RATE, RATE), 3)
    place = plan.lines.index("similar")
    assert plan.lines[-1] == "interpolated"
    kinds = set()
    for lines, gap in plan.cut(x, "music", np.random.default_rng(2)):
        hole = slice(plan.margin, plan.margin + gap)
        truth, alike = lines[0], lines[place]
        if (alike == lines[-1]).all():
            kinds.add("none")
            continue
        kinds.add("found")
        # Also around the gap it is what the passages say, so that it shows how well they match.
        assert (alike[: plan.margin] != truth[: plan.margin]).any()
        error = alike[hole] - truth[hole]
        assert np.dot(error, error) < 0.1 * np.dot(truth[hole], truth[hole])
    assert kinds == {"none", "found"}
