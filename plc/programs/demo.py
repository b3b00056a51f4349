"""The demonstration: lose packets of three bundled recordings, conceal them, and show the result.

For clips of music, a clarinet and speech it writes what a listener would hear under each method,
the trace, a picture, and a page to listen to, and measures how far that is from the original. All
methods see the same losses. Ours runs through :class:`plc.Concealer` without a time limit, so that
every machine makes the same sound, the usual remedies in :mod:`plc.programs.rivals`; codecs with a
concealment of their own, and judges of speech, are the caller's. Beside that the time that a lost
packet takes is measured as live streams have it: in real time, by the defaults, after a warm pass.
"""

import contextlib
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib.resources import as_file, files
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from plc.engine.loss import GilbertElliott
from plc.engine.stream.concealer import Concealer
from plc.engine.stream.config import samples_of_packet
from plc.engine.trace_files import write_trace
from plc.errors import AudioFileError, ConfigError, MissingExtraError, PlcError, why
from plc.files.audio import read_audio
from plc.files.distances import lsd_db, nmse_db
from plc.files.pages import listening
from plc.files.pages.picture import LossyClip, draw
from plc.files.streamed import in_packets
from plc.files.writing import AudioWriter
from plc.programs import rivals

CLIPS = ("music", "clarinet", "speech")
SPEECH = "speech"
PAGE = "index.html"
# What the table compares, by method: the usual remedies, linear prediction as published.
REMEDIES = {"repeat": "repeat", "pitch": "pitch", "lpc": "LPC"}
OURS = "plc"
BUFFERED = "plc-60ms"
# What a jitter buffer of 60 ms holds behind a lost packet of 20 ms.
_BUFFERED_PACKETS = 2
LOSSY = "lossy"
HOW = {
    LOSSY: "silence",
    "repeat": "the last packet again",
    "pitch": "the last pitch period (telephones)",
    "LPC": "linear prediction (Marafioti 2019)",
    OURS: "this engine, from the past alone",
    BUFFERED: "this engine, from both sides: what waits in a jitter buffer of 60 ms",
}
"""How each fills a gap; a rival's is the caller's."""
_SAYS = {
    "PLCMOS": "a network's guess of how listeners would rate what a concealer plays, 1 to 5",
    "PESQ": "ITU-T P.862's guess of how alike listeners would find it and the original, 1 to 4.6",
}
# In real time, for the column of time: some ten losses of each clip, after so many packets.
# What is lost: mean packets in a burst, their length, and the draw.
_BURST, _PACKET_MS, _SEED = 2.0, 20.0, 1
_LIVE_S, _WARM = 2.5, 25
# What the picture has room for.
_DRAWN = (LOSSY, "repeat", "plc")
_ORIGINAL = "original"
_CREDITS = (
    "Recordings: “demonhill” by 0zone0ne (SuperTuxKart) and “demo-instruct”, Allison Smith, "
    "Digium, Inc.; CC-BY-SA-3.0, as is this page. Clarinet: the soundfont Fluid by Frank Wen, MIT."
)

