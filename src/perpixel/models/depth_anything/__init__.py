"""Depth Anything: depth from any photograph, relative or in metres (arXiv 2401.10891, 2406.09414)."""
