"""Write the compiled kernels of the audio path: ``record LEVEL FILE``.

:mod:`plc.embed.wheel` starts this with numba's variables set to the level.
"""

import sys
from pathlib import Path

from plc.engine.warm import AUDIO_PATH, warm_up
from plc_kernels.prebuilt import record, write_recorded


def main() -> None:
    """Record the compiled kernels of a level in a file."""
    level, path = sys.argv[1:]
    record()
    warm_up()
    write_recorded(level, Path(path), AUDIO_PATH)


if __name__ == "__main__":
    main()
