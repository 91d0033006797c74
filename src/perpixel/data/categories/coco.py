"""The classes of COCO: the 80 things, and the 133 things and stuff of its panoptic task.

Source: "Microsoft COCO: Common Objects in Context", Lin et al., 2014, arXiv 1405.0312; "Panoptic Segmentation",
Kirillov et al., 2019, arXiv 1801.00868; the numbers are those of github.com/cocodataset/panopticapi. They have gaps,
for classes that were dropped or merged.
"""

from __future__ import annotations

from perpixel.data.samples import Categories

_THINGS = (
    "person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, stop sign, "
    "parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, backpack, umbrella, "
    "handbag, tie, suitcase, frisbee, skis, snowboard, sports ball, kite, baseball bat, baseball glove, skateboard, "
    "surfboard, tennis racket, bottle, wine glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich, orange, "
    "broccoli, carrot, hot dog, pizza, donut, cake, chair, couch, potted plant, bed, dining table, toilet, tv, laptop, "
    "mouse, remote, keyboard, cell phone, microwave, oven, toaster, sink, refrigerator, book, clock, vase, scissors, "
    "teddy bear, hair drier, toothbrush"
)
_STUFF = (
    "banner, blanket, bridge, cardboard, counter, curtain, door-stuff, floor-wood, flower, fruit, gravel, house, "
    "light, mirror-stuff, net, pillow, platform, playingfield, railroad, river, road, roof, sand, sea, shelf, snow, "
    "stairs, tent, towel, wall-brick, wall-stone, wall-tile, wall-wood, water-other, window-blind, window-other, "
    "tree-merged, fence-merged, ceiling-merged, sky-other-merged, cabinet-merged, table-merged, floor-other-merged, "
    "pavement-merged, mountain-merged, grass-merged, dirt-merged, paper-merged, food-other-merged, "
    "building-other-merged, rock-merged, wall-other-merged, rug-merged"
)
_NO_THINGS = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
_THING_IDS = tuple(number for number in range(1, 91) if number not in _NO_THINGS)
# fmt: off
_STUFF_IDS = (
    92, 93, 95, 100, 107, 109, 112, 118, 119, 122, 125, 128, 130, 133, 138, 141, 144, 145, 147, 148, 149, 151, 154,
    155, 156, 159, 161, 166, 168, 171, 175, 176, 177, 178, 180, 181, *range(184, 201),
)
# fmt: on

COCO_THINGS = Categories(tuple(_THINGS.split(", ")), _THING_IDS)
COCO_PANOPTIC = Categories(
    (*_THINGS.split(", "), *_STUFF.split(", ")), (*_THING_IDS, *_STUFF_IDS), (True,) * 80 + (False,) * 53
)
