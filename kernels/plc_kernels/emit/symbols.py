"""Undefined symbols of an object file."""

import struct
from collections.abc import Iterator

_FUNCTIONS = (
    *("sin", "cos", "sincos", "tan", "atan", "atan2", "exp", "exp2", "exp10", "expm1"),
    *("log", "log2", "log10", "log1p", "pow", "fmod", "tanh", "hypot", "ldexp"),
    *("floor", "ceil", "trunc", "rint", "nearbyint", "round", "roundeven", "fma", "sqrt"),
)
MATHEMATICS = frozenset(name + kind for name in _FUNCTIONS for kind in ("", "f"))
MEMORY = frozenset({"memcpy", "memmove", "memset", "___chkstk_ms"})
"""What the code may call: the C library's mathematics, and what moves memory.

The last of these is a compiler's on Windows, where a stack grows page by page.
"""
_COFF_X86_64 = b"\x64\x86"


def undefined_symbols(code: bytes) -> Iterator[str]:
    """Yield the names that an object file does not define.

    It follows the ELF specification, chapter 4 (section headers, symbol table), and Microsoft's PE
    format (COFF file header, COFF symbol table). ``code`` is an ELF file of 64 bits, little-endian,
    or a COFF file for x86-64.

    Raises
    ------
    ValueError
        If it is none.
    """
    if code[:2] == _COFF_X86_64:
        yield from _undefined_in_coff(code)
        return
    if code[:6] != b"\x7fELF\x02\x01":
        raise ValueError(
            f"an object file begins with {code[:6]!r}; ELF of 64 bits and COFF are known"
        )
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


def _undefined_in_coff(code: bytes) -> Iterator[str]:
    at, count = struct.unpack_from("<II", code, 8)
    texts, k = at + 18 * count, 0
    while k < count:
        short, _, section, _, storage, more = struct.unpack_from("<8sIhHBB", code, at + 18 * k)
        if section == 0 and storage == 2:  # IMAGE_SYM_UNDEFINED, IMAGE_SYM_CLASS_EXTERNAL
            zeroes, place = struct.unpack("<II", short)
            name = short if zeroes else code[texts + place : code.index(b"\0", texts + place)]
            yield name.rstrip(b"\0").decode()
        k += 1 + more
