"""The relay: lossy RTP in, whole RTP or recordings out."""
