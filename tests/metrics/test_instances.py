import contextlib
import io
import math
import pickle
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from perpixel.data.samples import Categories
from perpixel.errors import InputError, MissingDependencyError
from perpixel.metrics.boundary import boundary_iou
from perpixel.metrics.instances import STATISTICS, InstanceMeter
from perpixel.ops.rle import decode_rle, encode_rle

pytest.importorskip("faster_coco_eval")

CLASSES = Categories(("cat", "dog", "car"))
SIZE = (70, 130)
# Name or number, size, predictions, truth: the arguments of an update.
Image = tuple[str | int, tuple[int, int], list[Any], list[Any]]


def box(random: np.random.Generator, near: tuple[int, ...] | None = None) -> tuple[int, ...]:
    if near is not None:
        return tuple(np.maximum(np.add(near, random.integers(-3, 4, 4)), (0, 0, 1, 1)).tolist())
    return tuple(random.integers((0, 0, 2, 2), (50, 90, 60, 100)).tolist())


def mask(corner: tuple[int, ...]) -> Any:
    top, left, height, width = corner
    plane = np.zeros(SIZE, bool)
    plane[top : top + height, left : left + width] = True
    if height > 8:
        plane[top + 2 : top + 5, left + 1 : left + 3] = False
    return encode_rle(plane)


def photo(name: str | int, seed: int, found: int = 9) -> Image:
    """Boxes with holes: true ones, of which some are crowds, and found ones near them and elsewhere, many tied."""
    random = np.random.default_rng(seed)
    true, predictions = [], []
    for _ in range(random.integers(0, 6)):
        corner, label = box(random), int(random.integers(0, 3))
        area = None if random.random() < 0.7 else float(random.choice([1024, 1024.5, 9216, 20000]))
        true.append((mask(corner), label, bool(random.random() < 0.2), area))
        for _ in range(random.integers(0, 3)):
            label = label if random.random() < 0.8 else int(random.integers(0, 3))
            predictions.append((mask(box(random, corner)), label, float(random.integers(1, 6)) / 5))
    for _ in range(random.integers(0, found)):
        predictions.append((mask(box(random)), int(random.integers(0, 3)), round(random.random(), 1)))
    random.shuffle(predictions)
    return name, SIZE, predictions, true


def reference(images: list[Image], labels: int = 3) -> dict[str, float]:
    """The summary of pycocotools, and its AP by class."""
    truth, found = [], []
    for name, _, predictions, objects in images:
        for rle, label, crowd, area in objects:
            own = int(decode_rle(rle).sum())
            truth.append(
                {"id": len(truth) + 1, "image_id": name, "category_id": label + 1, "segmentation": rle}
                | {"iscrowd": int(crowd), "area": own if area is None else area, "bbox": [0, 0, 1, 1]}
            )
        found += [
            {"image_id": name, "category_id": label + 1, "segmentation": rle, "score": score}
            for rle, label, score in predictions
        ]
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "images": [{"id": name, "height": size[0], "width": size[1]} for name, size, _, _ in images],
            "categories": [{"id": number + 1} for number in range(labels)],
            "annotations": truth,
        }
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(found) if found else COCO(), "segm")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    measures = dict(zip(STATISTICS, evaluation.stats.tolist(), strict=True))
    for number, name in enumerate(CLASSES.names[:labels]):
        precision = evaluation.eval["precision"][:, :, number, 0, -1]
        measures[f"ap/{name}"] = float(precision[precision > -1].mean()) if (precision > -1).any() else -1
    return {name: math.nan if value == -1 else value for name, value in measures.items()}


def measured(images: list[Image], *, boundary: bool = False) -> InstanceMeter:
    meter = InstanceMeter(CLASSES, boundary=boundary)
    for image in images:
        meter.update(*image)
    return meter


def close(expected: dict[str, float]) -> Any:
    """Equal but for rounding: pycocotools adds 2e-16 to its denominators, so that 1 / 1 is a little less than 1."""
    return pytest.approx(expected, abs=1e-14, nan_ok=True)


def test_as_pycocotools() -> None:
    images = [photo(number, number) for number in range(40)]
    expected = reference(images)
    assert 0.1 < expected["ap"] < 0.9
    assert all(math.isfinite(value) for value in expected.values())
    assert sum(crowd for image in images for _, _, crowd, _ in image[3]) > 10
    assert measured(images).compute() == close(expected)


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(100, 10_000), count=st.integers(1, 4))
def test_as_pycocotools_on_few_images(seed: int, count: int) -> None:
    images = [photo(number, seed + number) for number in range(count)]
    if any(image[3] for image in images):
        assert measured(images).compute() == close(reference(images))


