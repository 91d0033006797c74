"""The bounded heap of the worst images."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perpixel.evaluate.pictures import Panel
from perpixel.evaluate.worst import WorstCases

PANELS = (Panel("photograph", b"", "jpeg"),)


def offered(values, most, larger):
    worst = WorstCases(most, larger_is_better=larger)
    for name, value in values:
        worst.offer(name, value, lambda: PANELS)
    return worst


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0, math.nan]), max_size=12), st.integers(0, 5), st.booleans())
def test_the_worst_in_whatever_order_and_however_shared(values, most, larger):
    named = [(f"image{number:02}", value) for number, value in enumerate(values)]
    known = [(name, value) for name, value in named if not math.isnan(value)]
    expected = sorted(known, key=lambda pair: (pair[1] if larger else -pair[1], pair[0]))[:most]

    forward, backward = offered(named, most, larger), offered(named[::-1], most, larger)
    shared = offered(named[::2], most, larger)
    shared.merge(offered(named[1::2], most, larger))
    for found in (forward, backward, shared):
        assert [(case.name, case.value) for case in found.cases()] == expected
        assert all(case.panels == PANELS for case in found.cases())


def test_what_is_not_kept_is_never_drawn():
    worst = WorstCases(1, larger_is_better=False)
    worst.offer("bad", 3.0, lambda: PANELS)
    worst.offer("better", 1.0, lambda: pytest.fail("drawn though it is not among the worst"))
    WorstCases(0, larger_is_better=False).offer("any", 9.0, lambda: pytest.fail("drawn though none is shown"))
    assert [case.name for case in worst.cases()] == ["bad"]
