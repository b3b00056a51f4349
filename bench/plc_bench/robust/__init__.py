"""Long and hostile use: soaks, tones, random input, the relay, libplc."""
