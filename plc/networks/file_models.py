"""Models of the methods for files alone: named, checked, and opened once in each thread.

Such a method has the name of its models' kind.
"""

import threading
from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from plc.errors import ConfigError, ModelError
from plc.models.catalogue import available, find
from plc.models.manifest import Manifest

T = TypeVar("T")
FileMethod = Callable[[NDArray[np.float32], int, int, NDArray[np.bool_]], bool]
"""Row, start and stop of a gap, and which samples were received, to whether it was filled."""
_opened = threading.local()


def find_models(kind: str, model: str) -> list[Manifest]:
    """Return the models that ``model`` names, at least one.

    Parameters
    ----------
    kind : str
        Of the package's models, for ``"auto"``.
    model : str
        ``"auto"``: those in the package. Any other: a name or a path.

    Raises
    ------
    ModelError
        If there is none, or its manifest is not sound.
    """
    if model != "auto":
        return [find(model)]
    manifests = [manifest for manifest in available() if manifest.kind == kind]
    if not manifests:
        raise ModelError(f"the package holds no model of kind {kind}; name one by its path")
    return manifests


def check_model(manifest: Manifest, kind: str, sample_rate: int) -> None:
    """Refuse a model of another kind, or for other rates.

    Raises
    ------
    ConfigError
        If it is one.
    """
    if manifest.kind != kind:
        raise ConfigError(
            f"model {manifest.name} is {manifest.kind}; method {kind} needs one of kind {kind}: "
            "plc models lists them"
        )
    low, high = manifest.sample_rates
    if not low <= sample_rate <= high:
        raise ConfigError(
            f"model {manifest.name} is for {low} to {high} Hz, the recording has {sample_rate} Hz; "
            "take another method"
        )


def check_finite(name: str, answer: NDArray[np.float32]) -> None:
    """Refuse an answer of the model ``name`` that holds NaN or infinity.

    Raises
    ------
    ModelError
        If it does.
    """
    if not np.isfinite(answer).all():
        raise ModelError(f"{name} answers with values that are not finite; train it again")


def opened_once(
    kind: str, model: str, sample_rate: int, open_models: Callable[[list[Manifest], int], T]
) -> T:
    """Return the opened models of a rate, opened once in each thread.

    Parameters
    ----------
    kind, model : str
        As for :func:`find_models`.
    sample_rate : int
        In Hz.
    open_models : callable
        Manifests and the rate to what is kept; the same for every call of a kind.

    Raises
    ------
    ConfigError
        If ``model`` is ``"ar"``, which is no network.
    ModelError
        As of :func:`find_models`; and what ``open_models`` raises.
    """
    if model == "ar":
        raise ConfigError(
            f"method {kind} is a network, and model ar is none; leave the model to auto, or name "
            f"one of kind {kind}"
        )
    opened: dict[tuple[str, int], T] = _opened.__dict__.setdefault(kind, {})
    if (model, sample_rate) not in opened:
        opened[model, sample_rate] = open_models(find_models(kind, model), sample_rate)
    return opened[model, sample_rate]
