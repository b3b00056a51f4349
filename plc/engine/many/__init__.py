"""Many streams in one call, for servers."""
