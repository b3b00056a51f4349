"""Pages to listen to: versions of a clip that run together, one of them heard.

A page is one HTML file without references, so that it can be passed on and opened from a disk. Its
policy names its script and its style by their hashes and permits no connection at all.

Audio is FLAC, not a lossy codec, which would smear the few milliseconds at the edges of gaps that
listeners judge. To save space, a version is stored as its difference to the reference, silent
outside the gaps; the browser adds the two exactly, as both are integers.
"""

import base64
import hashlib
import io
import json
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from plc.errors import AudioFileError, MissingExtraError
from plc.extras import needed
from plc.files.audio import AUDIO_SUFFIXES
from plc.whole_files import behind, check_new, write_whole

# Spectrograms: pixels, colours, window, range.
_PICTURE_WIDTH, _PICTURE_HEIGHT, _MARK_HEIGHT = 800, 112, 6
_COLOURS = 24
_WINDOW_S = 0.024
_RANGE_DB = 75.0
_TOP_HZ = 12_000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One way in which a clip is played."""

    name: str
    signal: NDArray[np.float32]
    """float32, shape (n, channels)."""
    note: str = ""
    """What stands beside its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """Versions to be compared; the others are stored as differences to the first."""

    name: str
    what: str
    sample_rate: int
    versions: Sequence[Version]
    lost: NDArray[np.bool_]
    """bool, shape (n,)."""
    seen: tuple[int, ...] = ()
    """Channels whose mean its pictures show; none: all."""


