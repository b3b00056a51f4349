"""The element ``plcconceal``. GStreamer's Python loads it; the rest of the package never does.

``sink`` takes and ``src`` gives ``audio/x-raw``, float32 or int16, interleaved. Every GAP event,
which is what ``rtpjitterbuffer do-lost=true`` and a depayloader make of a lost packet, becomes a
buffer; received buffers pass. At the end of the stream, and every ``stats-interval`` ms of it, an
element message ``plcconceal`` is posted.
"""

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import gi

gi.require_version("Gst", "1.0")
from gi.repository import GLib, GObject, Gst  # noqa: E402

if TYPE_CHECKING:
    from plc.embed.gstreamer.timeline import BufferTimeline, Piece

CAPS = Gst.Caps.from_string(
    "audio/x-raw, format=(string){F32LE, S16LE}, layout=(string)interleaved, "
    "rate=(int)[8000, 192000], channels=(int)[1, 8]"
)
NAME = "plcconceal"
# What the message and the property say, of plc.Stats.
COUNTERS = (
    "total_samples_received",
    "concealed_samples",
    "silent_concealed_samples",
    "concealment_events",
    "packets",
    "lost_packets",
    "invalid_packets",
    "detected_dropouts",
    "deadline_misses",
    "longest_burst_samples",
)


