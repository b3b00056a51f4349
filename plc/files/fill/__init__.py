"""Fill gaps of recordings, where both sides of every gap are known: arrays in, arrays out."""
