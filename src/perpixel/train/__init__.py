"""One training loop on Accelerate and what it is told by a recipe."""
