"""Fill gaps of files with networks: both sides are known."""
