"""Tags of recordings: title, artist, cover, origin; read, and written in another format."""
