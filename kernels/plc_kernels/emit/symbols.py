"""Undefined symbols of an object file."""

import struct
from collections.abc import Iterator

_FUNCTIONS = (
    *("sin", "cos", "sincos", "tan", "atan", "atan2", "exp", "exp2", "exp10", "expm1"),
    *("log", "log2", "log10", "log1p", "pow", "fmod", "tanh", "hypot", "ldexp"),
    *("floor", "ceil", "trunc", "rint", "nearbyint", "round", "roundeven", "fma", "sqrt"),
)
MATHEMATICS = frozenset(name + kind for name in _FUNCTIONS for kind in ("", "f"))
MEMORY = frozenset({"memcpy", "memmove", "memset"})
"""What the code may call: the C library's mathematics, and what moves memory."""


def undefined_symbols(code: bytes) -> set[str]:
    """Return the names that an object file does not define.

    Parameters
    ----------
    code : bytes
        An ELF file of 64 bits, little-endian, or a WebAssembly object.

    Raises
    ------
    ValueError
        If it is neither.
    """
    if code[:6] == b"\x7fELF\x02\x01":
        return set(_of_elf(code))
    if code[:4] == b"\0asm":
        return set(_of_wasm(code))
    raise ValueError(f"an object file begins with {code[:6]!r}; ELF of 64 bits or wasm is known")


def _of_elf(code: bytes) -> Iterator[str]:
    """Follow the ELF specification, chapter 4: section headers, symbol table."""
    (at,) = struct.unpack_from("<Q", code, 0x28)
    size, count = struct.unpack_from("<HH", code, 0x3A)
    sections = [struct.unpack_from("<IIQQQQIIQQ", code, at + k * size) for k in range(count)]
    for section in sections:
        if section[1] != 2:  # SHT_SYMTAB
            continue
        names = sections[section[6]][4]
        for place in range(section[4] + 24, section[4] + section[5], 24):
            name, _, _, home = struct.unpack_from("<IBBH", code, place)
            if home == 0:  # SHN_UNDEF
                end = code.index(b"\0", names + name)
                yield code[names + name : end].decode()


def _of_wasm(code: bytes) -> Iterator[str]:
    """Read the import section: functions from ``env``."""
    at = 8
    while at < len(code):
        kind = code[at]
        size, at = _number(code, at + 1)
        if kind == 2:
            count, place = _number(code, at)
            for _ in range(count):
                _, place = _text(code, place)
                name, place = _text(code, place)
                what, place = code[place], place + 1
                if what == 0:
                    _, place = _number(code, place)
                    yield name
                elif what == 1:  # a table: its type, then its limits
                    place = _limits(code, place + 1)
                elif what == 2:
                    place = _limits(code, place)
                else:
                    place += 2  # a global: type and whether it can change
        at += size


def _number(code: bytes, at: int) -> tuple[int, int]:
    """Return a LEB128 number, and where it ends."""
    value = shift = 0
    while True:
        value |= (code[at] & 127) << shift
        shift += 7
        at += 1
        if not code[at - 1] & 128:
            return value, at


def _text(code: bytes, at: int) -> tuple[str, int]:
    size, at = _number(code, at)
    return code[at : at + size].decode(), at + size


def _limits(code: bytes, at: int) -> int:
    """Return where the limits of a table or memory end."""
    bounded = code[at] & 1
    _, at = _number(code, at + 1)
    return _number(code, at)[1] if bounded else at
