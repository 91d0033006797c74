"""Arrays in, arrays out: no model, no file."""
