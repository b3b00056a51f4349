"""Gap fillers of files: the interface, and the checks that all of them make."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from plc.engine.models.catalogue import PAPERS, absent_paper, available, find
from plc.engine.models.manifest import Manifest
from plc.errors import ConfigError, ModelError


@dataclass(frozen=True, slots=True)
class Hints:
    """Knowledge of a gap beside its samples."""

    received: NDArray[np.bool_]
    """Which samples of the row are no fills."""
    doubt_db: float = math.inf
    """By how much the predictors that filled the gap disagree, in dB relative to the fill."""
    speech: float = 0.0
    """Of :meth:`GapFiller.speech_share`."""
    seed: int = 0
    """Of random numbers, where a filler invents: another seed, another fill."""


class GapFiller(ABC):
    """Improves on the fill of a gap, or fills one alone; methods that it leaves out do nothing."""

    any_gap: ClassVar[bool] = False
    """Whether it is asked for every gap, also for those that no interpolation drafts."""

    def speech_share(self, listen: Callable[[], float]) -> float:
        """Return how much speech a gap is of, from 0 to 1; 0 where that makes no difference.

        ``listen`` tells it from the gap's surroundings; takes its time, and is not asked in vain.
        """
        return 0.0

    def fill_speech(
        self, row: NDArray[np.float32], start: int, stop: int, end: int, speech: float
    ) -> bool:
        """Fill a gap in certain speech; return whether it did.

        Parameters
        ----------
        row : float32, shape (n,), written from start to stop
            One channel; known before ``start`` and from ``stop`` to ``end``.
        start, stop, end : int, places in it
        speech : float, of :meth:`speech_share`
        """
        return False

    @abstractmethod
    def refine(
        self, row: NDArray[np.float32], start: int, stop: int, end: int, hints: Hints
    ) -> bool:
        """Improve on the fill of ``row[start:stop]``; return whether it could.

        Parameters
        ----------
        row : float32, shape (n,), written from start to stop
            One channel; known before ``start`` and from ``stop`` to ``end``, filled between.
        start, stop, end : int, places in it
        hints : Hints, of this gap

        Raises
        ------
        ConfigError
            If the gap is longer than a filler that takes any gap can fill.
        ModelError
            If the answer of the network of such a filler is not finite.
        """


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
    ModelError, MissingExtraError
        If there is none, or its manifest is not sound.
    """
    if model != "auto":
        return [find(model)]
    manifests = [manifest for manifest in available() if manifest.kind == kind]
    if not manifests and kind in PAPERS.values():
        raise absent_paper(f"a network for method {kind}")
    if not manifests:
        raise ModelError(f"the package holds no model of kind {kind}; name one by its path")
    return manifests


def check_kind(manifest: Manifest, kind: str) -> None:
    """Raise a :class:`ConfigError` unless a model is of this kind."""
    if manifest.kind != kind:
        raise ConfigError(
            f"model {manifest.name} is of kind {manifest.kind}; expected kind {kind}: plc models "
            "lists them"
        )


def check_rate(manifest: Manifest, sample_rate: int) -> None:
    """Raise a :class:`ConfigError` unless a model is for this sample rate."""
    low, high = manifest.sample_rates
    if not low <= sample_rate <= high:
        raise ConfigError(
            f"model {manifest.name} is for {low} to {high} Hz, the recording has {sample_rate} Hz; "
            "resample it, or take another model: plc models lists them"
        )


def check_drafts(manifest: Manifest, draft: str) -> bool:
    """Return whether a model takes a draft; a :class:`ConfigError` if it takes others."""
    if manifest.drafts not in ((), (draft,)):
        raise ConfigError(
            f"model {manifest.name} takes the drafts {', '.join(manifest.drafts)}; expected "
            f"{draft} or none"
        )
    return bool(manifest.drafts)


def check_answer(
    name: str, answer: NDArray[np.float32], shapes: tuple[tuple[int, ...], ...] = ()
) -> None:
    """Raise a :class:`ModelError` of a network's answer that is not finite or not in shape.

    Parameters
    ----------
    name : str, of the network
    answer : float32, samples or spectra
    shapes : tuple of shapes
        Those that are expected; any, if there is none.
    """
    if shapes and answer.shape not in shapes:
        expected = " or ".join(map(str, shapes))
        raise ModelError(f"{name} answers with shape {answer.shape}; expected {expected}")
    if not np.isfinite(answer).all():
        raise ModelError(f"{name} answers with values that are not finite; train it again")
