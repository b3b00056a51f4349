"""Audio files: read, examined, repaired and written.

:mod:`~plc.files.audio` reads and writes them, :mod:`.detect` finds damage, :mod:`.fill` fills gaps
of which both sides are known; :mod:`~plc.files.recordings` does so from file to file.
"""
