"""Time that concealment takes: latency, many streams, accelerators."""
