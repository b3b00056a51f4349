"""Programs that show or examine the engine, and :mod:`.cli`, the command."""
