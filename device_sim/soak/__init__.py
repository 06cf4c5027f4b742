"""The soak: sensors publish while programs are killed; all must be stored once, and all leads be equal."""
