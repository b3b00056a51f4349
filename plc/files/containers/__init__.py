"""Containers of audio: chunks of RIFF, pages of Ogg, and files that were cut short."""
