"""Bit rates of lossy codings: a file's, those that a coding has, and libsndfile's settings.

A second coding at a lower rate would lose more of a recording than its repair gives, so a result
gets at least the rate of its source.
"""

import functools
import io
import struct
from pathlib import Path

import soundfile

from plc.files.tags.id3 import tag_bytes
from plc.files.tags.values import DAMAGE
from plc.files.tags.vorbis import headers_of

LOSSY = ("MPEG_LAYER_III", "VORBIS", "OPUS")
# Codings by the names that FFmpeg and libsndfile have for them.
_MP3, _OPUS = ("MPEG_LAYER_III", "mp3"), ("OPUS", "opus")
# Bit rates of MP3 in kbit/s by the least sample rate, and those of Opus for a channel: what 1 and
# 0 of libsndfile's compression level stand for.
_MP3_KBITRATES = ((32_000, 32, 320), (16_000, 8, 160), (0, 8, 64))
_OPUS_KBITRATES = (6, 256)
# At a level of 1 libsndfile makes no MP3.
_MP3_LEVEL_MOST = 0.999
# All that MP3 has, from 32 kHz on and below; AC-3's.
_MP3_STEPS = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_MP3_LOW_STEPS = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_AC3_STEPS = (*_MP3_STEPS, 384, 448, 512, 576, 640)
# What FFmpeg's coder keeps to within a tenth, in bits a sample, measured with noise; it makes no
# less than 8 kbit/s.
_AAC_BITS, _AAC_LEAST = (1 / 3, 4.5), 8_000
# Of a frame of 1536 samples, which has 2048 words of 16 bits at the most.
_EAC3_BITS, _EAC3_LEAST = 2048 * 16 / 1536, 32_000
# An average is counted from a file's bytes, its headers too.
_COUNTED = 0.98
_VORBIS_STEPS = 20
# In the first header of Vorbis: the rate that was aimed at.
_NOMINAL_AT = 20


def of_file(path: Path, subtype: str, duration_s: float) -> int | None:
    """Return a file's bit rate: of Vorbis no less than its quality is named by.

    Parameters
    ----------
    path : Path, the file
    subtype : str, one of :data:`LOSSY`; None is returned for others
    duration_s : float, its length
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


def nearest(coding: str, sample_rate: int, channels: int, bitrate: int) -> int:
    """Return the nearest bit rate that a coding has.

    Parameters
    ----------
    coding : str
        libsndfile's subtype, or FFmpeg's name of a codec; another rate is returned for none but
        MP3, Opus, AAC, AC-3 and E-AC-3.
    sample_rate, channels : int, of the sound
    bitrate : int, in bit/s
    """
    if steps := _steps(coding, sample_rate):
        return min(steps, key=lambda step: abs(step - bitrate))
    least, most = bitrate, bitrate
    if coding in _OPUS:
        least, most = (1000 * channels * rate for rate in _OPUS_KBITRATES)
    elif coding == "aac":
        least, most = (round(bits * sample_rate * channels) for bits in _AAC_BITS)
        least = max(least, _AAC_LEAST)
    elif coding == "eac3":
        least, most = _EAC3_LEAST, int(_EAC3_BITS * sample_rate)
    return min(max(bitrate, least), most)


def least_of(coding: str, sample_rate: int, channels: int, bitrate: int) -> int:
    """Return the lowest rate of a coding that is not below another; its highest if all are."""
    steps = _steps(coding, sample_rate)
    enough = [step for step in steps if step >= _COUNTED * bitrate]
    return nearest(coding, sample_rate, channels, min(enough, default=bitrate))


def level(subtype: str, sample_rate: int, channels: int, bitrate: int) -> float:
    """Return libsndfile's compression level for a bit rate that the coding has."""
    if subtype == "VORBIS":
        return _vorbis_level(sample_rate, channels, bitrate)
    if subtype in _OPUS:
        least, most = (1000 * channels * rate for rate in _OPUS_KBITRATES)
        return 1.0 - (bitrate - least) / (most - least)
    least, most = _mp3_range(sample_rate)
    return min(1.0 - (bitrate - least) / (most - least), _MP3_LEVEL_MOST)


def _mp3_range(sample_rate: int) -> tuple[int, int]:
    return next(
        (1000 * low, 1000 * high) for rate, low, high in _MP3_KBITRATES if sample_rate >= rate
    )


def _steps(coding: str, sample_rate: int) -> list[int]:
    """Return the bit rates of a coding that has steps; none of others."""
    if coding == "ac3":
        return [1000 * step for step in _AC3_STEPS]
    if coding not in _MP3:
        return []
    steps = _MP3_STEPS if sample_rate >= _MP3_KBITRATES[0][0] else _MP3_LOW_STEPS
    return [1000 * step for step in steps if 1000 * step <= _mp3_range(sample_rate)[1]]


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
