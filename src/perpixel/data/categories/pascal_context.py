"""The 59 frequent classes of Pascal Context, with their numbers in each of the three kinds of label files.

Source: "The Role of Context for Object Detection and Semantic Segmentation in the Wild", Mottaghi et al., 2014, and
cs.stanford.edu/~roozbeh/pascal-context. The class numbers here follow the alphabet, as the training code of most
papers has it (the 459 labels of the original files are in that order, and the 59 keep it).
"""

from __future__ import annotations

from perpixel.data.samples import Categories

_NAMES = (
    "aeroplane, bag, bed, bedclothes, bench, bicycle, bird, boat, book, bottle, building, bus, cabinet, car, cat, "
    "ceiling, chair, cloth, computer, cow, cup, curtain, dog, door, fence, floor, flower, food, grass, ground, horse, "
    "keyboard, light, motorbike, mountain, mouse, person, plate, platform, pottedplant, road, rock, sheep, shelves, "
    "sidewalk, sign, sky, snow, sofa, table, track, train, tree, truck, tvmonitor, wall, water, window, wood"
)
# The same classes in the order of the authors' 59_labels.txt: the twenty of Pascal VOC first.
_OFFICIAL = (
    "aeroplane, bicycle, bird, boat, bottle, bus, car, cat, chair, cow, table, dog, horse, motorbike, person, "
    "pottedplant, sheep, sofa, train, tvmonitor, bag, bed, bench, book, building, cabinet, ceiling, cloth, computer, "
    "cup, door, fence, floor, flower, food, grass, ground, keyboard, light, mountain, mouse, curtain, platform, sign, "
    "plate, road, rock, shelves, sidewalk, sky, snow, bedclothes, track, tree, truck, wall, water, window, wood"
)
# fmt: off
_OF_459 = (
    2, 9, 18, 19, 22, 23, 25, 31, 33, 34, 44, 45, 46, 59, 65, 68, 72, 80, 85, 98, 104, 105, 113, 115, 144, 158, 159,
    162, 187, 189, 207, 220, 232, 258, 259, 260, 284, 295, 296, 308, 324, 326, 347, 349, 354, 355, 360, 366, 368, 397,
    415, 416, 420, 424, 427, 440, 445, 454, 458,
)
# fmt: on
# How many labels the original .mat files tell apart.
ORIGINAL_LABELS = 459

_IN_ALPHABET, _IN_OFFICIAL = tuple(_NAMES.split(", ")), _OFFICIAL.split(", ")

# PNG files in alphabetical order, 0 for everything else: what mmsegmentation's converter writes.
PASCAL_CONTEXT = Categories(_IN_ALPHABET, tuple(range(1, 60)))
# The authors' PNG files of 59 labels.
PASCAL_CONTEXT_OFFICIAL = Categories(_IN_ALPHABET, tuple(_IN_OFFICIAL.index(name) + 1 for name in _IN_ALPHABET))
# The authors' .mat files of 459 labels.
PASCAL_CONTEXT_MAT = Categories(_IN_ALPHABET, _OF_459)
