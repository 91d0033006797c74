"""Every fault that a check is for is found, alone, and what is sound is left in peace."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from perpixel.data.check import check, spread
from perpixel.data.contact_sheet import ContactSheet, draw_labels
from perpixel.data.findings import look_over
from perpixel.data.samples import (
    VOID,
    Categories,
    DepthSample,
    LabelledObject,
    MattingSample,
    Sample,
    SegmentationSample,
)
from perpixel.errors import InputError, MissingDependencyError
from perpixel.images.read import read_mask
from perpixel.ops.rle import encode_rle

SIZE = (40, 50)
CLASSES = Categories(("sky", "sea", "boat"))


@dataclass
class Made:
    """A data set from samples; an exception in place of one is raised when it is read."""

    samples: list
    kind: str
    categories: Categories | None = None

    @property
    def names(self):
        return tuple(getattr(sample, "name", None) or f"broken{place}" for place, sample in enumerate(self.samples))

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        if isinstance(self.samples[index], Exception):
            raise self.samples[index]
        return self.samples[index]


def photo(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), np.uint8)


def semantic(seed: int, labels: np.ndarray | None = None) -> SegmentationSample:
    if labels is None:
        labels = np.repeat(np.array([0, 1, 2, VOID], np.int32), [20, 10, 15, 5])[None].repeat(SIZE[0], 0)
    return SegmentationSample(f"photo{seed}", photo(seed), "semantic", np.asarray(labels, np.int32))


def disc(row: int, column: int, radius: int) -> np.ndarray:
    rows, columns = np.ogrid[: SIZE[0], : SIZE[1]]
    return (rows - row) ** 2 + (columns - column) ** 2 < radius**2


def thing(mask: np.ndarray, category: int = 0, crowd: bool = False) -> LabelledObject:
    return LabelledObject(category, crowd, encode_rle(mask))


def instance(seed: int, *objects: LabelledObject) -> SegmentationSample:
    return SegmentationSample(f"photo{seed}", photo(seed), "instance", None, objects)


def matte(seed: int, soft: bool = True) -> MattingSample:
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    alpha = np.clip((15 - np.hypot(rows - 20, columns - 25)) / 4 + 0.5, 0, 1).astype(np.float32)
    trimap = np.where((alpha > 0) & (alpha < 1), 128, alpha * 255).astype(np.uint8)
    return MattingSample(f"photo{seed}", photo(seed), alpha if soft else np.rint(alpha), trimap)


def room(seed: int, factor: float = 1.0) -> DepthSample:
    depth = np.linspace(1, 4, SIZE[0] * SIZE[1], dtype=np.float32).reshape(SIZE) * np.float32(factor)
    depth[:2] = 0
    return DepthSample(f"photo{seed}", photo(seed), depth)


def found(data: Made) -> list[tuple[str | None, str]]:
    return [(problem.sample, problem.kind) for problem in check(data).problems]


def test_sound_data_have_no_problem_and_are_counted():
    report = check(Made([semantic(0), semantic(1)], "semantic", CLASSES))
    assert report.problems == []
    assert [(count.name, count.images, count.pixels) for count in report.classes] == [
        ("sky", 2, 2 * 20 * 40),
        ("sea", 2, 2 * 10 * 40),
        ("boat", 2, 2 * 15 * 40),
    ]
    assert report.facts["void_share"] == pytest.approx(0.1)
    assert (report.smallest, report.largest, report.sizes, report.checked) == (SIZE, SIZE, 1, 2)

    objects = thing(disc(10, 10, 5)), thing(disc(30, 30, 8), 2), thing(np.ones(SIZE), 2, crowd=True)
    report = check(Made([instance(0, *objects), instance(1)], "instance", CLASSES))
    assert report.problems == []
    assert [count.objects for count in report.classes] == [1, 0, 1]
    assert report.facts == {"objects": 2, "crowds": 1}
    assert report.notes == ["1 of 3 classes never occur: sea", "photographs without an object: 1"]

    assert found(Made([matte(0), matte(1)], "matting")) == []
    report = check(Made([room(0), room(1)], "depth"))
    assert report.problems == []
    assert report.facts["measured_share"] == pytest.approx(0.95)
    assert report.facts["farthest"] == 4


def test_it_goes_on_past_what_cannot_be_read():
    broken = [InputError("cat.png is empty"), KeyError("oops")]
    report = check(Made([semantic(0), *broken, semantic(3)], "semantic", CLASSES))
    assert [(problem.sample, problem.message) for problem in report.problems] == [
        ("broken1", "cat.png is empty"),
        ("broken2", "it cannot be read: KeyError: 'oops'"),
    ]
    assert report.checked == 2
    with pytest.raises(MissingDependencyError):
        check(Made([MissingDependencyError("install it")], "depth"))
    nothing = check(Made([InputError("no")], "depth"))
    assert (nothing.checked, nothing.smallest, len(nothing.problems)) == (0, None, 1)


def test_what_a_reader_mends_is_told(tmp_path):
    class Warned(Made):
        def __getitem__(self, index):
            return replace(self.samples[index], alpha=read_mask((self.samples[index].alpha > 0.5).astype(np.uint8)))

    problems = check(Warned([matte(0)], "matting")).problems
    assert [problem.kind for problem in problems] == ["mask", "alpha"]
    assert "largest value is 1" in problems[0].message


def test_wrong_sizes():
    short = np.zeros((39, 50))
    assert found(Made([semantic(0), semantic(1, short)], "semantic", CLASSES)) == [("photo1", "size")]
    other = instance(0, thing(np.ones((50, 40))))
    assert found(Made([other], "instance", CLASSES)) == [("photo0", "size")]
    assert found(Made([replace(room(0), depth=np.ones((5, 5), np.float32)), room(1)], "depth")) == [("photo0", "size")]
    sample = replace(matte(0), trimap=np.zeros((4, 4), np.uint8), foreground=np.zeros((4, 4, 3), np.uint8))
    assert found(Made([sample], "matting")) == [("photo0", "size")] * 2


def test_unknown_classes():
    labels = semantic(0).labels.copy()
    labels[0, :2] = 7, 3
    report = check(Made([semantic(0, labels), semantic(1)], "semantic", CLASSES))
    assert [problem.message for problem in report.problems] == ["the labels hold 3, 7 but the 3 classes are 0…2"]
    assert report.classes[0].pixels == 2 * 20 * 40 - 2
    assert found(Made([instance(0, thing(disc(9, 9, 5), 3))], "instance", CLASSES)) == [("photo0", "class")]
    panoptic = SegmentationSample("x", photo(0), "panoptic", labels, (LabelledObject(0), LabelledObject(5)))
    assert found(Made([panoptic], "panoptic", CLASSES)) == [("x", "class")] * 2


def test_empty_and_doubled_and_inverted_masks():
    nothing, whole, one = (thing(mask) for mask in (np.zeros(SIZE), np.ones(SIZE), disc(10, 10, 5)))
    data = Made(
        [instance(0, nothing), instance(1, whole), instance(2, one, one), instance(3, one)], "instance", CLASSES
    )
    assert found(data) == [("photo0", "empty"), ("photo1", "full"), ("photo2", "duplicate")]
    assert found(
        Made([instance(0, LabelledObject(0, rle={"size": [40, 50], "counts": [3]}))], "instance", CLASSES)
    ) == [("photo0", "mask")]
    labels = np.zeros(SIZE, np.int32)
    panoptic = SegmentationSample("x", photo(0), "panoptic", labels, (LabelledObject(0), LabelledObject(1)))
    assert found(Made([panoptic], "panoptic", CLASSES)) == [("x", "empty")]
    void = [semantic(0), semantic(1, np.full(SIZE, VOID))]
    assert found(Made(void, "semantic", CLASSES)) == [("photo1", "empty")]
    lone = [semantic(seed) for seed in range(10)] + [semantic(10, np.zeros(SIZE))]
    assert found(Made(lone, "semantic", CLASSES)) == [("photo10", "empty")]
    many = check(Made([semantic(0), semantic(1, np.zeros(SIZE))], "semantic", CLASSES))
    assert many.problems == []
    assert "label pictures with a single class: 1 of 2" in many.notes


def test_255_that_was_taken_for_void():
    binary = Categories(("background", "cat"))
    as_one, as_void = (np.where(disc(20, 20, 9), value, 0) for value in (1, VOID))
    only = check(Made([semantic(0, as_void), semantic(1, as_void)], "semantic", binary)).problems
    assert [(problem.sample, problem.kind) for problem in only] == [(None, "class")]
    assert "mapping=0:background,255:object" in only[0].message
    mixed = check(Made([semantic(0, as_void), semantic(1, as_one), semantic(2, as_one)], "semantic", binary)).problems
    assert [(problem.sample, problem.kind) for problem in mixed] == [(None, "class")]
    assert "1 file (photo0)" in mixed[0].message
    beside = np.where(disc(20, 20, 12) & ~disc(20, 20, 9), VOID, as_one)
    assert found(Made([semantic(0, as_void), semantic(1, beside)], "semantic", binary)) == []


def test_mattes_that_are_masks_or_contradict_their_trimaps():
    report = check(Made([matte(0, soft=False), matte(1, soft=False)], "matting"))
    assert [(problem.sample, problem.kind) for problem in report.problems] == [(None, "alpha")]
    assert found(Made([matte(0), matte(1, soft=False)], "matting")) == [("photo1", "alpha")]
    sample = matte(0)
    for change, expected, text in (
        ({"alpha": np.zeros(SIZE, np.float32), "trimap": None}, "empty", "0 everywhere"),
        ({"alpha": np.ones(SIZE, np.float32), "trimap": None}, "full", "1 everywhere"),
        ({"alpha": sample.alpha * 2}, "alpha", "leaves the range"),
        ({"trimap": np.where(sample.trimap == 128, 127, sample.trimap)}, "trimap", "holds 127"),
        ({"trimap": np.where(sample.trimap == 128, 128, 255 - sample.trimap)}, "trimap", "inverted"),
        ({"trimap": np.where(sample.alpha > 0.5, 255, 0)}, "trimap", "no unknown pixel"),
    ):
        problems = check(Made([replace(sample, **change), matte(1)], "matting")).problems
        assert {(problem.sample, problem.kind) for problem in problems} == {("photo0", expected)}
        assert text in problems[0].message


def test_depth_that_is_nothing_or_no_metres():
    for depth, messages in (
        (np.zeros(SIZE), ["no pixel has a depth"]),
        (np.full(SIZE, 2.0), ["2 m everywhere"]),
        (np.where(np.arange(2000).reshape(SIZE) < 1, 2.0, 0), ["only 1 pixels"]),
        (np.linspace(-1, 3, 2000).reshape(SIZE), ["negative or infinite"]),
    ):
        sample = replace(room(0), depth=depth.astype(np.float32))
        problems = check(Made([sample, room(1), room(2)], "depth")).problems
        assert len(problems) == len(messages)
        assert all(text in problem.message for text, problem in zip(messages, problems, strict=True))
        assert {problem.sample for problem in problems} == {"photo0"}
    for factor, text in ((1000, "too much"), (0.01, "too few"), (0.25, "ends at exactly 1")):
        problems = check(Made([room(0, factor), room(1, factor)], "depth")).problems
        assert [problem.sample for problem in problems] == [None]
        assert text.replace("much", "many") in problems[0].message


def test_a_mark_for_nothing_measured_is_not_taken_for_a_distance():
    depth = room(0).depth.copy()
    depth[5:8, 5:10] = 65.535
    problems = check(Made([replace(room(0), depth=depth), room(1)], "depth")).problems
    assert len(problems) == 1
    assert "65.535 m stands apart from all other depth in 1 file (photo0) of 2" in problems[0].message
    clipped = [replace(room(seed), depth=np.minimum(room(seed).depth, np.float32(3))) for seed in range(2)]
    assert found(Made(clipped, "depth")) == []


def test_doubles_and_blank_photographs():
    same = replace(semantic(1), image=photo(0))
    assert found(Made([semantic(0), same], "semantic", CLASSES)) == [("photo1", "duplicate")]
    assert found(Made([semantic(0), replace(semantic(1), name="PHOTO0")], "semantic", CLASSES)) == [
        ("PHOTO0", "duplicate")
    ]
    copies = [replace(same, name=name) for name in ("cat@0", "cat@1", "dog@0")]
    assert found(Made(copies, "semantic", CLASSES)) == [("dog@0", "duplicate")]
    blank = replace(semantic(1), image=np.full((*SIZE, 3), 128, np.uint8))
    assert found(Made([semantic(0), blank], "semantic", CLASSES)) == [("photo1", "empty")]


def test_a_limit_looks_at_samples_from_everywhere():
    seen = []
    data = Made([semantic(seed) for seed in range(9)], "semantic", CLASSES)
    report = check(data, limit=3, see=lambda done, name, sample, problems: seen.append((done, name, sample is None)))
    assert seen == [(1, "photo0", False), (2, "photo3", False), (3, "photo6", False)]
    assert (report.samples, report.checked) == (9, 3)
    assert spread(5, 9) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    "sample",
    [
        semantic(0),
        SegmentationSample("x", photo(0), "panoptic", np.zeros(SIZE, np.int32), (LabelledObject(1),)),
        instance(0, thing(disc(10, 10, 5)), thing(disc(12, 12, 9), 1)),
        instance(0),
        matte(0),
        room(0),
        replace(room(0), depth=np.zeros(SIZE, np.float32)),
        replace(room(0), depth=np.zeros((3, 3), np.float32)),
        replace(matte(0), alpha=np.zeros((3, 3), np.float32)),
        semantic(0, np.zeros((3, 3))),
        semantic(0, np.full(SIZE, 9)),
        Sample("x", photo(0)),
        SegmentationSample("x", photo(0)[:1, :1], "semantic", np.zeros((1, 1), np.int32)),
    ],
)
def test_anything_can_be_drawn(sample):
    for size in ((20, 25), (1, 1)):
        drawn = draw_labels(sample, CLASSES, size)
        assert drawn.shape == (*size, 3)
        assert drawn.dtype == np.uint8


def test_labels_are_drawn_where_they_are():
    drawn = draw_labels(replace(semantic(0), image=np.full((*SIZE, 3), 200, np.uint8)), None, SIZE).astype(int)
    columns = [drawn[20, column] for column in (10, 25, 37)]
    assert len({tuple(colour) for colour in columns}) == 3
    assert drawn[:, 46:].max() <= 50  # void is dark
    cut = draw_labels(matte(0), None, SIZE)
    np.testing.assert_array_equal(cut[20, 22:28], photo(0)[20, 22:28])
    assert set(np.unique(cut[:2, :16])) <= {170, 230}


def test_the_sheet_shows_problems_first_and_the_rest_besides():
    sheet = ContactSheet(CLASSES, wanted=[1], worst=1)
    problems = look_over(semantic(1, np.full(SIZE, 9)), CLASSES).problems
    sheet.see(1, "a", semantic(0), [])
    sheet.see(2, "b", semantic(1), [])
    sheet.see(3, "c", None, problems)
    sheet.see(4, "d", None, problems)
    assert len(sheet) == 2
    picture = sheet.draw()
    assert picture.dtype == np.uint8
    left = picture[:, : picture.shape[1] // 2].reshape(-1, 3).astype(int)
    assert (left[:, 0] - left[:, 2]).max() > 100  # the alarm's red is in the first cell
