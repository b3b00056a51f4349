"""``python -m plc.embed DIR``: build the C library, as ``plc c build --out DIR`` does."""

import sys

from plc.embed.library import build_library
from plc.errors import PlcError

if len(sys.argv) != 2:
    sys.exit("usage: python -m plc.embed DIR")
try:
    print(build_library(sys.argv[1]).flags)
except PlcError as error:
    sys.exit(f"plc: {error}")
