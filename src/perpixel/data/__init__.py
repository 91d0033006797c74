"""Training data: files as they lie on disk, and samples drawn from them."""
