"""Speed and memory beside transformers and PyMatting: `python -m benchmarks`.

The `learning*.py` and `alphamatting.py` are programs of their own that measure quality.
"""
