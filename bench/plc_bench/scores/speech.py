"""Scores of speech: PLCMOS, DNSMOS, PESQ and STOI, each from the library that defines it.

Distill-MOS is in :mod:`plc_bench.scores.distilled`.

All of them want 16 kHz mono. None of them was made for music, and PLCMOS says so itself. Each
library is imported when first asked for; an absent one is a
:class:`~plc.errors.MissingExtraError` that names the command that brings it.

PLCMOS and DNSMOS come as ONNX files in the ``speechmos`` package (MIT), whose own code would need
librosa and pandas. The files are found without importing the package and run directly; only what
stands in front of them and after them is computed here.
"""

import importlib.util
import math
import warnings
from collections.abc import Callable
from functools import lru_cache, wraps
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plc.errors import MissingExtraError
from plc.extras import install_command, needed
from plc_bench.scores.metrics import Signal

SPEECH_RATE = 16_000

# PLCMOS v2, as in speechmos 0.0.1.1: frames of 512 every 256, Hamming, and the mean over raters,
# each a random 64-vector. There the raters are drawn anew each time; here they have a seed.
_FRAME = 512
_HOP = 256
_RATERS = 15
_RATER_SIZE = 64
_RATER_SEED = 0
# A bin without any power counts this much below the least one that has some.
_EMPTY_BIN_DB = -120.0
_ALL_EMPTY_DB = -80.0
# DNSMOS P.835: 9.01 s from every second on (speechmos stops up to a second before the end), and
# what its overall score is brought to the scale of listeners by, highest power first.
_DNSMOS_SAMPLES = 144_160
_DNSMOS_OVERALL = (-0.06766283, 1.11546468, 0.04602535)
_PLCMOS = "plcmos_models/plcmos_v2.onnx"
_SPEECHMOS_COMMAND = "pip install --no-deps speechmos"


def remembered(judge: Callable[[Signal], float]) -> Callable[[Signal], float]:
    """Keep the last score of a judge that needs no reference: codecs have two references."""
    kept = lru_cache(maxsize=1)(lambda samples: judge(np.frombuffer(samples, np.float32)))

    @wraps(judge)
    def score(signal: Signal) -> float:
        return kept(np.asarray(signal, np.float32).tobytes())

    return score


@remembered
def plcmos(signal: Signal) -> float:
    """Return the score of PLCMOS v2, about 1 to 5; higher is better.

    Parameters
    ----------
    signal : float, shape (n,)
        Speech at 16 kHz; samples past full scale are clipped.

    Raises
    ------
    MissingExtraError
        If ``speechmos`` (for its ONNX file) or ``onnxruntime`` is not installed.

    References
    ----------
    .. [1] L. Diener et al., "PLCMOS: a data-driven non-intrusive metric for the evaluation of
       packet loss concealment algorithms", Interspeech, 2023.
    """
    session = session_of(_model_path(_PLCMOS), "PLCMOS needs")
    features = _plcmos_features(np.clip(signal, -1.0, 1.0))[None, None].astype(np.float32)
    raters = np.random.default_rng(_RATER_SEED).standard_normal((_RATERS, 1, _RATER_SIZE))
    scores = [
        session.run(None, {"degraded_audio": features, "rater_embed": rater})[0]
        for rater in raters.astype(np.float32)
    ]
    return float(np.mean(scores))


