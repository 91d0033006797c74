"""What the finished tasks return: always of the input's size, ready to look at, to save and to go on with."""

from perpixel.results.depth import DepthMap
from perpixel.results.matte import Matte
from perpixel.results.point_cloud import PointCloud
from perpixel.results.segments import Segment, Segments

__all__ = ["DepthMap", "Matte", "PointCloud", "Segment", "Segments"]
