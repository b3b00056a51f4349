"""Distill-MOS: the mean opinion that listeners would have of speech, without its original.

A small network that was taught by one on top of XLS-R, which had learnt from listening tests of
noise, codecs and lost packets. Its weights come with the ``distillmos`` package (MIT), whose own
code needs torch and torchaudio. They are read and run here with NumPy alone, in float32: a
convolution over compressed spectra, seven layers of attention, and one that pools.
"""

import importlib.util
import math
import pickle
import zipfile
from collections import OrderedDict
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from plc.errors import MissingExtraError
from plc_bench.scores.metrics import Signal
from plc_bench.scores.speech import SPEECH_RATE, remembered

# As in distillmos 0.9.1: windows of 7.68 s, no further apart than 1 s, spread evenly over a clip.
_SAMPLES, _APART = 122_880, SPEECH_RATE
_FRAME, _HOP = 320, 160
_COMPRESSED = 0.3
_LEAK = 0.1
# Strides of the convolutions, over frequencies and frames.
_STRIDES = ((1, 1), (2, 1), (2, 1), (2, 1), (2, 1), (2, 2))
_HEADS = 8
_EPS = 1e-5
_COMMAND = "pip install --no-deps distillmos"
_WEIGHTS = "weights/distill_mos_v7.pt"
_DTYPES = {"FloatStorage": np.float32, "LongStorage": np.int64}

Array = NDArray[np.float32]
Weights = dict[str, Array]


@remembered
def distillmos(signal: Signal) -> float:
    """Return the score of Distill-MOS, 1 to 5; higher is better.

    No network here was trained or chosen by it.

    Parameters
    ----------
    signal : float, shape (n,)
        Speech at 16 kHz. What is shorter than 7.68 s gets silence behind it.

    Raises
    ------
    MissingExtraError
        If ``distillmos`` (for its weights) is not installed.

    References
    ----------
    .. [1] B. Stahl, H. Gamper, "Distillation and pruning for scalable self-supervised
       representation-based speech quality assessment", ICASSP, 2025.
    """
    weights = _weights()
    heard = np.pad(np.asarray(signal, np.float32), (0, max(0, _SAMPLES - len(signal))))
    over = heard.size - _SAMPLES
    begins = np.linspace(0, 1, math.ceil(over / _APART) + 1) * over
    return float(np.mean([_score(weights, heard[int(begin) :][:_SAMPLES]) for begin in begins]))


def _score(weights: Weights, samples: Array) -> float:
    x = _compressed(samples / (np.abs(samples).max() + 1e-8))
    for number, strides in enumerate(_STRIDES):
        name = f"cnn.cnn.{2 * number}"
        x = (
            _convolved(x, weights[f"{name}.weight"], strides)
            + weights[f"{name}.bias"][:, None, None]
        )
        x = np.maximum(x, _LEAK * x)
    top = "transformer_pool_attn"
    x = _batch_norm(weights, f"{top}.norm_input", x.reshape(-1, x.shape[-1]).T)
    x = _batch_norm(weights, f"{top}.transformer.norm", x)
    x = _linear(weights, f"{top}.transformer.linear_proj", x)
    x = x + weights[f"{top}.transformer.position_encoding.pe"][0]
    number = 0
    while (
        layer := f"{top}.transformer.transformer_encoder.layers.{number}.norm1.weight"
    ) in weights:
        x = _attending(weights, layer.removesuffix(".norm1.weight"), x)
        number += 1
    x = _batch_norm(weights, f"{top}.norm_trans", x)
    hidden = np.maximum(_linear(weights, f"{top}.pool.linear1", x), 0)
    share = _softmax(_linear(weights, f"{top}.pool.linear2", hidden)[:, 0])
    quality = _linear(weights, f"{top}.pool.linear3", share @ x)
    return 1 + 4 / (1 + math.exp(-float(quality[0])))


