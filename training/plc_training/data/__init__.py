"""From audio files to segments to train on."""
