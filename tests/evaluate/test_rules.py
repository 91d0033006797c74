"""Protocols: what fits a task, and what the papers do by default."""

import pytest

from perpixel.errors import ConfigError, InputError
from perpixel.evaluate.rules import Rules


def test_a_misspelt_rule_is_suggested():
    with pytest.raises(ConfigError, match=r"no rule 'farthst': did you mean 'farthest'\?"):
        Rules.of({"farthst": 80})


@pytest.mark.parametrize(
    ("rules", "task", "words"),
    [
        ({"crop": "garg"}, "matting", "crop is for depth, and matting is measured"),
        ({"boundary": True}, "panoptic", "boundary is for semantic and instance"),
        ({"threshold": 0.5}, "semantic", "threshold is for instance and panoptic"),
        ({"align": "median", "farthest": -1}, "depth", "farthest is -1"),
        ({"align": "least"}, "depth", "align='least' is not known"),
        ({"inverse_shift": 0.1}, "depth", "without inverse_scale"),
        ({"inverse_scale": 0.0}, "depth", "inverse_scale is 0.0"),
        ({"crop": "middle"}, "depth", "crop='middle' is not known"),
    ],
)
def test_rules_that_do_not_fit(rules, task, words):
    with pytest.raises(InputError, match=words):
        Rules.of(rules).check(task)


def test_the_papers_defaults():
    assert Rules().score("instance") == 0 and Rules().score("panoptic") == 0.8
    assert Rules(threshold=0.3).score("panoptic") == 0.3
    assert Rules().depth_align(inverse=True) == "scale_shift" and Rules().depth_align(inverse=False) == "none"
    meter = Rules(align="median", nearest=0.001, farthest=80, crop="garg").depth_meter(inverse=False)
    assert (meter.align, meter.nearest, meter.farthest, meter.crop) == ("median", 0.001, 80, "garg")
