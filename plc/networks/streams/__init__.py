"""Fill gaps of streams with networks, within a limit of time."""
