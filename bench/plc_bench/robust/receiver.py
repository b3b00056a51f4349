"""Our RTP receiver beside NetEq, on the same arrivals: ``plc bench robust receiver``.

Speech goes by a schedule through :class:`~plc.transport.rtp.playout.Playout` and through NetEq,
both asked for 10 ms at the same moments of a simulated clock. Places and delays come from the
sound, for both alike; sound made up and inserted from the receivers' counters of W3C's statistics.
What is heard is what arrived, less what is left out, and what was made up or is heard twice: so
what is left out is known without the receiver's word.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from plc.engine.stream.config import StreamConfig
from plc.errors import ConfigError, MissingExtraError
from plc.programs.demo import clip_audio
from plc.transport.rtp.codecs import L16
from plc.transport.rtp.config import ReceiverConfig
from plc.transport.rtp.delay import DelayConfig
from plc.transport.rtp.packets import RtpPacket, build_rtp
from plc.transport.rtp.playout import Playout
from plc_bench.base.corpus import Samples, find_clips, read_clip
from plc_bench.base.tables import Table
from plc_bench.peers.neteq import Played, play_schedule
from plc_bench.robust.schedules import PACKET_MS, SCHEDULES, Schedule, Times, make_schedule
from plc_bench.scores.metrics import Signal
from plc_bench.scores.speech import SPEECH_RATE, pesq_wb, plcmos

SECONDS = 60.0
"""Speech is repeated to this length."""
_RATE = SPEECH_RATE
_PACKET = round(_RATE * PACKET_MS / 1000.0)
_BLOCK = _RATE // 100
# What is found again in the recording, how often, and by how much it may be delayed.
_WINDOW, _HOP, _LAG_MAX = _RATE // 5, _RATE // 10, _RATE
# Below this correlation it is made up, or silence.
_SURE = 0.6
# Scores are means over pieces of this length, the usual one of their makers' clips.
_SCORED = 10 * _RATE

Places = NDArray[np.int64]
Run = tuple[str, str, float]
"""A schedule, a receiver, and its setting: the safety of plc, the least delay of NetEq in ms."""


@dataclass(frozen=True, slots=True)
class Reception:
    """A receiver's result on a schedule: means over seeds; a score that is not there is NaN."""

    schedule: str
    receiver: str
    setting: float
    unscored: str
    """Why a score is not there."""
    delay_ms: float
    made_up_ms: float
    though_arrived_ms: float
    twice_ms: float
    left_out_ms: float
    plcmos: float
    pesq: float


_NUMBERS = tuple(field.name for field in fields(Reception))[4:]


def speech(sources: Sequence[Path], seconds: float = SECONDS) -> Samples:
    """Return speech at 16 kHz, shape (n,): clips in a row, repeated; none: the package's."""
    if not 10.0 <= seconds <= 3600.0:
        raise ConfigError(f"seconds is {seconds:g}; supported: 10 to 3600")
    clips = [read_clip(path, _RATE).signal[:, 0] for path in find_clips(sources)] if sources else []
    return np.resize(np.concatenate(clips or [clip_audio("speech")[0]]), round(seconds * _RATE))


def all_runs(
    schedules: Sequence[str], safeties: Sequence[float], min_delays_ms: Sequence[float]
) -> list[Run]:
    """Return every combination; no schedules: all."""
    for name in schedules:
        if name not in SCHEDULES:
            raise ConfigError(f"schedule {name!r} is none; known: {', '.join(SCHEDULES)}")
    receivers = [("plc", safety) for safety in safeties]
    receivers += [("neteq", min_delay_ms) for min_delay_ms in min_delays_ms]
    return [(schedule, *receiver) for schedule in schedules or SCHEDULES for receiver in receivers]


def measure(signal: Samples, seeds: Sequence[int], scored: bool, run: Run) -> Reception:
    """Play a signal, shape (n,), through one receiver, once for each seed."""
    name, receiver, setting = run
    numbers, reason = [], ""
    for seed in seeds:
        schedule = make_schedule(name, signal.size / _RATE, seed)
        arrivals_ms = schedule.arrivals_ms
        whole = signal[: arrivals_ms.size * _PACKET].reshape(-1, _PACKET)
        sent = np.where(np.isnan(arrivals_ms)[:, None], np.float32(0.0), whole)
        ticks = int(arrivals_ms[np.isfinite(arrivals_ms)].max()) // 10
        if receiver == "plc":
            played = _play_plc(sent, arrivals_ms, ticks, setting)
        else:
            played = play_schedule(sent.reshape(-1, 1), arrivals_ms, _RATE, ticks, round(setting))
        at, places = align(played.heard[:, 0], sent.ravel(), schedule.speed)
        scores = (math.nan, math.nan)
        if scored:
            scores, reason = _scores(played.heard[:, 0], sent.ravel(), at, places)
        numbers.append((*account(played, schedule, at, places), *scores))
    means = dict(zip(_NUMBERS, np.mean(numbers, axis=0).tolist(), strict=True))
    return Reception(name, receiver, setting, reason, **means)


