import errno
import itertools
import os
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from plc.engine.loss import Bernoulli, GilbertElliott, TraceLosses
from plc.engine.trace_files import packet_samples_of_trace, read_trace, write_trace
from plc.errors import ConfigError, TraceError

# Four standard errors of a mean over a trace of this length, for the loss rates used here.
PACKETS = 400_000
RATE_TOLERANCE = 0.01
BURST_TOLERANCE = 0.05


def bursts(trace: NDArray[np.bool_]) -> list[int]:
    """The lengths of the runs of lost packets, counted one by one."""
    return [len(list(run)) for lost, run in itertools.groupby(trace.tolist()) if lost]


@pytest.mark.parametrize("loss", [0.01, 0.1, 0.5, 0.9])
def test_bernoulli_loses_its_share_independently(loss: float) -> None:
    trace = Bernoulli(loss).trace(PACKETS, seed=3)
    assert abs(trace.mean() - loss) < RATE_TOLERANCE
    assert np.mean(bursts(trace)) == pytest.approx(1 / (1 - loss), rel=BURST_TOLERANCE)
    after_loss, after_arrival = trace[1:][trace[:-1]].mean(), trace[1:][~trace[:-1]].mean()
    assert abs(after_loss - after_arrival) < 3 * RATE_TOLERANCE


@pytest.mark.parametrize(("loss", "mean_burst"), [(0.1, 1.5), (0.1, 3.0), (0.5, 1.0), (0.3, 10.0)])
def test_gilbert_elliott_has_the_loss_and_the_mean_burst_asked_for(
    loss: float, mean_burst: float
) -> None:
    trace = GilbertElliott(loss, mean_burst).trace(PACKETS, seed=4)
    assert abs(trace.mean() - loss) < RATE_TOLERANCE
    assert np.mean(bursts(trace)) == pytest.approx(mean_burst, rel=BURST_TOLERANCE)


def test_bursts_have_geometric_lengths() -> None:
    lengths = np.array(bursts(GilbertElliott(0.2, 4.0).trace(PACKETS, seed=5)))
    for packets in (1, 2, 5, 10):
        assert np.mean(lengths > packets) == pytest.approx(0.75**packets, abs=0.02)


def test_the_first_packet_is_lost_as_often_as_any_other() -> None:
    first = [GilbertElliott(0.25, 5.0).trace(1, seed)[0] for seed in range(4000)]
    assert np.mean(first) == pytest.approx(0.25, abs=0.03)


def test_the_same_seed_gives_the_same_trace_and_another_seed_another() -> None:
    model = GilbertElliott(0.2, 2.0)
    np.testing.assert_array_equal(model.trace(5000, 7), model.trace(5000, 7))
    assert (model.trace(5000, 7) != model.trace(5000, 8)).any()


@given(
    model=st.sampled_from(
        [Bernoulli(0.3), Bernoulli(0.0), Bernoulli(1.0), GilbertElliott(0.4, 6.0)]
    ),
    seed=st.integers(0, 2**32 - 1),
    pieces=st.lists(st.integers(0, 3000), max_size=8),
)
def test_however_a_stream_is_cut_its_trace_is_the_same(
    model: Bernoulli | GilbertElliott, seed: int, pieces: list[int]
) -> None:
    source = model.source(seed)
    cut = [source.take(packets) for packets in pieces]
    whole = model.trace(sum(pieces), seed)
    assert [piece.size for piece in cut] == pieces
    np.testing.assert_array_equal(np.concatenate([*cut, np.empty(0, np.bool_)]), whole)
    assert whole.dtype == np.bool_


def test_no_loss_and_nothing_but_loss_are_exact() -> None:
    assert not Bernoulli(0.0).trace(10_000).any()
    assert not GilbertElliott(0.0, 3.0).trace(10_000).any()
    assert Bernoulli(1.0).trace(10_000).all()


def test_very_rare_losses_need_no_memory_for_the_time_between_them() -> None:
    trace = Bernoulli(1e-12).trace(1_000_000)
    assert trace.size == 1_000_000
    assert not trace.any()


@pytest.mark.parametrize("loss", [-0.1, 1.5, float("nan")])
def test_a_loss_outside_0_to_1_is_refused(loss: float) -> None:
    with pytest.raises(ConfigError, match="0 % to 100 %"):
        Bernoulli(loss)
    with pytest.raises(ConfigError, match="0 % to 100 %"):
        GilbertElliott(loss, 2.0)


@pytest.mark.parametrize("mean_burst", [0.5, float("inf"), float("nan")])
def test_a_mean_burst_below_one_packet_is_refused(mean_burst: float) -> None:
    with pytest.raises(ConfigError, match="1 or more"):
        GilbertElliott(0.1, mean_burst)


def test_an_impossible_pair_names_what_would_do() -> None:
    with pytest.raises(ConfigError, match=r"mean burst of at least 9 packets.*at most 60 %"):
        GilbertElliott(0.9, 1.5)
    with pytest.raises(ConfigError, match="100 %"):
        GilbertElliott(1.0, 2.0)


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(ConfigError, match="seed is -1"):
        Bernoulli(0.1).source(-1)


@given(lost=st.lists(st.booleans(), min_size=1, max_size=300))
def test_a_written_trace_reads_back(
    tmp_path_factory: pytest.TempPathFactory, lost: list[bool]
) -> None:
    path = tmp_path_factory.mktemp("trace") / "a.trace"
    write_trace(path, lost, comments=["made by a test", "1 = lost"])
    assert read_trace(path).tolist() == lost


