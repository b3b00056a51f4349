"""ViSQOL and Zimtohrli, which compare spectrograms, and words that a recogniser reads.

ViSQOL comes with the ``visqol-python`` package (Apache-2.0), a translation of the authors' program,
Zimtohrli [2]_ with ``zimtohrli`` (Apache-2.0), PocketSphinx with ``pocketsphinx``. No network here
was trained or chosen by them.

The mode for speech maps similarity by the program's polynomial, not by its deep lattice network:
the lattice gives the same score to a clip and to that clip with a tenth of it muted.

References
----------
.. [2] J. Alakuijala et al., "Zimtohrli: an efficient psychoacoustic audio similarity metric", 2025,
   arXiv 2509.26133.
"""

import math
from functools import lru_cache
from typing import Any, Literal

import numpy as np

from plc.errors import MissingExtraError
from plc.extras import needed
from plc_bench.scores.metrics import Signal

AUDIO_RATE = 48_000
SPEECH_RATE = 16_000


def visqol_speech(reference: Signal, estimate: Signal) -> float:
    """Return ViSQOL of speech, 1 to 5; higher is better.

    Both signals float, shape (n,), at 16 kHz. NaN where they are silent or too short.

    Raises
    ------
    MissingExtraError
        If ``visqol-python`` is not installed.

    References
    ----------
    .. [1] M. Chinen et al., "ViSQOL v3: an open source production ready objective speech and audio
       metric", QoMEX, 2020.
    """
    return _score("speech", reference, estimate)


def visqol_audio(reference: Signal, estimate: Signal) -> float:
    """Return ViSQOL of any sound, 1 to 4.73; higher is better.

    Both signals float, shape (n,), at 48 kHz; else as for :func:`visqol_speech`.
    """
    return _score("audio", reference, estimate)


def _score(mode: Literal["audio", "speech"], reference: Signal, estimate: Signal) -> float:
    judge = _judge(mode)
    rate = AUDIO_RATE if mode == "audio" else SPEECH_RATE
    signals = [np.asarray(signal, np.float64) for signal in (reference, estimate)]
    if not all(signal.any() for signal in signals):
        return float("nan")
    try:
        return float(judge.measure_from_arrays(*signals, rate).moslqo)
    except (ValueError, IndexError):  # so it says that nothing is left to compare
        return float("nan")


@lru_cache(maxsize=2)
def _judge(mode: str) -> Any:
    with needed("ViSQOL needs visqol-python", "visqol"):
        from visqol import VisqolApi

        judge = VisqolApi()
        judge.create(mode=mode, use_lattice_model=False)
    return judge


def zimtohrli(reference: Signal, estimate: Signal) -> float:
    """Return the opinion score of Zimtohrli, 1 to 5; higher is better.

    Both signals float, shape (n,), at 48 kHz. NaN where either is silent.

    Raises
    ------
    MissingExtraError
        If ``zimtohrli`` is not installed.
    """
    try:
        from zimtohrli import mos_from_signals
    except ImportError as error:
        raise MissingExtraError("Zimtohrli: pip install --no-deps zimtohrli") from error
    signals = [np.asarray(signal, np.float32) for signal in (reference, estimate)]
    return float(mos_from_signals(*signals)) if all(each.any() for each in signals) else math.nan


def wrong_words(reference: Signal, estimate: Signal) -> float:
    """Return the word errors of a recogniser against its own reading of the reference, in percent.

    Both signals float, shape (n,), at 16 kHz. NaN where it hears no word in the reference.
    """
    said, heard = (
        _words((np.clip(signal, -1.0, 1.0) * 32767.0).astype(np.int16).tobytes())
        for signal in (reference, estimate)
    )
    return 100.0 * edits(said, heard) / len(said) if said else math.nan


def edits(said: tuple[str, ...], heard: tuple[str, ...]) -> int:
    """Return how many words must be put in, left out or replaced to make one of the other."""
    row = list(range(len(heard) + 1))
    for i, word in enumerate(said, start=1):
        before, row[0] = row[0], i
        for j, other in enumerate(heard, start=1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (word != other))
    return row[-1]


@lru_cache(maxsize=4)
def _words(samples: bytes) -> tuple[str, ...]:
    try:
        from pocketsphinx import Decoder
    except ImportError as error:
        raise MissingExtraError("word errors: pip install --no-deps pocketsphinx") from error
    decoder = Decoder(samprate=SPEECH_RATE, loglevel="FATAL")  # it adapts to what it hears
    decoder.start_utt()
    decoder.process_raw(samples, full_utt=True)
    decoder.end_utt()
    found = decoder.hyp()
    return tuple(found.hypstr.split()) if found else ()
