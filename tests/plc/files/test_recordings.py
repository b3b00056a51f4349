import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from plc import conceal, inpaint, notice
from plc.engine.loss import Bernoulli, GilbertElliott, TraceLosses
from plc.engine.trace_files import read_trace
from plc.errors import ConfigError, TraceError
from plc.files.audio import read_audio
from plc.files.fill.interpolate import LONGEST_REFINED_GAP
from plc.files.fill.signals import FillSettings
from plc.files.formats import flac_frames
from plc.files.recordings import inpaint_file
from plc.files.streamed import conceal_file, lose_file
from plc.restore.detect.recorded import detect_file
from tests.examples import some
from tests.signals import noise, tones

RATE = 16_000
PACKET = 160
SAMPLES = 25_043  # not a whole number of packets


def stereo(samples: int = SAMPLES) -> NDArray[np.float32]:
    return np.stack([tones(seed, RATE, SAMPLES)[:samples] for seed in (3, 4)], axis=1)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.wav"
    soundfile.write(path, stereo(), RATE, subtype="FLOAT")
    return path


def trace_of(loss: float = 0.15, seed: int = 5, samples: int = SAMPLES) -> NDArray[np.bool_]:
    return GilbertElliott(loss, 1.5).trace(-(-samples // PACKET), seed)


@some("lookahead", [3, 0, 1], 2)
def test_a_file_is_concealed_as_an_array_is(source: Path, lookahead: int) -> None:
    target = source.with_name("target.wav")
    lost = trace_of()
    report = conceal_file(source, target, TraceLosses(lost), lookahead=lookahead)
    expected = conceal(stereo(), lost, sample_rate=RATE, packet_samples=PACKET, lookahead=lookahead)
    np.testing.assert_array_equal(read_audio(target)[0], expected)
    assert (report.samples, report.packets) == (SAMPLES, lost.size)
    assert report.lost_packets == np.count_nonzero(lost)
    assert report.stats["lost_packets"] == report.lost_packets


@some("samples", [1, 161, 64 * 160, 159, 160, 64 * 160 + 1], 3)
def test_every_length_is_kept(tmp_path: Path, samples: int) -> None:
    path, target = tmp_path / "a.wav", tmp_path / "b.wav"
    soundfile.write(path, stereo(samples), RATE, subtype="FLOAT")
    report = conceal_file(path, target, Bernoulli(0.3).source(1), lookahead=2)
    assert report.samples == len(read_audio(target)[0]) == samples


def test_what_a_damaged_file_holds_in_lost_packets_is_not_looked_at(source: Path) -> None:
    lost = trace_of()
    damaged = stereo()
    damaged[np.repeat(lost, PACKET)[:SAMPLES]] = 0.9
    soundfile.write(source.with_name("damaged.wav"), damaged, RATE, subtype="FLOAT")
    for name in ("source", "damaged"):
        given = source.with_name(f"{name}.wav")
        conceal_file(given, source.with_name(f"from-{name}.wav"), TraceLosses(lost))
    np.testing.assert_array_equal(
        read_audio(source.with_name("from-source.wav"))[0],
        read_audio(source.with_name("from-damaged.wav"))[0],
    )


@pytest.mark.parametrize("lookahead", [0, 2])
def test_a_report_has_what_was_lost_and_what_was_refused(tmp_path: Path, lookahead: int) -> None:
    signal = stereo(20 * PACKET + 40)
    signal[14 * PACKET + 5] = np.nan
    soundfile.write(tmp_path / "a.wav", signal, RATE, subtype="FLOAT")
    losses = TraceLosses(np.isin(np.arange(21), (3, 4, 9, 19)))
    report = conceal_file(tmp_path / "a.wav", tmp_path / "b.wav", losses, lookahead=lookahead)
    packets = (3, 5), (9, 10), (14, 15), (19, 20)
    assert report.gaps == tuple((PACKET * first, PACKET * last) for first, last in packets)


def test_losing_and_concealing_by_the_trace_is_concealing_with_losses(source: Path) -> None:
    model = GilbertElliott(0.1, 2.0)
    lossy, heard, direct = (source.with_name(f"{name}.wav") for name in ("lossy", "a", "b"))
    report = lose_file(source, lossy, model.source(9))
    conceal_file(lossy, heard, TraceLosses(read_trace(report.trace)))
    conceal_file(source, direct, model.source(9))
    np.testing.assert_array_equal(read_audio(heard)[0], read_audio(direct)[0])


def test_lost_packets_become_zeros_and_the_others_stay(source: Path) -> None:
    target = source.with_name("lossy.wav")
    report = lose_file(source, target, Bernoulli(0.3).source(2))
    lost = read_trace(source.with_name("lossy.trace"))
    assert report.trace == str(source.with_name("lossy.trace"))
    assert report.lost_packets == np.count_nonzero(lost)
    assert report.packets == lost.size == -(-SAMPLES // PACKET)
    padded = np.pad(lost.astype(int), 1)
    assert report.bursts == np.count_nonzero(np.diff(padded) == 1)
    expected = np.where(np.repeat(lost, PACKET)[:SAMPLES, None], np.float32(0), stereo())
    np.testing.assert_array_equal(read_audio(target)[0], expected)


def test_a_trace_shorter_than_the_file_names_both_lengths(source: Path) -> None:
    target = source.with_name("target.wav")
    short = TraceLosses(np.zeros(100, np.bool_))
    with pytest.raises(TraceError, match=r"100 packets.*157 of 160 samples.*--loop"):
        conceal_file(source, target, short)
    with pytest.raises(TraceError, match=r"100 packets.*157"):
        lose_file(source, target, short)
    assert os.listdir(source.parent) == ["source.wav"]


def test_a_looped_trace_repeats_and_a_longer_one_is_cut(source: Path) -> None:
    looped, longer = (source.with_name(f"{name}.wav") for name in ("looped", "longer"))
    pattern = trace_of(samples=40 * PACKET)
    lose_file(source, looped, TraceLosses(pattern, loop=True))
    lose_file(source, longer, TraceLosses(np.resize(pattern, 1000)))
    np.testing.assert_array_equal(read_audio(looped)[0], read_audio(longer)[0])


def test_a_lossy_recording_without_its_trace_is_not_left_behind(source: Path) -> None:
    target = source.with_name("lossy.wav")
    (source.with_name("lossy.trace")).mkdir()
    with pytest.raises(TraceError, match="cannot write"):
        lose_file(source, target, Bernoulli(0.1).source())
    assert not target.exists()


def test_neither_the_given_trace_nor_the_source_is_written_over(source: Path) -> None:
    given, target = source.with_name("lossy.trace"), source.with_name("lossy.wav")
    given.write_text("# as measured on the train\n" + 40 * "0010\n")
    link = source.with_name("link.trace")
    link.symlink_to(given)
    before = given.read_bytes(), source.read_bytes()
    for path in (given, link):
        losses = TraceLosses(read_trace(path), path=path)
        with pytest.raises(TraceError, match=r"lossy\.trace.*is the trace that says what to lose"):
            lose_file(source, target, losses)
    with pytest.raises(TraceError, match="is the source itself"):
        lose_file(source.rename(link.with_stem("heard")), target.with_stem("heard"), losses)
    source = link.with_stem("heard")
    assert (given.read_bytes(), source.read_bytes()) == before
    assert not target.exists()
    elsewhere = source.with_name("other.trace")
    lose_file(source, elsewhere.with_suffix(".wav"), TraceLosses(read_trace(given), path=given))
    assert read_trace(elsewhere).size == 157


def test_progress_reaches_the_whole_length(source: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    conceal_file(
        source,
        source.with_name("b.wav"),
        Bernoulli(0.1).source(),
        progress=lambda samples, total: seen.append((samples, total)),
    )
    assert seen[-1] == (SAMPLES, SAMPLES)
    assert [samples for samples, _ in seen] == sorted(samples for samples, _ in seen)


# ---- gaps ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("quality", "method"), [("good", "auto"), ("fast", "auto"), ("good", "lpc")]
)
def test_a_file_is_inpainted_as_an_array_is(source: Path, quality: str, method: str) -> None:
    target = source.with_name("target.wav")
    # Two of them within one another's context, one far from both.
    gaps = [(2000, 2320), (2900, 3060), (24_000, 24_320)]
    report = inpaint_file(
        source,
        target,
        [(a / RATE, b / RATE) for a, b in gaps],
        settings=FillSettings(quality=quality, method=method),
    )
    assert report.gaps == tuple(gaps)
    expected = inpaint(stereo(), gaps, sample_rate=RATE, quality=quality, method=method)
    np.testing.assert_array_equal(read_audio(target)[0], expected)


def test_what_a_gap_held_is_not_looked_at(source: Path) -> None:
    damaged = stereo()
    damaged[4000:4400] = np.nan
    soundfile.write(source.with_name("damaged.wav"), damaged, RATE, subtype="FLOAT")
    for name in ("source", "damaged"):
        given = source.with_name(f"{name}.wav")
        inpaint_file(given, source.with_name(f"from-{name}.wav"), [(0.25, 0.275)])
    filled = read_audio(source.with_name("from-damaged.wav"))[0]
    np.testing.assert_array_equal(read_audio(source.with_name("from-source.wav"))[0], filled)
    assert np.isfinite(filled).all()


def test_a_gap_at_either_end_is_filled(source: Path) -> None:
    target = source.with_name("target.wav")
    gaps = [(0, 160), (SAMPLES - 160, SAMPLES)]
    inpaint_file(
        source,
        target,
        [(a / RATE, b / RATE) for a, b in gaps],
        settings=FillSettings(quality="fast"),
    )
    filled = read_audio(target)[0]
    np.testing.assert_array_equal(filled, inpaint(stereo(), gaps, sample_rate=RATE, quality="fast"))
    assert filled[:160].any()
    assert filled[-160:].any()


@some(
    "quality, method, refined",
    [("good", "auto", 2), ("fast", "auto", None), ("best", "ar", 2), ("good", "lpc", None)],
    2,
)
def test_the_report_counts_the_gaps_that_were_refined(
    source: Path, quality: str, method: str, refined: int | None
) -> None:
    start = 6000
    at_most, longer = (start + LONGEST_REFINED_GAP + more for more in (0, 1))
    target = source.with_name("target.wav")
    # At the recording's begin, short, as long as can be, one sample longer, at its end.
    gaps = [(0, 160), (1000, 1160), (start, at_most), (14_000, 14_000 + longer - start)]
    gaps.append((SAMPLES - 160, SAMPLES))
    gaps_s = [(a / RATE, b / RATE) for a, b in gaps]
    report = inpaint_file(
        source, target, gaps_s, settings=FillSettings(quality=quality, method=method)
    )
    assert report.gaps == tuple(gaps)
    assert report.refined_gaps == report.as_dict()["refined_gaps"] == refined


def test_what_is_not_counted_as_refined_is_the_blend(source: Path) -> None:
    good, fast = source.with_name("good.wav"), source.with_name("fast.wav")
    cases = {(4000, 4320): 1, (0, 320): 0, (SAMPLES - 320, SAMPLES): 0, (6000, 10_097): 0}
    for (start, stop), refined in cases.items():
        gap_s = [(start / RATE, stop / RATE)]
        report = inpaint_file(source, good, gap_s, settings=FillSettings(method="ar"))
        settings = FillSettings(method="ar", quality="fast")
        inpaint_file(source, fast, gap_s, settings=settings)
        assert report.refined_gaps == refined
        same = np.array_equal(read_audio(good)[0], read_audio(fast)[0])
        assert same == (refined == 0), (start, stop)


def test_a_gap_outside_the_recording_names_its_length(source: Path) -> None:
    with pytest.raises(ConfigError, match=r"1\.5:1\.6 is outside .* lasts 1\.565 s"):
        inpaint_file(source, source.with_name("b.wav"), [(1.5, 1.6)])
    with pytest.raises(ConfigError, match="no gap given"):
        inpaint_file(source, source.with_name("b.wav"), [])
    with pytest.raises(ConfigError, match="shorter than a sample"):
        inpaint_file(source, source.with_name("b.wav"), [(1.0, 1.00001)])
    assert os.listdir(source.parent) == ["source.wav"]


def test_a_file_is_searched_for_passages_far_from_the_gap(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    loop = noise(6, RATE)
    signal = (0.3 * np.tile(loop, 8)).astype(np.float32)
    gap = (4 * RATE + 3000, 4 * RATE + 3640)
    damaged = signal.copy()
    damaged[gap[0] : gap[1]] = 0.0
    source, target = tmp_path / "loop.wav", tmp_path / "filled.wav"
    soundfile.write(source, damaged, RATE, subtype="FLOAT")
    inpaint_file(
        source,
        target,
        [(gap[0] / RATE, gap[1] / RATE)],
        settings=FillSettings(model="music-inpaint"),
    )
    filled = read_audio(target)[0][gap[0] : gap[1], 0]
    error = filled - signal[gap[0] : gap[1]]
    # Of noise nothing can be predicted: a second away is all that is known of it.
    assert np.dot(error, error) < 0.5 * np.dot(filled, filled)


# ---- lossy recordings, and damaged ones ---------------------------------------------------------


LOSSY = [
    (".mp3", {"compression_level": 0.1, "bitrate_mode": "VARIABLE"}),
    (".ogg", {"compression_level": 0.2}),
    (".mp3", {"compression_level": 0.4, "bitrate_mode": "CONSTANT"}),
    (".ogg", {"compression_level": 0.8}),
    (".opus", {"compression_level": 0.6}),
]


@some("suffix, settings", LOSSY, 2)
def test_a_lossy_recording_keeps_its_rate_and_is_told_to_be_coded_anew(
    tmp_path: Path, suffix: str, settings: dict[str, Any], notices: list[str]
) -> None:
    source, target = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    rng = np.random.default_rng(1)
    tone = tones(1, 48_000, 6 * 48_000)
    signal = np.stack([tone, tone[::-1]], axis=1) + rng.normal(0, 0.02, (tone.size, 2))
    form = "MP3" if suffix == ".mp3" else "OGG"
    subtype = {".mp3": "MPEG_LAYER_III", ".ogg": "VORBIS", ".opus": "OPUS"}[suffix]
    soundfile.write(source, signal, 48_000, subtype, format=form, **settings)
    inpaint_file(source, target, [(1.0, 1.02)])
    # What Vorbis makes of its own sound is smaller at the same quality.
    again, heard = tmp_path / f"c{suffix}", soundfile.read(source, dtype="float32")[0]
    soundfile.write(again, heard, 48_000, subtype, format=form, **settings)
    coded = again if subtype == "VORBIS" else source
    assert target.stat().st_size > 0.97 * coded.stat().st_size
    assert [line for line in notices if "coded anew" in line and str(target) in line]
    notices.clear()
    inpaint_file(source, tmp_path / "b.flac", [(1.0, 1.02)])
    assert not [line for line in notices if "coded anew" in line]


@pytest.mark.parametrize("subtype", ["PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
def test_samples_of_more_bits_than_are_kept_are_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, subtype: str
) -> None:
    told: list[str] = []
    monkeypatch.setattr(notice, "tell_once", told.append)
    path, target = tmp_path / "a.wav", tmp_path / "b.wav"
    soundfile.write(path, 0.1 * np.random.default_rng(1).standard_normal(8000), 8000, subtype)
    conceal_file(path, target, Bernoulli(0.0).source())
    before, after = (soundfile.read(each)[0] for each in (path, target))
    assert np.array_equal(before, after) == (not told) == (subtype in ("PCM_24", "FLOAT"))
    assert np.abs(before - after).max() <= 2.0**-25
    assert soundfile.info(target).subtype == subtype


def harmed_flac(path: Path) -> NDArray[np.float32]:
    """Write a file whose tenth frame is damaged; return what it held."""
    signal = np.stack([tones(1, 48_000, 96_000), tones(2, 48_000, 96_000)], axis=1)
    soundfile.write(path, signal, 48_000, "PCM_16")
    truth: NDArray[np.float32] = soundfile.read(path, dtype="float32")[0]
    found = flac_frames.search(path)
    assert found is not None
    content = bytearray(path.read_bytes())
    content[found.frames[10].at + 50] ^= 4
    path.write_bytes(bytes(content))
    return truth


def test_a_damaged_frame_is_found_filled_and_everything_else_exact(tmp_path: Path) -> None:
    source, target = tmp_path / "a.flac", tmp_path / "b.flac"
    truth = harmed_flac(source)
    report = detect_file(source)
    (found,) = report.findings
    assert (found.start, found.stop) == (40_960, 45_056)
    assert (found.kind, found.confidence) == ("invalid", 1.0)
    inpaint_file(source, target, report.gaps_s)
    filled = soundfile.read(target, dtype="float32")[0]
    gap = slice(found.start, found.stop)
    np.testing.assert_array_equal(np.delete(filled, np.r_[gap], 0), np.delete(truth, np.r_[gap], 0))
    error = np.sum((filled[gap] - truth[gap]) ** 2)
    assert 10 * np.log10(np.sum(truth[gap] ** 2) / error) > 6.0


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_no_command_writes_what_is_no_number(tmp_path: Path, suffix: str) -> None:
    source = tmp_path / "a.flac"
    truth = harmed_flac(source)
    target = tmp_path / f"b{suffix}"
    conceal_file(source, target, TraceLosses(np.arange(200) % 9 == 4))
    assert np.isfinite(soundfile.read(target)[0]).all()
    lose_file(source, target, TraceLosses(np.arange(200) % 9 == 4))
    kept = soundfile.read(target, dtype="float32")[0]
    assert len(kept) == len(truth)
    assert np.isfinite(kept).all()


@some("wrong", [np.nan, np.inf])
@pytest.mark.parametrize("place", [400_000, 8_100])
def test_what_is_no_number_in_a_recording_of_floats_is_filled_in_its_channel(
    tmp_path: Path, wrong: float, place: int
) -> None:
    signal = np.stack([tones(1, RATE, 30 * RATE)] * 2, axis=1)
    signal[place : place + 5, 1] = wrong
    soundfile.write(tmp_path / "a.wav", signal, RATE, "FLOAT")
    report = inpaint_file(tmp_path / "a.wav", tmp_path / "b.wav", [(0.5, 0.5004)])
    filled = soundfile.read(tmp_path / "b.wav", dtype="float32")[0]
    assert np.abs(filled - tones(1, RATE, 30 * RATE)[:, None]).max() < 0.05
    assert [each.channels for each in report.holes if each.start <= place < each.stop] == [(1,)]
    assert report.clipped_samples == 0


@pytest.mark.parametrize(("channels", "rate"), [(9, 48_000), (1, 384_000)])
def test_what_no_stream_has_is_refused_and_filled_by_inpaint(
    tmp_path: Path, channels: int, rate: int
) -> None:
    form = "WAVEX" if channels > 2 else "WAV"
    signal = np.repeat(tones(1, rate, rate // 4)[:, None], channels, axis=1)
    soundfile.write(tmp_path / "a.wav", signal, rate, "PCM_16", format=form)
    with pytest.raises(ConfigError, match="plc inpaint --trace"):
        conceal_file(tmp_path / "a.wav", tmp_path / "b.wav", TraceLosses(np.ones(25, np.bool_)))
    assert not (tmp_path / "b.wav").exists()
    fast = FillSettings(quality="fast")
    report = inpaint_file(tmp_path / "a.wav", tmp_path / "b.wav", [(0.09, 0.1)], settings=fast)
    assert [tuple(each) for each in report.gaps] == [(9 * rate // 100, rate // 10)]


@some("channels, rate", [(12, 48_000), (2, 768_000), (64, 16_000), (1, 384_000)], 2)
def test_recordings_of_many_channels_and_high_rates_are_repaired(
    tmp_path: Path, channels: int, rate: int
) -> None:
    rng = np.random.default_rng(2)
    seconds = np.arange(rate) / rate
    tones_hz = 200 + 30 * np.arange(channels)
    signal = 0.3 * np.sin(2 * np.pi * seconds[:, None] * tones_hz)
    signal += rng.normal(0, 0.003, signal.shape)
    gap = slice(rate // 2, rate // 2 + rate // 100)
    damaged = signal.copy()
    damaged[gap] = 0.0
    form = "WAVEX" if channels > 2 else "WAV"
    soundfile.write(tmp_path / "a.wav", damaged, rate, "FLOAT", format=form)
    report = detect_file(tmp_path / "a.wav")
    assert [(each.start, each.stop) for each in report.findings] == [(gap.start, gap.stop)]
    assert len(report.findings[0].channels) == channels
    inpaint_file(
        tmp_path / "a.wav", tmp_path / "b.wav", report.gaps_s, settings=FillSettings(quality="fast")
    )
    filled = soundfile.read(tmp_path / "b.wav", always_2d=True)[0]
    error = np.sum((filled[gap] - signal[gap]) ** 2)
    assert 10 * np.log10(np.sum(signal[gap] ** 2) / error) > 15.0
