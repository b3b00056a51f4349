"""Long and hostile use: soaks, tones, embedding, transport."""
