"""Write the compiled kernels of a first start: ``record LEVEL FILE``.

:mod:`plc.embed.wheel` starts this with numba's variables set to the level. Beside the audio path a
start and a file call kernels that others contain, so all that were compiled are written.
"""

import math
import sys
from pathlib import Path

import numpy as np
from numba.core.dispatcher import Dispatcher

from plc.engine.warm import warm_up
from plc.engine.whole import conceal
from plc.runtime import native
from plc_kernels.prebuilt import PrebuiltCache, record, write_recorded

_RATES = (8_000, 16_000, 48_000)


def main() -> None:
    """Do what the module says."""
    level, path = sys.argv[1:]
    record()
    warm_up()
    for rate in _RATES:
        _conceal_a_second(rate)
    for kernel in native.KERNELS:
        native.warm_up(kernel)
    write_recorded(level, Path(path), _kernels())


def _conceal_a_second(rate: int) -> None:
    """Conceal noise as ``plc conceal`` does, with the networks that are installed."""
    noise = np.random.default_rng(0).normal(0.0, 0.1, (rate, 1)).astype(np.float32)
    lost = np.arange(50) % 10 >= 8
    conceal(noise, lost, sample_rate=rate, packet_ms=20.0, budget_ms=math.inf)


def _kernels() -> list[Dispatcher]:
    """Return the kernels that Python may call, of all modules that are loaded."""
    modules = [module for name, module in sys.modules.items() if name.startswith("plc_kernels.")]
    found = [value for module in modules for value in vars(module).values()]
    return [
        each
        for each in found
        if isinstance(each, Dispatcher) and isinstance(getattr(each, "_cache", None), PrebuiltCache)
    ]


if __name__ == "__main__":
    main()