def test_as_pycocotools_with_more_detections_than_count() -> None:
    # 150 of one class, so that the most of 1, 10 and 100 all cut, with five scores among them.
    random = np.random.default_rng(5)
    images = []
    for number in range(2):
        corners = [box(random) for _ in range(30)]
        true = [(mask(corner), 0, False, None) for corner in corners]
        nearby = [box(random, corners[place % 30]) if place % 5 else corners[place % 30] for place in range(150)]
        found = [(mask(corner), 0, float(random.integers(5))) for corner in nearby]
        images.append((number, SIZE, found, true))
    meter = measured(images)
    expected = reference(images)
    assert 0 < expected["ar1"] < expected["ar10"] < expected["ar100"] < 1
    assert meter.compute() == close(expected)
    assert all(len(image.scores) == 100 for image in meter.images.values())


def test_as_pycocotools_when_all_scores_tie() -> None:
    images = [
        (name, size, [(rle, label, 0.5) for rle, label, _ in found], true)
        for name, size, found, true in (photo(number, 60 + number) for number in range(8))
    ]
    assert measured(images).compute() == close(reference(images))
    # The lower id goes first, whatever was added first, and 9 comes before 10.
    shifted = [(number + 7, *rest) for number, *rest in images]
    assert measured(shifted[::-1]).compute() == measured(images).compute()


PERFECT = {"ap": 1, "ap50": 1, "ap75": 1}
SQUARE = mask((10, 10, 20, 20))


def test_by_hand() -> None:
    meter = InstanceMeter(CLASSES)
    truth = [(SQUARE, 0, False, None), (mask((40, 60, 20, 20)), 0, False, None)]
    # One of two found, and a worse guess elsewhere that costs nothing: precision is 1 up to a recall of 0.5.
    image = meter.update("a", SIZE, [(SQUARE, 0, 0.9), (mask((0, 90, 9, 9)), 0, 0.1)], truth)
    assert image["ap"] == pytest.approx(51 / 101)
    measures = meter.compute()
    assert (measures["ar1"], measures["ap_large"]) == pytest.approx((0.5, math.nan), nan_ok=True)
    assert measures["ap/cat"] == measures["ap"] == measures["ap_small"]
    assert math.isnan(measures["ap/dog"])


@pytest.mark.parametrize(
    ("predictions", "truth", "ap"),
    [
        ([], [], math.nan),
        ([(SQUARE, 0, 1.0)], [], math.nan),
        ([], [(SQUARE, 0, False, None)], 0),
        ([(SQUARE, 1, 1.0)], [(SQUARE, 0, False, None)], 0),
        ([(SQUARE, 0, 1.0)], [(SQUARE, 0, True, None)], math.nan),  # nothing but a crowd
        ([(mask((0, 0, 0, 0)), 0, 1.0)], [(SQUARE, 0, False, None)], 0),  # an empty mask
        # What lies in the crowd is not counted against the one that is right.
        ([(SQUARE, 0, 0.1), (mask((42, 60, 6, 6)), 0, 0.9)],
         [(SQUARE, 0, False, None), (mask((35, 50, 30, 40)), 0, True, None)], 1),
    ],
)  # fmt: skip
def test_odd_images(predictions: list[Any], truth: list[Any], ap: float) -> None:
    meter = InstanceMeter(CLASSES)
    assert meter.update(0, SIZE, predictions, truth)["ap"] == pytest.approx(ap, nan_ok=True)
    measures = meter.compute()
    assert measures["ap"] == pytest.approx(ap, nan_ok=True)
    assert set(STATISTICS) | {"ap/cat", "ap/dog", "ap/car"} == measures.keys()


def test_nothing_seen() -> None:
    measures = InstanceMeter(CLASSES, boundary=True).compute()
    assert all(map(math.isnan, measures.values()))
    assert {"ap", "boundary_ap", "boundary_ap/cat"} <= measures.keys()


def test_one_pixel_and_every_form_of_run_lengths() -> None:
    meter = InstanceMeter(CLASSES)
    for number, counts in enumerate((encode_rle(np.ones((1, 1)))["counts"], [0, 1])):
        rle = {"size": [1, 1], "counts": counts}
        truth = {"size": [1, 1], "counts": rle["counts"].encode() if isinstance(counts, str) else counts}
        assert meter.update(number, (1, 1), [(rle, 0, 1)], [(truth, 0, False, None)]) == PERFECT


