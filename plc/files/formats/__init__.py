"""Formats of audio files, damaged ones too: their frames, pages and chunks, each at its place."""
