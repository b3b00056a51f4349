"""A model's file: the block that it makes is Python's bit for bit, and no other file makes one."""

import itertools
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from plc.embed.models import model_file
from plc.engine.models.catalogue import available, find
from plc.engine.networks.flat import flat_file
from plc_kernels.network import plan as network
from plc_kernels.network.layers import run_network
from plc_kernels.stream import model as of
from plc_kernels.stream import model_file as stored
from tests.kernels.stream.blocks import opened

# With the most bytes that each may have: pages fetch them.
NAMES = {
    "speech": 1.18e6,
    "speech-narrowband": 0.69e6,
    "music": 1.31e6,
    "speech-bridge": 0.55e6,
}
Words = NDArray[np.int64]


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    made = {name: model_file(find(name)) for name in NAMES}
    return {name: each for name, each in made.items() if each is not None}


def expected(name: str) -> bytes:
    """Return the block, made of what Python's own streams compute with."""
    made = flat_file(find(name))
    assert made is not None
    return made


@pytest.mark.parametrize("name", NAMES)
def test_a_file_makes_the_block_bit_for_bit(name: str, files: dict[str, bytes]) -> None:
    block = opened(files[name])
    assert block is not None
    assert block.tobytes() == expected(name)
    assert len(files[name]) < NAMES[name]


def test_other_models_have_no_file() -> None:
    assert {each.name for each in available() if model_file(each)} == set(NAMES)


