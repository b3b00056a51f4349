"""The demonstration: lose packets of two bundled recordings, conceal them, and show the result.

For a clip of music and one of speech it writes what a listener would hear under each method, the
trace, and a picture, and measures how far that is from the original and the time each lost packet
took. All methods see the same losses and run through :class:`plc.Concealer`.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plc.apps.picture import Stream, draw
from plc.audio.files import AudioWriter, read_audio
from plc.audio.loss import GilbertElliott, write_trace
from plc.audio.quality import lsd_db, nmse_db
from plc.engine.concealer import Concealer
from plc.errors import AudioFileError, MissingExtraError
from plc.repair.recordings import in_packets, samples_of_packet

CLIPS = ("music", "speech")
# What the table compares, by method: the usual remedy, linear prediction as published, ours.
LABELS = {"repeat": "repeat", "lpc": "LPC", "auto": "plc"}
LOSSY = "lossy"
# What the picture has room for.
_DRAWN = (LOSSY, "repeat", "plc")


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoRow:
    """How one way of playing did on one clip."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoReport:
    """What :func:`run` did."""

    folder: str
    loss: float
    mean_burst: float
    packet_ms: float
    seed: int
    rows: tuple[DemoRow, ...]
    pictures: tuple[str, ...]
    picture_problem: str | None
    """Why there are no pictures though they were asked for."""

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
    budget_ms: float | None = float("inf"),
    pictures: bool = True,
    overwrite: bool = True,
    progress: Callable[[str], None] | None = None,
) -> DemoReport:
    """Conceal the bundled clips; write audio files, traces and pictures into ``folder``.

    Parameters
    ----------
    folder : str or Path
        Made if it does not exist.
    loss, mean_burst, seed
        Of :class:`plc.audio.loss.GilbertElliott`.
    packet_ms : float
        Length of a packet.
    budget_ms : float or None
        As of :class:`plc.Concealer`: by default no limit, so that every machine makes the same.
    pictures : bool
        Draw them, if matplotlib is there.
    overwrite : bool
        Whether files that are there may be replaced; those of an earlier demonstration may be
        without.
    progress : callable, optional
        Called with what comes next.
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
    for clip in CLIPS:
        stream = _stream(clip, model, packet_ms, seed)
        write_trace(folder / f"{clip}.trace", stream.lost, [stream.title, "1 = lost"])
        clip_rows, played = _play_all(folder, clip, stream, budget_ms, progress)
        rows += clip_rows
        if pictures and problem is None:
            _tell(progress, f"{clip}: picture")
            try:
                draw(folder / f"{clip}.png", stream, _captioned(clip_rows, played))
                drawn.append(f"{clip}.png")
            except MissingExtraError as error:
                problem = str(error)
    return DemoReport(
        folder=str(folder),
        loss=loss,
        mean_burst=mean_burst,
        packet_ms=packet_ms,
        seed=seed,
        rows=tuple(rows),
        pictures=tuple(drawn),
        picture_problem=problem,
    )


def _check_folder(folder: Path) -> None:
    """Refuse a folder with files of these names that no demonstration has written."""
    names = [
        f"{clip}{ending}"
        for clip in CLIPS
        for ending in (
            ".trace",
            *(f"-{label.lower()}.wav" for label in ("original", LOSSY, *LABELS.values())),
        )
    ]
    there = [name for name in names if (folder / name).exists()]
    pictures = [f"{clip}.png" for clip in CLIPS if (folder / f"{clip}.png").exists()]
    if 0 < len(there) < len(names) or (pictures and not there):
        name = (there or pictures)[0]
        raise AudioFileError(f"{folder / name} exists; give --overwrite, or another folder")


def clip_audio(clip: str) -> tuple[NDArray[np.float32], int]:
    """Return a bundled clip, one of :data:`CLIPS`: float32, shape (n,), and its rate in Hz."""
    with as_file(files("plc") / "data" / f"{clip}.flac") as path:
        signal, sample_rate = read_audio(path)
    return signal[:, 0].copy(), sample_rate


def _stream(clip: str, model: GilbertElliott, packet_ms: float, seed: int) -> Stream:
    original, sample_rate = clip_audio(clip)
    packet_samples = samples_of_packet(packet_ms, sample_rate)
    lost = model.trace(-(-len(original) // packet_samples), seed)
    title = f"{clip}, {sample_rate / 1000:g} kHz: "
    title += f"{100 * lost.mean():.0f} % of packets of {packet_ms:g} ms lost"
    return Stream(
        title=title,
        original=original,
        lost=lost,
        sample_rate=sample_rate,
        packet_samples=packet_samples,
    )


def _play_all(
    folder: Path,
    clip: str,
    stream: Stream,
    budget_ms: float | None,
    progress: Callable[[str], None] | None,
) -> tuple[list[DemoRow], dict[str, NDArray[np.float32]]]:
    """Play a stream in every way; write each to a file."""
    lost = np.repeat(stream.lost, stream.packet_samples)[: len(stream.original)]
    played = {LOSSY: np.where(lost, np.float32(0.0), stream.original)}
    took_ms: dict[str, NDArray[np.float64]] = {LOSSY: np.empty(0)}
    for method, label in LABELS.items():
        _tell(progress, f"{clip}: {label}")
        played[label], took_ms[label] = _play(stream, method, budget_ms)
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
            )
        )
    return rows, played


def _play(
    stream: Stream, method: str, budget_ms: float | None
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return what a concealer plays, and the ms that each lost packet took."""
    concealer = Concealer(
        sample_rate=stream.sample_rate,
        channels=1,
        packet_samples=stream.packet_samples,
        method=method,
        budget_ms=budget_ms,
        prepare="never",  # packets come as fast as they are taken
    )
    packets = in_packets(stream.original[:, None], stream.packet_samples)
    played = np.empty_like(packets)
    took_ns = np.empty(len(packets))
    for i, packet in enumerate(packets):
        begin_ns = time.perf_counter_ns()
        played[i] = concealer.push(None if stream.lost[i] else packet)
        took_ns[i] = time.perf_counter_ns() - begin_ns
    return played.reshape(-1)[: len(stream.original)], took_ns[stream.lost] / 1e6


def _captioned(
    rows: list[DemoRow], played: dict[str, NDArray[np.float32]]
) -> dict[str, NDArray[np.float32]]:
    """Return what the picture shows, by the caption of its row."""
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