@remembered
def dnsmos(signal: Signal) -> float:
    """Return the overall score that DNSMOS P.835 predicts, about 1 to 5; higher is better.

    It was made for noise suppressors; no network here was trained or chosen by it.

    Parameters
    ----------
    signal : float, shape (n,)
        Speech at 16 kHz, at least one sample; samples past full scale are clipped, what is shorter
        than 9 s is repeated.

    Raises
    ------
    MissingExtraError
        If ``speechmos`` (for its ONNX file) or ``onnxruntime`` is not installed.

    References
    ----------
    .. [1] C. Reddy et al., "DNSMOS P.835: a non-intrusive perceptual objective speech quality
       metric to evaluate noise suppressors", ICASSP, 2022.
    """
    session = session_of(_model_path("dnsmos_models/sig_bak_ovr.onnx"), "DNSMOS needs")
    heard = np.clip(signal, -1.0, 1.0).astype(np.float32)
    while heard.size < _DNSMOS_SAMPLES:
        heard = np.tile(heard, 2)
    last = heard.size - _DNSMOS_SAMPLES
    scores = [
        session.run(None, {"input_1": heard[None, begin : begin + _DNSMOS_SAMPLES]})[0][0][2]
        for begin in range(0, last + 1, SPEECH_RATE)
    ]
    return float(np.mean(np.polyval(_DNSMOS_OVERALL, scores)))


def pesq_wb(reference: Signal, estimate: Signal) -> float:
    """Return wide-band PESQ (ITU-T P.862.2), 1.0 to 4.64; higher is better.

    Both signals float, shape (n,), at 16 kHz. NaN where PESQ finds no speech in the reference.
    """
    with needed("PESQ needs pesq", "bench"):
        from pesq import NoUtterancesError, pesq
    try:
        return float(pesq(SPEECH_RATE, reference, estimate, "wb"))
    except NoUtterancesError:
        return math.nan


def stoi(reference: Signal, estimate: Signal) -> float:
    """Return the short-time objective intelligibility [1]_, 0 to 1; higher is better.

    Both signals float, shape (n,), at 16 kHz. NaN where too little of the reference is speech.

    References
    ----------
    .. [1] C. Taal et al., "An algorithm for intelligibility prediction of time-frequency weighted
       noisy speech", IEEE TASLP 19 (7), 2011.
    """
    with needed("STOI needs pystoi", "bench"):
        from pystoi import stoi as pystoi
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        try:
            return float(pystoi(reference, estimate, SPEECH_RATE))
        except RuntimeWarning:  # not enough frames are left once silence is removed
            return math.nan


def _plcmos_features(signal: Signal) -> NDArray[np.float64]:
    """Return the log power spectra that PLCMOS reads: float64, shape (frames, 257)."""
    frames = math.ceil((signal.size + _HOP) / _HOP)
    padded = np.zeros((frames - 1) * _HOP + _FRAME)
    padded[_HOP : _HOP + signal.size] = signal
    hamming = np.hamming(_FRAME + 1)[:-1]
    blocks = np.lib.stride_tricks.sliding_window_view(padded, _FRAME)[::_HOP]
    power = np.abs(np.fft.rfft(blocks * hamming)) ** 2
    audible = power > 0.0
    log_power = np.full(power.shape, _ALL_EMPTY_DB / 10 * math.log(10))
    if audible.any():
        log_power[audible] = np.log(power[audible])
        log_power[~audible] = log_power[audible].min() + _EMPTY_BIN_DB / 10 * math.log(10)
    return log_power / 20.0


def plcmos_path() -> Path:
    """Return where the ONNX file of PLCMOS v2 lies.

    Raises
    ------
    MissingExtraError
        If ``speechmos`` is not installed.
    """
    return _model_path(_PLCMOS)


def _model_path(name: str) -> Path:
    """Find a file of speechmos without importing it."""
    spec = importlib.util.find_spec("speechmos")
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError(f"PLCMOS and DNSMOS need speechmos: {_SPEECHMOS_COMMAND}")
    model = Path(spec.submodule_search_locations[0]) / name
    if not model.exists():
        raise MissingExtraError(f"{model} is not there; reinstall it: {_SPEECHMOS_COMMAND}")
    return model


@lru_cache(maxsize=3)
def session_of(model: Path, who: str) -> Any:
    """Return a session of a network; raise MissingExtraError if ONNX Runtime is not installed."""
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError(f"{who} ONNX Runtime: {install_command('cpu')}") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # clips run in parallel, each on its own core
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
