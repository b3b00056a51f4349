"""The step of a stream as a WebAssembly module, for browsers.

It exports the functions of :mod:`plc_kernels.stream.entry` as C sees them (pointers are i32, all
numbers i64), its ``memory`` and ``__heap_base``, the first byte that is free. It imports the
mathematics that it needs (``sin``, ``log`` …) from ``env``. A section of its own, ``plc``, says in
JSON where things lie in a stream's block: what ``step.h`` is for C.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from plc.embed.toolchain import WASM_LINKER, find, run
from plc.errors import ConfigError
from plc_kernels.build.targets import TARGETS
from plc_kernels.emit.objects import EmitError, emit_objects
from plc_kernels.emit.symbols import MATHEMATICS
from plc_kernels.receive import layout as receiver
from plc_kernels.stream import bridge, entry, gap, layout

EXPORTS = (
    *("plck_size", "plck_open", "plck_reset", "plck_push", "plck_know", "plck_fill"),
    *("plck_resume", "plck_drain", "plck_look", "plck_prepare", "plck_calibrate"),
    *("plck_model_size", "plck_model_open", "__heap_base"),
    *(f"plck_receive_{name}" for name in ("size", "open", "put", "due", "known")),
    *(f"plck_receive_{name}" for name in ("append", "give", "end", "clear", "waiting")),
)
RECEIVED = (
    *("HEADER", "FLOAT32", "INT16", "MULAW", "NONE", "ALL", "INBOX", "MISSING", "PARTS"),
    *("RING", "HELD", "STARVED", "TAKEN_SAMPLES", "DOUBLE_SAMPLES", "LATE_SAMPLES"),
    *("LOST_SAMPLES", "UNSENT", "REFUSED_SAMPLES", "OVERFLOW_SAMPLES", "JUMPS"),
)
"""Of a receiver, what ``plc.mjs`` and ``plc.c`` know."""
SECTION = "plc"
"""The section that says where things lie."""
_STACK_BYTES = 1 << 18
_NOT_THERE = ("partial_packets",)  # packets come whole in a page
_CLOCKED = ("deadline_misses", "rung_changes")
COUNTED = {name: layout.STATS + k for k, name in enumerate(layout.COUNTERS) if name not in _CLOCKED}
"""Words of the counters by their names, but of those that need a clock: C reads none."""


def build_wasm(module: Path, work: Path, done: Callable[[str], None] = lambda name: None) -> None:
    """Write the module; ``work`` is a folder for files that are needed on the way.

    ``done`` is called with the target's name when it is compiled.

    Raises
    ------
    ConfigError
        If there is no linker, or the step cannot be compiled.
    """
    linker = find(WASM_LINKER)
    try:
        objects = emit_objects([TARGETS["wasm32"]], work, done)
    except EmitError as error:
        raise ConfigError(str(error)) from error
    allowed = work / "mathematics.txt"
    allowed.write_text("\n".join(sorted(MATHEMATICS)) + "\n")
    run(
        [
            *linker,
            "--no-entry",
            "--stack-first",  # so that a stack that overflows traps
            *("-z", f"stack-size={_STACK_BYTES}"),
            f"--allow-undefined-file={allowed}",
            *(f"--export={name}" for name in EXPORTS),
            *("--strip-all", "--compress-relocations"),
            *map(str, objects),
            *("-o", str(module)),
        ]
    )
    with module.open("ab") as file:
        file.write(_section(SECTION, json.dumps(places(), separators=(",", ":"))))


def places() -> dict[str, Any]:
    """Return where things lie, in words of a block, by the names that ``plc.mjs`` has for them."""
    made = layout.RUNG_SAMPLES + entry.NETWORK_PLACE
    return {
        "settings": entry.SETTINGS,
        "words": layout.HEADER,
        "ahead": layout.AHEAD,
        "position": layout.POSITION,
        "preparedAt": layout.PREPARED_AT,
        "networks": {
            "speech": layout.SPEECH_NET + gap.FILE_AT,
            "music": layout.MUSIC_NET + gap.FILE_AT,
            "bridges": layout.BRIDGE_NET + gap.FILE_AT,
        },
        "receiver": {_named(word): getattr(receiver, word) for word in RECEIVED},
        "networkSamples": {"speech": made, "music": made + 1, "bridges": made + bridge.PLACE},
        "counters": {_named(name): k for name, k in COUNTED.items() if name not in _NOT_THERE},
    }


def _named(word: str) -> str:
    return re.sub(r"_(\w)", lambda found: found[1].upper(), word.lower())


def _section(name: str, text: str) -> bytes:
    """Return a custom section, as the WebAssembly specification, 5.5.3, has it."""
    content = bytes([len(name)]) + name.encode() + text.encode()
    size, left = b"", len(content)
    while left >= 0x80:
        size, left = size + bytes([left & 0x7F | 0x80]), left >> 7
    return b"\0" + size + bytes([left]) + content