Judge = Callable[[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_], int], float]
"""Takes the original and what was played, shape (n, 1), what was lost, (n,), and the rate in Hz."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rival:
    """A way of playing that is no method of the engine.

    Attributes
    ----------
    how : str, how it fills a gap
    play : callable
        Takes the original, shape (n, 1), which packets are lost, samples of a packet, and the rate
        in Hz; returns what is heard, shape (n, 1) or longer. One that cannot raises PlcError.
    """

    how: str
    play: Callable[[NDArray[np.float32], NDArray[np.bool_], int, int], NDArray[np.float32]]


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoRow:
    """Scores and time of one way of playing one clip."""

    clip: str
    label: str
    file: str
    lost_share: float
    """Packets really lost, 0 to 1: in a short clip not quite what the model says."""
    nmse_db: float
    """Error over the lost samples, :func:`plc.files.distances.nmse_db`."""
    lsd_db: float
    """Distance of the spectra around losses, :func:`plc.files.distances.lsd_db`."""
    how: str
    """How a gap is filled."""
    p50_ms: float | None = None
    """Time that a lost packet took live, median; None but for the engine."""
    p99_ms: float | None = None
    limit_ms: float | None = None
    """The engine's limit for that time."""
    scores: dict[str, float] = field(default_factory=dict)
    """What judges of speech say, by their names; higher is better."""

    @property
    def times(self) -> tuple[str, str]:
        """Median and 99th percentile as text; empty where there are none."""
        if self.p50_ms is None:
            return "", ""
        return f"{self.p50_ms:.2f}", f"{self.p99_ms:.2f}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoReport:
    """Result of :func:`run`."""

    folder: str
    loss: float
    mean_burst: float
    packet_ms: float
    seed: int
    rows: tuple[DemoRow, ...]
    pictures: tuple[str, ...]
    picture_problem: str | None
    """Why there are no pictures though they were asked for."""
    page: str
    """The page to listen to, in the folder."""
    judge_problem: str | None
    """Why a judge of speech was not heard."""
    rival_problem: str | None
    """Why a rival did not play."""


def run(
    folder: str | Path,
    *,
    loss: float = 0.1,
    pictures: bool = True,
    overwrite: bool = True,
    judges: Mapping[str, Judge] | None = None,
    rivals: Mapping[str, Rival] | None = None,
    live_s: float = _LIVE_S,
    progress: Callable[[str], None] | None = None,
) -> DemoReport:
    """Conceal the bundled clips; write audio, pictures and a page.

    Parameters
    ----------
    folder : str or Path, made if it does not exist
    loss : float, share of packets lost
    pictures : bool, draw them, if matplotlib is there
    overwrite : bool
        Whether files that are there may be replaced; those of an earlier demonstration may be
        without.
    judges : mapping from str to Judge, optional
        What speech is judged by; one that lacks its library is left out.
    rivals : mapping from str to Rival, optional
        What else plays, by label; one that lacks its library is left out.
    live_s : float
        Seconds of each clip that are pushed in real time, to time lost packets; 0: none.
    progress : callable, optional
        Called with the name of each step.

    Raises
    ------
    ConfigError
        If no packet of a clip is lost: there is nothing to compare.
    AudioFileError
        If the files cannot be written.
    """
    streams = _streams(GilbertElliott(loss, _BURST))
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AudioFileError(f"cannot make the folder {folder}: {why(error)}") from error
    if not overwrite:
        _check_folder(folder, rivals or {})
    rows: list[DemoRow] = []
    drawn: list[str] = []
    problem: str | None = None
    if live_s:
        _tell(progress, f"{', '.join(streams)}: {OURS}, {live_s:g} s in real time")
    bench = _Bench(judges or {}, rivals or {}, _time_live(streams, live_s))
    heard: list[listening.Clip] = []
    for clip, stream in streams.items():
        write_trace(folder / f"{clip}.trace", stream.lost, [stream.title, "1 = lost"])
        clip_rows, played = _play_all(folder, clip, stream, bench, progress)
        rows += clip_rows
        heard.append(_to_hear(stream, clip_rows, played))
        if pictures and problem is None:
            _tell(progress, f"{clip}: picture")
            try:
                draw(folder / f"{clip}.png", stream, _captioned(clip_rows, played))
                drawn.append(f"{clip}.png")
            except MissingExtraError as error:
                problem = str(error)
    _tell(progress, "page")
    about = "Three recordings, played as a listener would hear them. "
    about += f"Packets of {_PACKET_MS:g} ms were lost in bursts, the same for all. {_CREDITS}"
    title, marks = "Packets lost and concealed", "Red marks are losses."
    page = listening.page(title, about, _table(rows), heard, marks)
    listening.write(folder / PAGE, page)
    return DemoReport(
        folder=str(folder),
        loss=loss,
        mean_burst=_BURST,
        packet_ms=_PACKET_MS,
        seed=_SEED,
        rows=tuple(rows),
        pictures=tuple(drawn),
        picture_problem=problem,
        page=PAGE,
        judge_problem=bench.problem,
        rival_problem=bench.rival_problem,
    )


