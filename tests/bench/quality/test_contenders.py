import math
import os
import select
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from plc import Concealer, inpaint
from plc.errors import ConfigError, ModelError
from plc_bench.peers import base
from plc_bench.peers.base import PeerError
from plc_bench.quality import contenders
from plc_bench.quality.contenders import CommandPeer, Engine, FileRepair, contender
from plc_bench.scores.metrics import Mask
from tests.signals import noise, tones

RATE = 16_000
TRACE = np.array([False, True, False, False])


def stream() -> NDArray[np.float32]:
    signal = noise(1, 640)[:, None]
    signal[160:320] = 0.0
    return signal


def test_a_name_says_method_lookahead_and_model() -> None:
    assert contender("burg:20/100") == Engine(method="burg:20/100")
    assert contender("auto@lookahead2@model=./m.json") == Engine(
        method="auto", lookahead=2, model="./m.json"
    )
    assert contender("ar@lookahead0") == Engine(method="ar", lookahead=0)


@pytest.mark.parametrize(
    "name", ["ar@", "ar@lookahead", "ar@lookahead-1", "ar@horizon1", "opus@lookahead1"]
)
def test_a_name_that_is_not_understood_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="is not understood"):
        contender(name)


def test_a_predictor_that_some_rate_allows_is_left_to_the_clips() -> None:
    contenders.check_methods(["burg:0.2/0.5", "burg:200/2000", "burg:20/100", "burg"])
    with pytest.raises(ConfigError, match="at 48000 Hz"):
        contenders.check_methods(["burg:200/2000"], sample_rate=48_000)
    with pytest.raises(ConfigError, match="method is 'mine'"):
        contenders.check_methods(["mine"])
    contenders.check_methods(["mine"], {"mine": CommandPeer(command="x {in} {trace} {out}")})


def test_a_file_is_filled_from_both_sides_of_every_burst() -> None:
    made = contender("auto@file@model=ar")
    assert made == FileRepair(method="auto", model="ar")
    trace = np.array([False, True, True, False, True, False])
    signal = tones(1, RATE, 6 * 800)[:, None]
    played = made.play(np.where(np.repeat(trace, 800)[:, None], 0, signal), trace, 800, RATE)
    expected = inpaint(signal, [(800, 2400), (3200, 4000)], sample_rate=RATE, model="ar")
    np.testing.assert_array_equal(played, expected)
    with pytest.raises(ConfigError, match="@file and @lookahead exclude"):
        contender("ar@file@lookahead1")
    with pytest.raises(ModelError, match="in the package"):
        contenders.check_methods(["auto@file@model=nothing"])


def test_an_engine_method_plays_with_its_lookahead() -> None:
    played = contender("repeat").play(stream(), TRACE, 160, RATE)
    assert played.shape == (640, 1)
    assert played.dtype == np.float32
    np.testing.assert_array_equal(played[:160], stream()[:160])
    assert np.abs(played[160:320]).max() > 0.0


def test_what_is_known_behind_a_hole_is_what_a_queue_would_hold() -> None:
    trace = np.zeros(40, np.bool_)
    trace[[10, 11, 14, 20, 21, 22]] = True
    signal = tones(4, RATE, 40 * 160)[:, None]
    lossy = np.where(np.repeat(trace, 160)[:, None], 0, signal)
    from_past = contender("ar").play(lossy, trace, 160, RATE)
    assert np.array_equal(contender("ar@known=0").play(lossy, trace, 160, RATE), from_past)
    concealer = Concealer(
        sample_rate=RATE,
        channels=1,
        packet_samples=160,
        method="ar",
        budget_ms=math.inf,
        prepare="never",
    )
    # 30 ms behind the first hole are two packets, and then another is lost.
    known = {10: (160, 320), 11: (0, 320), 14: (0, 480), 20: (320, 480), 21: (160, 480)}
    known[22] = 0, 480
    expected = []
    for k, lost in enumerate(trace):
        away, samples = known.get(k, (0, 0))
        begin = (k + 1) * 160 + away
        behind = [(away, signal[begin : begin + samples])] if samples else []
        expected.append(
            concealer.push(None if lost else lossy[k * 160 : k * 160 + 160], behind=behind)
        )
    played = contender("ar@known=30").play(lossy, trace, 160, RATE)
    np.testing.assert_array_equal(played, np.concatenate(expected))


