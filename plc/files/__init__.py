"""Audio files: read, filled and written.

:mod:`~plc.files.audio` reads them and :mod:`~plc.files.writing` writes them. :mod:`.fill` fills
gaps of which both sides are known; from file to file :mod:`~plc.files.recordings` fills gaps, and
:mod:`~plc.files.streamed` conceals packets. Damage is found by :mod:`plc.restore`.
"""
