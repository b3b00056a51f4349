"""Targets of fuzzers: their corpora hold, under sanitizers where the target is in C.

``random_packets.c`` and ``random_models.c`` are targets of libFuzzer where ``FUZZ`` is defined. To
find more, run a program that :func:`fuzzer` builds with a folder and ``-max_total_time=3600``, and
``python -m tests.attack.fuzz.requests`` with its folder; what is new goes into the corpus by
``-merge=1``.
"""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from plc import ConcealerPool
from plc.embed.library import Library
from plc.embed.models import write_models
from tests.attack.fuzz import requests
from tests.plc.embed.c_side import c_side

HERE = Path(__file__).parent / "fuzz"
EMBED = Path(__file__).parents[1] / "plc" / "embed"
# Compiled code of kernels is under none: what it writes, MemorySanitizer takes for initialised, as
# the memory of streams and models is mapped.
SANITIZERS = ("address,undefined", "memory")


def fuzzer(target: str, sanitizers: str, built: Library, folder: Path) -> Path:
    """Return ``random_TARGET.c`` and the C side of the library, as a program of libFuzzer."""
    if shutil.which("clang") is None:
        pytest.skip("clang is not installed")
    program = folder / target
    flags = ["-std=c11", "-D_GNU_SOURCE", "-pthread", "-g", "-O1", "-DFUZZ", f"-I{folder}"]
    flags += [f"-fsanitize=fuzzer,{sanitizers}", "-fno-sanitize-recover=all"]
    sources = [EMBED / f"random_{target}.c", *c_side(built, folder)]
    command = ["clang", *flags, *map(str, sources), "-lm", "-o", str(program)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "cannot find" in done.stderr and "clang_rt" in done.stderr:
        pytest.skip("clang has no sanitizers: libclang-rt-dev is not installed")
    assert done.returncode == 0, done.stderr
    return program


@pytest.mark.system
@pytest.mark.parametrize("sanitizers", SANITIZERS)
@pytest.mark.parametrize("target", ["packets", "models"])
@pytest.mark.parametrize("seconds", [0, pytest.param(60, marks=pytest.mark.deep)])
def test_the_library_holds_what_a_fuzzer_found_and_finds(
    built: Library,
    tmp_path: Path,
    target: str,
    sanitizers: str,
    seconds: int,
) -> None:
    program = fuzzer(target, sanitizers, built, tmp_path)
    corpus = tmp_path / "corpus"
    shutil.copytree(HERE / target, corpus)
    length = f"-max_total_time={seconds}" if seconds else "-runs=0"
    done = subprocess.run(
        [program, corpus, length, "-seed=1", "-max_len=4096", "-close_fd_mask=1"],
        env=os.environ | {"MODELS": ":".join(map(str, write_models(tmp_path)))},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]


@pytest.mark.parametrize("path", sorted(requests.CORPUS.iterdir()), ids=lambda path: path.name)
def test_whatever_asks_is_answered(path: Path) -> None:
    assert requests.ask(path.read_bytes())


def test_bytes_changed_at_random_in_what_asks_are_answered() -> None:
    rng = np.random.default_rng(1)
    with ConcealerPool() as pool:
        ids = pool.open(1, sample_rate=8000, packet_samples=80, method="ar")
        whole = pool.snapshot(ids, requests.KEY)[0][:-32]
    seeds = [path.read_bytes() for path in sorted(requests.CORPUS.iterdir())] + [b"s" + whole]
    for _ in range(300):
        data = bytearray(seeds[rng.integers(len(seeds))])
        for _ in range(rng.integers(1, 4)):
            if data[1:]:
                data[rng.integers(1, min(len(data), 400))] = rng.integers(256)
        assert requests.ask(
            bytes(data[: rng.integers(1, len(data) + 1)] if rng.random() < 0.2 else data)
        )