def test_boundary_as_faster_coco_eval_has_it() -> None:
    from faster_coco_eval import COCO as Fast
    from faster_coco_eval import COCOeval_faster

    images = [photo(number, 300 + number) for number in range(12)]
    truth, found = [], []
    for name, _, predictions, objects in images:
        for rle, label, crowd, area in objects:
            own = int(decode_rle(rle).sum())
            truth.append(
                {"id": len(truth) + 1, "image_id": name, "category_id": label, "segmentation": rle}
                | {"iscrowd": int(crowd), "area": own if area is None else area, "bbox": [0, 0, 1, 1]}
            )
        found += [
            {"image_id": name, "category_id": label, "segmentation": rle, "score": score}
            for rle, label, score in predictions
        ]
    photos = [{"id": name, "height": size[0], "width": size[1]} for name, size, _, _ in images]
    coco = Fast({"images": photos, "categories": [{"id": number} for number in range(3)], "annotations": truth})
    evaluation = COCOeval_faster(coco, coco.loadRes(found), "boundary", boundary_cpu_count=1)
    evaluation.run()
    measures = measured(images, boundary=True).compute()
    expected = {f"boundary_{name}": value for name, value in zip(STATISTICS, evaluation.stats, strict=True)}
    assert {name: measures[name] for name in expected} == pytest.approx(expected, abs=1e-12)
    assert 0 < measures["boundary_ap"] < measures["ap"]
    plain = measured(images).compute()
    assert {name: measures[name] for name in plain} == plain


def test_boundary_decides_with_the_smaller_overlap() -> None:
    plane = np.zeros((100, 100), bool)
    plane[20:80, 20:80] = True
    other = np.roll(plane, 1, axis=1)
    # Rings of 3 pixels, 684 each, share 2 × 3 × 59 above and below and 2 × 2 × 54 at the sides.
    assert boundary_iou(plane, other) == pytest.approx(570 / (684 + 684 - 570))  # 0.714
    image = InstanceMeter(CLASSES, boundary=True).update(
        0, (100, 100), [(encode_rle(other), 0, 1.0)], [(encode_rle(plane), 0, False, None)]
    )
    assert image["boundary_ap"] == pytest.approx(0.5)  # the thresholds 0.5, 0.55, 0.6, 0.65 and 0.7
    assert image["ap"] == pytest.approx(1)  # 59 of 61 columns


@settings(max_examples=5, deadline=None)
@given(data=st.data())
def test_any_split_in_any_order_gives_the_same(data: st.DataObject) -> None:
    images = [photo(f"street/{number}", number) for number in range(5)]
    order, cut = data.draw(st.permutations(range(5))), data.draw(st.integers(0, 5))
    first, second = (measured([images[place] for place in part]) for part in (order[:cut], order[cut:]))
    first.merge(pickle.loads(pickle.dumps(second)))
    whole = measured(images).compute()
    assert whole["ap"] > 0
    assert first.compute() == whole


def test_masks_are_not_kept() -> None:
    # The same image at eight times the pixels takes the same room.
    random = np.random.default_rng(0)
    small, large = (InstanceMeter(CLASSES) for _ in range(2))
    for number in range(20):
        plane = random.random((16, 16)) < 0.5
        for meter, masks in ((small, plane), (large, np.kron(plane, np.ones((8, 8))))):
            rle = encode_rle(masks)
            meter.update(number, masks.shape, [(rle, 0, 0.5)], [(rle, 0, False, 100)])
    sizes = [len(pickle.dumps(meter)) for meter in (small, large)]
    assert sizes[0] == sizes[1] < 20 * 1500


@pytest.mark.parametrize(
    ("predictions", "truth", "words"),
    [
        ([(encode_rle(np.ones((3, 2))), 0, 1.0)], [], "a prediction is 2×3 but the image is 130×70"),
        ([], [(encode_rle(np.ones((3, 2))), 0, False, None)], "a true object is 2×3"),
        ([(SQUARE, 3, 1.0)], [], "a prediction has the class 3, and there are 3"),
        ([], [(SQUARE, -1, False, None)], "a true object has the class -1"),
        ([(SQUARE, 0, math.nan)], [], "score nan"),
        ([({"size": list(SIZE), "counts": [5]}, 0, 1.0)], [], "runs of an RLE"),
    ],
)
def test_bad_input_is_refused(predictions: list[Any], truth: list[Any], words: str) -> None:
    meter = InstanceMeter(CLASSES)
    with pytest.raises(InputError, match=words):
        meter.update(0, SIZE, predictions, truth)
    assert not meter.images


def test_no_image_counts_twice() -> None:
    meter, other = (measured([photo("a", 1)]) for _ in range(2))
    with pytest.raises(InputError, match="'a' was added before"):
        meter.update(*photo("a", 2))
    with pytest.raises(InputError, match="1 images are in both meters, for instance 'a'"):
        meter.merge(other)
    with pytest.raises(InputError, match="different classes"):
        meter.merge(InstanceMeter(CLASSES, boundary=True))


def test_without_faster_coco_eval(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "perpixel.metrics.average_precision", raising=False)
    monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
    with pytest.raises(MissingDependencyError, match=r"perpixel\[eval\]"):
        InstanceMeter(CLASSES)
