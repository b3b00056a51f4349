"""The settings of the delay, and the memory of a receiver.

How long packets wait is found by :mod:`plc_kernels.receive.delays`, how fast the line is played by
:mod:`plc_kernels.receive.line`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from plc.engine.stream import warm
from plc.errors import ConfigError, unknown
from plc_kernels.receive import entry, layout

MAX_DELAY_MS = 5000.0


class DelayMode(IntEnum):
    """Way to find the target delay, by the word of a receiver."""

    ADAPTIVE = layout.ADAPTIVE
    """A quantile of the jitter."""
    HEADROOM = layout.HEADROOM
    """The same and ``delay_ms`` more."""
    FIXED = layout.FIXED
    """``delay_ms``, whatever the jitter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DelayConfig:
    """Settings of the delay.

    Parameters
    ----------
    mode : DelayMode, how the target is found
    safety : float
        0 (quick) to 1 (safe): packets that may come too late are one in 10 to one in 10 000.
    delay_ms : float
        The delay of the fixed mode, from a packet's arrival to the tick that pulls it (its sound
        leaves a block later); the headroom of the headroom mode.
    max_delay_ms : float
        What the delay never exceeds, but for a few packets: beyond two of those played, what is too
        much is left out.
    """

    mode: DelayMode = DelayMode.ADAPTIVE
    safety: float = 0.5
    delay_ms: float = 0.0
    max_delay_ms: float = 200.0

    def __post_init__(self) -> None:
        """Check that such a delay exists."""
        if not isinstance(self.mode, DelayMode):
            raise ConfigError(
                unknown("mode", self.mode, (f"DelayMode.{each.name}" for each in DelayMode))
            )
        if not 0.0 <= self.safety <= 1.0:
            raise ConfigError(f"safety is {self.safety:g}; it is 0 (quick) to 1 (safe)")
        if not 0.0 < self.max_delay_ms <= MAX_DELAY_MS:
            raise ConfigError(
                f"max_delay_ms is {self.max_delay_ms:g}; supported: above 0, up to "
                f"{MAX_DELAY_MS:g} ms"
            )
        if not 0.0 <= self.delay_ms <= self.max_delay_ms:
            raise ConfigError(
                f"delay_ms is {self.delay_ms:g}; supported: 0 to max_delay_ms, "
                f"{self.max_delay_ms:g} ms"
            )

    @property
    def late_share(self) -> float:
        """Share of the packets that may come too late: a tenth to a ten-thousandth."""
        share: float = 10.0 ** (-1.0 - 3.0 * self.safety)
        return share

    @property
    def first_guess_s(self) -> float:
        """Delay before anything is known of the jitter: 10 ms (quick) to 80 ms (safe)."""
        guess: float = 0.010 * 8.0**self.safety
        return guess


class Receiver:
    """The memory of a receiver, with views of the arrays that callers use.

    ``settings`` are other words of :mod:`plc_kernels.receive.layout` than the delay's, by number.

    Attributes
    ----------
    block, reals : int64, shape (n,), all of it; float64, shape (m,), its numbers of that type
    parts, inbox, marks, played : arrays of :mod:`plc_kernels.receive.layout`; played is the outbox
    """

    __slots__ = ("block", "inbox", "marks", "parts", "played", "reals")

    def __init__(self, delay: DelayConfig, settings: Mapping[int, int]) -> None:
        header = np.zeros(layout.HEADER, np.int64)
        for word, value in settings.items():
            header[word] = value
        header[layout.MODE] = delay.mode
        header[layout.BINS] = math.ceil(delay.max_delay_ms / 1000.0 / layout.BIN_S) + 1
        self.block = block = np.zeros(entry.lay_out(header) // 8, np.int64)
        block[: layout.HEADER] = header
        self.reals = block[layout.REALS : layout.REALS + layout.REAL_WORDS].view(np.float64)
        self.reals[layout.MOST_S] = delay.max_delay_ms / 1000.0
        if delay.mode is not DelayMode.ADAPTIVE:
            self.reals[layout.DELAY_S] = delay.delay_ms / 1000.0
        self.reals[layout.LATE_SHARE] = delay.late_share
        self.reals[layout.GUESS_S] = delay.first_guess_s
        self.parts = layout.TABLE.view(block, layout.PARTS)
        self.inbox = layout.TABLE.view(block, layout.INBOX)
        self.marks = layout.TABLE.view(block, layout.MARKS)
        self.played = layout.TABLE.view(block, layout.OUTBOX)
        entry.forget(block)

    @property
    def begun(self) -> bool:
        """True if the first block has been played."""
        return self.block.item(layout.BEGUN) != 0

    @property
    def units(self) -> int:
        """Units that are here."""
        return self.block.item(layout.COUNT)

    @property
    def buffered_samples(self) -> int:
        """Samples from the next block to the newest unit's end."""
        return int(entry.waiting(self.block))

    @property
    def made_up_samples(self) -> int:
        """Samples that were lost, or too late, so far."""
        return self.block.item(layout.LOST_SAMPLES) + self.block.item(layout.LATE_SAMPLES)

    @property
    def target_s(self) -> float:
        """The delay that is aimed for, above that of a unit which nothing holds up."""
        return self.reals.item(layout.TARGET_S)

    @property
    def played_delay_s(self) -> float:
        """The delay of the block that was played last, with lookahead."""
        return self.reals.item(layout.WAITED_S)

    @property
    def step(self) -> float:
        """Samples of the line for each that is played next."""
        return 1.0 + self.reals.item(layout.STRETCH)

    def play(self, now_s: float) -> bool:
        """Play the next block, as ``played``; False: one is to be pulled first."""
        return bool(entry.play(self.block, now_s) == layout.READY)

    def append(self) -> None:
        """Append the block of ``inbox`` to the line; none is after WAIT."""
        entry.append(self.block)

    def hurry(self) -> None:
        """Let the next pull cut the excess delay after a standstill."""
        entry.hurry(self.block)


def _run_receiver() -> None:
    settings = {
        **{layout.RATE: 8000, layout.BLOCK_SAMPLES: 160, layout.CHANNELS: 1, layout.ROOM: 16},
        **{layout.NUMBERED: 1, layout.NUMBER_BITS: 16, layout.STAMP_BITS: 32, layout.PATHS: 1},
    }
    line = Receiver(DelayConfig(), settings).block
    entry.begin_row(line, 0, 0, 0.0)
    entry.take(line, 0, 0, 160, 0.0)
    entry.arrive(line, 1, 160, 160, 0.0)
    entry.take_copy(line, 0, 0, 160, 160)
    entry.pass_over(line, 1)
    entry.play(line, 1.0)
    entry.pull(line, 1.0)
    entry.known_behind(line, 160)
    for ask in (entry.append, entry.waiting, entry.ready, entry.hurry, entry.clear):
        ask(line)
    entry.stands_alone(line, 0, 1)
    entry.leave_out(line, 160)
    entry.rest(line, 160)


warm_receiver = warm.of(entry.KERNELS, _run_receiver, functions=50)
"""The warm-up of receivers."""
