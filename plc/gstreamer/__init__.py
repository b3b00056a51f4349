"""``plcconceal``, an element for GStreamer pipelines that fills what a jitter buffer says is lost.

:mod:`~plc.gstreamer.timeline` cuts buffers and gaps into packets, and knows no GStreamer;
:mod:`~plc.gstreamer.element` is the element, loaded by GStreamer's own Python;
:mod:`~plc.gstreamer.install` puts a file where GStreamer finds it.
"""
