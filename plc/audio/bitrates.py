"""Bit rates of lossy codings: a file's rate, and libsndfile's settings for it.

A second coding at a lower rate would lose more of a recording than its repair gives, so a result
gets at least the rate of its source.
"""

import functools
import io
import struct
from pathlib import Path

import soundfile

from plc.audio.tag_values import DAMAGE
from plc.audio.tags_id3 import tag_bytes
from plc.audio.tags_vorbis import headers_of

LOSSY = ("MPEG_LAYER_III", "VORBIS", "OPUS")
# Bit rates of MP3 in kbit/s by the least sample rate, and those of Opus for a channel: what 1 and
# 0 of libsndfile's compression level stand for.
_MP3_KBITRATES = ((32_000, 32, 320), (16_000, 8, 160), (0, 8, 64))
_OPUS_KBITRATES = (6, 256)
# All that MP3 has, from 32 kHz on and below.
_MP3_STEPS = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_MP3_LOW_STEPS = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
# An average is counted from a file's bytes, its headers too.
_COUNTED = 0.98
_VORBIS_STEPS = 20
# In the first header of Vorbis: the rate that was aimed at.
_NOMINAL_AT = 20


def of_file(path: Path, subtype: str, duration_s: float) -> int | None:
    """Return a file's bit rate: of Vorbis no less than its quality is named by.

    Parameters
    ----------
    path : Path
        The file.
    subtype : str
        One of :data:`LOSSY`; None is returned for others.
    duration_s : float
        Its length.
    """
    if subtype not in LOSSY or duration_s <= 0:
        return None
    beside = named = 0
    try:
        with path.open("rb") as file:
            if subtype == "MPEG_LAYER_III":
                beside = tag_bytes(file)
            else:
                first, beside = headers_of(file)
                nominal = struct.unpack_from("<i", first, _NOMINAL_AT)[0]
                named = max(0, nominal) if subtype == "VORBIS" else 0
    except DAMAGE:
        pass
    return max(named, round(8 * (path.stat().st_size - beside) / duration_s))


def least_of(subtype: str, sample_rate: int, bitrate: int) -> int:
    """Return the lowest rate of a coding that is not below another."""
    if subtype != "MPEG_LAYER_III":
        return bitrate
    steps = _MP3_STEPS if sample_rate >= _MP3_KBITRATES[0][0] else _MP3_LOW_STEPS
    return next(
        (1000 * step for step in steps if 1000 * step >= _COUNTED * bitrate), 1000 * steps[-1]
    )


def level(subtype: str, sample_rate: int, channels: int, bitrate: int) -> float:
    """Return libsndfile's nearest compression level for a bit rate."""
    if subtype == "VORBIS":
        return _vorbis_level(sample_rate, channels, bitrate)
    if subtype == "OPUS":
        least, most = (1000 * channels * rate for rate in _OPUS_KBITRATES)
    else:
        least, most = next(
            (1000 * low, 1000 * high) for rate, low, high in _MP3_KBITRATES if sample_rate >= rate
        )
    return 1.0 - (min(max(bitrate, least), most) - least) / (most - least)


@functools.lru_cache(maxsize=64)
def _vorbis_level(sample_rate: int, channels: int, bitrate: int) -> float:
    """Return the level of the least quality with this rate.

    The coder knows: its headers are asked.
    """
    low, high = 0, _VORBIS_STEPS
    while low < high:
        step = (low + high) // 2
        if _nominal(sample_rate, channels, 1.0 - step / _VORBIS_STEPS) >= bitrate:
            high = step
        else:
            low = step + 1
    return 1.0 - low / _VORBIS_STEPS


def _nominal(sample_rate: int, channels: int, compression_level: float) -> int:
    """Return the rate that Vorbis aims at."""
    stream = io.BytesIO()
    with soundfile.SoundFile(
        stream,
        "w",
        sample_rate,
        channels,
        "VORBIS",
        format="OGG",
        compression_level=compression_level,
    ):
        pass
    stream.seek(0)
    return int(struct.unpack_from("<i", headers_of(stream)[0], _NOMINAL_AT)[0])
