"""Push a stream of packets and gaps through ``plcconceal``; run by GStreamer's own Python.

``gstreamer_probe.py SPEC.json``: the spec names the caps, the properties, the files, and the steps:
``["buffer", begin, end, pts]`` bytes of the input, ``["gap", pts, duration]``, ``["caps", text]``,
``["flush"]``, ``["eos"]``. What comes out is written to the output file and, as JSON, to stdout.
"""

import json
import sys
from pathlib import Path
from typing import Any

import gi

gi.require_version("Gst", "1.0")
from gi.repository import Gst  # noqa: E402

Gst.init(None)
spec = json.loads(Path(sys.argv[1]).read_text())
data = Path(spec["input"]).read_bytes()
played = bytearray()
buffers: list[Any] = []
events: list[Any] = []
messages: list[Any] = []


def chain(pad: Any, parent: Any, buffer: Any, *_: Any) -> Any:
    """Keep what is played."""
    content = buffer.extract_dup(0, buffer.get_size())
    played.extend(content)
    buffers.append([buffer.pts, buffer.duration, len(content)])
    return Gst.FlowReturn.OK


def event(pad: Any, parent: Any, event: Any, *_: Any) -> bool:
    """Keep what kind of event came."""
    name = Gst.EventType.get_name(event.type)
    events.append([name, *event.parse_gap()] if name == "gap" else [name])
    return True


def query(pad: Any, parent: Any, query: Any, *_: Any) -> Any:
    """Say what a live source with 20 ms of latency says."""
    if query.type != Gst.QueryType.LATENCY:
        return pad.query_default(parent, query)
    query.set_latency(True, 20 * Gst.MSECOND, Gst.CLOCK_TIME_NONE)
    return True


element = Gst.ElementFactory.make("plcconceal")
assert element is not None, "there is no plcconceal"
for name, value in spec.get("properties", {}).items():
    element.set_property(name, value)
bus = Gst.Bus.new()
element.set_bus(bus)
source, sink = (
    Gst.Pad.new_from_template(
        Gst.PadTemplate.new(name, direction, Gst.PadPresence.ALWAYS, Gst.Caps.new_any()), name
    )
    for name, direction in (("source", Gst.PadDirection.SRC), ("sink", Gst.PadDirection.SINK))
)
sink.set_chain_function_full(chain)
sink.set_event_function_full(event)
source.set_query_function_full(query)
assert source.link(element.get_static_pad("sink")) == Gst.PadLinkReturn.OK
assert element.get_static_pad("src").link(sink) == Gst.PadLinkReturn.OK
for pad in (source, sink):
    pad.set_active(True)
changed = element.set_state(Gst.State.PLAYING)
source.push_event(Gst.Event.new_stream_start("probe"))


def send_caps(text: str) -> bool:
    """Say what the buffers are, and when they begin."""
    taken: bool = source.push_event(Gst.Event.new_caps(Gst.Caps.from_string(text)))
    segment = Gst.Segment.new()
    segment.init(Gst.Format.TIME)
    source.push_event(Gst.Event.new_segment(segment))
    return taken


results: list[Any] = [bool(send_caps(spec["caps"]))]
for kind, *given in spec["steps"]:
    if kind == "buffer":
        begin, end, pts = given
        buffer = Gst.Buffer.new_wrapped(data[begin:end])
        if pts is not None:
            buffer.pts = pts
        results.append(source.push(buffer).value_nick)
    elif kind == "gap":
        pts, duration = given
        lasting = Gst.CLOCK_TIME_NONE if duration is None else duration
        results.append(source.push_event(Gst.Event.new_gap(pts, lasting)))
    elif kind == "caps":
        results.append(send_caps(given[0]))
    elif kind == "flush":
        source.push_event(Gst.Event.new_flush_start())
        results.append(source.push_event(Gst.Event.new_flush_stop(False)))
        send_caps(spec["caps"])
    else:
        results.append(source.push_event(Gst.Event.new_eos()))
counters = element.get_property("stats")
latency = Gst.Query.new_latency()
assert element.get_static_pad("src").query(latency)
while (message := bus.pop()) is not None:
    if message.type == Gst.MessageType.ERROR:
        messages.append(["error", message.parse_error()[0].message])
    elif message.type == Gst.MessageType.ELEMENT:
        structure = message.get_structure()
        messages.append([structure.get_name(), structure.get_uint64("concealed-samples")[1]])
    elif message.type == Gst.MessageType.LATENCY:
        messages.append(["latency"])
element.set_state(Gst.State.NULL)
Path(spec["output"]).write_bytes(bytes(played))
print(
    json.dumps(
        {
            "state": changed.value_nick,
            "results": results,
            "buffers": buffers,
            "events": events,
            "messages": messages,
            "latency_ms": latency.parse_latency()[1] / Gst.MSECOND,
            "concealed": counters.get_uint64("concealed-samples")[1],
        }
    )
)
