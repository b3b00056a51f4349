"""Write the compiled kernels of the audio path and its networks: ``record LEVEL FILE``.

:mod:`plc.embed.wheel` starts this with numba's variables set to the level.
"""

import sys
from pathlib import Path

from plc.engine.warm import AUDIO_PATH, warm_up
from plc.runtime import native
from plc_kernels.prebuilt import record, write_recorded


def main() -> None:
    """Do what the module says."""
    level, path = sys.argv[1:]
    record()
    warm_up()
    native.warm_up()
    write_recorded(level, Path(path), (*AUDIO_PATH, *native.KERNELS))


if __name__ == "__main__":
    main()
