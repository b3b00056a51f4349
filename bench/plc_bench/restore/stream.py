"""Search for dropouts in streams, and its gain: ``plc bench detect dropouts``.

Samples have 16 bits and arrive in packets, none of which is lost. Each clip is damaged by mutes and
repeated blocks (:mod:`plc_bench.restore.damage`), concealed, and compared with the original, as
is the damaged stream itself. The undamaged stream counts false findings; so does a copy of it with
a noise gate, whose pauses are digital silence as those of a mixer or a codec with voice activation
are.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plc.engine.stream.concealer import Concealer
from plc.engine.stream.config import StreamConfig
from plc.engine.stream.packet_dropouts import DropoutFinder
from plc.engine.stream.samples import Packet
from plc.errors import ConfigError
from plc.notice import counted
from plc.restore.detect.findings import runs
from plc_bench.base.corpus import Clip, clip_seed, read_clip
from plc_bench.base.tables import Table
from plc_bench.restore.damage import Damage, damaged
from plc_bench.restore.study import is_inside, share
from plc_bench.scores import metrics
from plc_bench.scores.registry import METRICS, MUSIC_DOMAINS

KINDS = ("silence", "repeat")
_HALF = 0.5
# A gate closes 50 ms after the sound fell below its threshold, within 10 ms.
_GATE_DB, _GATE_HOLD_MS, _GATE_RELEASE_MS, _GATE_STEP_MS = -40.0, 50.0, 10.0, 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamDetectSettings:
    """Settings of ``plc bench detect dropouts``.

    Attributes
    ----------
    packet_ms : tuple of float, packets; lengths and rates take turns from clip to clip
    sample_rates : tuple of int, in Hz; clips are resampled
    method : str, what conceals; ``"none"``: nothing is concealed, findings alone are counted
    plcmos : bool, whether speech is scored by PLCMOS, too
    """

    packet_ms: tuple[float, ...] = (10.0, 20.0)
    sample_rates: tuple[int, ...] = (48_000,)
    method: Any = "auto"
    plcmos: bool = False

    def __post_init__(self) -> None:
        """Check packets and rates."""
        if not self.packet_ms or not self.sample_rates:
            raise ConfigError("give at least one packet length and one sample rate")
        for rate in self.sample_rates:
            for ms in self.packet_ms:
                StreamConfig(sample_rate=rate, packet_ms=ms)

    def condition(self, number: int) -> tuple[float, int]:
        """Return packet length and rate of the clip of a number."""
        lengths = len(self.packet_ms)
        rate = self.sample_rates[number // lengths % len(self.sample_rates)]
        return self.packet_ms[number % lengths], rate


@dataclass(frozen=True, slots=True)
class ClipScores:
    """One clip.

    Attributes
    ----------
    clip, domain, packet_ms, sample_rate : which stream
    seconds : float, its length
    places : tuple of (str, float, bool)
        Kind and length of each damage, and whether half of it was concealed.
    findings : tuple of bool, whether half of each finding lies in damage
    false, gated : int, findings in the undamaged stream, and in the gated one
    nmse_db : tuple of float
        Of the damaged samples, as they came and concealed; NaN where nothing is damaged.
    plcmos : tuple of float
        Of the undamaged stream, of the damaged one, and of the concealed one; or nothing.
    """

    clip: str
    domain: str
    packet_ms: float
    sample_rate: int
    seconds: float
    places: tuple[tuple[str, float, bool], ...]
    findings: tuple[bool, ...]
    false: int
    gated: int
    nmse_db: tuple[float, ...]
    plcmos: tuple[float, ...]


def score_clip(item: tuple[int, Clip], settings: StreamDetectSettings) -> ClipScores:
    """Return the scores of one clip by its number; several channels are mixed to one."""
    number, clip = item
    packet_ms, rate = settings.condition(number)
    config = StreamConfig(sample_rate=rate, packet_ms=packet_ms)
    signal = read_clip(clip.path, rate).signal.mean(axis=1)
    signal = signal[: signal.size // config.packet_samples * config.packet_samples]
    seed = clip_seed(f"{clip.name} stream {rate}")
    broken, damage = damaged(signal, rate, KINDS, seed)
    found = found_in(broken, config)
    hit = np.zeros(signal.size, np.bool_)
    for start, stop in found:
        hit[start:stop] = True
    nmse: tuple[float, ...] = ()
    plcmos: tuple[float, ...] = ()
    if settings.method != "none":
        heard = _concealed(broken, config, settings)
        truth = _mask(damage, signal.size)
        nmse = tuple(
            metrics.nmse_db(signal[:, None], each[:, None], truth) for each in (broken, heard)
        )
        if settings.plcmos and clip.domain not in MUSIC_DOMAINS:
            plcmos = tuple(
                METRICS["plcmos"].score(signal[:, None], each[:, None], truth, rate)
                for each in (signal, broken, heard)
            )
    return ClipScores(
        clip.name,
        clip.domain,
        packet_ms,
        rate,
        signal.size / rate,
        tuple(
            (each.kind, each.length_ms, bool(hit[each.start : each.stop].mean() >= _HALF))
            for each in damage
        ),
        tuple(is_inside(start, stop, damage, rate) for start, stop in found),
        len(found_in(signal, config)),
        len(found_in(gated(signal, rate), config)),
        nmse,
        plcmos,
    )


def found_in(signal: NDArray[np.float32], config: StreamConfig) -> list[tuple[int, int]]:
    """Return the dropouts of a stream of 16 bits: begin and end of each.

    Parameters
    ----------
    signal : float32, shape (n,), the stream
    config : StreamConfig, its packets
    """
    finder, size = DropoutFinder(config), config.packet_samples
    hit = np.zeros(signal.size, np.bool_)
    for place, packet in enumerate(_packets(signal, size)):
        for begin, stop in finder.look_at(packet):
            hit[place * size + begin : place * size + stop] = True
    return list(runs(hit))


def gated(signal: NDArray[np.float32], sample_rate: int) -> NDArray[np.float32]:
    """Return a signal through a noise gate: digital silence in its pauses.

    Parameters
    ----------
    signal : float32, shape (n,), samples
    sample_rate : int, in Hz
    """
    step = round(_GATE_STEP_MS * sample_rate / 1000)
    steps = -(-signal.size // step)
    padded = np.zeros(steps * step, np.float32)
    padded[: signal.size] = signal
    loud = np.mean(np.square(padded.reshape(steps, step)), axis=1) > 10 ** (_GATE_DB / 10)
    last = -steps
    gain = np.zeros(steps + 1)
    for k in range(steps):
        last = k if loud[k] else last
        closing = ((k - last) * _GATE_STEP_MS - _GATE_HOLD_MS) / _GATE_RELEASE_MS
        gain[k] = min(1.0, max(0.0, 1.0 - closing))
    ramps = np.interp(np.arange(padded.size) / step, np.arange(steps + 1), gain)
    through: NDArray[np.float32] = (padded * ramps).astype(np.float32)[: signal.size]
    return through


def _packets(signal: NDArray[np.float32], size: int) -> list[NDArray[np.int16]]:
    samples = np.clip(np.rint(signal * 32768.0), -32768, 32767).astype(np.int16)
    return [samples[at : at + size, None] for at in range(0, signal.size - size + 1, size)]


def _concealed(
    signal: NDArray[np.float32], config: StreamConfig, settings: StreamDetectSettings
) -> NDArray[np.float32]:
    with Concealer(
        config.sample_rate,
        1,
        config.packet_samples,
        method=settings.method,
        budget_ms=np.inf,
        prepare="never",
        detect_dropouts=True,
    ) as concealer:
        played: list[Packet] = [
            concealer.push(packet) for packet in _packets(signal, config.packet_samples)
        ]
    return np.concatenate(played)[:, 0].astype(np.float32) / np.float32(32768.0)


def _mask(damage: Iterable[Damage], samples: int) -> NDArray[np.bool_]:
    mask = np.zeros(samples, np.bool_)
    for each in damage:
        mask[each.start : each.stop] = True
    return mask


def stream_tables(clips: Sequence[ClipScores]) -> list[Table]:
    """Return the tables: by kind and length, and by domain."""
    return [_place_table(clips), _domain_table(clips)]


def _place_table(scores: Sequence[ClipScores]) -> Table:
    places = [place for each in scores for place in each.places]
    table = Table(
        f"Dropouts found in streams of {counted(len(scores), 'clip')}",
        ("kind", "length", "places", "found (95 % interval)"),
        left=(0, 1),
    )
    for kind in KINDS:
        of_kind = [place for place in places if place[0] == kind]
        for length in sorted({place[1] for place in of_kind}):
            row = [place for place in of_kind if place[1] == length]
            found = str(share(found for *_, found in row))
            table.add(kind, f"{length:g} ms", len(row), found)
        found = str(share(found for *_, found in of_kind))
        table.add(kind, "all", len(of_kind), found, end=True)
    return table


def _domain_table(scores: Sequence[ClipScores]) -> Table:
    table = Table(
        "Findings that are true, false ones in 10 minutes, and what is gained",
        (
            *("domain", "minutes", "true", "false, undamaged", "false, gated"),
            *("NMSE dB as it came", "concealed", "PLCMOS undamaged", "as it came", "concealed"),
        ),
    )
    for domain in sorted({each.domain for each in scores}):
        of_domain = [each for each in scores if each.domain == domain]
        minutes = sum(each.seconds for each in of_domain) / 60
        nmse = [each.nmse_db for each in of_domain if each.nmse_db]
        plcmos = [each.plcmos for each in of_domain if each.plcmos]
        table.add(
            domain,
            f"{minutes:.1f}",
            str(share(true for each in of_domain for true in each.findings)),
            f"{10 * sum(each.false for each in of_domain) / minutes:.2f}",
            f"{10 * sum(each.gated for each in of_domain) / minutes:.2f}",
            *_means(nmse, 2),
            *_means(plcmos, 3),
        )
    return table


def _means(values: Sequence[tuple[float, ...]], columns: int) -> list[str]:
    if not values:
        return ["-"] * columns
    return [f"{float(np.nanmean(column)):.2f}" for column in zip(*values, strict=True)]