def _streams(model: GilbertElliott) -> dict[str, LossyClip]:
    streams = {clip: _stream(clip, model) for clip in CLIPS}
    for clip, stream in streams.items():
        if not stream.lost.any():
            raise ConfigError(f"no packet of the clip {clip} was lost: give a higher loss")
    return streams


class _Bench:
    """Judges of speech and rivals; one whose library is missing is left out. Times of clips."""

    def __init__(
        self,
        judges: Mapping[str, Judge],
        rivals: Mapping[str, Rival],
        live: Mapping[str, tuple[NDArray[np.float64], float]],
    ) -> None:
        self.judges = dict(judges)
        self.rivals = dict(rivals)
        self.live = live
        self.problem: str | None = None
        self.rival_problem: str | None = None

    def played(self, stream: LossyClip) -> dict[str, NDArray[np.float32]]:
        """Return the samples that each rival plays of a stream, by label."""
        found = {}
        for label, rival in list(self.rivals.items()):
            try:
                heard = rival.play(
                    stream.original[:, None], stream.lost, stream.packet_samples, stream.sample_rate
                )
            except PlcError as error:
                self.rival_problem = f"{label}: {error}"
                del self.rivals[label]
            else:
                found[label] = heard[: len(stream.original), 0]
        return found

    def scores(
        self, stream: LossyClip, played: NDArray[np.float32], lost: NDArray[np.bool_]
    ) -> dict[str, float]:
        found = {}
        for name, judge in list(self.judges.items()):
            try:
                found[name] = judge(
                    stream.original[:, None], played[:, None], lost, stream.sample_rate
                )
            except MissingExtraError as error:
                self.problem = str(error)
                del self.judges[name]
        return found


def _check_folder(folder: Path, rivals: Iterable[str]) -> None:
    labels = ("original", LOSSY, *REMEDIES.values(), OURS, BUFFERED, *rivals)
    endings = (".trace", ".png", *(f"-{label.lower()}.wav" for label in labels))
    every = {f"{clip}{ending}" for clip in CLIPS for ending in endings}
    # A demonstration may have been without these, or may be of an earlier version.
    newer = (".png", *(f"-{label.lower()}.wav" for label in ("pitch", BUFFERED, *rivals)))
    names = sorted(
        name for name in every if not (name.startswith("clarinet") or name.endswith(newer))
    )
    there = [name for name in names if (folder / name).exists()]
    optional = sorted((every - set(names)) | {PAGE})
    further = [name for name in optional if (folder / name).exists()]
    if 0 < len(there) < len(names) or (further and not there):
        name = (there or further)[0]
        raise AudioFileError(f"{folder / name} exists; give --overwrite, or another folder")


def clip_audio(clip: str) -> tuple[NDArray[np.float32], int]:
    """Return a bundled clip, one of :data:`CLIPS`: float32, shape (n,), and its rate in Hz."""
    with as_file(files("plc") / "data" / f"{clip}.flac") as path:
        signal, sample_rate = read_audio(path)
    return signal[:, 0].copy(), sample_rate


