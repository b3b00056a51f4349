"""What serves an operator of streams: control, events, metrics, recordings, systemd."""
