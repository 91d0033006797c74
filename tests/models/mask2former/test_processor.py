"""Mask2Former's image processor: settings, files and batches."""

import json
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import perpixel
from perpixel.errors import ConfigError, InputError, PerpixelWarning
from perpixel.models.auto import AutoImageProcessor
from perpixel.models.mask2former import postprocess
from perpixel.models.mask2former.processor import Mask2FormerImageProcessor

PLAIN = {"do_resize": False, "return_tensors": "np"}


def picture(height, width):
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3), np.uint8)


# Settings


def test_the_public_name():
    assert perpixel.Mask2FormerImageProcessor is Mask2FormerImageProcessor


def test_the_defaults_are_those_of_transformers():
    assert Mask2FormerImageProcessor().to_dict() == {
        "do_resize": True,
        "size": {"shortest_edge": 800, "longest_edge": 1333},
        "size_divisor": 32,
        "resample": 2,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.485, 0.456, 0.406],
        "image_std": [0.229, 0.224, 0.225],
        "do_reduce_labels": False,
        "pad_divisor": 0,
        "image_processor_type": "Mask2FormerImageProcessor",
    }


@pytest.mark.parametrize(
    ("settings", "size"),
    [
        ({"size": 512}, {"shortest_edge": 512, "longest_edge": 1333}),
        ({"size": 512, "max_size": 2048}, {"shortest_edge": 512, "longest_edge": 2048}),
        ({"max_size": 2048}, {"shortest_edge": 800, "longest_edge": 2048}),
        ({"size": {"shortest_edge": 512}}, {"shortest_edge": 512}),
        ({"size": {"shortest_edge": 512}, "max_size": 900}, {"shortest_edge": 512, "longest_edge": 900}),
        ({"size": {"height": 3, "width": 4}, "max_size": 900}, {"height": 3, "width": 4}),
        ({"size": [3, 4]}, {"height": 3, "width": 4}),
    ],
)
def test_sizes_of_every_age(settings, size):
    processor = Mask2FormerImageProcessor(**settings)
    assert processor.size == Mask2FormerImageProcessor.from_dict(settings).size == size
    assert processor.max_size == size.get("longest_edge")


def test_an_override_of_one_side_keeps_the_other():
    written = Mask2FormerImageProcessor(size=512).to_dict()
    assert Mask2FormerImageProcessor.from_dict(written, max_size=700).size == {
        "shortest_edge": 512,
        "longest_edge": 700,
    }
    fixed = Mask2FormerImageProcessor.from_dict(written, size={"height": 3, "width": 4})
    assert fixed.size == {"height": 3, "width": 4}
    old = {"size": 512, "max_size": 2048}
    assert Mask2FormerImageProcessor.from_dict(old, size=300).size == {"shortest_edge": 300, "longest_edge": 1333}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": {"shortest_edge": 5, "longest_edge": 9}, "max_size": 8}, r"longest_edge'\] is 9 and max_size is 8"),
        ({"do_reduce_labels": True, "reduce_labels": False}, "they are one setting"),
        ({"size": {"height": 5}}, "size has the keys 'height': it takes"),
        ({"resample": 9}, "resample is 9: it has to be one of 0 nearest, 1 lanczos, 2 bilinear"),
        ({"size_divisor": -1}, "size_divisor is -1"),
        ({"pad_divisor": True}, "pad_divisor is True"),
        ({"ignore_index": 2.5}, "ignore_index is 2.5: it has to be a whole number"),
        ({"num_labels": 0}, "num_labels is 0"),
        ({"pad_size": {"shortest_edge": 4}}, "pad_size .* it takes a height and a width"),
        ({"do_resise": False}, "no argument 'do_resise': did you mean 'do_resize'"),
    ],
)
def test_settings_that_contradict_or_do_not_exist(settings, message):
    with pytest.raises(ConfigError, match=message):
        Mask2FormerImageProcessor(**settings)


# As the files of converted checkpoints were written by three generations of transformers.
FILES = [
    {
        "_max_size": 1333,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "ignore_index": 255,
        "image_mean": [0.485, 0.456, 0.406],
        "image_processor_type": "Mask2FormerImageProcessor",
        "image_std": [0.229, 0.224, 0.225],
        "num_labels": 133,
        "num_text": 134,
        "reduce_labels": False,
        "resample": 2,
        "rescale_factor": 0.00392156862745098,
        "size": {"height": 384, "width": 384},
        "size_divisor": 32,
    },
    {
        "feature_extractor_type": "MaskFormerFeatureExtractor",
        "ignore_index": 255,
        "max_size": 2048,
        "reduce_labels": True,
        "size": 512,
        "size_divisibility": 0,
        "resample": 2,
    },
    {
        "_valid_processor_keys": ["images"],
        "do_reduce_labels": True,
        "ignore_index": 255,
        "size_divisor": 0,
        "image_processor_type": "MaskFormerImageProcessorFast",
        "do_pad": None,
        "pad_size": None,
        "size": {"longest_edge": 2048, "shortest_edge": 512},
        "device": None,
        "disable_grouping": None,
        "do_convert_rgb": None,
        "crop_size": None,
        "default_to_square": False,
        "input_data_format": None,
    },
]