@pytest.mark.parametrize("kind", ["rtp", "pieces"])
@pytest.mark.parametrize("rate", [RATE, 44_100])  # of which L16 has a payload type of its own
def test_a_receiver_plays_what_came_and_fills_holes_from_both_sides(kind: str, rate: int) -> None:
    packet, trace = rate // 50, np.zeros(60, np.bool_)
    trace[[20, 31, 42]] = True
    signal = tones(2, rate, 60 * packet)[:, None]
    lossy = np.where(np.repeat(trace, packet)[:, None], 0, signal)
    errors = {}
    for delay_ms in (0, 60):
        played = contender(f"ar@{kind}={delay_ms}").play(lossy, trace, packet, rate)
        assert played.shape == signal.shape
        errors[delay_ms] = played - signal
    missing = np.repeat(trace, packet)
    # 16 bits on the wire; a crossfade of 2.5 ms behind each hole.
    received = np.repeat(~trace & ~np.roll(trace, 1), packet)
    assert np.abs(errors[60][received]).max() <= 2**-15
    assert np.square(errors[60][missing]).sum() < 0.75 * np.square(errors[0][missing]).sum()
    for other in ("lookahead1", "paced", "file"):
        with pytest.raises(ConfigError, match="exclude each other"):
            contender(f"ar@{other}@{kind}=60")
    with pytest.raises(ConfigError, match="is not understood"):
        contender(f"ar@{kind}=-1")


class Constant:
    """Plays what its name says."""

    coded = False

    def __init__(self, name: str) -> None:
        self.level = float(name.partition(":")[2])

    def play(
        self, signal: NDArray[np.float32], trace: Mask, packet_samples: int, sample_rate: int
    ) -> NDArray[np.float32]:
        return np.full_like(signal, self.level)


@pytest.fixture
def constant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(contenders.KINDS, "constant", Constant)


@pytest.mark.usefixtures("constant")
def test_another_kind_is_made_from_its_whole_name() -> None:
    assert (contender("constant:0.25").play(stream(), TRACE, 160, RATE) == 0.25).all()
    with pytest.raises(ConfigError, match="there is a method of that name"):
        contenders.parse_peer("constant=x {in} {trace} {out}")


def test_a_program_is_given_the_audio_the_trace_and_the_numbers(tmp_path: Path) -> None:
    script = tmp_path / "a peer.py"
    script.write_text(
        "import sys, numpy as np, soundfile\n"
        "source, trace, out, rate, channels, samples, ms = sys.argv[1:]\n"
        "x, r = soundfile.read(source, dtype='float32', always_2d=True)\n"
        "lost = [int(line) == 1 for line in open(trace)]\n"
        "assert (r, x.shape[1]) == (int(rate), int(channels)) == (16000, 2), x.shape\n"
        "assert (int(samples), float(ms)) == (160, 10.0)\n"
        "mask = np.repeat(lost, int(samples))\n"
        "assert not x[mask].any()\n"
        "x[mask] = 0.5\n"
        "soundfile.write(out, np.concatenate([x, x]), r, subtype='FLOAT')\n"
    )
    places = "{in} {trace} {out} {sample_rate} {channels} {packet_samples} {packet_ms}"
    command = f"{shlex.quote(sys.executable)} {shlex.quote(str(script))} {places}"
    name, program = contenders.parse_peer(f"mine={command}")
    assert name == "mine"
    both = np.repeat(stream(), 2, axis=1)
    played = program.play(both, TRACE, 160, RATE)
    assert played.shape == both.shape
    assert (played[160:320] == 0.5).all()
    np.testing.assert_allclose(played[:160], both[:160], atol=1 / 32768)


@pytest.mark.parametrize(
    "text",
    [
        "mine",
        "=x {in} {trace} {out}",
        "my peer=x {in} {trace} {out}",
        "mine=x {in} {out}",
        "mine=x {in} {trace} {out} {seed}",
        "mine='x {in} {trace} {out}",
        "auto=x {in} {trace} {out}",
        "mine=",
    ],
)
def test_a_peer_that_cannot_be_run_is_refused_before_anything_runs(text: str) -> None:
    with pytest.raises(ConfigError, match="peer"):
        contenders.parse_peer(text)


def test_a_program_that_is_not_there_fails_with_its_name() -> None:
    with pytest.raises(PeerError, match="cannot run /no/such/program"):
        base.run_program(["/no/such/program"], 1.0)


def test_a_hung_program_is_killed_with_what_it_started(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        # The child keeps the pipe open until it is dead.
        command = f"exec 9>{shlex.quote(str(pipe))}; sleep 600 & wait"
        with pytest.raises(PeerError, match="took longer than 2 s"):
            base.run_program(["sh", "-c", command], 2.0)
        closed, _, _ = select.select([reader], [], [], 60.0)
        assert closed
        assert os.read(reader, 1) == b""
    finally:
        os.close(reader)
