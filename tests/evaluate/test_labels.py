"""From a model's labels to a data set's classes."""

import pytest

from perpixel.data.samples import Categories
from perpixel.errors import InputError
from perpixel.evaluate.labels import match_labels


def test_by_name_whatever_the_order_and_spelling():
    found, notes = match_labels({0: "Traffic_Light", 1: "road", 5: "sky"}, Categories(("road", "traffic light")))
    assert found == {0: 1, 1: 0} and notes == ()


def test_by_number_where_names_are_spelt_otherwise():
    found, (note,) = match_labels({0: "wall", 1: "edifice"}, Categories(("wall", "building")))
    assert found == {0: 0, 1: 1} and "by number" in note and "building" in note


def test_one_name_that_means_another_class_changes_nothing():
    names = [f"class {number}" for number in range(20)]
    found, (note,) = match_labels(
        dict(enumerate([*names[:18], "screen", "crt screen"])), Categories((*names[:18], "silver screen", "screen"))
    )
    assert found == {number: number for number in range(20)} and "by number" in note


def test_not_by_number_where_names_show_another_order():
    found, (note,) = match_labels({0: "dog", 1: "cat", 2: "bike"}, Categories(("cat", "dog", "bicycle")))
    assert found == {0: 1, 1: 0} and "bicycle" in note


def test_as_far_as_names_agree():
    found, (note,) = match_labels({0: "person", 1: "sky", 2: "sea"}, Categories(("dog", "person")))
    assert found == {0: 1} and "1 classes" in note and "dog" in note


def test_a_name_that_two_classes_share():
    found, notes = match_labels({0: "screen", 1: "screen"}, Categories(("screen", "screen")))
    assert found == {0: 0, 1: 1} and notes == ()


def test_nothing_in_common():
    with pytest.raises(InputError, match=r"none of the model's 3 labels \(a, b, c\)"):
        match_labels({0: "a", 1: "b", 2: "c"}, Categories(("dog", "person")))
