"""One folder a paper; `base` holds what all of them share."""
