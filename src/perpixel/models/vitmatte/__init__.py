"""ViTMatte (Yao et al., 2023, arXiv 2305.15272): image matting with plain vision transformers."""
