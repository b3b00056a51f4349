"""The processors for which the step is emitted."""

import platform
from dataclasses import dataclass

X86_64 = "x86_64"
AARCH64 = "aarch64"
WASM32 = "wasm32"

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
    """

    name: str
    family: str
    triple: str
    processor: str = ""
    features: str = ""
    suffix: str = ""


TARGETS = {
    target.name: target
    for target in (
        *(
            Target(
                f"x86-64-{level}",
                X86_64,
                "x86_64-unknown-linux-gnu",
                processor=f"x86-64-{level}",
                suffix=f"_{level}",
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


def targets_of(family: str) -> list[Target]:
    """Return the types of a family, the least first."""
    return [target for target in TARGETS.values() if target.family == family]
