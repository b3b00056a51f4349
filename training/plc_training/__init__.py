"""Training of the networks that fill gaps."""
