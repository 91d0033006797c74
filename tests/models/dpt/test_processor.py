"""DPT's image processor: settings, sizes, labels, and maps of the images' own sizes."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import perpixel
from perpixel.errors import ConfigError, InputError, PerpixelWarning
from perpixel.models.auto import AutoImageProcessor
from perpixel.models.dpt import postprocess
from perpixel.models.dpt.processor import DPTFeatureExtractor, DPTImageProcessor
from perpixel.models.dpt.sizes import resized_size

PLAIN = {"do_resize": False, "return_tensors": "np"}
DINO = {"keep_aspect_ratio": True, "ensure_multiple_of": 14, "size": 70}


def picture(height, width):
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3), np.uint8)


def depth_output(depth):
    return SimpleNamespace(predicted_depth=torch.as_tensor(depth, dtype=torch.float32))


def resized_depth(processor, depth, size, **kwargs):
    return processor.post_process_depth_estimation(depth_output(depth), [size], **kwargs)[0]["predicted_depth"]


# Settings


def test_the_public_names():
    assert perpixel.DPTImageProcessor is DPTImageProcessor
    assert perpixel.DPTFeatureExtractor is DPTFeatureExtractor


def test_the_defaults_are_those_of_transformers():
    expected = {
        "do_resize": True,
        "size": {"height": 384, "width": 384},
        "resample": 3,
        "keep_aspect_ratio": False,
        "ensure_multiple_of": 1,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "do_pad": False,
        "do_reduce_labels": False,
        "image_processor_type": "DPTImageProcessor",
    }
    assert DPTImageProcessor().to_dict() == expected
    assert DPTFeatureExtractor().to_dict() == expected  # transformers 5 has no feature extractors left


@pytest.mark.parametrize(
    "file",
    [
        {"feature_extractor_type": "DPTFeatureExtractor", "size": 384, "resample": 2, "do_resize": True},
        {"image_processor_type": "DPTImageProcessorFast", "size": {"height": 384, "width": 384}, "resample": 2},
        {"image_processor_type": "DPTImageProcessor", "resample": 2, "size_divisor": None, "crop_size": None},
    ],
    ids=str,
)
def test_files_of_every_age(tmp_path, file, recwarn):
    path = tmp_path / "preprocessor_config.json"
    path.write_text(json.dumps({**file, "ensure_multiple_of": 1, "keep_aspect_ratio": False, "do_pad": False}))
    assert AutoImageProcessor.from_pretrained(path) == DPTImageProcessor(resample=2)
    assert DPTFeatureExtractor.from_pretrained(path, size=100).size == {"height": 100, "width": 100}
    assert not recwarn


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": {"shortest_edge": 384}},
        {"size": 0},
        {"ensure_multiple_of": 0},
        {"size_divisor": 1.5},
        {"do_pad": "yes"},
        {"resample": 9},
        {"keep_aspect": True},
    ],
    ids=str,
)
def test_wrong_settings(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        DPTImageProcessor(**wrong)
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        DPTImageProcessor()(picture(4, 4), **wrong)


# Images


@given(
    height=st.integers(1, 5000),
    width=st.integers(1, 5000),
    multiple=st.sampled_from([1, 14, 32]),
    keep=st.booleans(),
)
@settings(max_examples=30, deadline=None)
def test_sizes(height, width, multiple, keep):
    found = resized_size(height, width, (384, 518), keep_aspect_ratio=keep, multiple=multiple)
    assert all(side % multiple == 0 and side >= multiple for side in found)
    if not keep:
        assert all(abs(side - want) <= multiple / 2 for side, want in zip(found, (384, 518), strict=True))
        return
    # One side is the wanted one, and the other follows, both to within half a multiple.
    fits = []
    for scale in (384 / height, 518 / width):
        exact = [max(scale * height, multiple), max(scale * width, multiple)]
        fits.append(all(abs(side - want) <= multiple / 2 + 1e-6 for side, want in zip(found, exact, strict=True)))
    assert any(fits)


def test_the_smaller_change_decides():
    # 480 → 384 is a factor of 0.8, 640 → 384 of 0.6: the height is fitted, as in the paper's code.
    assert resized_size(480, 640, (384, 384), keep_aspect_ratio=True) == (384, 512)
    assert resized_size(200, 300, (384, 384), keep_aspect_ratio=True) == (256, 384)


def test_images_of_every_kind_are_the_same_picture(tmp_path):
    image = picture(33, 47)
    Image.fromarray(image).save(tmp_path / "image.png")
    kinds = [
        tmp_path / "image.png",
        (tmp_path / "image.png").read_bytes(),
        Image.fromarray(image),
        image.astype(np.int64),
        np.moveaxis(image, -1, 0),
        torch.from_numpy(image),
        np.dstack([image, np.full((33, 47), 9, np.uint8)]),
    ]
    processor = DPTImageProcessor(**DINO)
    expected = processor(image, return_tensors="np").pixel_values
    assert expected.shape == (1, 3, 56, 70)
    for kind in kinds:
        np.testing.assert_array_equal(processor(kind, return_tensors="np").pixel_values, expected)
    # Of 16 bits the fractions are kept that Pillow rounds away after each direction of the filter.
    expected = processor(image, resample=2, return_tensors="np").pixel_values
    wide = processor(image.astype(np.uint16) * 257, resample=2, return_tensors="np").pixel_values
    np.testing.assert_allclose(wide, expected, atol=1.1 / 127.5)


def test_an_edge_in_16_bits_does_not_leave_the_range_either():
    image = np.zeros((20, 20, 3), np.uint16)
    image[:, 10:] = 65535
    found = DPTImageProcessor(size=60)(image, return_tensors="np").pixel_values
    assert found.min() == -1 and found.max() == 1


def test_grey_images():
    grey = picture(20, 30)[..., 0]
    expected = DPTImageProcessor(size=40)(np.dstack([grey] * 3), return_tensors="np").pixel_values
    for kind in (grey, Image.fromarray(grey), grey[None], grey[..., None]):
        np.testing.assert_array_equal(DPTImageProcessor(size=40)(kind, return_tensors="np").pixel_values, expected)


def test_images_of_different_aspects():
    images = [picture(40, 40), picture(40, 80)]
    processor = DPTImageProcessor(**DINO)
    with pytest.raises(InputError, match=r"images\[0\] comes to 70×70 and images\[1\] to 70×28 .* one by one"):
        processor(images, return_tensors="pt")
    listed = processor(images).pixel_values
    for image, values in zip(images, listed, strict=True):
        np.testing.assert_array_equal(values, processor(image, return_tensors="np").pixel_values[0])
    assert processor(images, keep_aspect_ratio=False, return_tensors="pt").pixel_values.shape == (2, 3, 70, 70)


def test_channels_last():
    found = DPTImageProcessor()(picture(8, 6), data_format="channels_last", **PLAIN).pixel_values
    expected = DPTImageProcessor()(picture(8, 6), **PLAIN).pixel_values
    np.testing.assert_array_equal(found, np.moveaxis(expected, 1, -1))
    assert DPTImageProcessor()(picture(8, 6), data_format=None, **PLAIN).pixel_values.shape == (1, 8, 6, 3)


def test_values_that_are_rescaled_already():
    with pytest.warns(PerpixelWarning, match="do_rescale=False"):
        DPTImageProcessor()(picture(4, 4) / 255.0)


def test_margins_are_zero_and_half_on_each_side():
    found = DPTImageProcessor(do_pad=True, size_divisor=14)(np.full((11, 14, 3), 255, np.uint8), **PLAIN)
    expected = np.zeros((1, 3, 14, 14), np.float32)
    expected[:, :, 1:12] = 1
    np.testing.assert_array_equal(found.pixel_values, expected)


# Label maps


def test_labels_are_reduced_and_filled_up_with_what_the_loss_ignores():
    labels = np.array([[0, 1, 150], [255, 2, 0]], np.uint8)
    kept = labels.copy()
    found = DPTImageProcessor(do_pad=True, size_divisor=4, do_reduce_labels=True)(picture(2, 3), labels, **PLAIN)
    edge = [255, 255, 255, 255]
    expected = [edge, [255, 0, 149, 255], [255, 1, 255, 255], edge]
    assert found.labels.dtype == np.int64 and found.labels.tolist() == [expected]
    np.testing.assert_array_equal(labels, kept)


def test_labels_are_resized_with_their_images():
    labels = [np.kron([[3, 300], [7, 0]], np.ones((10, 20), int)) for _ in range(2)]
    found = DPTImageProcessor(**DINO)([picture(20, 40)] * 2, labels, return_tensors="pt")
    assert found.labels.shape == (2, *found.pixel_values.shape[2:]) and found.labels.dtype == torch.int64
    assert found.labels.unique().tolist() == [0, 3, 7, 300]


def test_labels_that_do_not_fit():
    with pytest.raises(InputError, match="segmentation_map is 5×4 but image is 4×4"):
        DPTImageProcessor()(picture(4, 4), np.zeros((4, 5), int))
    with pytest.raises(InputError, match="number of the class"):
        DPTImageProcessor()(picture(9, 8), picture(9, 8))


# Depth


@given(height=st.integers(1, 9), width=st.integers(1, 9), rows=st.integers(1, 20), columns=st.integers(1, 20))
@settings(max_examples=12, deadline=None)
def test_depth_is_resized_bilinearly_within_its_range(height, width, rows, columns):
    depth = torch.rand(1, height, width, generator=torch.Generator().manual_seed(height * width)) * 1000
    found = resized_depth(DPTImageProcessor(), depth, (rows, columns))
    expected = torch.nn.functional.interpolate(depth[None], (rows, columns), mode="bilinear", align_corners=False)
    # Places between pixels are rounded too, to 1e-7 or so, and neighbours differ by up to 1000.
    torch.testing.assert_close(found, expected[0, 0], rtol=0, atol=1e-3)
    assert found.shape == (rows, columns) and depth.min() <= found.min() and found.max() <= depth.max()
    constant = resized_depth(DPTImageProcessor(), torch.full_like(depth, 0.1), (rows, columns))
    assert (constant == torch.tensor(0.1)).all()


def test_depth_keeps_its_size_its_type_and_its_gradient():
    depth = torch.rand(2, 3, 4, dtype=torch.float16)
    processor = DPTImageProcessor()
    outputs = SimpleNamespace(predicted_depth=depth)
    assert all(
        torch.equal(found["predicted_depth"], one)
        for found, one in zip(processor.post_process_depth_estimation(outputs), depth, strict=True)
    )
    found = processor.post_process_depth_estimation(outputs, torch.tensor([[5, 6], [1, 1]]))
    assert [tuple(item["predicted_depth"].shape) for item in found] == [(5, 6), (1, 1)]
    assert found[0]["predicted_depth"].dtype == torch.float16
    outputs.predicted_depth = depth.float().requires_grad_()
    processor.post_process_depth_estimation(outputs, [(5, 6)] * 2)[0]["predicted_depth"].sum().backward()
    assert outputs.predicted_depth.grad[0].sum() == pytest.approx(30)


@pytest.mark.parametrize("scale", [1, 2, 16 / 14])
@pytest.mark.parametrize("size", [(33, 47), (29, 70), (1, 1), (14, 28)], ids=str)
def test_margins_are_left_out_before_the_resize(scale, size):
    height, width = size
    processor = DPTImageProcessor(do_resize=False, do_pad=True, size_divisor=14)
    # What a perfect model of any output scale would say: how far right and down each pixel lies in the image.
    ramps = np.stack(np.mgrid[0:height, 0:width])[..., None].repeat(3, -1).astype(np.float32)
    for axis, ramp in enumerate(ramps):
        inputs = processor(ramp, do_rescale=False, do_normalize=False, return_tensors="pt").pixel_values[:, 0]
        start = (-size[axis] % 14) // 2
        count = inputs.shape[1 + axis]
        line = (torch.arange(round(count * scale)) + 0.5) / scale - 0.5 - start
        whole = [round(side * scale) for side in inputs.shape[1:]]
        predicted = line[:, None].expand(whole) if axis == 0 else line.expand(whole)
        found = resized_depth(processor, predicted[None], size)
        # Half a predicted pixel is lost where the edge of the image lies within one.
        np.testing.assert_allclose(found, ramp[..., 0], atol=0.51 if scale != 1 else 1e-4)
        inner = found[1:-1, 1:-1] if min(size) > 2 else found[:0]
        np.testing.assert_allclose(inner, ramp[1:-1, 1:-1, 0] if min(size) > 2 else ramp[:0, :, 0], atol=1e-4)


def test_what_lies_in_the_margin_is_never_read():
    processor = DPTImageProcessor(**DINO, do_pad=True, size_divisor=32)
    image = picture(40, 80)  # 28 × 70, in the middle of 32 × 96
    assert processor(image, return_tensors="np").pixel_values.shape == (1, 3, 32, 96)
    predicted = torch.full((1, 32, 96), math.nan)
    predicted[:, 2:30, 13:83] = torch.rand(28, 70)
    found = resized_depth(processor, predicted, (40, 80))
    expected = torch.nn.functional.interpolate(predicted[None, :, 2:30, 13:83], (40, 80), mode="bilinear")
    torch.testing.assert_close(found, expected[0, 0])
    # A result of another size than the image's.
    double = resized_depth(processor, predicted, (60, 100), source_sizes=[(40, 80)])
    assert double.shape == (60, 100) and double.isfinite().all()
    with pytest.raises(InputError, match="pass source_sizes"):
        resized_depth(processor, predicted, (80, 80))


@pytest.mark.parametrize(
    ("sizes", "message"),
    [([(4, 4)], "1 sizes for 2 images"), ([(4, 4), (0, 4)], "above 0"), ([(4, 4), (4, 4, 4)], "a height and a width")],
    ids=str,
)
def test_target_sizes_that_do_not_fit(sizes, message):
    outputs = SimpleNamespace(predicted_depth=torch.zeros(2, 3, 3), logits=torch.zeros(2, 5, 3, 3))
    for convert in ("post_process_depth_estimation", "post_process_semantic_segmentation"):
        with pytest.raises(InputError, match=message):
            getattr(DPTImageProcessor(), convert)(outputs, sizes)


# Classes


@given(
    classes=st.integers(1, 12),
    height=st.integers(1, 12),
    width=st.integers(1, 12),
    rows=st.integers(1, 230),
    columns=st.integers(1, 230),
)
@settings(max_examples=12, deadline=None)
def test_classes_are_the_best_of_the_resized_scores(classes, height, width, rows, columns):
    random = torch.Generator().manual_seed(classes + height)
    logits = torch.randn(1, classes, height, width, generator=random) * torch.randn(1, classes, 1, 1, generator=random)
    processor, outputs = DPTImageProcessor(), SimpleNamespace(logits=logits)
    found = processor.post_process_semantic_segmentation(outputs, [(rows, columns)])[0]
    scores = torch.nn.functional.interpolate(logits, (rows, columns), mode="bilinear", align_corners=False)[0]
    assert found.shape == (rows, columns)
    # The class found is the best, up to the rounding of the weights.
    best = scores.amax(0)
    torch.testing.assert_close(scores.gather(0, found[None])[0], best, atol=1e-4, rtol=1e-4)


def test_the_highest_of_equal_scores_and_of_none_is_that_of_argmax():
    scores = torch.randint(0, 4, (5, 24, 24)).float()
    scores[torch.rand(scores.shape) < 0.05] = torch.nan
    assert torch.equal(postprocess.highest(scores), scores.argmax(0))


def test_equal_scores_give_the_first_class():
    outputs = SimpleNamespace(logits=torch.ones(1, 4, 3, 3))
    for sizes in (None, [(6, 5)]):
        assert not DPTImageProcessor().post_process_semantic_segmentation(outputs, sizes)[0].any()


def test_classes_in_the_margin_are_never_read():
    processor = DPTImageProcessor(do_resize=False, do_pad=True, size_divisor=32)
    logits = torch.zeros(1, 3, 16, 16)  # of a 32 × 32 input at half its size
    logits[:, 1] = 1
    logits[:, 1, 4:12, 6:10] = 0  # the image, 16 × 8, in the middle
    logits[:, 2, 4:12, 6:10] = 1
    found = processor.post_process_semantic_segmentation(SimpleNamespace(logits=logits), [(16, 8)])[0]
    assert (found == 2).all()


def test_no_more_scores_at_once_than_those_of_a_tile(monkeypatch):
    sizes = []
    original = torch.matmul
    monkeypatch.setattr(torch, "matmul", lambda *given: sizes.append((found := original(*given)).numel()) or found)
    logits = torch.randn(1, 30, 24, 24, generator=torch.Generator().manual_seed(0))
    DPTImageProcessor().post_process_semantic_segmentation(SimpleNamespace(logits=logits), [(300, 500)])
    assert len(sizes) > 10 and max(sizes) <= 30 * (postprocess.SIDE + 10) ** 2
