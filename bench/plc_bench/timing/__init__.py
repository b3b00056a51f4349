"""How long concealment takes: latency, throughput, accelerators."""
