"""When each unit of received sound is played, and how fast."""
