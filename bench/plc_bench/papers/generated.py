"""Scores of generated sounds: inception score, kernel distance, and their intervals.

Nobody knows what a generated sound should have been, so a classifier judges many of them. The
inception score [1]_ is high where each sound is of one class for certain and all classes occur. The
kernel distance [2]_ compares what the classifier answers with what it answers to real sounds; its
kernel is that of [3]_'s program, whose estimate is made unbiased here.

References
----------
.. [1] T. Salimans et al., "Improved techniques for training GANs", NIPS 29, 2016.
.. [2] M. Bińkowski et al., "Demystifying MMD GANs", ICLR, 2018.
.. [3] J. Nistal, S. Lattner, G. Richard, "Comparing representations for audio synthesis using
   generative adversarial networks", EUSIPCO, 2020, arXiv 2006.09266.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plc_bench.scores.frechet import frechet_distance

RESAMPLES = 200
_LEAST = 1e-12
# Of the kernel 16 / (16 + squared distance): the program's.
_KERNEL_REACH = 16.0

Weights = NDArray[np.integer]
"""How often each sound counts, shape (sounds,): all once, or as a resample drew them."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A score with the ends of its 95 % interval."""

    value: float
    low: float
    high: float

    def text(self, form: str = ".2f") -> str:
        """Return it as text, such as ``1.20 (1.10 to 1.31)``; alone where there is no interval."""
        if not self.low < self.high:
            return f"{self.value:{form}}"
        return f"{self.value:{form}} ({self.low:{form}} to {self.high:{form}})"


def inception_score(posteriors: NDArray[np.float64], weights: Weights | None = None) -> float:
    """Return ``exp(E KL(p(class | sound) | p(class)))``.

    Parameters
    ----------
    posteriors : float64, shape (sounds, classes)
        Of a classifier; each row sums to 1.
    weights : int, shape (sounds,), optional, how often each counts

    Returns
    -------
    float
        From 1 to the number of classes.
    """
    share = _shares(len(posteriors), weights)
    marginal = share @ posteriors
    ratio = np.log(posteriors + _LEAST) - np.log(marginal + _LEAST)
    return float(np.exp(share @ (posteriors * ratio).sum(axis=1)))


@dataclass(frozen=True, slots=True)
class Kernels:
    """Kernels of all pairs within two sets of vectors, and between them.

    Attributes
    ----------
    first, second, between : float64
        Shapes (a, a), (b, b) and (a, b).
    """

    first: NDArray[np.float64]
    second: NDArray[np.float64]
    between: NDArray[np.float64]

    @classmethod
    def of(cls, a: NDArray[np.float64], b: NDArray[np.float64]) -> "Kernels":
        """Return the kernels of vectors, shapes (a, size) and (b, size)."""
        return cls(_kernel(a, a), _kernel(b, b), _kernel(a, b))

    def distance(self, weights_a: Weights | None = None, weights_b: Weights | None = None) -> float:
        """Return the squared maximum mean discrepancy, unbiased: 0 is alike, on average.

        Pairs of a vector with itself do not count, also where a resample drew it twice.
        """
        a, b = _shares(len(self.first), weights_a), _shares(len(self.second), weights_b)
        within = _apart(self.first, a) + _apart(self.second, b)
        return float(within - 2.0 * a @ self.between @ b)


def frames_distance(
    a: Sequence[NDArray[np.float64]],
    b: Sequence[NDArray[np.float64]],
    weights_a: Weights | None = None,
    weights_b: Weights | None = None,
) -> float:
    """Return the Fréchet distance of all frames of sounds, shape (frames, size) each."""
    return frechet_distance(_counted(a, weights_a), _counted(b, weights_b))


def _counted(sounds: Sequence[NDArray[np.float64]], weights: Weights | None) -> NDArray[np.float64]:
    times = [1] * len(sounds) if weights is None else weights.tolist()
    return np.concatenate(
        [each for each, count in zip(sounds, times, strict=True) for _ in range(count)]
    )


def with_interval(
    score: Callable[..., float], counts: Sequence[int], seed: int = 0, resamples: int = RESAMPLES
) -> Figure:
    """Return a score with its 95 % bootstrap interval over sounds.

    What is drawn twice makes sets look narrower than they are, so scores of resamples lie beside
    that of the sounds by a bias. The interval is that of the resamples, moved so that their mean
    lies on the score.

    Parameters
    ----------
    score : callable
        Takes the weights of each set, or nothing for all sounds once.
    counts : sequence of int, sounds of each set
    seed : int, of the resamples
    """
    rng = np.random.default_rng(seed)
    drawn = [
        score(*(np.bincount(rng.integers(n, size=n), minlength=n) for n in counts))
        for _ in range(resamples)
    ]
    value = score()
    low, high = np.percentile(drawn, [2.5, 97.5]) - np.mean(drawn) + value
    return Figure(value, float(low), float(high))


def _shares(count: int, weights: Weights | None) -> NDArray[np.float64]:
    whole = np.ones(count) if weights is None else weights.astype(np.float64)
    shares: NDArray[np.float64] = whole / whole.sum()
    return shares


def _kernel(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    squared = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1) - 2.0 * a @ b.T
    kernel: NDArray[np.float64] = _KERNEL_REACH / (_KERNEL_REACH + np.maximum(squared, 0.0))
    return kernel


def _apart(kernel: NDArray[np.float64], share: NDArray[np.float64]) -> float:
    """Return the weighted mean over pairs of different vectors."""
    own = share * share
    return float((share @ kernel @ share - own @ np.diag(kernel)) / (1.0 - own.sum()))
