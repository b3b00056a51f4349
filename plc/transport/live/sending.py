"""An input device to the network: the half of a live stream that is sent.

::

    input device ─▶ ring ─▶ packets ─▶ encode ─▶ RTP ─▶ to

:class:`NetworkSink` is a state machine with the clock passed in. Beside a stream that is played it
runs in that stream's thread; alone, :func:`run_send` runs it.
"""

import contextlib
import math
import random
import time
from dataclasses import asdict, dataclass
from typing import Any

from plc.ending import stop_signals
from plc.engine.runtime.priority import Priority, Wish
from plc.engine.runtime.threads import Level
from plc.transport.cards.devices import Backend, DevicePort, tend
from plc.transport.live.ends import DeviceSource, LiveStats
from plc.transport.rtp.codecs import check_frame
from plc.transport.rtp.config import ReceiverConfig
from plc.transport.rtp.mismatch import Note, in_words
from plc.transport.rtp.srtp import SrtpSender, check_sealable
from plc.transport.rtp.udp import Endpoint, UdpPort, sending_port

_POLL_S = 0.001
_TEND_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class SendConfig:
    """Settings of a stream that is sent.

    Parameters
    ----------
    device : str
        The input, as for :func:`~plc.transport.cards.devices.find_device`.
    to : Endpoint, where it goes
    dscp : int or None
        What packets are marked with; None: the system's default.
    """

    device: str
    to: Endpoint
    dscp: int | None = None


class NetworkSink:
    """Sends the samples of an input device.

    Parameters
    ----------
    config : SendConfig, where to
    receiver : ReceiverConfig
        Format, codec and payload type: what the other end is to be told.
    source : DevicePort, the device
    port : UdpPort
        Sends; the port where the other direction comes in, if there is one: so a NAT lets it pass.
    stats : LiveStats, where to count

    Raises
    ------
    ConfigError
        If the codec has no such packets.
    NetworkError
        If the host is not found.
    """

    def __init__(
        self,
        config: SendConfig,
        receiver: ReceiverConfig,
        source: DevicePort,
        port: UdpPort,
        stats: LiveStats,
    ) -> None:
        block = receiver.stream.packet_samples
        check_frame(receiver.codec, block)
        ssrc = random.SystemRandom().getrandbits(32)
        self.source = DeviceSource(
            source, receiver.open_codec(), block, stats, ssrc, receiver.payload_type
        )
        self._srtp = None
        if receiver.key is not None:
            stream = receiver.stream
            check_sealable(receiver.codec, stream.sample_rate, stream.channels, block)
            self._srtp = SrtpSender(receiver.key)
        self.to = config.to
        self.packets = 0
        self._port = port
        self._target = port.target(config.to)
        if config.dscp is not None:
            port.mark(config.dscp)

    def step(self, ours_s: float) -> None:
        """Send the packets that are whole."""
        for datagram in self.source.datagrams(ours_s):
            sealed = datagram if self._srtp is None else self._srtp.seal(datagram)
            self._port.send(sealed, self._target)
            self.packets += sealed is not None

    def stop(self) -> None:
        """Send nothing more."""
        self.source.stop()

    def report(self) -> dict[str, Any]:
        """Return the counters by name."""
        return {
            "to": str(self.to),
            "packets_sent": self.packets,
            "failed_sends": self._port.failed_sends,
        }


def run_send(
    config: SendConfig,
    receiver: ReceiverConfig,
    backend: Backend,
    *,
    duration_s: float = math.inf,
    give_up_s: float = math.inf,
    priority: Wish = "normal",
    note: Note = in_words,
) -> dict[str, Any]:
    """Send until SIGTERM, SIGINT or the end of the time; return the counters.

    Parameters
    ----------
    config : SendConfig, from where, and where to
    receiver : ReceiverConfig
        Format, codec and payload type.
    backend : Backend, of the device
    duration_s, give_up_s, priority, note
        As :func:`~plc.transport.live.live.run_live` takes them.

    Raises
    ------
    DeviceError
        If the device is absent at the start, or takes no supported format.
    NetworkError
        If the host is not found.
    """
    stream, stats, clock = receiver.stream, LiveStats(), time.monotonic
    block_s = stream.packet_ms / 1000.0
    device = DevicePort(
        backend, config.device, True, stream.sample_rate, stream.channels, block_s, note
    )
    with (
        contextlib.closing(sending_port(config.to)) as port,
        stop_signals() as signals,
        Priority(priority) as asked,
    ):
        sink = NetworkSink(config, receiver, device, port, stats)
        device.open(clock())
        asked.take(Level.AUDIO)
        try:
            end_s, tended_s = clock() + duration_s, -math.inf
            while not signals and (now_s := clock()) < end_s:
                if now_s - tended_s >= _TEND_S:
                    tended_s = now_s
                    asked.tend()
                    tend(backend, [device], now_s)
                    away_s = device.away_since_s
                    if away_s is not None and now_s - away_s > give_up_s:
                        note("gave_up", after_s=give_up_s)
                        break
                sink.step(now_s)
                time.sleep(_POLL_S)
        finally:
            device.close()
    input_ = {"device": device.name} | asdict(device.stats)
    live = {"captured_packets": stats.captured_packets, "absent_packets": stats.absent_packets}
    return {"live": live, "sent": sink.report(), "devices": {"input": input_}}
