"""Send a recording through a lossy RTP pipeline of GStreamer, concealed by plcconceal.

Once, in the environment of plc: plc gstreamer install. Then, by GStreamer's own Python:

/usr/bin/python3 examples/gstreamer_rtp.py clean.wav heard.wav --loss 0.1
"""

import argparse
import json
from pathlib import Path
from typing import Any

import gi

gi.require_version("Gst", "1.0")
from gi.repository import Gst  # noqa: E402

# identity sync=true sends in real time, the other one loses; rtpjitterbuffer tells plcconceal,
# behind the depayloader, of what did not come.
PIPELINE = """
filesrc name=source ! decodebin ! audioconvert ! audioresample
  ! audio/x-raw,format=S16BE,rate=48000,channels=1
  ! rtpL16pay min-ptime=10000000 max-ptime=10000000 ! identity sync=true
  ! identity name=network
  ! rtpjitterbuffer latency=60 do-lost=true ! rtpL16depay ! audioconvert
  ! plcconceal name=concealer ! wavenc ! filesink name=target
"""


def main() -> None:
    """Build the pipeline, run it to the end, and print what was concealed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--loss", type=float, default=0.1, help="share of the packets, 0 to 1")
    given = parser.parse_args()
    if given.target.exists():
        parser.error(f"{given.target} exists; name a new file")

    Gst.init(None)
    try:
        pipeline = Gst.parse_launch(PIPELINE)
    except gi.repository.GLib.Error as error:
        raise SystemExit(f"{error.message}; plc gstreamer check says what is missing") from None
    pipeline.get_by_name("source").set_property("location", str(given.source))
    pipeline.get_by_name("network").set_property("drop-probability", given.loss)
    pipeline.get_by_name("target").set_property("location", str(given.target))
    pipeline.set_state(Gst.State.PLAYING)
    try:
        print(json.dumps(counters_of(pipeline)))
    finally:
        pipeline.set_state(Gst.State.NULL)


def counters_of(pipeline: Any) -> dict[str, int]:
    """Wait for the end of a pipeline; return what plcconceal counted."""
    counted: dict[str, int] = {}
    wanted = Gst.MessageType.ERROR | Gst.MessageType.EOS | Gst.MessageType.ELEMENT
    while True:
        message = pipeline.get_bus().timed_pop_filtered(Gst.CLOCK_TIME_NONE, wanted)
        if message.type == Gst.MessageType.EOS:
            return counted
        if message.type == Gst.MessageType.ERROR:
            raise SystemExit(message.parse_error()[0].message)
        structure = message.get_structure()
        if structure.get_name() == "plcconceal":
            for name in ("packets", "lost-packets", "concealed-samples"):
                counted[name] = structure.get_uint64(name)[1]


if __name__ == "__main__":
    main()
