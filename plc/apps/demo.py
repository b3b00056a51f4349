"""The demonstration: lose packets of two bundled recordings, conceal them, and show the result.

For a clip of music and one of speech it writes what a listener would hear under each method, the
trace, a picture, and a page to listen to, and measures how far that is from the original and the
time each lost packet took. Speech is judged by whatever judges of speech the caller has. All
methods see the same losses and run through :class:`plc.Concealer`.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plc.apps import listening
from plc.apps.picture import LossyClip, draw
from plc.audio.files import AudioWriter, read_audio
from plc.audio.loss import GilbertElliott, write_trace
from plc.audio.quality import lsd_db, nmse_db
from plc.engine.concealer import Concealer
from plc.engine.config import samples_of_packet
from plc.errors import AudioFileError, MissingExtraError
from plc.repair.recordings import in_packets

CLIPS = ("music", "speech")
SPEECH = "speech"
PAGE = "index.html"
# What the table compares, by method: the usual remedy, linear prediction as published, ours.
LABELS = {"repeat": "repeat", "lpc": "LPC", "auto": "plc"}
LOSSY = "lossy"
# What the picture has room for.
_DRAWN = (LOSSY, "repeat", "plc")
_ORIGINAL = "original"
_CREDITS = (
    "Recordings: “demonhill” by 0zone0ne (SuperTuxKart) and “demo-instruct”, Allison Smith, "
    "Digium, Inc.; CC-BY-SA-3.0, as is this page."
)

Judge = Callable[[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_], int], float]
"""Takes the original and what was played, shape (n, 1), what was lost, (n,), and the rate in Hz."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoRow:
    """Scores and time of one way of playing one clip."""

    clip: str
    label: str
    file: str
    lost_share: float
    """Packets really lost, 0 to 1: in a short clip not quite what the model says."""
    nmse_db: float
    """Error over the lost samples, :func:`plc.audio.quality.nmse_db`."""
    lsd_db: float
    """Distance of the spectra around losses, :func:`plc.audio.quality.lsd_db`."""
    p50_ms: float | None
    """Time a lost packet took, median; None where nothing was computed."""
    p99_ms: float | None
    scores: dict[str, float] = field(default_factory=dict)
    """What judges of speech say, by their names; higher is better."""


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

    def as_dict(self) -> dict[str, Any]:
        """Return everything by name, for JSON."""
        return asdict(self)


def run(
    folder: str | Path,
    *,
    loss: float = 0.1,
    mean_burst: float = 2.0,
    packet_ms: float = 20.0,
    seed: int = 1,
    pictures: bool = True,
    overwrite: bool = True,
    judges: Mapping[str, Judge] | None = None,
    progress: Callable[[str], None] | None = None,
) -> DemoReport:
    """Conceal the bundled clips; write audio, pictures and a page.

    Parameters
    ----------
    folder : str or Path
        Made if it does not exist.
    loss, mean_burst, seed
        Of :class:`plc.audio.loss.GilbertElliott`.
    packet_ms : float
        Length of a packet.
    pictures : bool
        Draw them, if matplotlib is there.
    overwrite : bool
        Whether files that are there may be replaced; those of an earlier demonstration may be
        without.
    judges : mapping from str to Judge, optional
        What speech is judged by; one that lacks its library is left out.
    progress : callable, optional
        Called with the name of each step.
    """
    model = GilbertElliott(loss, mean_burst)
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AudioFileError(f"cannot make the folder {folder}: {error.strerror}") from error
    if not overwrite:
        _check_folder(folder)
    rows: list[DemoRow] = []
    drawn: list[str] = []
    problem: str | None = None
    bench = _Bench(dict(judges or {}))
    heard: list[listening.Clip] = []
    for clip in CLIPS:
        stream = _stream(clip, model, packet_ms, seed)
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
    about = "Two recordings, played as a listener would hear them. "
    about += f"Packets of {packet_ms:g} ms were lost in bursts, the same for all. {_CREDITS}"
    page = listening.page("Packets lost and concealed", about, "", heard, "Red marks are losses.")
    listening.write(folder / PAGE, page)
    return DemoReport(
        folder=str(folder),
        loss=loss,
        mean_burst=mean_burst,
        packet_ms=packet_ms,
        seed=seed,
        rows=tuple(rows),
        pictures=tuple(drawn),
        picture_problem=problem,
        page=PAGE,
        judge_problem=bench.problem,
    )


