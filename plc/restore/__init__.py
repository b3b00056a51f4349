"""A workshop for archives: damage found in recordings, and folders of them repaired.

:mod:`.detect` finds damage in samples, :mod:`~plc.restore.repair` repairs many recordings. Nothing
else imports this package but the table of commands and the lazy names of :mod:`plc`.
"""
