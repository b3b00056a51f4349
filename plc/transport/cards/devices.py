"""Sound cards, for any library: list, find by name, keep open.

A :class:`Backend` lists devices and opens streams; :mod:`plc.transport.cards.portaudio` has the
real ones. A stream fills or empties a :class:`~plc.transport.cards.card_ring.Ring` by itself.
:class:`DevicePort` keeps one open: a device that was unplugged, or whose server was restarted, is
opened anew as soon as it is back, after pauses that grow from a quarter of a second to four.
"""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from plc.errors import DeviceError
from plc.transport.cards.card_ring import Ring

COMMON_RATES = (8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000, 192_000)

# An open device that has not called for this long is lost. Servers take a second to start, and
# PulseAudio was seen to stop for more than that when another program began to listen.
_STALLED_S = 2.5
_STARTING_S = 4.0
_FIRST_PAUSE_S = 0.25
_LONGEST_PAUSE_S = 4.0
# What a ring holds: far more than is ever kept in it, or is there after a stall of the process.
_RING_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A sound card, real or of a sound server."""

    backend: str
    index: int
    name: str
    host_api: str
    inputs: int
    """Channels that it records at most; 0: none."""
    outputs: int
    sample_rate: int
    """The one it runs at if nothing else is asked for."""
    is_default_input: bool = False
    is_default_output: bool = False


class DeviceStream(Protocol):
    """An open device, one direction."""

    ring: Ring
    sample_rate: int
    channels: int
    latency_s: float
    """What the library says of the device's own delay."""

    @property
    def active(self) -> bool:
        """True if it still runs, as far as the library knows."""

    def close(self) -> None:
        """Close it; never raises."""


class Backend(Protocol):
    """A library that opens sound cards."""

    name: str

    def devices(self) -> list[Device]:
        """Return the devices, as of the last start or refresh."""

    def takes(self, device: Device, is_input: bool, sample_rate: int, channels: int) -> bool:
        """Return whether the device can be opened like that."""

    def open(
        self, device: Device, is_input: bool, sample_rate: int, block: int, ring: Ring
    ) -> DeviceStream:
        """Open a device and start it; raise DeviceError if that is not possible."""

    def refresh(self) -> None:
        """Look for devices again; no stream may be open."""


def find_device(devices: Sequence[Device], text: str, is_input: bool) -> Device:
    """Return the device of a number, (partial) name, or ``default``.

    Raises
    ------
    DeviceError
        If there is none of that direction, or more than one; the message lists those there are.
    """
    fitting = [each for each in devices if (each.inputs if is_input else each.outputs)]
    what = "input" if is_input else "output"
    if not fitting:
        raise DeviceError(
            f"there is no {what} device; plug one in, start the sound server (see plc devices), or "
            f"name a recording: --{'in' if is_input else 'out'} FILE.wav"
        )
    wanted = text.strip().lower()
    if wanted == "default":
        defaults = [
            each
            for each in fitting
            if (each.is_default_input if is_input else each.is_default_output)
        ]
        return (defaults or fitting)[0]
    for matches in (
        [each for each in fitting if str(each.index) == wanted],
        [each for each in fitting if each.name.lower() == wanted],
        [each for each in fitting if wanted in each.name.lower()],
    ):
        if len(matches) == 1:
            return matches[0]
        if matches:
            raise DeviceError(
                f"{text!r} is more than one {what}: {_listed(matches)}; give a number"
            )
    raise DeviceError(f"no {what} is called {text!r}; there are {_listed(fitting)}")


def _listed(devices: Sequence[Device]) -> str:
    return ", ".join(f"{each.index} ({each.name})" for each in devices)


@dataclass(slots=True)
class PortStats:
    """Counters of a device."""

    opened: int = 0
    losses: int = 0
    """Times that it went away, or fell silent, while open."""
    failed_opens: int = 0
    breaks: int = 0
    """Callbacks in which it reported samples lost or missing (xruns)."""
    missed_samples: int = 0
    """Of an input: found no room in the ring. Of an output: not there in time, silence instead."""
    passed_samples: int = 0
    callbacks: int = 0