@pytest.mark.parametrize("file", FILES, ids=["panoptic", "feature extractor", "fast"])
def test_files_of_checkpoints_load_without_a_warning(tmp_path, file):
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(file))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        processor = AutoImageProcessor.from_pretrained(tmp_path)
    assert type(processor) is Mask2FormerImageProcessor and processor.ignore_index == 255
    fixed = isinstance(file["size"], dict) and "height" in file["size"]
    assert processor.size == (file["size"] if fixed else {"shortest_edge": 512, "longest_edge": 2048})
    assert processor.size_divisor == (32 if fixed else 0)
    assert processor.do_reduce_labels is processor.reduce_labels is (not fixed)
    processor.save_pretrained(tmp_path)
    assert AutoImageProcessor.from_pretrained(tmp_path) == processor


def test_a_misspelt_argument_of_a_call():
    with pytest.raises(ConfigError, match="no argument 'ignore_indx': did you mean 'ignore_index'"):
        Mask2FormerImageProcessor()(picture(2, 2), ignore_indx=3)


# Images


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=3), st.sampled_from([0, 8]))
def test_a_batch_is_its_images_filled_up(sizes, divisor):
    images = [picture(*size) for size in sizes]
    processor = Mask2FormerImageProcessor(do_resize=False, pad_divisor=divisor)
    batch = processor(images, return_tensors="np", input_data_format="channels_last")
    assert batch.pixel_values.dtype == np.float32 and batch.pixel_mask.dtype == np.int64
    height, width = batch.pixel_mask.shape[1:]
    assert batch.pixel_values.shape == (len(images), 3, height, width)
    assert 0 <= height - max(h for h, _ in sizes) < max(divisor, 1)
    assert 0 <= width - max(w for _, w in sizes) < max(divisor, 1)
    for image, pixels, mask in zip(images, batch.pixel_values, batch.pixel_mask, strict=True):
        rows, columns = image.shape[:2]
        assert mask[:rows, :columns].all() and mask.sum() == rows * columns
        assert not pixels[:, mask == 0].any()
        alone = processor(image, return_tensors="np", input_data_format="channels_last").pixel_values[0]
        np.testing.assert_array_equal(pixels[:, :rows, :columns], alone[:, :rows, :columns])
        expected = (image / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
        np.testing.assert_allclose(np.moveaxis(alone, 0, -1)[:rows, :columns], expected, atol=2e-6)


def test_one_picture_in_every_form(tmp_path):
    image = picture(21, 34)
    processor = Mask2FormerImageProcessor(size={"height": 40, "width": 30})
    expected = processor(Image.fromarray(image), return_tensors="np").pixel_values
    assert expected.shape == (1, 3, 64, 32)
    Image.fromarray(image).save(tmp_path / "image.png")
    forms = [
        image,
        image.astype(np.int32),
        image.transpose(2, 0, 1),
        image[None],
        torch.from_numpy(image).permute(2, 0, 1),
        tmp_path / "image.png",
        (tmp_path / "image.png").read_bytes(),
        np.dstack([image, image[..., :1]]),
        [image],
    ]
    for form in forms:
        np.testing.assert_array_equal(processor(form, return_tensors="np").pixel_values, expected)
    # Scaled or of 16 bits, there is no rounding to bytes in between: at most one of 255 steps on each of two passes.
    step = 2.1 / 255 / 0.224
    unit = processor(image / 255, do_rescale=False, return_tensors="np").pixel_values
    deep = processor(image.astype(np.uint16) * 257, return_tensors="np").pixel_values
    np.testing.assert_allclose(unit, expected, atol=step)
    np.testing.assert_allclose(deep, unit, atol=1e-5)


def test_grey_images_become_colour():
    grey = picture(9, 8)[..., 0]
    processor = Mask2FormerImageProcessor(size=(16, 16))
    expected = processor(np.dstack([grey] * 3), return_tensors="np").pixel_values
    for form in (grey, grey[None], Image.fromarray(grey)):
        np.testing.assert_array_equal(processor(form, return_tensors="np").pixel_values, expected)
    mask = grey > 127
    expected = processor(mask * np.uint8(255), return_tensors="np").pixel_values
    np.testing.assert_allclose(processor(mask, return_tensors="np").pixel_values, expected, atol=0.02)


def test_a_thin_image_keeps_a_pixel():
    batch = Mask2FormerImageProcessor(size_divisor=0)(picture(1, 5000), return_tensors="np")
    assert batch.pixel_values.shape == (1, 3, 1, 1333)


def test_values_that_look_scaled_already():
    with pytest.warns(PerpixelWarning, match="values of image already lie in 0…1"):
        Mask2FormerImageProcessor(do_resize=False)(np.full((2, 2, 3), 0.5))


def test_the_layout_of_the_result():
    image = picture(4, 6)
    first = Mask2FormerImageProcessor()(image, **PLAIN).pixel_values
    for layout in ("channels_last", None):
        last = Mask2FormerImageProcessor()(image, data_format=layout, **PLAIN).pixel_values
        np.testing.assert_array_equal(last, first.transpose(0, 2, 3, 1))
    assert Mask2FormerImageProcessor()(image.transpose(2, 0, 1), data_format=None, **PLAIN).pixel_values.shape[1] == 3


def test_a_fixed_canvas():
    batch = Mask2FormerImageProcessor(pad_size=9)([picture(4, 6), picture(9, 2)], **PLAIN)
    assert batch.pixel_values.shape == (2, 3, 9, 9)
    with pytest.raises(InputError, match=r"an image is 6×4 and cannot be filled up to 5×5"):
        Mask2FormerImageProcessor()(picture(4, 6), pad_size={"height": 5, "width": 5}, **PLAIN)


# Prepared images


def test_prepared_images_are_only_filled_up():
    images = [np.random.default_rng(n).normal(size=(3, 5, 4 + n)).astype(np.float32) for n in range(2)]
    labels = [np.zeros((5, 4), int), np.arange(25).reshape(5, 5) % 2]
    processor = Mask2FormerImageProcessor(ignore_index=0, do_reduce_labels=True)
    batch = processor.encode_inputs(images, labels, ignore_index=255, do_reduce_labels=False, return_tensors="pt")
    assert batch.pixel_values.shape == (2, 3, 5, 5)
    np.testing.assert_array_equal(batch.pixel_values[0, :, :, :4], images[0])
    assert not batch.pixel_values[0, :, :, 4].any() and batch.pixel_mask.sum().item() == 45
    assert [item.tolist() for item in batch.class_labels] == [[0], [0, 1]]
    np.testing.assert_array_equal(batch.mask_labels[0][0], batch.pixel_mask[0])
    # Without its own arguments, the processor's settings hold.
    assert [item.tolist() for item in processor.encode_inputs(images, labels).class_labels] == [[], []]
    assert Mask2FormerImageProcessor(pad_divisor=4).encode_inputs(
        images[0], return_tensors="np"
    ).pixel_values.shape == (
        1,
        3,
        8,
        4,
    )


def test_preprocessing_is_preparing_and_encoding():
    images, labels = [picture(20, 30), picture(25, 11)], [np.eye(20, 30, dtype=int), np.eye(25, 11, dtype=int)]
    processor = Mask2FormerImageProcessor(do_resize=False)
    whole = processor(images, labels, return_tensors="np")
    prepared = [processor(image, return_tensors="np").pixel_values[0] for image in images]
    again = processor.encode_inputs(prepared, labels, return_tensors="np")
    for name in ("pixel_values", "pixel_mask"):
        np.testing.assert_array_equal(again[name], whole[name])
    for one, other in zip(again.mask_labels, whole.mask_labels, strict=True):
        np.testing.assert_array_equal(one, other)


def test_prepared_images_that_do_not_fit():
    processor = Mask2FormerImageProcessor()
    with pytest.raises(InputError, match=r"segmentation_maps\[1\] is 5×4 but pixel_values_list\[1\] is 4×5"):
        processor.encode_inputs([np.zeros((3, 5, 4))] * 2, [np.zeros((5, 4)), np.zeros((4, 5))])
    with pytest.raises(InputError, match="images of 3, 1 channels"):
        processor.encode_inputs([np.zeros((3, 5, 7)), np.zeros((1, 5, 7))])


# Results


@pytest.mark.parametrize("kind", ["semantic", "instance", "panoptic"])
def test_results_come_from_the_functions(monkeypatch, kind):
    seen = {}

    def function(outputs, *args, **options):
        seen.update(options, outputs=outputs, args=args)
        return ["result"]

    monkeypatch.setattr(postprocess, f"{kind}_segmentation", function)
    method = getattr(Mask2FormerImageProcessor(), f"post_process_{kind}_segmentation")
    assert method("outputs", target_sizes=[(3, 4)]) == ["result"]
    assert seen["outputs"] == "outputs" and [(3, 4)] in [*seen["args"], seen.get("target_sizes")]
    if kind != "semantic":
        method("outputs", 0.1, 0.2, 0.3)
        assert [seen[f"{name}threshold"] for name in ("", "mask_", "overlap_mask_area_")] == [0.1, 0.2, 0.3]
    if kind == "panoptic":
        method("outputs", label_ids_to_fuse={2})
        assert seen["label_ids_to_fuse"] == {2}