def _compressed(samples: Array) -> Array:
    """Return real and imaginary parts of compressed spectra: shape (2, 161, frames)."""
    padded = np.pad(samples, (_FRAME - _HOP) // 2, mode="reflect")
    window = np.hanning(_FRAME + 1)[:-1].astype(np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(padded, _FRAME)[::_HOP] * window
    spectra = np.fft.rfft(frames).T
    level = np.maximum(np.abs(spectra), 1e-12)
    spectra *= level**_COMPRESSED / level
    return np.stack([spectra.real, spectra.imag]).astype(np.float32)


def _convolved(x: Array, weight: Array, strides: tuple[int, int]) -> Array:
    """Return a convolution of shape (channels, frequencies, frames), padded by a frame."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1)))
    size = [(padded.shape[i + 1] - 3) // strides[i] + 1 for i in range(2)]
    out = np.zeros((len(weight), size[0] * size[1]), np.float32)
    for row in range(3):
        for column in range(3):
            part = padded[:, row :: strides[0], column :: strides[1]][:, : size[0], : size[1]]
            out += weight[:, :, row, column] @ part.reshape(len(x), -1)
    return out.reshape(-1, *size)


def _attending(weights: Weights, name: str, x: Array) -> Array:
    """Return a layer of attention, shape (frames, 200)."""
    rows = x @ weights[f"{name}.self_attn.in_proj_weight"].T
    rows += weights[f"{name}.self_attn.in_proj_bias"]
    query, key, value = rows.reshape(len(x), 3, _HEADS, -1).transpose(1, 2, 0, 3)
    likeness: Array = query @ key.transpose(0, 2, 1) * key.shape[-1] ** -0.5
    shares = _softmax(likeness)
    seen = (shares @ value).transpose(1, 0, 2).reshape(len(x), -1)
    x = _layer_norm(
        weights, f"{name}.norm1", x + _linear(weights, f"{name}.self_attn.out_proj", seen)
    )
    hidden = np.maximum(_linear(weights, f"{name}.linear1", x), 0)
    return _layer_norm(weights, f"{name}.norm2", x + _linear(weights, f"{name}.linear2", hidden))


def _linear(weights: Weights, name: str, x: Array) -> Array:
    made: Array = x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]
    return made


def _batch_norm(weights: Weights, name: str, x: Array) -> Array:
    scale = weights[f"{name}.weight"] / np.sqrt(weights[f"{name}.running_var"] + _EPS)
    made: Array = (x - weights[f"{name}.running_mean"]) * scale + weights[f"{name}.bias"]
    return made


def _layer_norm(weights: Weights, name: str, x: Array) -> Array:
    scale = np.sqrt(x.var(axis=-1, keepdims=True) + _EPS)
    made: Array = (x - x.mean(axis=-1, keepdims=True)) / scale * weights[f"{name}.weight"]
    return made + weights[f"{name}.bias"]


def _softmax(x: Array) -> Array:
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    made: Array = powers / powers.sum(axis=-1, keepdims=True)
    return made


@lru_cache(maxsize=1)
def _weights() -> Weights:
    """Read the weights; raise MissingExtraError if they are not installed."""
    spec = importlib.util.find_spec("distillmos")
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError(f"Distill-MOS needs distillmos: {_COMMAND}")
    with zipfile.ZipFile(Path(spec.submodule_search_locations[0]) / _WEIGHTS) as archive:
        (listing,) = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        with archive.open(listing) as file:
            held = _Tensors(file, archive, listing.removesuffix("data.pkl")).load()
    return dict(held["model"])


class _Tensors(pickle.Unpickler):
    """Reads tensors that torch saved, and nothing else."""

    def __init__(self, file: IO[bytes], archive: zipfile.ZipFile, folder: str) -> None:
        super().__init__(file)
        self._archive, self._folder = archive, folder

    def find_class(self, module: str, name: str) -> Any:
        """Return a class or function that tensors are made of; raise UnpicklingError for others."""
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        raise pickle.UnpicklingError(f"{module}.{name} is no part of a tensor")

    def persistent_load(self, pid: Any) -> NDArray[Any]:
        """Return the numbers of a storage."""
        _, dtype, key, _, _ = pid
        return np.frombuffer(self._archive.read(f"{self._folder}data/{key}"), dtype)


def _tensor(
    numbers: NDArray[Any], first: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any
) -> NDArray[Any]:
    strides = tuple(numbers.itemsize * stride for stride in strides)
    view = np.lib.stride_tricks.as_strided(numbers[first:], shape, strides, writeable=False)
    return np.ascontiguousarray(view)
