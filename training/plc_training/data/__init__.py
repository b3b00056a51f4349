"""Audio files, and the segments that are cut from them."""