class DevicePort:
    """A device of one direction that is kept open.

    Parameters
    ----------
    backend : Backend, opens it
    name : str, which, as for :func:`find_device`
    is_input : bool, whether it records or plays
    sample_rate, channels : int
        Wanted format; the device's own where it does not take that.
    block_s : float
        What it should take or give at once.
    note : callable, optional
        Told what happens: the name of an event, and its particulars.
    """

    def __init__(
        self,
        backend: Backend,
        name: str,
        is_input: bool,
        sample_rate: int,
        channels: int,
        block_s: float,
        note: Callable[..., None] = lambda event, **particulars: None,
    ) -> None:
        self.name = name
        self.is_input = is_input
        self.stream: DeviceStream | None = None
        self.latest_error = ""
        self._backend = backend
        self._sample_rate = sample_rate
        self._channels = channels
        self._block_s = block_s
        self._note = note
        self._stats = PortStats()
        self._passed = 0
        self._progress_s = 0.0
        self._attempts = 0
        self._next_try_s = 0.0
        self.away_since_s: float | None = None

    @property
    def direction(self) -> str:
        """``input`` or ``output``."""
        return "input" if self.is_input else "output"

    @property
    def stats(self) -> PortStats:
        """All counters."""
        total = PortStats(**{name: getattr(self._stats, name) for name in PortStats.__slots__})
        if self.stream is not None:
            _add(total, self.stream.ring)
        return total

    def open(self, now_s: float) -> None:
        """Open it.

        Raises
        ------
        DeviceError
            If it is absent, or takes no supported format.
        """
        device = find_device(self._backend.devices(), self.name, self.is_input)
        most = device.inputs if self.is_input else device.outputs
        channels = min(self._channels, most)
        rate = self._accepted_rate(device, channels)
        ring = Ring(round(_RING_S * rate), channels)
        block = round(self._block_s * rate)
        self.stream = self._backend.open(device, self.is_input, rate, block, ring)
        self._stats.opened += 1
        self._passed = 0
        self._progress_s = now_s + _STARTING_S - _STALLED_S
        self._attempts = 0
        self.away_since_s = None
        self.latest_error = ""
        self._note(
            "device_opened",
            direction=self.direction,
            device=device.name,
            sample_rate=rate,
            channels=channels,
            latency_ms=1000.0 * self.stream.latency_s,
        )

    def _accepted_rate(self, device: Device, channels: int) -> int:
        for rate in (self._sample_rate, device.sample_rate, 48_000, 44_100):
            if self._backend.takes(device, self.is_input, rate, channels):
                return rate
        taken = [
            rate
            for rate in COMMON_RATES
            if self._backend.takes(device, self.is_input, rate, channels)
        ]
        what = f"{device.name} does not take {self._sample_rate} Hz, {channels} channels, float32"
        if taken:
            return taken[-1]
        raise DeviceError(f"{what}, nor any of {', '.join(map(str, COMMON_RATES))} Hz; is it busy?")

    def watch(self, now_s: float) -> None:
        """Close the device if it is lost."""
        stream = self.stream
        if stream is None:
            return
        if stream.ring.passed != self._passed:
            self._passed = stream.ring.passed
            # Some call at once to fill their buffers and then start: the grace remains.
            self._progress_s = max(self._progress_s, now_s)
        if stream.active and now_s - self._progress_s < _STALLED_S:
            return
        self.close()
        self._stats.losses += 1
        self.away_since_s = now_s
        self._attempts = 0
        self._next_try_s = now_s + _FIRST_PAUSE_S
        self._note("device_lost", direction=self.direction, device=self.name)

    def is_due(self, now_s: float) -> bool:
        """Return whether to try and open it."""
        return self.stream is None and now_s >= self._next_try_s

    def retry(self, now_s: float) -> bool:
        """Try and open it; return whether that was possible."""
        try:
            self.open(now_s)
        except DeviceError as error:
            self.latest_error = str(error)
            self._stats.failed_opens += 1
            self._attempts += 1
            pause_s = min(_FIRST_PAUSE_S * 2.0**self._attempts, _LONGEST_PAUSE_S)
            self._next_try_s = now_s + pause_s
            if self.away_since_s is None:
                self.away_since_s = now_s
            self._note(
                "device_not_opened",
                direction=self.direction,
                device=self.name,
                error=str(error),
                next_try_s=pause_s,
            )
            return False
        return True

    def close(self) -> None:
        """Close the device, if it is open; its counters stay."""
        stream = self.stream
        if stream is None:
            return
        self.stream = None
        stream.close()
        _add(self._stats, stream.ring)


def _add(stats: PortStats, ring: Ring) -> None:
    stats.breaks += ring.breaks
    stats.missed_samples += ring.missed
    stats.passed_samples += ring.passed
    stats.callbacks += ring.callbacks


def tend(backend: Backend, ports: Sequence[DevicePort], now_s: float) -> None:
    """Close lost devices and open due ones; only the library waits.

    Most libraries know only the devices that were there when they were started. They are started
    anew for every other attempt, for which all ports are closed: a break in the direction that
    still runs, worth it only because the other one has none at all.
    """
    for port in ports:
        port.watch(now_s)
    for port in ports:
        if not port.is_due(now_s) or port.retry(now_s):
            continue
        others = [other for other in ports if other.stream is not None]
        for other in others:
            other.close()
        with contextlib.suppress(DeviceError):
            backend.refresh()
        for other in others:
            other.retry(now_s)
