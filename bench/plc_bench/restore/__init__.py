"""Quality of the search for damage: damage made on purpose, and the findings."""