def account(
    played: Played, schedule: Schedule, at: Places, places: Places
) -> tuple[float, float, float, float, float]:
    """Return delay, made up, though it arrived, heard twice and left out, in ms."""
    per_ms = _RATE / 1000.0
    packets = np.minimum(places // _PACKET, schedule.arrivals_ms.size - 1)
    delay_ms = (at + _BLOCK - places / schedule.speed) / per_ms - schedule.least_ms()[packets]
    there = np.repeat(np.isfinite(schedule.arrivals_ms), _PACKET)[places[0] : places[-1]]
    made_up, twice = (
        float(count[at[-1] // _BLOCK] - count[at[0] // _BLOCK])
        for count in (played.made_up, played.inserted)
    )
    though_arrived = made_up - there.size + there.sum()
    left_out = there.sum() + twice + made_up - (at[-1] - at[0])
    return (
        float(delay_ms.mean()),
        made_up / per_ms,
        max(0.0, though_arrived / per_ms),
        twice / per_ms,
        max(0.0, left_out / per_ms),
    )


def _play_plc(sent: Samples, arrivals_ms: Times, ticks: int, safety: float) -> Played:
    codec = L16(_RATE, 1)
    stream = StreamConfig(sample_rate=_RATE, packet_samples=_BLOCK, budget_ms=math.inf)
    playout = Playout(ReceiverConfig(stream=stream, delay=DelayConfig(safety=safety)), codec)
    numbers = np.cumsum(~np.isnan(arrivals_ms)) - 1
    order = np.argsort(arrivals_ms, kind="stable").tolist()
    heard = np.empty((ticks, _BLOCK), np.float32)
    counts = np.empty((2, ticks))
    for tick in range(ticks):
        now_s = (tick + 1) / 100.0
        while order and arrivals_ms[order[0]] <= 1000.0 * now_s:
            place = order.pop(0)
            payload = codec.encode(sent[place][:, None])
            packet = RtpPacket(96, int(numbers[place]) % 2**16, place * _PACKET, 1, payload)
            playout.put(build_rtp(packet), arrivals_ms[place] / 1000.0)
        heard[tick] = playout.tick(now_s)[0]
        counts[:, tick] = playout.concealment.concealed_samples, playout.received.inserted_samples
    playout.close()
    return Played(heard.reshape(-1, 1), *counts)


def align(heard: Signal, recording: Signal, speed: float) -> tuple[Places, Places]:
    """Return places in the sound heard, and where each of them is in the recording."""
    padded = np.pad(np.diff(recording, prepend=0.0), _LAG_MAX)  # as white as speech gets
    power = np.concatenate([[0.0], np.cumsum(padded.astype(np.float64) ** 2)])
    steps = np.diff(heard, prepend=0.0)
    found = []
    for begin in range(0, heard.size - _WINDOW, _HOP):
        window = steps[begin : begin + _WINDOW]
        # Nothing is heard before it was recorded.
        latest = min(round((begin + _BLOCK) * speed), recording.size)
        part = padded[latest : latest + _LAG_MAX + _WINDOW]
        size = part.size + _WINDOW
        products = np.fft.irfft(np.fft.rfft(part, size) * np.fft.rfft(window, size).conj(), size)
        edges = power[latest : latest + part.size + 1]
        energies = (edges[_WINDOW:] - edges[:-_WINDOW]) * (window @ window)
        likeness = products[: energies.size] / np.sqrt(energies + 1e-9)
        best = int(likeness.argmax())
        place = latest - _LAG_MAX + best
        if likeness[best] >= _SURE and 0 <= place <= recording.size - _WINDOW:
            found.append((begin + _WINDOW // 2, place + _WINDOW // 2))
    if not found:
        raise ConfigError("nothing of the recording is heard: is it silent?")
    at, places = np.array(found).T
    return at, places


def _scores(
    heard: Signal, recording: Signal, at: Places, places: Places
) -> tuple[tuple[float, float], str]:
    pairs = []
    for begin in range(0, heard.size - _SCORED // 2, _SCORED):
        inside = (at >= begin) & (at < begin + _SCORED)
        if inside.any():
            delay = int(np.median(at[inside] - places[inside]))
            start, stop = (
                max(begin, delay),
                min(begin + _SCORED, heard.size, delay + recording.size),
            )
            pairs.append((recording[start - delay : stop - delay], heard[start:stop]))
    found, reasons = [], []
    for score in (lambda _, played: plcmos(played), pesq_wb):
        try:
            found.append(float(np.nanmean([score(*pair) for pair in pairs])))
        except MissingExtraError as error:
            found.append(math.nan)
            reasons.append(str(error))
    return (found[0], found[1]), "; ".join(reasons)


def receiver_table(results: Sequence[Reception]) -> Table:
    """Return a row for each run."""
    headings = ("arrivals", "receiver", "setting", "delay", "made up", "though it arrived")
    table = Table(
        "Speech at 16 kHz, L16, packets of 20 ms; delay and sound in ms",
        (*headings, "heard twice", "left out", "PLCMOS", "PESQ"),
        note="; ".join(sorted({each.unscored for each in results} - {""})),
        left=(0, 1),
    )
    for each in results:
        sums = (each.made_up_ms, each.though_arrived_ms, each.twice_ms, each.left_out_ms)
        table.add(
            *(each.schedule, each.receiver, f"{each.setting:g}"),
            *(f"{ms:.0f}" for ms in (each.delay_ms, *sums)),
            *("-" if score != score else f"{score:.2f}" for score in (each.plcmos, each.pesq)),
        )
    return table
