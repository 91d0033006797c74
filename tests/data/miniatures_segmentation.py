"""Segmentation data sets as their authors lay them out, a few pixels small, to exercise the readers.

Every function writes a data set below `root` and returns what was drawn, so that tests know the truth without the
code under test.
"""

import json
from pathlib import Path

import numpy as np
import scipy.io
from PIL import Image
from pycocotools import mask as coco

SIZE = (24, 37)  # rows, columns: both odd to each other, so that a mix-up shows


def photo(path: Path, size: tuple[int, int] = SIZE, seed: int = 0) -> np.ndarray:
    """A random photograph; PNG keeps it exactly, JPEG nearly."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


def picture(path: Path, values: np.ndarray, palette: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(values)
    if palette:
        image.putpalette(np.random.default_rng(1).integers(0, 256, 768, np.uint8).tobytes())
    image.save(path)


def box(top: int, left: int, bottom: int, right: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    mask = np.zeros(size, bool)
    mask[top:bottom, left:right] = True
    return mask


def compressed(mask: np.ndarray) -> dict:
    rle = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": [int(side) for side in rle["size"]], "counts": rle["counts"].decode()}


def plain_runs(mask: np.ndarray) -> dict:
    """COCO's uncompressed form, as its crowds have it."""
    flat = mask.T.ravel()
    borders = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff([0, *borders, flat.size]).tolist()
    return {"size": list(mask.shape), "counts": [0, *runs] if flat[0] else runs}


def coco_instances(root: Path, split: str = "val", year: int = 2017) -> dict:
    """Three photographs: polygons and RLE; a crowd in plain runs; nothing. Returns the masks by image and place."""
    folder = root / f"{split}{year}"
    names = ["000000000009", "000000000025", "000000000030"]
    for seed, name in enumerate(names):
        photo(folder / f"{name}.jpg", seed=seed)
    person, dog, crowd = box(2, 3, 10, 12), box(5, 8, 20, 30), box(0, 0, 24, 5)
    polygon = [3, 2, 12, 2, 12, 10, 3, 10]
    slanted = [20.3, 1.7, 33.9, 4.2, 25.1, 18.6]
    rows = [
        {"id": 1, "image_id": 9, "category_id": 18, "segmentation": compressed(dog), "area": 333.5, "iscrowd": 0},
        {"id": 2, "image_id": 9, "category_id": 1, "segmentation": [polygon], "area": 72.0, "iscrowd": 0},
        {"id": 3, "image_id": 25, "category_id": 1, "segmentation": plain_runs(crowd), "iscrowd": 1},
        {"id": 4, "image_id": 9, "category_id": 90, "segmentation": [slanted, polygon], "area": 200, "iscrowd": 0},
    ]
    images = [
        {"id": number, "file_name": f"{name}.jpg", "height": SIZE[0], "width": SIZE[1]}
        for number, name in zip((9, 25, 30), names, strict=True)
    ]
    categories = [{"id": 90, "name": "toothbrush"}, {"id": 1, "name": "person"}, {"id": 18, "name": "dog"}]
    write_json(root / "annotations" / f"instances_{split}{year}.json", images, rows, categories)
    return {"person": person, "dog": dog, "crowd": crowd, "slanted": [slanted, polygon]}


def write_json(path: Path, images: list, annotations: list, categories: list) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))


def colours(ids: np.ndarray) -> np.ndarray:
    return np.stack([ids & 255, ids >> 8 & 255, ids >> 16 & 255], axis=2).astype(np.uint8)


def coco_panoptic(root: Path, split: str = "val", pictures: str = "panoptic_val2017") -> np.ndarray:
    """One photograph with sky, two people of which one is a crowd, and void. Returns the segment ids."""
    photo(root / f"{split}2017" / "000000000139.jpg")
    ids = np.zeros(SIZE, np.int64)
    ids[:10] = 3_226_956  # three different bytes
    ids[12:20, 4:9] = 70_000
    ids[12:20, 20:30] = 5
    picture(root / pictures / "000000000139.png", colours(ids))
    segments = [
        {"id": 70_000, "category_id": 1, "iscrowd": 0, "area": 40},
        {"id": 3_226_956, "category_id": 187, "iscrowd": 0, "area": 370},
        {"id": 5, "category_id": 1, "iscrowd": 1, "area": 80},
    ]
    categories = [{"id": 187, "name": "sky", "isthing": 0}, {"id": 1, "name": "person", "isthing": 1}]
    images = [{"id": 139, "file_name": "000000000139.jpg", "height": SIZE[0], "width": SIZE[1]}]
    annotations = [{"image_id": 139, "file_name": "000000000139.png", "segments_info": segments}]
    write_json(root / "annotations" / f"panoptic_{split}2017.json", images, annotations, categories)
    return ids


