"""Conceal one live stream.

Packets come in, some of them lost; as many samples go out.
"""
