"""ViTMatte's processor beside transformers' own: the same arrays, and files that both load."""

import json

import numpy as np
import pytest
import torch

from perpixel.models.auto import AutoImageProcessor
from perpixel.models.vitmatte.processor import VitMatteImageProcessor

# The implementation without torchvision, which no CPU build of the torch used here has.
reference = pytest.importorskip("transformers.models.vitmatte.image_processing_pil_vitmatte")

OPTIONS = [
    {},
    {"do_rescale": False},
    {"do_normalize": False},
    {"do_pad": False},
    {"do_rescale": False, "do_normalize": False},
    {"rescale_factor": 1 / 127.5, "image_mean": [1.0, 0.9, 1.1], "image_std": [0.2, 0.3, 0.4]},
    {"image_mean": 0.3, "image_std": 0.7},
    {"size_divisor": 14},
]


def pictures(count, height, width):
    random = np.random.default_rng(height * width)
    images = random.integers(0, 256, (count, height, width, 3), np.uint8)
    return list(images), list(random.integers(0, 256, (count, height, width), np.uint8))


def assert_same(ours, theirs):
    np.testing.assert_allclose(np.asarray(ours, np.float64), np.asarray(theirs, np.float64), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("size", [(33, 47), (64, 96), (2, 5), (101, 7)], ids=str)
def test_the_same_arrays(options, size):
    images, trimaps = pictures(2, *size)
    theirs = reference.VitMatteImageProcessorPil()(images, trimaps, return_tensors="pt", **options).pixel_values
    ours = VitMatteImageProcessor()(images, trimaps, return_tensors="pt", **options).pixel_values
    assert ours.dtype == torch.float32
    assert_same(ours, theirs)
    # The same as settings rather than arguments of the call.
    assert_same(VitMatteImageProcessor(**options)(images, trimaps, return_tensors="pt").pixel_values, theirs)
    single = reference.VitMatteImageProcessorPil(**options)(images[0], trimaps[0]).pixel_values
    assert isinstance(single, list)
    assert_same(VitMatteImageProcessor(**options)(images[0], trimaps[0]).pixel_values, single)


@pytest.mark.parametrize("kind", ["PIL", "channels first", "float", "tensor"])
def test_the_same_for_other_inputs(kind):
    from PIL import Image

    (image,), (trimap,) = pictures(1, 33, 47)
    if kind == "PIL":
        image, trimap = Image.fromarray(image), Image.fromarray(trimap)
    elif kind == "channels first":
        image = image.transpose(2, 0, 1)
    elif kind == "float":
        image, trimap = image.astype(np.float32), trimap.astype(np.float32)
    else:
        image, trimap = torch.from_numpy(image).permute(2, 0, 1), torch.from_numpy(trimap)
    theirs = reference.VitMatteImageProcessorPil()(image, trimap, return_tensors="np").pixel_values
    assert_same(VitMatteImageProcessor()(image, trimap, return_tensors="np").pixel_values, theirs)


def test_our_file_loads_in_transformers(tmp_path):
    ours = VitMatteImageProcessor(do_normalize=False, size_divisibility=16, image_mean=[0.1, 0.2, 0.3])
    ours.save_pretrained(tmp_path)
    theirs = reference.VitMatteImageProcessorPil.from_pretrained(tmp_path)
    (image,), (trimap,) = pictures(1, 33, 47)
    assert_same(ours(image, trimap).pixel_values[0], theirs(image, trimap).pixel_values[0])
    assert json.loads(theirs.to_json_string()) == {
        key: value for key, value in ours.to_dict().items() if key != "size_divisibility"
    }


def test_their_file_loads_here(tmp_path):
    theirs = reference.VitMatteImageProcessorPil(do_pad=False, size_divisor=8, image_std=[0.1, 0.2, 0.3])
    theirs.save_pretrained(tmp_path)
    expected = VitMatteImageProcessor(do_pad=False, size_divisor=8, image_std=[0.1, 0.2, 0.3])
    assert VitMatteImageProcessor.from_pretrained(tmp_path) == AutoImageProcessor.from_pretrained(tmp_path) == expected


def test_every_default_key_of_theirs_is_known_here():
    keys = reference.VitMatteImageProcessorPil.valid_kwargs.__annotations__
    every = dict.fromkeys([*keys, "size_divisibility", "processor_class", "feature_extractor_type"], None)
    assert VitMatteImageProcessor.from_dict(every) == VitMatteImageProcessor()


def test_their_fault_with_mixed_sizes_is_mended_here():
    images, trimaps = (a + b for a, b in zip(pictures(1, 33, 47), pictures(1, 70, 20), strict=True))
    with pytest.raises(ValueError, match=r"Unable to convert output|expected sequence|inhomogeneous|same"):
        reference.VitMatteImageProcessorPil()(images, trimaps, return_tensors="pt")
    assert VitMatteImageProcessor()(images, trimaps, return_tensors="pt").pixel_values.shape == (2, 4, 96, 64)
