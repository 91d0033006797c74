"""ViTMatte's processor: images of several sizes in one batch."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.vitmatte.pictures import SIZES, expected_planes, picture
from perpixel.errors import InputError
from perpixel.models.vitmatte.processor import VitMatteImageProcessor


@pytest.fixture
def processor():
    return VitMatteImageProcessor(size_divisibility=8)


@settings(max_examples=30, deadline=None)
@given(sizes=st.lists(SIZES, min_size=1, max_size=4), divisor=st.sampled_from([1, 8, 32]), last=st.booleans())
def test_an_image_is_the_same_alone_and_in_a_batch(sizes, divisor, last):
    processor = VitMatteImageProcessor(size_divisibility=divisor)
    pictures = [picture(*size, seed=seed) for seed, size in enumerate(sizes)]
    images, trimaps = [image for image, _ in pictures], [trimap for _, trimap in pictures]
    layout = "channels_last" if last else "channels_first"
    batch = processor(
        images, trimaps, input_data_format="channels_last", data_format=layout, return_tensors="np"
    ).pixel_values
    batch = np.moveaxis(batch, -1, 1) if last else batch
    rows, columns = (-(-max(side) // divisor) * divisor for side in zip(*sizes, strict=True))
    assert batch.shape == (len(sizes), 4, rows, columns)
    for one, image, trimap, (height, width) in zip(batch, images, trimaps, sizes, strict=True):
        (alone,) = processor(image, trimap, input_data_format="channels_last").pixel_values
        assert alone.shape == (4, -(-height // divisor) * divisor, -(-width // divisor) * divisor)
        np.testing.assert_array_equal(one[:, :height, :width], alone[:, :height, :width])
        np.testing.assert_allclose(alone[:, :height, :width], expected_planes(image, trimap), atol=1e-6)
        assert np.count_nonzero(one[:, height:]) == np.count_nonzero(one[:, :, width:]) == 0


def test_different_sizes_without_padding(processor):
    images, trimaps = zip(picture(), picture(4, 9), strict=True)
    assert [a.shape for a in processor(images, trimaps, do_pad=False).pixel_values] == [(4, 5, 7), (4, 4, 9)]
    with pytest.raises(InputError, match=r"different sizes \(7×5, 9×4, width×height\).*do_pad=True"):
        processor(images, trimaps, do_pad=False, return_tensors="pt")


@pytest.mark.parametrize("kind", ["np", "pt"])
def test_sizes_are_told_only_where_they_differ_after_padding(processor, kind):
    def keys(*sizes, **options):
        pairs = zip(*[picture(*size) for size in sizes], strict=True)
        return list(processor(*pairs, return_tensors=kind, **options))

    assert keys((5, 7)) == keys((5, 7), (8, 1)) == keys((5, 7), (5, 7), do_pad=False) == ["pixel_values"]
    assert keys((5, 7), (9, 7)) == keys((5, 7), (5, 9)) == ["pixel_values", "image_sizes"]
    assert keys((5, 7), (9, 7), size_divisibility=32) == ["pixel_values"]
    images, trimaps = zip(picture(5, 7), picture(9, 17), picture(16, 3), strict=True)
    inputs = processor(images, trimaps, return_tensors=kind, data_format="channels_last")
    assert inputs.pixel_values.shape == (3, 16, 24, 4)
    assert inputs.image_sizes.tolist() == [[8, 8], [16, 24], [16, 8]]
    assert str(inputs.image_sizes.dtype).endswith("int64")
    assert list(processor(images, trimaps)) == ["pixel_values"]


def test_batches_of_arrays(processor):
    images = np.stack([picture(seed=seed)[0] for seed in range(3)])
    trimaps = np.stack([picture(seed=seed)[1] for seed in range(3)])
    expected = processor(list(images), list(trimaps), return_tensors="np").pixel_values
    for batch in (trimaps, trimaps[:, None], trimaps[..., None], torch.from_numpy(trimaps), list(trimaps)):
        np.testing.assert_array_equal(processor(images, batch, return_tensors="np").pixel_values, expected)
    tensors = torch.from_numpy(images).permute(0, 3, 1, 2)
    np.testing.assert_array_equal(processor(tensors, trimaps, return_tensors="np").pixel_values, expected)
