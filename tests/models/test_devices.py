"""No model makes a tensor on the processor, or reads one back, when it lies on another device: the meta device has no
values, so either fails there. bfloat16 in every family is in `test_precision.py`.
"""

import copy

import pytest
import torch

from models.test_precision import FAMILIES, results


@pytest.mark.parametrize("optimized", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_everything_stays_on_the_device(family, optimized):
    make, shape, _ = FAMILIES[family]
    model = make()
    pixels = torch.zeros(2, *shape)
    expected = results(model, pixels)
    elsewhere = (model.optimize() if optimized else copy.deepcopy(model)).to("meta")
    found = results(elsewhere, pixels.to("meta"))
    assert found.keys() == expected.keys() and found
    for name, values in found.items():
        assert values.device.type == "meta"
        assert (values.shape, values.dtype) == (expected[name].shape, expected[name].dtype)
