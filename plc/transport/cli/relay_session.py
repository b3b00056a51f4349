"""Serve a relay's operator: events, metrics, health, control, a view, systemd.

The relay's watch thread looks here once a second; requests by the control socket come in a thread
of their own.
"""

import os
import socket
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plc.cli.output import say
from plc.transport.cli.watch import Watch

if TYPE_CHECKING:
    from plc.transport.relay.keeper import RelayKeeper
    from plc.transport.relay.relay import Lane, Relay
    from plc.transport.relay.relayed import RelayConfig
    from plc.transport.rtp.playout import Playout
    from plc.transport.rtp.sdp import AudioMedia


class RelaySession:
    """Serves a relay's operator until closed.

    Parameters
    ----------
    file : Path or None
        The streams' file, to be read again at SIGHUP or on request.
    control : Path or None
        Where the control socket is to be.
    metrics : str or None
        Address at which to serve metrics and the health.
    log_json : bool
        Whether to write every event to stderr.
    overwrite : bool, whether streams may replace files
    """

    def __init__(
        self,
        file: Path | None,
        control: Path | None,
        metrics: str | None,
        *,
        log_json: bool,
        overwrite: bool,
    ) -> None:
        self._file = file
        self._control = control
        self._overwrite = overwrite
        self._opened = ExitStack()
        self._watch = self._opened.enter_context(closing(Watch(metrics, log_json)))
        self._shown = sys.stderr.isatty() and not log_json
        self._show: Callable[[Relay], None] | None = None
        self._keeper: RelayKeeper | None = None
        self._hangups: list[None] = []
        self._is_ready = False
        self._playouts: dict[str, Playout] = {}
        self.note = self._watch.note

    @property
    def changes(self) -> bool:
        """True if streams may come and go while it runs."""
        return self._file is not None or self._control is not None

    def check(self, configs: "Sequence[RelayConfig]") -> None:
        """Refuse streams into files that are there already."""
        from plc.transport.service.recorder import RecordingFile
        from plc.whole_files import check_new

        for config in configs:
            if isinstance(config.to, RecordingFile):
                check_new(config.to.path, self._overwrite)

    def begin(self, relay: "Relay") -> None:
        """Begin with a relay whose ports are open."""
        from plc.transport.relay.keeper import RelayKeeper

        self._keeper = RelayKeeper(
            relay, self._begin_lane, self._watch.end, lambda config: self.check([config])
        )
        for lane in relay.lanes:
            self._begin_lane(lane)
        self._watch.serve_health(self._keeper.health)
        if self._control is not None:
            self._serve_control(self._control)
        if self._shown:
            from plc.transport.relay.view import open_relay_view

            self._show = self._opened.enter_context(open_relay_view(sys.stderr))

    @staticmethod
    def media(relay: "Relay") -> "list[AudioMedia]":
        """Return descriptions of the streams that a relay sends to hosts."""
        from plc.transport.rtp.sdp import media_of
        from plc.transport.rtp.udp import Endpoint

        return [
            media_of(each.packetizer, to, each.playout.block, each.config.receiver.key)
            for each in relay.streams
            if isinstance(to := each.config.to, Endpoint)
        ]

    def _serve_control(self, path: Path) -> None:
        from plc.transport.cli.streams import stream_of
        from plc.transport.service.control import ControlServer

        keeper = self._keeper
        assert keeper is not None

        def add(request: dict[str, Any]) -> str:
            table = request.get("stream")
            config = stream_of(table if isinstance(table, dict) else {})
            return keeper.add(config)

        handlers = {
            "list": lambda _: keeper.listing(),
            "add": add,
            "remove": lambda request: keeper.remove(str(request.get("name"))),
            "reload": lambda _: self.reload(),
        }
        self._opened.enter_context(closing(ControlServer(path, handlers)))
        say(f"plc: control at {path}", err=True)

    def _begin_lane(self, lane: "Lane") -> None:
        to = lane.config.to
        called = f"{lane.config.name}: " if lane.config.name else ""
        ends = ",".join(str(port.endpoint) for port in lane.ports[: len(lane.stream.paths)])
        say(f"plc: {called}{ends} -> {to} ({lane.config.receiver.codec})", err=True)
        self._watch_stream(lane)

    def _watch_stream(self, lane: "Lane") -> None:
        from plc.transport.metrics import relay_samples

        name, stream = lane.name, lane.stream
        self._playouts[name] = stream.playout
        self._watch.begin(name, stream.playout, partial(relay_samples, name, stream))

    def hang_up(self) -> None:
        """Ask for the file to be read again, from a signal's handler."""
        self._hangups.append(None)

    def look(self, relay: "Relay") -> None:
        """Do the tasks of each second."""
        if relay.serving.is_set() and not self._is_ready:
            self._is_ready = True
            notify("READY=1", f"STATUS={len(relay.lanes)} streams")
        for lane in relay.lanes:
            if self._playouts.get(lane.name) is not lane.stream.playout:
                self._watch_stream(lane)  # its recording has begun anew
        self._watch.look()
        if self._show is not None:
            self._show(relay)
        if self._hangups:
            self._hangups.clear()
            reloading()
            self._reload_after_hangup()
            notify("READY=1", f"STATUS={len(relay.lanes)} streams")
        assert self._keeper is not None
        if self._keeper.health()[0]:
            notify("WATCHDOG=1")

    def _reload_after_hangup(self) -> None:
        from plc.errors import PlcError, in_a_line
        from plc.transport.cli.streams import in_words

        try:
            done = self.reload()
        except PlcError as error:
            self.note("reload_failed", says=in_a_line(error))
        else:
            self.note("reloaded", says=f"{self._file}: {in_words(done)}", **done)

    def reload(self) -> dict[str, Any]:
        """Read the file again; return the outcome for each stream.

        Raises
        ------
        ConfigError
            If there is none, or it is wrong; nothing is changed then.
        """
        from plc.errors import ConfigError
        from plc.transport.cli.streams import read_relay_file

        if self._file is None:
            raise ConfigError("the relay has no file to read again; start it with --config FILE")
        assert self._keeper is not None
        return self._keeper.replace(read_relay_file(self._file).streams)

    def close(self) -> None:
        """End the operator's services."""
        notify("STOPPING=1")
        self._opened.close()


def notify(*states: str) -> bool:
    """Send states, such as ``READY=1``, to systemd (sd_notify(3)); return whether they were taken.

    By a datagram to the socket that ``NOTIFY_SOCKET`` names; without one nothing is sent.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address or not hasattr(socket, "AF_UNIX"):
        return False
    if address.startswith("@"):  # a name without a file (unix(7))
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.connect(address)
            sender.send("\n".join(states).encode())
    except OSError:
        return False
    return True


def reloading() -> bool:
    """Send systemd that settings are read again, until the next ``READY=1``."""
    now_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000 if os.name == "posix" else 0
    return notify("RELOADING=1", f"MONOTONIC_USEC={now_us}")
