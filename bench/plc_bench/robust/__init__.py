"""What long or hostile use does: soaks, tones, embedding, transport."""
