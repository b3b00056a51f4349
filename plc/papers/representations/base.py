"""The interface of a representation."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from plc.errors import ConfigError

Samples = NDArray[np.float32]
Array = NDArray[np.float32]


class Representation(Protocol):
    """Signals of one length as arrays, and back.

    Its scratch memory serves one call at a time: threads need one each.
    """

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, rows (from low to high frequencies) and frames of an array."""

    @property
    def samples(self) -> int:
        """Length of a signal."""

    @property
    def channels(self) -> tuple[str, ...]:
        """Content of each channel, with its unit."""

    def forward(self, samples: Samples) -> Array:
        """Return the array, float32, of ``shape``, of a signal: float32, shape (samples,), finite.

        Raises
        ------
        ConfigError
            If the signal has another length, or values that are not finite.
        """

    def inverse(self, array: Array) -> Samples:
        """Return the signal, float32, shape (samples,), of an array: float32, of ``shape``, finite.

        The array need not be that of any signal.

        Raises
        ------
        ConfigError
            If the array has another shape, or values that are not finite.
        """


def checked(values: NDArray[np.float32], shape: tuple[int, ...], what: str) -> NDArray[np.float32]:
    """Return ``values`` as contiguous float32; raise if a representation cannot hold them."""
    if np.shape(values) != shape:
        raise ConfigError(
            f"{what} has shape {np.shape(values)}; this representation takes {shape}: make one for "
            "that many samples"
        )
    array = np.ascontiguousarray(values, np.float32)
    if not np.isfinite(array).all():
        raise ConfigError(f"{what} holds values that are not finite")
    return array
