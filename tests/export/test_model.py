import pytest
import torch

from export.zoo import tiny
from perpixel.errors import ConfigError
from perpixel.export.check import HALF_TOLERANCE, difference, random_pixels
from perpixel.export.model import channels_of, tensors_only


@pytest.mark.parametrize("name", ["vitmatte", "dpt", "mask2former_resnet"])
def test_tensors_in_and_out(name):
    model = tiny(name)
    wrapper = tensors_only(model)
    pixels = random_pixels(channels_of(model), 64, 96, 0)
    with torch.no_grad():
        found, expected = wrapper(pixels), model(pixels)
    assert len(found) == len(wrapper.names)
    for part, key in zip(found, wrapper.names, strict=True):
        torch.testing.assert_close(part, getattr(expected, key), atol=1e-5, rtol=1e-5)


def test_half_of_the_weights_bytes_with_numbers_that_hardly_differ():
    model = tiny("dpt")
    wrapper = tensors_only(model, half=True)
    sizes = [parameter.itemsize for parameter in wrapper.model.parameters() if parameter.numel() >= 1024]
    assert sizes and set(sizes) == {2}
    pixels = random_pixels(3, 64, 96, 0)
    with torch.no_grad():
        (found,), expected = wrapper(pixels), model(pixels).predicted_depth
    assert 0 < difference(found, expected) < HALF_TOLERANCE
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_parts_of_models_are_refused():
    with pytest.raises(ConfigError, match="a DPTModel cannot be exported: give one of VitMatteForImageMatting"):
        tensors_only(tiny("dpt").dpt)
