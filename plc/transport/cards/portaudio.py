"""PortAudio, by sounddevice: the only module that knows a sound card.

sounddevice takes a callback of machine code (:func:`plc_kernels.signal.ring.device_callback`),
which needs no Python, and which nothing that holds the interpreter's lock holds up.
"""

import contextlib
import os
import shutil
import subprocess
from dataclasses import dataclass
from typing import Any

from plc.errors import DeviceError, MissingExtraError
from plc.extras import install_command
from plc.transport.cards.card_ring import Ring
from plc.transport.cards.devices import Backend, Device
from plc_kernels.signal.ring import device_callback

_NO_LIBRARY = "PortAudio itself is missing: apt-get install libportaudio2"


class SoundDeviceBackend:
    """PortAudio through sounddevice.

    Raises
    ------
    MissingExtraError
        If sounddevice, or the library beneath it, is not installed.
    """

    name = "sounddevice"

    def __init__(self) -> None:
        try:
            import sounddevice
        except ImportError as error:
            raise MissingExtraError(
                f"plc live needs sounddevice: {install_command('live')} (on Linux also "
                "apt-get install libportaudio2)"
            ) from error
        except OSError as error:
            raise MissingExtraError(_NO_LIBRARY) from error
        self.library: Any = sounddevice

    def devices(self) -> list[Device]:
        """Return the devices known when PortAudio was started."""
        try:
            apis = self.library.query_hostapis()
            found = self.library.query_devices()
        except self.library.PortAudioError as error:
            raise DeviceError(f"PortAudio cannot list devices: {error}") from error
        default_input, default_output = self.library.default.device
        return [
            Device(
                backend=self.name,
                index=number,
                name=each["name"],
                host_api=apis[each["hostapi"]]["name"],
                inputs=each["max_input_channels"],
                outputs=each["max_output_channels"],
                sample_rate=round(each["default_samplerate"]),
                is_default_input=number == default_input,
                is_default_output=number == default_output,
            )
            for number, each in enumerate(found)
        ]

    def takes(self, device: Device, is_input: bool, sample_rate: int, channels: int) -> bool:
        """Ask PortAudio."""
        check = (
            self.library.check_input_settings if is_input else self.library.check_output_settings
        )
        try:
            check(device=device.index, channels=channels, dtype="float32", samplerate=sample_rate)
        except (self.library.PortAudioError, ValueError):
            return False
        return True

    def open(
        self, device: Device, is_input: bool, sample_rate: int, block: int, ring: Ring
    ) -> "_SoundDeviceStream":
        """Open a stream with a callback in machine code."""
        try:
            return _SoundDeviceStream(self.library, device, is_input, sample_rate, block, ring)
        except (self.library.PortAudioError, ValueError) as error:
            raise DeviceError(f"cannot open {device.name}: {error}") from error

    def refresh(self) -> None:
        """Start PortAudio anew."""
        with contextlib.suppress(self.library.PortAudioError):
            self.library._terminate()
        try:
            self.library._initialize()
        except self.library.PortAudioError as error:
            raise DeviceError(f"PortAudio does not start: {error}") from error


class _SoundDeviceStream:
    def __init__(
        self,
        library: Any,
        device: Device,
        is_input: bool,
        sample_rate: int,
        block: int,
        ring: Ring,
    ) -> None:
        ffi = library._ffi
        self._error = library.PortAudioError
        self.ring = ring
        self.sample_rate = sample_rate
        self.channels = ring.channels
        # _StreamBase is there for libraries with callbacks of their own; its text says so.
        self._stream = library._StreamBase(
            "input" if is_input else "output",
            samplerate=sample_rate,
            blocksize=block,
            device=device.index,
            channels=ring.channels,
            dtype="float32",
            latency="low",
            callback=ffi.cast("PaStreamCallback *", device_callback(is_input)),
            userdata=ffi.cast("void *", ring.address),
        )
        self.latency_s = float(self._stream.latency)
        try:
            self._stream.start()
        except BaseException:
            self.close()
            raise

    @property
    def active(self) -> bool:
        """As PortAudio says."""
        try:
            return bool(self._stream.active)
        except self._error:
            return False

    def close(self) -> None:
        """Close it, playing or not: its device may be gone."""
        with contextlib.suppress(self._error):
            self._stream.abort()
        with contextlib.suppress(self._error):
            self._stream.close()


def open_backend() -> Backend:
    """Return PortAudio as a back end.

    Raises
    ------
    MissingExtraError
        If its library is not installed; the message says how it is.
    """
    return SoundDeviceBackend()


_ASK_S = 2.0
_NAMES_MAX = 64


@dataclass(frozen=True, slots=True)
class SoundServer:
    """Names of a sound server's ends.

    Attributes
    ----------
    sources, sinks : tuple of str
        Inputs and outputs, as ``PULSE_SOURCE`` and ``PULSE_SINK`` take them.
    """

    sources: tuple[str, ...]
    sinks: tuple[str, ...]


def ask_sound_server() -> SoundServer | None:
    """Return the devices of the user's sound server, which PortAudio shows as one.

    By ``pactl``, which PulseAudio and PipeWire have; None without an answer.
    """
    pactl = shutil.which("pactl")
    if pactl is None:
        return None
    sources, sinks = _names(pactl, "sources"), _names(pactl, "sinks")
    return None if sources is None or sinks is None else SoundServer(sources, sinks)


def _names(pactl: str, kind: str) -> tuple[str, ...] | None:
    """Return the names of one kind: the second column of its list."""
    try:
        done = subprocess.run(
            [pactl, "list", "short", kind],
            capture_output=True,
            timeout=_ASK_S,
            check=True,
            stdin=subprocess.DEVNULL,
            env=os.environ | {"LC_ALL": "C"},
        )
    except (OSError, subprocess.SubprocessError):
        return None
    rows = [line.split("\t") for line in done.stdout.decode(errors="replace").splitlines()]
    return tuple(row[1] for row in rows if len(row) > 1)[:_NAMES_MAX]
