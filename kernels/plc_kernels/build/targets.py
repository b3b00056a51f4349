"""The processors for which the step is emitted."""

import platform
from dataclasses import dataclass

X86_64 = "x86_64"
AARCH64 = "aarch64"
WASM32 = "wasm32"
LINUX, WINDOWS = "linux", "windows"

_MACHINES = {"amd64": X86_64, "arm64": AARCH64}


def machine() -> str:
    """Return this machine's family of processors, ``"x86_64"`` for example."""
    name = platform.machine().lower()
    return _MACHINES.get(name, name)


@dataclass(frozen=True, slots=True)
class Target:
    """A type of processor.

    Parameters
    ----------
    name : str, for people and file names
    family : str, ``"x86_64"``, ``"aarch64"`` or ``"wasm32"``
    triple : str, as LLVM names the family
    processor : str
        As LLVM names the type; empty: the family's least.
    features : str, further instructions
    suffix : str, of the functions' names
    system : str
        Whose object files and calls: ``"windows"``; ``"linux"`` is for all others.
    """

    name: str
    family: str
    triple: str
    processor: str = ""
    features: str = ""
    suffix: str = ""
    system: str = LINUX


TARGETS = {
    target.name: target
    for target in (
        *(
            Target(
                f"{before}x86-64-{level}",
                X86_64,
                triple,
                processor=f"x86-64-{level}",
                suffix=f"_{level}",
                system=system,
            )
            for before, triple, system in (
                ("", "x86_64-unknown-linux-gnu", LINUX),
                ("windows-", "x86_64-w64-windows-gnu", WINDOWS),
            )
            for level in ("v2", "v3", "v4")
        ),
        Target("aarch64", AARCH64, "aarch64-unknown-linux-gnu", features="+neon", suffix="_arm"),
        # In every browser since 2023.
        Target(
            "wasm32",
            WASM32,
            "wasm32-unknown-unknown",
            features="+simd128,+bulk-memory,+nontrapping-fptoint,+sign-ext,+mutable-globals",
        ),
    )
}
"""By name."""

FAMILIES = (X86_64, AARCH64, WASM32)


def targets_of(family: str, system: str = LINUX) -> list[Target]:
    """Return the types of a family for a system, the least first."""
    return [each for each in TARGETS.values() if (each.family, each.system) == (family, system)]
