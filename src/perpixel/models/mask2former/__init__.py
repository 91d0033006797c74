"""Mask2Former: semantic, instance and panoptic segmentation with one model (arXiv 2112.01527)."""
