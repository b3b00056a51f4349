"""Audio files: read, examined, repaired and written.

Recordings come in as files, arrays or folders. :mod:`~plc.files.audio` reads and writes them
(:mod:`.formats`, :mod:`.tags`), :mod:`.detect` finds damage, :mod:`.fill` fills gaps of which both
sides are known, :mod:`~plc.files.recordings` does it from file to file, and :mod:`.batch` for whole
folders. Of the engine it uses streams, predictions and networks; it knows no network and no device.
"""
