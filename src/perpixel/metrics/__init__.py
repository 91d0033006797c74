"""The measures that the papers report."""
