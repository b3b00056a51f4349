"""Sound cards: listed, opened, filled and emptied."""
