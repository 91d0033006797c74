"""Measuring image by image: nothing of an image is kept but numbers, and errors on purpose do not stop it."""

import gc
import pickle
import weakref

import numpy as np
import pytest

from perpixel.data.samples import Categories, SegmentationSample
from perpixel.errors import InputError
from perpixel.evaluate.judges import judge_for
from perpixel.evaluate.rules import Rules
from perpixel.evaluate.tally import Case, Share, measure, this_share

CATEGORIES = Categories(("cat", "dog"))


def case_of(number, seen=None):
    random = np.random.default_rng(number)
    image = random.integers(0, 256, (20, 30, 3), np.uint8)
    true, pred = (random.integers(0, 2, (20, 30)).astype(np.int32) for _ in range(2))
    if seen is not None:
        seen.extend(weakref.ref(array) for array in (image, true, pred))
    return Case(pred, SegmentationSample(f"{number}", image, "semantic", true), image)


def measured(count, case=case_of, **options):
    judge = judge_for("semantic", Rules(boundary=True), CATEGORIES)
    names = ((number, f"{number:03}") for number in range(count))
    return measure(judge, names, case, total=count, worst=2, **options)


def test_no_picture_outlives_its_turn():
    seen = []
    tally = measured(12, lambda number: case_of(number, seen))
    gc.collect()
    assert len(seen) == 36 and not any(each() is not None for each in seen)
    assert len(tally.rows) == 12 and len(tally.worst.cases()) == 2


def test_what_is_kept_does_not_grow_with_the_images_but_for_their_rows():
    few, many = measured(4), measured(60)
    assert len(pickle.dumps(many.judge)) - len(pickle.dumps(few.judge)) < 64
    assert len(pickle.dumps(many.worst)) < 1.5 * len(pickle.dumps(few.worst))
    assert len(pickle.dumps(many.rows)) / 60 < 200, "bytes an image"


def test_errors_on_purpose_become_failures_and_bugs_do_not():
    def broken(number):
        if number == 1:
            raise InputError("the file\n is damaged")
        return case_of(number)

    tally = measured(3, broken)
    assert [failure.error for failure in tally.ordered_failures()] == ["the file is damaged"]
    assert [row.name for row in tally.ordered_rows()] == ["000", "002"]
    with pytest.raises(ZeroDivisionError):
        measured(1, lambda number: 1 // number)


def test_progress_counts_failures_too():
    seen = []
    measured(2, lambda number: case_of(number), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]


def test_shares_are_read_from_the_environment(monkeypatch):
    assert this_share() == Share(0, 1)
    monkeypatch.setenv("RANK", "2")
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert this_share() == Share(2, 3)
    assert sorted([*Share(0, 3).of(8), *Share(1, 3).of(8), *Share(2, 3).of(8)]) == list(range(8))
