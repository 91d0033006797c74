"""DPT: depth and semantic segmentation with a vision transformer (arXiv 2103.13413)."""
