"""DPT's processor beside transformers' own: the same arrays and maps, and files that both load."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from perpixel.models.auto import AutoImageProcessor
from perpixel.models.dpt.processor import DPTFeatureExtractor, DPTImageProcessor

# The implementation without torchvision, which no CPU build of the torch used here has.
reference = pytest.importorskip("transformers.models.dpt.image_processing_pil_dpt")
Theirs = reference.DPTImageProcessorPil

SMALL = {"size": {"height": 60, "width": 44}}
OPTIONS = [
    SMALL,
    {**SMALL, "keep_aspect_ratio": True},
    {**SMALL, "keep_aspect_ratio": True, "ensure_multiple_of": 14},
    {**SMALL, "keep_aspect_ratio": True, "ensure_multiple_of": 32},
    {**SMALL, "ensure_multiple_of": 32, "resample": 2},
    {**SMALL, "resample": 0, "do_rescale": False},
    {**SMALL, "do_normalize": False, "rescale_factor": 1 / 127.5},
    {**SMALL, "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]},
    {**SMALL, "do_pad": True, "size_divisor": 14, "keep_aspect_ratio": True},
    {"do_resize": False, "do_pad": True, "size_divisor": 14},
    {"do_resize": False, "do_pad": True},
    {"size": 40, "size_divisor": 32},
]


def picture(height, width):
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("size", [(1, 1), (33, 47), (47, 33), (90, 61), (45, 60)], ids=str)
def test_the_same_pixels(options, size):
    image = Image.fromarray(picture(*size))
    theirs = Theirs(**options)(image, return_tensors="np").pixel_values
    ours = DPTImageProcessor(**options)(image, return_tensors="np").pixel_values
    assert ours.dtype == np.float32
    np.testing.assert_array_equal(ours, theirs)
    # The same as arguments of the call rather than settings.
    np.testing.assert_array_equal(DPTImageProcessor()(image, return_tensors="np", **options).pixel_values, theirs)


@pytest.mark.parametrize("size", [(1, 1), (480, 640)], ids=str)
def test_the_same_with_the_defaults_and_in_a_batch(size):
    images = [Image.fromarray(picture(*size)), Image.fromarray(255 - picture(*size))]
    theirs, ours = (kind()(images, return_tensors="pt").pixel_values for kind in (Theirs, DPTFeatureExtractor))
    assert ours.shape == (2, 3, 384, 384) and torch.equal(ours, theirs)


def test_every_size_with_both_multiples():
    random = np.random.default_rng(0)
    for height, width in random.integers(200, 3000, (200, 2)).tolist():
        for multiple in (1, 14, 32):
            for keep in (True, False):
                options = {"keep_aspect_ratio": keep, "ensure_multiple_of": multiple}
                processor = DPTImageProcessor(size=(518, 384), **options)
                given = np.empty((3, height, width), bool)
                theirs = reference.get_resize_output_image_size(given, (518, 384), keep, multiple)
                assert processor._content_size((height, width)) == (theirs.height, theirs.width)


def test_the_same_labels_without_a_resize():
    """With one their filter is bicubic for labels too, see test_labels_of_classes_that_are_not_there."""
    labels = np.random.default_rng(0).choice([0, 1, 2, 149, 255], (28, 42)).astype(np.uint8)
    for options in ({}, {"do_reduce_labels": True}):
        settings = {"do_resize": False, "return_tensors": "pt", **options}
        theirs = Theirs()(picture(28, 42), labels.copy(), **settings).labels
        ours = DPTImageProcessor()(picture(28, 42), labels, **settings).labels
        assert ours.dtype == theirs.dtype and torch.equal(ours, theirs)


def test_labels_of_classes_that_are_not_there():
    labels = np.kron([[10, 200], [200, 10]], np.ones((20, 20), int)).astype(np.uint8)
    found = [
        set(np.unique(kind()(picture(40, 40), labels, size=(30, 30), return_tensors="np").labels))
        for kind in (Theirs, DPTImageProcessor)
    ]
    assert len(found[0]) > 4 and found[1] == {10, 200}


@pytest.mark.parametrize("sizes", [None, [(37, 50), (120, 81)], torch.tensor([[37, 50], [120, 81]])], ids=type)
def test_the_same_classes(sizes):
    random = torch.Generator().manual_seed(0)
    outputs = SimpleNamespace(logits=torch.randn(2, 9, 24, 31, generator=random))
    plain = sizes.tolist() if isinstance(sizes, torch.Tensor) else sizes
    theirs = Theirs().post_process_semantic_segmentation(outputs, plain, return_segmentation_scores=True)
    ours = DPTImageProcessor().post_process_semantic_segmentation(outputs, sizes)
    scored = DPTImageProcessor().post_process_semantic_segmentation(outputs, sizes, return_segmentation_scores=True)
    for one, other, both in zip(ours, theirs, scored, strict=True):
        assert one.dtype == torch.int64 and torch.equal(one, both.segmentation)
        torch.testing.assert_close(both.segmentation_scores, other.segmentation_scores, atol=1e-5, rtol=0)
        two_best = other.segmentation_scores.topk(2, dim=0).values
        clear = two_best[0] - two_best[1] > 1e-5
        assert clear.float().mean() > 0.99 and torch.equal(one[clear], other.segmentation[clear])


def test_depth_there_leaves_its_range_and_loses_sides_of_one_pixel():
    depth = torch.zeros(1, 6, 6)
    depth[:, :, 3:] = 1
    outputs = SimpleNamespace(predicted_depth=depth)
    theirs = Theirs().post_process_depth_estimation(outputs, [(24, 24)])[0]["predicted_depth"]
    ours = DPTImageProcessor().post_process_depth_estimation(outputs, [(24, 24)])[0]["predicted_depth"]
    assert theirs.min() < -0.05 and theirs.max() > 1.05
    assert ours.min() == 0 and ours.max() == 1
    exact = torch.nn.functional.interpolate(depth[None], (24, 24), mode="bilinear")[0, 0]
    torch.testing.assert_close(ours, exact)
    for size in ((1, 8), (8, 1), (1, 1)):
        assert Theirs().post_process_depth_estimation(outputs, [size])[0]["predicted_depth"].shape != size
        assert DPTImageProcessor().post_process_depth_estimation(outputs, [size])[0]["predicted_depth"].shape == size


def test_files_load_on_both_sides(tmp_path):
    settings = {"keep_aspect_ratio": True, "ensure_multiple_of": 14, "size": {"height": 70, "width": 70}}
    Theirs(**settings, do_pad=True, size_divisor=14).save_pretrained(tmp_path / "theirs")
    ours = AutoImageProcessor.from_pretrained(tmp_path / "theirs")
    assert ours == DPTImageProcessor(**settings, do_pad=True, size_divisor=14)
    DPTFeatureExtractor(**settings).save_pretrained(tmp_path / "ours")
    assert json.loads((tmp_path / "ours" / "preprocessor_config.json").read_text())["ensure_multiple_of"] == 14
    image = Image.fromarray(picture(51, 80))
    loaded = Theirs.from_pretrained(tmp_path / "ours")(image, return_tensors="np").pixel_values
    np.testing.assert_array_equal(loaded, DPTImageProcessor(**settings)(image, return_tensors="np").pixel_values)


def test_a_side_of_no_pixels_there():
    image = Image.fromarray(picture(4, 200))
    options = {"size": (30, 30), "keep_aspect_ratio": True, "ensure_multiple_of": 32}
    with pytest.raises(ValueError, match="height=0, width=32"):
        Theirs(**{**options, "size": {"height": 30, "width": 30}})(image)
    assert DPTImageProcessor(**options)(image, return_tensors="np").pixel_values.shape == (1, 3, 32, 32)


def test_what_else_goes_wrong_there():
    labels = np.zeros((20, 30), np.uint8)
    found = Theirs()(picture(20, 30), labels, do_resize=False, do_pad=True, size_divisor=32, return_tensors="np")
    assert found.labels.shape == (1, 32, 32) and found.labels[0, 0, 0] == 0  # a class, not 255
    Theirs()(picture(20, 30), labels, do_resize=False, do_reduce_labels=True)
    assert (labels == 255).all()
    with pytest.raises(ValueError, match="flat list of images"):
        Theirs()(np.zeros((20, 30), np.uint8))
    with pytest.raises(ValueError, match="mean must have 1 elements"):
        Theirs()(Image.new("L", (30, 20)))
    with pytest.raises(ValueError, match="inhomogeneous"):
        Theirs(keep_aspect_ratio=True)([picture(20, 30), picture(30, 30)], return_tensors="pt")
