"""Quality of the concealment of streams: conditions, contenders, studies and their tables."""