def ade20k(root: Path, prepared: bool) -> dict:
    """One photograph: wall and floor, a bed that is labelled twice, a window without a number, void."""
    inner = root / "ADEChallengeData2016"
    name = "ADE_val_00000001"
    photo(inner / "images" / "validation" / f"{name}.jpg")
    semantic = np.zeros(SIZE, np.uint8)
    semantic[:8], semantic[8:16], semantic[3:6, 3:9] = 1, 4, 9  # wall, floor, windowpane
    semantic[16:20, 2:20] = 8  # bed
    bed, flag = box(14, 2, 20, 10), box(15, 12, 20, 20)
    things = np.zeros((*SIZE, 3), np.uint8)
    things[bed, :2] = (1, 1)
    things[flag, :2] = (100, 2)
    things[..., 2] = 7  # nothing reads blue
    picture(inner / "annotations" / "validation" / f"{name}.png", semantic)
    if not prepared:
        picture(inner / "annotations_instance" / "validation" / f"{name}.png", things)
    else:
        image = {"id": name, "file_name": f"{name}.jpg", "height": SIZE[0], "width": SIZE[1]}
        rows = [
            {"id": 1, "image_id": name, "category_id": 7, "segmentation": compressed(bed), "area": 48, "iscrowd": 0},
            {"id": 2, "image_id": name, "category_id": 149, "segmentation": compressed(flag), "area": 40, "iscrowd": 0},
        ]
        categories = [{"id": 7, "name": "bed"}, {"id": 149, "name": "flag"}]
        write_json(inner / "ade20k_instance_val.json", [image], rows, categories)
        ids = np.zeros(SIZE, np.int64)
        ids[semantic == 1], ids[semantic == 4], ids[bed], ids[flag] = 7_895_160, 3_289_680, 16_713_164, 16_711_772
        found = [(7_895_160, 0), (3_289_680, 3), (16_713_164, 7), (16_711_772, 149)]
        segments = [{"id": number, "category_id": category, "iscrowd": 0} for number, category in found]
        picture(inner / "ade20k_panoptic_val" / f"{name}.png", colours(ids))
        row = {"image_id": name, "file_name": f"{name}.png", "segments_info": segments}
        every = [{"id": number, "name": str(number), "isthing": number > 6} for number in range(150)]
        write_json(inner / "ade20k_panoptic_val.json", [image], [row], every)
    return {"semantic": semantic, "bed": bed, "flag": flag}


def cityscapes(root: Path, prepared: bool = False) -> dict:
    """Two cities: road, two cars, a group of cars; not evaluated: a caravan and the ego vehicle. Returns both maps."""
    labels = np.zeros(SIZE, np.uint8)
    labels[:4] = 1
    labels[4:20] = 7
    labels[6:10, 3:9] = labels[6:10, 12:20] = labels[11:15, 2:30] = 26
    labels[16:20, 5:11] = 29
    instances = labels.astype(np.uint16)
    instances[6:10, 3:9], instances[6:10, 12:20], instances[16:20, 5:11] = 26_000, 26_001, 29_000
    for city, frame in (("frankfurt", "frankfurt_000000_000294"), ("lindau", "lindau_000000_000019")):
        photo(root / "leftImg8bit" / "val" / city / f"{frame}_leftImg8bit.png")
        folder = root / "gtFine" / "val" / city
        picture(folder / f"{frame}_gtFine_labelIds.png", labels)
        picture(folder / f"{frame}_gtFine_instanceIds.png", instances)
        (folder / f"{frame}_gtFine_polygons.json").write_text("{}")
        if prepared:  # as createPanopticImgs.py writes it, which names the photographs oddly
            ids = np.where(np.isin(instances, (7, 26, 26_000, 26_001)), instances, 0).astype(np.int64)
            picture(root / "gtFine" / "cityscapes_panoptic_val" / f"{frame}_gtFine_panoptic.png", colours(ids))
    if prepared:
        frames = ("frankfurt_000000_000294", "lindau_000000_000019")
        crowds = {7: 0, 26: 1, 26_000: 0, 26_001: 0}
        segments = [
            {"id": number, "category_id": number if number < 1000 else number // 1000, "iscrowd": crowd}
            for number, crowd in crowds.items()
        ]
        write_json(
            root / "gtFine" / "cityscapes_panoptic_val.json",
            [{"id": frame, "file_name": f"{frame}_gtFine_leftImg8bit.png"} for frame in frames],
            [
                {"image_id": frame, "file_name": f"{frame}_gtFine_panoptic.png", "segments_info": segments}
                for frame in frames
            ],
            [{"id": 7, "name": "road", "isthing": 0}, {"id": 26, "name": "car", "isthing": 1}],
        )
    return {"labels": labels, "instances": instances}


def pascal_context(root: Path, form: str) -> np.ndarray:
    """Two photographs in a list of three. Returns the names of the classes drawn, by pixel ("" for the others)."""
    inner = root / "VOCdevkit" / "VOC2010"
    words = np.full(SIZE, "", dtype="<U10")
    words[:5], words[5:10], words[10:15], words[15:20] = "bag", "bicycle", "wood", "sky"
    numbers = {
        "SegmentationClassContext": {"bag": 2, "bicycle": 6, "wood": 59, "sky": 47, "": 0},
        "trainval": {"bag": 9, "bicycle": 23, "wood": 458, "sky": 360, "": 1},  # 1 is an accordion
        "59_context_labels": {"bag": 21, "bicycle": 2, "wood": 59, "sky": 50, "": 0},
    }[form]
    values = np.vectorize(numbers.__getitem__)(words).astype(np.uint16)
    for name in ("2008_000002", "2008_000003"):
        photo(inner / "JPEGImages" / f"{name}.jpg")
        if form == "trainval":
            (inner / form).mkdir(parents=True, exist_ok=True)
            scipy.io.savemat(inner / form / f"{name}.mat", {"LabelMap": values})
        else:
            picture(inner / form / f"{name}.png", values.astype(np.uint8), palette=True)
    listing = "Main" if form == "trainval" else "SegmentationContext"
    path = inner / "ImageSets" / listing / "val.txt"
    path.parent.mkdir(parents=True)
    path.write_text("2008_000003\n2008_000002\n" + ("2008_000007\n" if form == "trainval" else ""))
    return words