def page(
    title: str, about: str, tables: str, clips: Sequence[Clip], marks: str, more: str = ""
) -> str:
    """Return a page with tables and clips to listen to.

    Parameters
    ----------
    title, about : str
        What stands at its top, as text.
    tables : str, HTML
    clips : sequence of Clip, to listen to
    marks : str, what the red marks show
    more : str
        Name of a script that works on the cards, if any.
    """
    data = json.dumps([_described(number, clip) for number, clip in enumerate(clips)])
    script, look = player() + _text("page.js") + (_text(more) if more else ""), style()
    policy = (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(look)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    return Template(_text("index.html")).substitute(
        policy=escape(policy),
        title=escape(title),
        about=escape(about),
        tables=tables,
        marks=escape(marks),
        style=look,
        data=data.replace("<", "\\u003c"),
        script=script,
    )


def write(path: Path, text: str, overwrite: bool = True) -> None:
    """Write a page; raise AudioFileError if that fails."""
    write_whole(path, text.encode("utf-8", "replace"), overwrite)


def check(path: Path, overwrite: bool) -> None:
    """Raise if the file exists and this program did not write it.

    Raises
    ------
    AudioFileError
        If there is another file, or no folder to write into.
    """
    if not path.parent.is_dir():
        raise AudioFileError(f"{path.parent} is not a folder; make it first to write {path.name}")
    if path.is_dir():
        raise AudioFileError(f"{path} is a folder; name a page in it, such as report.html")
    if behind(path).suffix.lower() in AUDIO_SUFFIXES:
        raise AudioFileError(f"{path} is the name of a recording; name a page, such as report.html")
    check_new(path, overwrite)


def table(
    headings: Sequence[str],
    rows: Sequence[Sequence[tuple[str, float | None]]],
    own: str | None = None,
    ends: Collection[int] = (),
) -> str:
    """Return an HTML table that the page can sort.

    Parameters
    ----------
    headings : sequence of str, of its columns
    rows : sequence of sequence of (str, float or None)
        What each cell shows, and the number to sort by, if any.
    own : str, optional
        What a cell of the rows in bold shows.
    ends : collection of int
        Rows that end a group, which keeps its place when the page sorts.
    """
    texts = [all(row[column][1] is None for row in rows) for column in range(len(headings))]
    marks = [" class=text" if text else "" for text in texts]
    head = "".join(
        f"<th scope=col{mark}>{escape(heading)}</th>"
        for heading, mark in zip(headings, marks, strict=True)
    )
    body = ""
    for number, row in enumerate(rows):
        cells = "".join(_cell(*cell, mark) for cell, mark in zip(row, marks, strict=True))
        body += f"<tr{' class=own' if (own, None) in row else ''}>{cells}</tr>"
        body += "</tbody><tbody>" if number in ends else ""
    return (
        f'<div class="scroll"><table class="sortable"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _cell(text: str, value: float | None, mark: str) -> str:
    data = "" if value is None or not math.isfinite(value) else f' data-value="{value:.9g}"'
    return f"<td{data}{mark}>{escape(text)}</td>"


@cache
def player() -> str:
    """Return the script that plays clips and shows them as cards."""
    return _text("player.js") + _text("cards.js")


def style() -> str:
    """Return the style of pages with clips."""
    return _text("page.css")


def _text(name: str) -> str:
    return (files("plc") / "data" / "listen" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _described(number: int, clip: Clip) -> dict[str, Any]:
    stored = [as_integers(version.signal) for version in clip.versions]
    heard = [mono(samples, clip.seen) for samples in stored]
    loudest_db = float(levels_db(heard[0], clip.sample_rate).max())
    waves = gap_waves(heard, clip.lost, clip.sample_rate)
    audio, tracks = {}, []
    for place, (version, samples) in enumerate(zip(clip.versions, stored, strict=True)):
        # The player knows the first one by this name.
        name = version.name if place else "reference"
        kept, is_difference = difference_or_whole(stored[0], samples) if place else (samples, False)
        audio[name] = {"audio": flac_base64(kept, clip.sample_rate), "difference": is_difference}
        tracks.append(
            {
                "name": name,
                "label": version.name,
                "scores": version.note,
                "picture": _picture(heard[place], clip, loudest_db),
                "near": _data_url("svg+xml", waves[place].encode()) if waves else None,
            }
        )
    return {
        "id": number,
        "name": clip.name,
        "what": clip.what,
        "sampleRate": clip.sample_rate,
        "channels": stored[0].shape[1],
        "samples": len(stored[0]),
        "audio": audio,
        "tracks": tracks,
    }


def _picture(signal: NDArray[np.float64], clip: Clip, loudest_db: float) -> str | None:
    try:
        png = spectrogram_png(signal, clip.lost, clip.sample_rate, loudest_db)
    except MissingExtraError:
        return None
    return _data_url("png", png)


def _data_url(kind: str, image: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(image).decode()}"


def as_integers(signal: NDArray[np.float32]) -> NDArray[np.int16]:
    """Return samples as int16, clipped; NaN and infinity become silence."""
    scaled = np.rint(np.nan_to_num(signal, posinf=0.0, neginf=0.0).astype(np.float64) * 32768)
    return scaled.clip(-32768, 32767).astype(np.int16)


def difference_or_whole(
    reference: NDArray[np.int16], played: NDArray[np.int16]
) -> tuple[NDArray[np.int16], bool]:
    """Return a version's stored form, and whether it is a difference.

    The difference, unless it does not fit into 16 bits or is not silent for the most part, as that
    of a codec.
    """
    difference = played.astype(np.int32) - reference
    fits = np.abs(difference).max(initial=0) < 2**15
    if fits and np.count_nonzero(difference) <= difference.size / 2:
        return difference.astype(np.int16), True
    return played, False


def spectrogram_png(
    signal: NDArray[np.float64], lost: NDArray[np.bool_], sample_rate: int, loudest_db: float
) -> bytes:
    """Return a spectrogram as PNG; red marks show lost packets.

    Parameters
    ----------
    signal : float64, shape (n,), what was played
    lost : bool, shape (n,), lost samples
    sample_rate : int, in Hz
    loudest_db : float
        Level that is brightest, the same for all versions of a clip.
    """
    with needed("spectrograms need matplotlib", "plots"):
        from matplotlib import colormaps
        from PIL import Image
    shares = 1.0 + (levels_db(signal, sample_rate) - loudest_db) / _RANGE_DB
    pixels = (shares.clip(0.0, 1.0) * (_COLOURS - 1)).round().astype(np.uint8)
    edges = np.linspace(0, lost.size, _PICTURE_WIDTH + 1).astype(int)
    before = np.concatenate([[0], np.cumsum(lost)])
    marks = np.full((_MARK_HEIGHT, _PICTURE_WIDTH), _COLOURS, np.uint8)
    marks[:, before[edges[1:]] > before[edges[:-1]]] = _COLOURS + 1
    image = Image.fromarray(np.concatenate([marks, pixels[::-1]]))
    colours = (colormaps["magma"](np.linspace(0.0, 1.0, _COLOURS))[:, :3] * 255).astype(np.uint8)
    extra = np.array([[24, 24, 28], [240, 60, 50]], np.uint8)
    image.putpalette(np.concatenate([colours, extra]).tobytes())
    stream = io.BytesIO()
    image.save(stream, "PNG", optimize=True)
    return stream.getvalue()


def flac_base64(samples: NDArray[np.int16], sample_rate: int) -> str:
    """Return samples as FLAC in base 64.

    Of 24 bits, because Chromium scales 16-bit samples above zero by 32767 and those below by 32768,
    and a sum would be off. FLAC stores eight empty bits at no cost.
    """
    stream = io.BytesIO()
    # libsndfile takes the leading 24 of 32 bits.
    leading = samples.astype(np.int32) << 16
    soundfile.write(stream, leading, sample_rate, format="FLAC", subtype="PCM_24")
    return base64.b64encode(stream.getvalue()).decode()


def mono(samples: NDArray[np.int16], channels: tuple[int, ...] = ()) -> NDArray[np.float64]:
    """Return the mean of some channels, or all: float64, shape (n,), full scale 1.0."""
    chosen = samples[:, channels] if channels else samples
    mean: NDArray[np.float64] = chosen.mean(axis=1) / 32768
    return mean


def levels_db(signal: NDArray[np.float64], sample_rate: int) -> NDArray[np.float64]:
    """Return levels in dB, shape (rows, columns) of the picture; rows are spaced like mel."""
    window_samples = 2 * round(_WINDOW_S * sample_rate / 2)
    height = _PICTURE_HEIGHT - _MARK_HEIGHT
    padded = np.pad(signal, window_samples // 2)
    starts = np.linspace(0, signal.size - 1, _PICTURE_WIDTH).astype(int)
    frames = padded[starts[:, None] + np.arange(window_samples)]
    power = np.abs(np.fft.rfft(frames * np.hanning(window_samples), axis=1)).T ** 2
    top_mel = 2595 * math.log10(1 + min(sample_rate / 2, _TOP_HZ) / 700)
    centres_hz = 700 * (10 ** (np.linspace(0, top_mel, height) / 2595) - 1)
    bins = centres_hz * window_samples / sample_rate
    low = np.floor(bins).astype(int).clip(0, len(power) - 2)
    weight = (bins - low)[:, None].clip(0.0, 1.0)
    levels: NDArray[np.float64] = 10 * np.log10(
        (1 - weight) * power[low] + weight * power[low + 1] + 1e-12
    )
    return levels


# A wave: pixels, its axes' left, right, top and bottom; columns of a line; what is beside its gap.
_WIDTH, _HEIGHT = 320, 116
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 308, 4, 88
_COLUMNS = 300
_BESIDE_S = 0.012
_STYLE = {"behind": ("#a9adb5", 2.4), "heard": ("#1f5fa8", 1.4)}


def gap_waves(
    signals: Sequence[NDArray[np.float64]], lost: NDArray[np.bool_], sample_rate: int
) -> list[str]:
    """Return one gap as a wave, as SVG, for each version of a clip.

    It is the gap with the most energy, with 12 ms at both sides, or a quarter of its length. Axes
    are time in ms, from its start, and amplitude, full scale 1.0; both are the same for all.

    Parameters
    ----------
    signals : sequence of float64, shape (n,)
        What was played of each version. The first is drawn behind the others, in grey.
    lost : bool, shape (n,), lost samples; without any there are no waves
    sample_rate : int, in Hz
    """
    gaps = np.flatnonzero(np.diff(lost, prepend=False, append=False)).reshape(-1, 2)
    if not len(gaps):
        return []
    power = np.sum(np.square(signals), axis=0)
    start, stop = max(gaps, key=lambda gap: float(power[slice(*gap)].sum()))
    beside = max(round(_BESIDE_S * sample_rate), (stop - start) // 4)
    first, last = max(0, start - beside), min(lost.size, stop + beside)
    shown = [signal[first:last] for signal in signals]
    peak = 1.25 * float(np.abs(shown).max()) or 1.0
    kept_ms = 1000 * (first - start) / sample_rate, 1000 * (last - start) / sample_rate
    under = _gaps(lost[first:last]) + _axes(kept_ms, peak)
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        f'font-family="sans-serif" font-size="10" fill="#50555f">{under}'
        + (_line(shown[0], peak, "behind") if place else "")
        + f"{_line(signal, peak, 'heard')}</svg>"
        for place, signal in enumerate(shown)
    ]


def _gaps(lost: NDArray[np.bool_]) -> str:
    edges = np.flatnonzero(np.diff(lost, prepend=False, append=False)).reshape(-1, 2)
    scale = (_RIGHT - _LEFT) / lost.size
    return f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>' + "".join(
        f'<rect x="{_LEFT + a * scale:.1f}" y="{_TOP}" width="{(b - a) * scale:.1f}" '
        f'height="{_BOTTOM - _TOP}" fill="#d1362f" fill-opacity="0.13"/>'
        for a, b in edges
    )


def _axes(shown_ms: tuple[float, float], peak: float) -> str:
    low, high = shown_ms
    middle, centre = (_LEFT + _RIGHT) / 2, (_TOP + _BOTTOM) / 2
    grid, numbers = f"M{_LEFT},{_TOP}V{_BOTTOM}H{_RIGHT}", ""
    for value in _ticks(low, high):
        x = _LEFT + (_RIGHT - _LEFT) * (value - low) / (high - low)
        grid += f"M{x:.1f},{_TOP}V{_BOTTOM}"
        numbers += f'<text x="{x:.1f}" y="99" text-anchor="middle">{value:g}</text>'
    for value in _ticks(-peak, peak):
        y = centre - (_BOTTOM - _TOP) / 2 * value / peak
        grid += f"M{_LEFT},{y:.1f}H{_RIGHT}"
        numbers += f'<text x="44" y="{y + 3.5:.1f}" text-anchor="end">{value:g}</text>'
    return (
        f'<path d="{grid}" stroke="#c9ccd2" stroke-width="0.6" fill="none"/>{numbers}'
        f'<text x="{middle}" y="112" text-anchor="middle">time (ms)</text>'
        f'<text x="-{centre}" y="11" transform="rotate(-90)" text-anchor="middle">amplitude</text>'
    )


def _ticks(low: float, high: float) -> list[float]:
    """Return at most six multiples of 1, 2 or 5 times a power of ten between two values."""
    least = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(least))
    step = power * next(factor for factor in (1, 2, 5, 10) if factor * power >= least)
    return [k * step for k in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _line(signal: NDArray[np.float64], peak: float, style: str) -> str:
    """Return a signal as a line: its samples, or the least and the most of each column."""
    colour, width = _STYLE[style]
    at, value = np.arange(signal.size), signal
    if signal.size > 2 * _COLUMNS:
        starts = np.linspace(0, signal.size, _COLUMNS, endpoint=False).astype(int)
        each = [limit.reduceat(signal, starts) for limit in (np.minimum, np.maximum)]
        at, value = starts.repeat(2), np.stack(each, axis=1).ravel()
    x = _LEFT + at * (_RIGHT - _LEFT) / signal.size
    y = (_TOP + _BOTTOM) / 2 - (_BOTTOM - _TOP) / 2 * value / peak
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
    return (
        f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="{width}" '
        'stroke-linejoin="round"/>'
    )
