"""Representations by name.

Those that "Comparing Representations for Audio Synthesis using Generative Adversarial Networks"
(Nistal, Lattner, Richard, EUSIPCO 2020, arXiv 2006.09266) compares, and ERB.
"""

from collections.abc import Callable, Mapping

from plc.errors import ConfigError, unknown
from plc.papers.representations.bands import Bands, erbs, octaves, semitones
from plc.papers.representations.base import Representation
from plc.papers.representations.mel import Mel, Mfcc
from plc.papers.representations.spectral import Spectra, Waveform

_MAKERS: Mapping[str, Callable[[int, int], Representation]] = {
    "waveform": lambda _, samples: Waveform(samples),
    "complex": lambda *of: Spectra("complex", *of),
    "magnitude-phase": lambda *of: Spectra("phase", *of),
    "magnitude-if": lambda *of: Spectra("frequency", *of),
    "mel": Mel,
    "mfcc": Mfcc,
    "constant-q": lambda *of: Bands(semitones, *of),
    "nsgt": lambda *of: Bands(octaves, *of),
    "erb": lambda *of: Bands(erbs, *of),
}
REPRESENTATIONS = tuple(_MAKERS)


def representation(name: str, sample_rate: int, samples: int) -> Representation:
    """Return a representation of signals of one length.

    Parameters
    ----------
    name : str, one of :data:`REPRESENTATIONS`
    sample_rate : int, in Hz, from 8000 on
    samples : int, length of the signals

    Raises
    ------
    ConfigError
        If there is no such representation, or none of such a signal.
    """
    if name not in _MAKERS:
        raise ConfigError(unknown("representation", name, REPRESENTATIONS))
    if sample_rate < 8000:
        raise ConfigError(f"sample_rate is {sample_rate} Hz; representations need at least 8000")
    if samples < 1:
        raise ConfigError(f"samples is {samples}; representations need at least 1")
    return _MAKERS[name](sample_rate, samples)
