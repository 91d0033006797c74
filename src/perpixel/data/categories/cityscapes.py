"""The 19 classes of Cityscapes that are evaluated, with their numbers in the label files.

Source: "The Cityscapes Dataset for Semantic Urban Scene Understanding", Cordts et al., 2016, arXiv 1604.01685; the
numbers are those of github.com/mcordts/cityscapesScripts, helpers/labels.py. Label files use 0…33; the 15 that are
missing here are left out of the evaluation and are read as void.
"""

from __future__ import annotations

from perpixel.data.samples import Categories

_NAMES = (
    "road, sidewalk, building, wall, fence, pole, traffic light, traffic sign, vegetation, terrain, sky, "
    "person, rider, car, truck, bus, train, motorcycle, bicycle"
)
_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)

# Every number that a label file may hold.
LABEL_IDS = range(34)
# The things begin here: an instance file says 26000, 26001 … for the single cars of class 26.
FIRST_THING = 24

CITYSCAPES = Categories(tuple(_NAMES.split(", ")), _IDS, tuple(number >= FIRST_THING for number in _IDS))
