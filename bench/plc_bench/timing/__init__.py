"""Time that concealment takes: latency, throughput, accelerators."""
