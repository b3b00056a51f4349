"""Audio files, sound cards, loss traces, and two figures of quality.

Samples come in from files and devices and go out to them; nothing here knows concealment.
"""