def test_halves_of_every_kind_come_back() -> None:
    """All float16 numbers: zeros of both signs, and those below the smallest normal one, too."""
    bits = np.arange(1 << 16, dtype=np.uint16)
    numbers = bits[np.isfinite(bits.view(np.float16))].view(np.float16)
    numbers = np.pad(numbers, (0, -numbers.size % 16))
    kinds, data = stored._parts(numbers.astype(np.float32).view(np.int64))
    assert kinds == [(stored.HALF, numbers.size // 2)]
    given, out = data[0].view(np.uint16), np.zeros(numbers.size, np.uint32)
    for k in range(numbers.size):
        out[k] = stored._wide.py_func(int(given[k]))
    np.testing.assert_array_equal(out, numbers.astype(np.float32).view(np.uint32))


def resealed(words: Words) -> bytes:
    """Return a file with the checksum that its words have."""
    words[stored.CHECKSUM] = words[stored.CHECKSUM + 1 :].sum()
    return words.tobytes()


@pytest.mark.parametrize("name", NAMES)
def test_a_damaged_file_is_refused(name: str, files: dict[str, bytes]) -> None:
    file = files[name]
    for damaged in (b"", file[:8], file[:64], file[:-8], file + bytes(8)):
        assert opened(damaged) is None
    for at in (0, 8, 16, 24, 40, len(file) // 2, len(file) - 1):
        spoilt = bytearray(file)
        spoilt[at] ^= 1
        assert opened(bytes(spoilt)) is None


# Words of the file, or of the block in it, and what someone writes there.
FILE_WORDS = [
    *((stored.BLOCK_BYTES, value) for value in (0, 64, 1 << 40)),
    *((stored.PARTS, value) for value in (0, -1, 13, 1 << 60)),
    *((stored.HEAD, value) for value in (-1, 2)),
    *((stored.HEAD + 1, value) for value in (-8, 0, 1 << 23, 1 << 60)),
]
BLOCK_WORDS = [
    (of.MAGIC_AT, 0),
    (of.BYTES, 64),
    (of.CONTENT, 2),
    (of.LOWEST_RATE, 0),
    (of.HIGHEST_RATE, 1 << 40),
    (of.HORIZON_MS, 0),
    (of.HORIZON_MS, int(np.array(np.nan).view(np.int64))),
    (of.BIN_HZ, int(np.array(1e-9).view(np.int64))),
    *((word, 5) for word in (of.DRAFTS, of.BINS, of.CONTEXT, of.FRAMES, of.WORK, of.OPERATIONS)),
    *((of.CONTOUR_WIDE, value) for value in (0, 1 << 40)),
    *((of.N_WEIGHTS, value) for value in (0, 1, 1 << 60)),
    *((place, 0) for place in (of.PLAN_AT, of.WEIGHTS_AT, of.CONTOUR_AT)),
]


def test_a_file_with_another_order_is_refused(files: dict[str, bytes]) -> None:
    for word, value in FILE_WORDS:
        words = np.frombuffer(files["speech-narrowband"], np.int64).copy()
        words[word] = value
        assert opened(resealed(words)) is None, (word, value)


def with_block_word(file: bytes, word: int, value: int) -> bytes:
    """Return a file whose block has another word in its first part, both checksums right."""
    words = np.frombuffer(file, np.int64).copy()
    begin = stored.HEAD + 2 * int(words[stored.PARTS])
    change = np.int64(value) - words[begin + word]
    words[begin + word] = value
    words[begin + of.CHECKSUM] += change
    return resealed(words)


def test_a_block_that_does_not_agree_with_itself_is_refused(files: dict[str, bytes]) -> None:
    for word, value in BLOCK_WORDS:
        block = with_block_word(files["speech-narrowband"], word, value)
        assert opened(block) is None, (word, value)


def run_within(model: Words) -> None:
    """Run a block's network; fail if it writes beyond its memory, or beyond its answer."""
    place = int(model[of.PLAN_AT]) // 8
    plan = model[place : place + int(model[of.N_PLAN])].copy()
    weights: Any = model.view(np.float32)[int(model[of.WEIGHTS_AT]) // 4 :]
    drafts, bins, _, frames, touching, size = (int(each) for each in plan[: network.WORK + 1])
    rng = np.random.default_rng(3)
    spectra = rng.standard_normal(drafts * 2 * bins * frames, np.float32)
    lost = rng.random(frames, np.float32)
    guard, answer = 4096, touching * 2 * bins
    work, out = (np.full(n + 2 * guard, 7.0, np.float32) for n in (size, answer))
    inside = [each[guard:-guard] for each in (work, out)]
    run_network(plan, weights[: int(model[of.N_WEIGHTS])].copy(), spectra, lost, *inside)
    for each in (work, out):
        assert (each[:guard] == 7.0).all()
        assert (each[-guard:] == 7.0).all()


@pytest.mark.parametrize("name", ["speech-narrowband", "speech-bridge"])
def test_a_plan_that_could_leave_its_memory_is_refused(name: str) -> None:
    rng = np.random.default_rng(7)
    whole = np.frombuffer(expected(name), np.int64)
    begin, count = int(whole[of.PLAN_AT]) // 8, int(whole[of.N_PLAN])
    refused = 0
    for word in begin + rng.choice(count, 80, replace=False):
        block = whole.copy()
        near = block[word] - 1, block[word] + 1, 2 * block[word]
        block[word] = rng.choice([-1, 0, 3, 1 << 13, 1 << 40, *near])
        model = opened(repacked(block))
        refused += model is None
        if model is not None:
            run_within(model)
    assert 20 < refused < 80


def test_sizes_that_no_network_has_are_refused(files: dict[str, bytes]) -> None:
    file = files["speech-narrowband"]
    words = np.frombuffer(file, np.int64)
    begin = stored.HEAD + 2 * int(words[stored.PARTS])
    plan = int(words[begin + of.PLAN_AT]) // 8
    for word, value in itertools.product(range(network.HEAD), (-1, 1 << 40)):
        assert opened(with_block_word(file, plan + word, value)) is None, (word, value)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e5])
def test_a_contour_that_could_become_no_number_is_refused(
    value: float, files: dict[str, bytes]
) -> None:
    block = np.frombuffer(expected("speech-narrowband"), np.int64).copy()
    place = int(block[of.CONTOUR_AT + 2]) // 4
    block.view(np.float32)[place] = value
    assert opened(repacked(block)) is None
    block.view(np.float32)[place] = 0.5
    assert opened(repacked(block)) is not None


def repacked(block: Words) -> bytes:
    """Return the file of a block that was changed."""
    block[of.CHECKSUM] = block[of.CHECKSUM + 1 :].sum()
    return stored.pack(block.tobytes())


def test_weights_without_bounds_are_a_models_own_affair(files: dict[str, bytes]) -> None:
    """A network's answer is looked at when it is there: no place follows from it."""
    block = np.frombuffer(expected("speech-narrowband"), np.int64).copy()
    weights: Any = block.view(np.float32)[int(block[of.WEIGHTS_AT]) // 4 :]
    weights[:100] = np.nan
    assert opened(repacked(block)) is not None


@pytest.mark.parametrize("name", ["speech", "music", "speech-bridge"])
def test_random_damage_makes_no_block_that_ends_elsewhere(
    name: str, files: dict[str, bytes]
) -> None:
    rng = np.random.default_rng(5)
    whole = np.frombuffer(files[name], np.int64)
    begin = stored.HEAD + 2 * int(whole[stored.PARTS])
    head = begin + of.WORDS + network.HEAD + 8
    numbers = np.array([-1, 0, 1, 2, 7, 1 << 20, 1 << 31, 1 << 62])
    for _ in range(300):
        words = whole.copy()
        for place in rng.integers(0, head, rng.integers(1, 4)):
            words[place] = rng.choice(numbers) if rng.integers(2) else words[place] ^ 1
        opened(resealed(words))