class _Bench:
    """Judges of speech; one whose library is missing is left out."""

    def __init__(self, judges: dict[str, Judge]) -> None:
        self.judges = judges
        self.problem: str | None = None

    def scores(
        self, stream: LossyClip, played: NDArray[np.float32], lost: NDArray[np.bool_]
    ) -> dict[str, float]:
        """Return each judge's score of the speech as it was played."""
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


def _check_folder(folder: Path) -> None:
    """Raise if the folder holds foreign files of these names."""
    names = [
        f"{clip}{ending}"
        for clip in CLIPS
        for ending in (
            ".trace",
            *(f"-{label.lower()}.wav" for label in ("original", LOSSY, *LABELS.values())),
        )
    ]
    there = [name for name in names if (folder / name).exists()]
    optional = (*(f"{clip}.png" for clip in CLIPS), PAGE)
    further = [name for name in optional if (folder / name).exists()]
    if 0 < len(there) < len(names) or (further and not there):
        name = (there or further)[0]
        raise AudioFileError(f"{folder / name} exists; give --overwrite, or another folder")


def clip_audio(clip: str) -> tuple[NDArray[np.float32], int]:
    """Return a bundled clip, one of :data:`CLIPS`: float32, shape (n,), and its rate in Hz."""
    with as_file(files("plc") / "data" / f"{clip}.flac") as path:
        signal, sample_rate = read_audio(path)
    return signal[:, 0].copy(), sample_rate


def _stream(clip: str, model: GilbertElliott, packet_ms: float, seed: int) -> LossyClip:
    original, sample_rate = clip_audio(clip)
    packet_samples = samples_of_packet(packet_ms, sample_rate)
    lost = model.trace(-(-len(original) // packet_samples), seed)
    title = f"{clip}, {sample_rate / 1000:g} kHz: "
    title += f"{100 * lost.mean():.0f} % of packets of {packet_ms:g} ms lost"
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
    """Play a stream in every way; write each to a file."""
    lost = np.repeat(stream.lost, stream.packet_samples)[: len(stream.original)]
    played = {LOSSY: np.where(lost, np.float32(0.0), stream.original)}
    took_ms: dict[str, NDArray[np.float64]] = {LOSSY: np.empty(0)}
    for method, label in LABELS.items():
        _tell(progress, f"{clip}: {label}")
        played[label], took_ms[label] = _play(stream, method)
    _write(folder / f"{clip}-original.wav", stream.original, stream.sample_rate)
    rows = []
    for label, signal in played.items():
        name = f"{clip}-{label.lower()}.wav"
        _write(folder / name, signal, stream.sample_rate)
        rows.append(
            DemoRow(
                clip=clip,
                label=label,
                file=name,
                lost_share=float(stream.lost.mean()),
                nmse_db=nmse_db(stream.original, signal, lost),
                lsd_db=lsd_db(stream.original, signal, lost, stream.sample_rate),
                p50_ms=_percentile(took_ms[label], 50),
                p99_ms=_percentile(took_ms[label], 99),
                scores=bench.scores(stream, signal, lost) if clip == SPEECH else {},
            )
        )
    return rows, played


def _play(stream: LossyClip, method: str) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return a concealer's output and its time for each lost packet, ms."""
    concealer = Concealer(
        sample_rate=stream.sample_rate,
        channels=1,
        packet_samples=stream.packet_samples,
        method=method,
        budget_ms=math.inf,  # every machine makes the same
    )
    packets = in_packets(stream.original[:, None], stream.packet_samples)
    played = np.empty_like(packets)
    took_ns = np.empty(len(packets))
    for i, packet in enumerate(packets):
        begin_ns = time.perf_counter_ns()
        played[i] = concealer.push(None if stream.lost[i] else packet)
        took_ns[i] = time.perf_counter_ns() - begin_ns
    return played.reshape(-1)[: len(stream.original)], took_ns[stream.lost] / 1e6


def _to_hear(
    stream: LossyClip, rows: list[DemoRow], played: dict[str, NDArray[np.float32]]
) -> listening.Clip:
    """Return a clip of the page: the original and all that was played."""
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
    """Return the signals of the picture, by the caption of their row."""
    drawn = [row for row in rows if row.label in _DRAWN]
    return {f"{row.label}: error {row.nmse_db:+.1f} dB": played[row.label] for row in drawn}


def _percentile(values: NDArray[np.float64], percent: float) -> float | None:
    return float(np.percentile(values, percent)) if values.size else None


def _write(path: Path, signal: NDArray[np.float32], sample_rate: int) -> None:
    with AudioWriter(path, sample_rate, 1, "PCM_16", len(signal)) as writer:
        writer.write(signal[:, None])


def _tell(progress: Callable[[str], None] | None, what: str) -> None:
    if progress is not None:
        progress(what)
