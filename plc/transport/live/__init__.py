"""A live stream at a sound card: received and played, recorded and sent."""