def _stream(clip: str, model: GilbertElliott) -> LossyClip:
    original, sample_rate = clip_audio(clip)
    packet_samples = samples_of_packet(_PACKET_MS, sample_rate)
    lost = model.trace(-(-len(original) // packet_samples), _SEED)
    title = f"{clip}, {sample_rate / 1000:g} kHz: "
    title += f"{100 * lost.mean():.0f} % of packets of {_PACKET_MS:g} ms lost"
    return LossyClip(
        title=title,
        original=original,
        lost=lost,
        sample_rate=sample_rate,
        packet_samples=packet_samples,
    )


def _play_all(
    folder: Path,
    clip: str,
    stream: LossyClip,
    bench: _Bench,
    progress: Callable[[str], None] | None,
) -> tuple[list[DemoRow], dict[str, NDArray[np.float32]]]:
    lost = np.repeat(stream.lost, stream.packet_samples)[: len(stream.original)]
    played = {LOSSY: np.where(lost, np.float32(0.0), stream.original)}
    for method, label in REMEDIES.items():
        _tell(progress, f"{clip}: {label}")
        stated = stream.original[:, None], stream.lost, stream.packet_samples, stream.sample_rate
        played[label] = rivals.play(method, *stated)[:, 0]
    _tell(progress, f"{clip}: {', '.join([*bench.rivals, OURS])}")
    played |= bench.played(stream)
    played |= {OURS: _play(stream, 0), BUFFERED: _play(stream, _BUFFERED_PACKETS)}
    took_ms, limit_ms = bench.live[clip]
    _write(folder / f"{clip}-original.wav", stream.original, stream.sample_rate)
    rows = []
    for label, signal in played.items():
        name = f"{clip}-{label.lower()}.wav"
        _write(folder / name, signal, stream.sample_rate)
        is_timed = label == OURS and took_ms.size > 0
        rows.append(
            DemoRow(
                clip=clip,
                label=label,
                file=name,
                lost_share=float(stream.lost.mean()),
                nmse_db=nmse_db(stream.original, signal, lost),
                lsd_db=lsd_db(stream.original, signal, lost, stream.sample_rate),
                how=HOW[label] if label in HOW else bench.rivals[label].how,
                p50_ms=float(np.percentile(took_ms, 50)) if is_timed else None,
                p99_ms=float(np.percentile(took_ms, 99)) if is_timed else None,
                limit_ms=limit_ms if is_timed else None,
                scores=bench.scores(stream, signal, lost) if clip == SPEECH else {},
            )
        )
    return rows, played


def _play(stream: LossyClip, known: int) -> NDArray[np.float32]:
    """Play a clip where ``known`` packets behind each lost one have come."""
    concealer = Concealer(
        sample_rate=stream.sample_rate,
        channels=1,
        packet_samples=stream.packet_samples,
        budget_ms=math.inf,  # every machine makes the same
    )
    packets = in_packets(stream.original[:, None], stream.packet_samples)
    played = np.empty_like(packets)
    n = stream.packet_samples
    for i, packet in enumerate(packets):
        if not stream.lost[i]:
            played[i] = concealer.push(packet)
            continue
        behind = enumerate(packets[i + 1 :][:known])
        there = [(k * n, each) for k, each in behind if not stream.lost[i + 1 + k]]
        played[i] = concealer.push(None, behind=there)
    return played.reshape(-1)[: len(stream.original)]


def _time_live(
    streams: Mapping[str, LossyClip], seconds: float
) -> dict[str, tuple[NDArray[np.float64], float]]:
    """Return the ms that lost packets take inside ``push`` in real time, and the limit for each.

    The clips play side by side, each at its turn within a packet, as packets are of one length.
    """
    first = next(iter(streams.values()))
    packet_s = first.packet_samples / first.sample_rate
    count = min(round(seconds / packet_s), *(len(each.lost) for each in streams.values()))
    turns = [*range(min(_WARM, count)), *range(count)]
    timed = {}
    with contextlib.ExitStack() as closing:
        for clip, stream in streams.items():
            concealer = Concealer(
                sample_rate=stream.sample_rate, channels=1, packet_samples=stream.packet_samples
            )
            closing.enter_context(concealer)
            packets = in_packets(stream.original[:, None], stream.packet_samples)[:count]
            timed[clip] = concealer, packets, stream.lost[:count], np.zeros(count)
        begin_s = time.perf_counter()
        for turn, i in enumerate(turns):
            for k, (concealer, packets, lost, took_s) in enumerate(timed.values()):
                due_s = begin_s + (turn + 1 + k / len(timed)) * packet_s
                time.sleep(max(0.0, due_s - time.perf_counter()))
                turn_s = time.perf_counter()
                concealer.push(None if lost[i] else packets[i])
                took_s[i] = time.perf_counter() - turn_s
    return {
        clip: (1000.0 * took_s[lost], concealer.config.time_limit_ms)
        for clip, (concealer, _, lost, took_s) in timed.items()
    }


def explained(rows: Sequence[DemoRow]) -> list[str]:
    """Return a sentence on each column of numbers."""
    judges = dict.fromkeys(name for row in rows for name in row.scores)
    limits_ms = [row.limit_ms for row in rows if row.limit_ms is not None]
    return [
        "Error: how far the lost samples are from the original's; silence has 0 dB, lower is "
        "better. It is left out for speech, where nobody hears it.",
        "Spectral distance: how far the spectra around gaps are from the original's; lower is "
        "better.",
        *(f"{name}: of speech, {_SAYS.get(name, 'a score')}; higher is better." for name in judges),
        *(
            "Live: ms inside push for a lost packet of a stream in real time, median and 99th "
            f"percentile; its limit is {limit_ms:g} ms."
            for limit_ms in limits_ms[:1]
        ),
    ]


def _table(rows: list[DemoRow]) -> str:
    judges = list(dict.fromkeys(name for row in rows for name in row.scores))
    headings = [
        "clip",
        "played",
        "a gap is filled by",
        "error, dB",
        "spectral distance, dB",
        *judges,
    ]
    timed = any(row.p50_ms is not None for row in rows)
    headings += ["live: median, ms", "live: p99, ms"] if timed else []
    lines: list[list[tuple[str, float | None]]] = []
    for row in rows:
        wave = row.clip != SPEECH
        line: list[tuple[str, float | None]]
        line = [(text, None) for text in (row.clip, row.label, row.how)]
        line.append((f"{row.nmse_db:+.1f}", row.nmse_db) if wave else ("", None))
        line.append((f"{row.lsd_db:.1f}", row.lsd_db))
        line += [
            (f"{row.scores[name]:.2f}", row.scores[name]) if name in row.scores else ("", None)
            for name in judges
        ]
        line += list(zip(row.times, (row.p50_ms, row.p99_ms), strict=True)) if timed else []
        lines.append(line)
    ends = {number for number, (row, following) in enumerate(pairwise(rows))
            if row.clip != following.clip}  # fmt: skip
    about = "<br>".join(map(escape, explained(rows)))
    return f'{listening.table(headings, lines, OURS, ends)}<p class="note">{about}</p>'


def _to_hear(
    stream: LossyClip, rows: list[DemoRow], played: dict[str, NDArray[np.float32]]
) -> listening.Clip:
    name, _, what = stream.title.partition(": ")
    versions = [listening.Version(name=_ORIGINAL, signal=stream.original[:, None])]
    versions += [
        listening.Version(name=row.label, signal=played[row.label][:, None], note=_note(row))
        for row in rows
    ]
    return listening.Clip(
        name=name,
        what=what,
        sample_rate=stream.sample_rate,
        versions=versions,
        lost=np.repeat(stream.lost, stream.packet_samples)[: len(stream.original)],
    )


def _note(row: DemoRow) -> str:
    """Return a row's line beside its player; for speech without waveform error."""
    scores = [f"{name} {score:.2f}" for name, score in row.scores.items()]
    wave = [] if row.clip == SPEECH else [f"error {row.nmse_db:+.1f} dB"]
    return " · ".join([*wave, *scores, f"spectral distance {row.lsd_db:.1f} dB"])


def _captioned(
    rows: list[DemoRow], played: dict[str, NDArray[np.float32]]
) -> dict[str, NDArray[np.float32]]:
    drawn = [row for row in rows if row.label in _DRAWN]
    return {f"{row.label}: error {row.nmse_db:+.1f} dB": played[row.label] for row in drawn}


def _write(path: Path, signal: NDArray[np.float32], sample_rate: int) -> None:
    with AudioWriter(path, sample_rate, 1, "PCM_16", len(signal)) as writer:
        writer.write(signal[:, None])


def _tell(progress: Callable[[str], None] | None, what: str) -> None:
    if progress is not None:
        progress(what)
