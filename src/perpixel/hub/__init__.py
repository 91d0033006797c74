"""Reading and writing checkpoints in the Hugging Face layout."""
