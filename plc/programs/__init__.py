"""Programs that show or examine the engine: demo, doctor, the page for browsers; the command.

Nothing here but :mod:`.cli` parses a command line.
"""