class PlcConceal(Gst.Element):  # type: ignore[misc]  # gi has no types
    """Conceal the lost packets of an audio stream."""

    __gtype_name__ = "PlcConceal"
    __gstmetadata__ = (
        "Packet-loss concealer",
        "Filter/Effect/Audio",
        "Fill gaps of music and speech by linear prediction and networks",
        "The plc authors",
    )
    __gsttemplates__ = (
        Gst.PadTemplate.new("sink", Gst.PadDirection.SINK, Gst.PadPresence.ALWAYS, CAPS),
        Gst.PadTemplate.new("src", Gst.PadDirection.SRC, Gst.PadPresence.ALWAYS, CAPS),
    )

    method = GObject.Property(type=str, default="auto", nick="Method", blurb="How to conceal")
    model = GObject.Property(
        type=str, default="auto", nick="Model", blurb="Network: auto, ar (none), a name or a path"
    )
    content = GObject.Property(
        type=str,
        default="auto",
        nick="Content",
        blurb="What plays, if you know it: auto (heard from the sound), music or speech",
    )
    lookahead = GObject.Property(
        type=int,
        default=0,
        minimum=0,
        maximum=2000,
        nick="Lookahead",
        blurb="Packets to wait for the far side of a gap",
    )
    budget_ms = GObject.Property(
        type=float,
        default=0.0,
        minimum=0.0,
        maximum=1e9,
        nick="Budget",
        blurb="Time that concealing a packet may take, in ms; 0: a quarter of the packet",
    )
    detect_dropouts = GObject.Property(
        type=bool,
        default=False,
        nick="Detect dropouts",
        blurb="Also conceal cut-off, stuck or repeated sound inside received buffers",
    )
    stats_interval = GObject.Property(
        type=int,
        default=0,
        minimum=0,
        maximum=3_600_000,
        nick="Interval of the statistics",
        blurb="Post a message after so many ms of audio; 0: only at the end",
    )

    def __init__(self) -> None:
        super().__init__()
        self._timeline: BufferTimeline | None = None
        self._frame_bytes = 0
        self._rate = 0
        self._posted = 0
        self.sinkpad = Gst.Pad.new_from_template(self.__gsttemplates__[0], "sink")
        self.sinkpad.set_chain_function_full(self._chain)
        self.sinkpad.set_event_function_full(self._sink_event)
        self.sinkpad.set_query_function_full(self._query)
        self.add_pad(self.sinkpad)
        self.srcpad = Gst.Pad.new_from_template(self.__gsttemplates__[1], "src")
        self.srcpad.set_query_function_full(self._query)
        self.add_pad(self.srcpad)

    def _stats(self) -> Any:
        structure = Gst.Structure.new_empty(NAME)
        timeline = self._timeline
        stream = timeline.stream if timeline else None
        for name in COUNTERS:
            value = getattr(stream.concealer.stats, name) if stream else 0
            structure.set_value(name.replace("_", "-"), GObject.Value(GObject.TYPE_UINT64, value))
        if stream:
            for name in ("good_time", "concealed_time"):
                times = getattr(stream.concealer.stats, name)
                structure.set_value(name.replace("_", "-") + "-p99-ms", times.percentile_ms(99.0))
        return structure

    stats = GObject.Property(
        type=Gst.Structure,
        flags=GObject.ParamFlags.READABLE,
        getter=_stats,
        nick="Statistics",
        blurb="Counters of the stream",
    )

    def do_change_state(self, transition: Any) -> Any:
        """Compile and load before there is any audio; forget the stream after."""
        if transition == Gst.StateChange.NULL_TO_READY:
            try:
                from plc.embed.stream import EmbeddedConfig, prepare
                from plc.engine.config import StreamConfig
                from plc.engine.warm import warm_up

                warm_up()
                stream = StreamConfig(method=self.method, model=self.model, content=self.content)
                prepare(EmbeddedConfig(stream=stream))
            except Exception as error:
                self._fail(error)
                return Gst.StateChangeReturn.FAILURE
        result = Gst.Element.do_change_state(self, transition)
        if transition == Gst.StateChange.PAUSED_TO_READY:
            self._close()
        return result

    def _chain(self, pad: Any, parent: Any, buffer: Any, *_: Any) -> Any:
        timeline = self._timeline
        if timeline is None:
            return Gst.FlowReturn.NOT_NEGOTIATED
        from plc.embed.stream import as_packet

        opening = timeline.stream is None
        taken, info = buffer.map(Gst.MapFlags.READ)
        if not taken:
            return Gst.FlowReturn.ERROR
        try:
            usable = info.size - info.size % self._frame_bytes
            samples = as_packet(memoryview(info.data)[:usable], self._config)
            latency = timeline.latency_ns
            pieces = timeline.take(samples, _stamp(buffer.pts))
        except Exception as error:
            self._fail(error)
            return Gst.FlowReturn.ERROR
        finally:
            buffer.unmap(info)
        if opening or timeline.latency_ns != latency:
            self.post_message(Gst.Message.new_latency(self))
        whole = len(pieces) == 1 and pieces[0].samples.nbytes == buffer.get_size()
        if whole and not pieces[0].flags and not timeline.latency_ns:
            flow = self.srcpad.push(buffer)  # as it came: nothing was made up, nothing is held
        else:
            flow = self._push(pieces, buffer.has_flags(Gst.BufferFlags.DISCONT))
        self._report_now_and_then(timeline)
        return flow

    def _sink_event(self, pad: Any, parent: Any, event: Any, *_: Any) -> Any:
        kind = event.type
        timeline = self._timeline
        if kind == Gst.EventType.GAP and timeline is not None:
            return self._gap(timeline, event)
        if kind in (Gst.EventType.EOS, Gst.EventType.SEGMENT, Gst.EventType.CAPS) and timeline:
            self._push(timeline.drain())
        if kind == Gst.EventType.EOS:
            self._report()
        elif kind == Gst.EventType.FLUSH_STOP and timeline:
            timeline.drain()
        elif kind == Gst.EventType.CAPS:
            # What a pad does by default with any event, it does not do with this one.
            return self._open(event.parse_caps()) and self.srcpad.push_event(event)
        return pad.event_default(parent, event)

    def _gap(self, timeline: "BufferTimeline", event: Any) -> bool:
        pts, duration = event.parse_gap()
        try:
            pieces, left = timeline.miss(_stamp(duration), _stamp(pts))
        except Exception as error:
            self._fail(error)
            return False
        flow = self._push(pieces)
        if left and pts != Gst.CLOCK_TIME_NONE:
            begin = pts if timeline.stream is None else pts + max(0, duration - left)
            if begin < Gst.CLOCK_TIME_NONE:
                self.srcpad.push_event(Gst.Event.new_gap(begin, left))
        self._report_now_and_then(timeline)
        return flow in (Gst.FlowReturn.OK, Gst.FlowReturn.FLUSHING, Gst.FlowReturn.EOS)

    def _query(self, pad: Any, parent: Any, query: Any, *_: Any) -> Any:
        if query.type == Gst.QueryType.CAPS:
            return pad.proxy_query_caps(query)
        if query.type == Gst.QueryType.ACCEPT_CAPS:
            return pad.proxy_query_accept_caps(query)
        if query.type == Gst.QueryType.LATENCY and pad == self.srcpad:
            answered = self.sinkpad.peer_query(query)
            if answered and self._timeline is not None:
                live, least, most = query.parse_latency()
                more = self._timeline.latency_ns
                bounded = most if most == Gst.CLOCK_TIME_NONE else most + more
                query.set_latency(live, least + more, bounded)
            return answered
        return pad.query_default(parent, query)

    def _open(self, caps: Any) -> bool:
        """Begin a stream of these caps; its first buffer says how long a packet is."""
        structure = caps.get_structure(0)
        _, self._rate = structure.get_int("rate")
        _, channels = structure.get_int("channels")
        try:
            from plc.embed.gstreamer.timeline import BufferTimeline, shortest_packet
            from plc.embed.stream import EmbeddedConfig, Format
            from plc.engine.config import StreamConfig

            small = structure.get_string("format") == "S16LE"
            stream = StreamConfig(
                sample_rate=self._rate,
                channels=channels,
                packet_samples=shortest_packet(self._rate),  # allows the deepest lookahead
                lookahead=self.lookahead,
                budget_ms=self.budget_ms or None,
                method=self.method,
                model=self.model,
                content=self.content,
                detect_dropouts=self.detect_dropouts,
            )
            self._config = EmbeddedConfig(
                stream=stream, format=Format.INT16 if small else Format.FLOAT32
            )
            self._frame_bytes = self._config.format.dtype.itemsize * channels
            self._close()
            self._timeline = BufferTimeline(self._config)
        except Exception as error:
            self._fail(error)
            return False
        return True

    def _close(self) -> None:
        if self._timeline is not None:
            self._timeline.close()
            self._timeline = None
        self._posted = 0

    def _push(self, pieces: "Sequence[Piece]", discont: bool = False) -> Any:
        flow = Gst.FlowReturn.OK
        for piece in pieces:
            buffer = Gst.Buffer.new_wrapped(piece.samples.tobytes())
            if piece.pts is not None:
                buffer.pts = piece.pts
            buffer.duration = len(piece.samples) * Gst.SECOND // self._rate
            if discont:
                buffer.set_flags(Gst.BufferFlags.DISCONT)
                discont = False
            flow = self.srcpad.push(buffer)
            if flow != Gst.FlowReturn.OK:
                break
        return flow

    def _report_now_and_then(self, timeline: "BufferTimeline") -> None:
        stream = timeline.stream
        if not self.stats_interval or stream is None:
            return
        played = stream.concealer.stats.total_samples_received
        if played - self._posted >= self.stats_interval * self._rate / 1000:
            self._posted = played
            self._report()

    def _report(self) -> None:
        self.post_message(Gst.Message.new_element(self, self.stats))

    def _fail(self, error: Exception) -> None:
        text = f"{NAME}: {error}"
        where = f"{type(error).__name__} in process {os.getpid()}, Python {sys.version.split()[0]}"
        fault = GLib.Error.new_literal(Gst.StreamError.quark(), text, int(Gst.StreamError.FAILED))
        self.post_message(Gst.Message.new_error(self, fault, where))


def _stamp(time: int) -> int | None:
    return None if time == Gst.CLOCK_TIME_NONE else time


GObject.type_register(PlcConceal)
__gstelementfactory__ = (NAME, Gst.Rank.NONE, PlcConceal)