@pytest.mark.parametrize(
    "text",
    [
        "0 1 1 0",
        "0,1,1,0\n",
        "0\r\n1\r\n1\r\n0\r\n",
        "0110",
        "\ufeff0\n1 # 0 not this\n#1\n10",
        "0,\t1 1\n\n,0,",
    ],
)
def test_separators_and_comments_do_not_matter(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.trace"
    path.write_bytes(text.encode())
    assert read_trace(path).tolist() == [False, True, True, False]


G192 = np.array([0x6B21, 0x6B20, 0x6B20, 0x6B21], np.uint16)


def in_bits(order: str, bits: int) -> bytes:
    """Return G.192's words with the bits of each packet; lost ones have none, or zeros."""
    frames: list[NDArray[np.float64]] = []
    for k, word in enumerate(G192):
        size = 0 if k == 2 else bits
        soft = np.zeros(size) if word == 0x6B20 else np.resize([127.0, 129.0], size)
        frames += [np.array([word, size], np.float64), soft]
    return np.concatenate(frames).astype(f"{order}u2").tobytes()


@pytest.mark.parametrize(
    "data",
    [
        G192.astype("<u2").tobytes(),
        G192.astype(">u2").tobytes(),
        in_bits("<", 160),
        in_bits(">", 3),
        bytes(word & 0xFF for word in G192),
    ],
)
def test_g192_is_read_in_words_of_either_order_with_and_without_bits_and_in_bytes(
    tmp_path: Path, data: bytes
) -> None:
    path = tmp_path / "a.g192"
    path.write_bytes(data)
    assert read_trace(path).tolist() == [False, True, True, False]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"0\n1\n2\n", "line 3: found '2'"),
        (b"0 1\n0 lost 1", "line 2: found 'lost'"),
        (b"01x0\n", "line 1: found 'x0'"),
        (b"# only a comment\n", "holds no packets"),
        (b"", "holds no packets"),
        (G192.astype("<u2").tobytes()[:-1], "cut or damaged after 3 packets.*6b21"),
        (in_bits("<", 160)[:-2], "after 4 packets"),
        (G192.astype("<u2").tobytes() + b"\x7f\0", "after 4 packets"),
        (in_bits(">", 9).replace(b"k!", b"k#")[2:], "expected 0"),
        (b"    ", "of blanks alone it might be all lost by G.192"),
    ],
)
def test_a_malformed_trace_names_the_place_and_what_was_found(
    tmp_path: Path, data: bytes, message: str
) -> None:
    path = tmp_path / "a.trace"
    path.write_bytes(data)
    with pytest.raises(TraceError, match=message):
        read_trace(path)


def test_binary_data_is_no_trace(tmp_path: Path) -> None:
    path = tmp_path / "a.trace"
    path.write_bytes(np.random.default_rng(0).bytes(5000))
    with pytest.raises(TraceError, match="expected 0"):
        read_trace(path)


@pytest.mark.skipif(os.name != "posix", reason="Windows has no named pipes of files")
def test_a_trace_in_a_pipe_is_read_once(tmp_path: Path) -> None:
    pipe, said = tmp_path / "pipe", list[int | None]()
    os.mkfifo(pipe)
    writer = Thread(target=pipe.write_text, args=("# packets of 441 samples\n01",))
    writer.start()
    assert read_trace(pipe).tolist() == [False, True]
    writer.join()
    reader = Thread(target=lambda: said.append(packet_samples_of_trace(pipe)), daemon=True)
    reader.start()
    reader.join(10.0)
    assert said == [None]


def test_a_missing_trace_and_an_unwritable_one_say_so(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="No such file"):
        read_trace(tmp_path / "none.trace")
    with pytest.raises(TraceError, match="cannot write"):
        write_trace(tmp_path / "no folder" / "a.trace", [True])
    (tmp_path / "folder.trace").mkdir()
    with pytest.raises(TraceError, match="cannot write"):
        write_trace(tmp_path / "folder.trace", [True])
    with pytest.raises(TraceError, match="shape"):
        write_trace(tmp_path / "a.trace", [[True], [False]])


def test_a_trace_is_whole_or_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.trace"
    write_trace(path, [True])

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("plc.whole_files.put", fail)
    with pytest.raises(TraceError, match="disk is full"):
        write_trace(path, [False] * 1000)
    assert read_trace(path).tolist() == [True]
    assert list(tmp_path.iterdir()) == [path]


def test_a_trace_that_came_meanwhile_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.trace"
    write_trace(path, [True])
    with pytest.raises(TraceError, match="exists; give --overwrite"):
        write_trace(path, [False], overwrite=False)
    assert read_trace(path).tolist() == [True]


def test_a_given_trace_is_handed_out_once_or_for_ever() -> None:
    trace = np.array([True, False, False])
    once, for_ever = TraceLosses(trace), TraceLosses(trace, loop=True)
    assert once.take(2).tolist() == [True, False]
    with pytest.raises(TraceError, match=r"has 3 packets, at least 4 are needed.*--loop"):
        once.take(2)
    assert for_ever.take(4).tolist() + for_ever.take(3).tolist() == [*trace, *trace, True]
    with pytest.raises(TraceError, match="shape"):
        TraceLosses(np.empty(0, np.bool_))
