"""What the finished tasks return: always of the input's size, ready to look at, to save and to go on with."""

from perpixel.results.matte import Matte
from perpixel.results.segments import Segment, Segments

__all__ = ["Matte", "Segment", "Segments"]
