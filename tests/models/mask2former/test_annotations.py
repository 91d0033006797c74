"""Masks and classes from label maps of every kind."""

import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from perpixel.errors import ConfigError, InputError, PerpixelWarning
from perpixel.models.mask2former.processor import Mask2FormerImageProcessor

PLAIN = {"do_resize": False, "return_tensors": "np"}


def picture(height, width):
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3), np.uint8)


def encode(labels, classes=None, image=None, **options):
    """The masks and classes of one label map, not resized."""
    image = np.zeros((*np.shape(labels)[:2], 3), np.uint8) if image is None else image
    options = {**PLAIN, "input_data_format": "channels_last"} | options
    batch = Mask2FormerImageProcessor()(image, labels, classes, **options)
    return batch.mask_labels[0], batch.class_labels[0].tolist()


def test_masks_by_hand():
    labels = np.array([[7, 7, 0], [255, 3, 7]])
    masks, classes = encode(labels)
    assert classes == [0, 3, 7, 255] and masks.dtype == np.float32
    np.testing.assert_array_equal(masks, [labels == number for number in (0, 3, 7, 255)])
    masks, classes = encode(labels, ignore_index=255)
    assert classes == [0, 3, 7] and masks.shape == (3, 2, 3)
    # 0 is left out, the classes count from 0.
    masks, classes = encode(np.where(labels == 255, 0, labels), ignore_index=255, do_reduce_labels=True)
    assert classes == [2, 6]
    np.testing.assert_array_equal(masks, [labels == 3, labels == 7])
    assert encode(labels, ignore_index=255, reduce_labels=True)[1] == [2, 6, 254]


def test_instances_by_hand():
    labels = np.array([[1, 2], [300, 0]], np.int32)
    classes = {1: 17, 2: 17, 300: 4}
    assert encode(labels, classes, ignore_index=0)[1] == [17, 17, 4]
    assert encode(labels, {str(key): value for key, value in classes.items()}, ignore_index=0)[1] == [17, 17, 4]
    # Reduced: 0 is no object, the classes count from 0, the ids are as they are in the map.
    assert encode(labels, classes, ignore_index=255, do_reduce_labels=True)[1] == [16, 16, 3]
    # An object of a class that is to be left out is no object.
    assert encode(labels, {**classes, 2: 0}, ignore_index=255, do_reduce_labels=True)[1] == [16, 3]
    assert encode(labels, {**classes, 0: 9, 2: 255}, ignore_index=255)[1] == [9, 17, 4]
    # 256 is an id here, though the class 256 would be reduced to 255.
    assert encode(np.where(labels == 300, 256, labels), {1: 1, 2: 2, 256: 3}, ignore_index=255, do_reduce_labels=True)[
        1
    ] == [0, 1, 2]


@pytest.mark.parametrize("kind", ["np", "pt", None])
def test_a_map_without_objects(kind):
    images, labels = [picture(3, 5), picture(4, 4)], [np.full((3, 5), 255, np.uint8), np.eye(4, dtype=np.uint8)]
    batch = Mask2FormerImageProcessor(ignore_index=255)(images, labels, do_resize=False, return_tensors=kind)
    assert [tuple(item.shape) for item in batch.mask_labels] == [(0, 4, 5), (2, 4, 5)]
    assert [tuple(item.shape) for item in batch.class_labels] == [(0,), (2,)]
    assert "float32" in str(batch.mask_labels[0].dtype) and "int64" in str(batch.class_labels[0].dtype)
    assert torch.is_tensor(batch.mask_labels[0]) == torch.is_tensor(batch.class_labels[0]) == (kind == "pt")


def test_the_padding_belongs_to_no_object():
    images = [picture(3, 5), picture(4, 4)]
    batch = Mask2FormerImageProcessor(ignore_index=255)(images, [np.full(i.shape[:2], 1) for i in images], **PLAIN)
    for masks, mask in zip(batch.mask_labels, batch.pixel_mask, strict=True):
        np.testing.assert_array_equal(masks[0], mask)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 30), st.integers(1, 30))
def test_maps_are_resized_by_nearest_neighbour(height, width, rows, columns):
    labels = np.random.default_rng(height).integers(0, 3, (height, width)) * 100_000
    processor = Mask2FormerImageProcessor(size=(rows, columns), size_divisor=0)
    batch = processor(
        np.zeros((height, width, 3), np.uint8), labels, return_tensors="np", input_data_format="channels_last"
    )
    places = Image.fromarray(labels.astype(np.int32)).resize((columns, rows), Image.Resampling.NEAREST)
    chosen = np.asarray(places)
    assert batch.class_labels[0].tolist() == np.unique(chosen).tolist()
    np.testing.assert_array_equal(batch.mask_labels[0], [chosen == label for label in np.unique(chosen)])


def png(image):
    stream = io.BytesIO()
    image.save(stream, "png")
    return stream.getvalue()


def test_maps_in_every_form(tmp_path):
    labels = np.array([[0, 1, 2, 2], [3, 3, 0, 1], [3, 3, 3, 0]], np.uint8)
    expected, classes = encode(labels)
    palette = Image.fromarray(labels)
    palette.putpalette([10, 20, 30, 10, 20, 30, 0, 0, 0, 255, 255, 255])
    palette.save(tmp_path / "palette.png", transparency=0)
    assert Image.open(tmp_path / "palette.png").mode == "P"
    forms = [
        labels.astype(np.int64),
        labels.astype(np.float32),
        labels[None],
        labels[..., None],
        torch.from_numpy(labels),
        Image.fromarray(labels),
        palette,
        tmp_path / "palette.png",
        png(Image.fromarray(labels.astype(np.uint16))),
        Image.fromarray(labels.astype(np.int32)),
        [labels],
    ]
    for form in forms:
        masks, found = encode(form, image=np.zeros((3, 4, 3), np.uint8))
        assert found == classes
        np.testing.assert_array_equal(masks, expected)
    several = encode(np.stack([labels, labels]), image=np.zeros((2, 3, 4, 3), np.uint8))
    np.testing.assert_array_equal(several[0], expected)
    masks, found = encode(labels > 1)
    assert found == [0, 1]
    np.testing.assert_array_equal(masks[1], labels > 1)


def test_16_bit_maps_keep_their_numbers():
    labels = np.array([[0, 256], [1000, 65535]], np.uint16)
    assert encode(png(Image.fromarray(labels)), image=np.zeros((2, 2, 3), np.uint8))[1] == [0, 256, 1000, 65535]
    assert encode(labels)[1] == [0, 256, 1000, 65535]


def test_panoptic_colours_of_coco():
    ids = np.array([[0, 255, 256], [65536, 3226956, 3226956]])
    colours = np.stack([ids % 256, ids // 256 % 256, ids // 65536], -1).astype(np.uint8)
    classes = {255: 1, 256: 2, 65536: 3, 3226956: 4}
    image = np.zeros((2, 3, 3), np.uint8)
    for form in (colours, colours.transpose(2, 0, 1), Image.fromarray(colours), png(Image.fromarray(colours))):
        masks, found = encode(form, classes, image=image, ignore_index=0)
        assert found == [1, 2, 3, 4]
        np.testing.assert_array_equal(masks[3], ids == 3226956)
    grey = np.dstack([ids.clip(0, 9).astype(np.uint8)] * 3)
    with pytest.warns(PerpixelWarning, match="three equal channels and is taken as a grey map"):
        assert encode(grey, image=image)[1] == [0, 9]


@pytest.mark.parametrize(
    ("labels", "classes", "options", "message"),
    [
        (np.zeros((6, 4)), None, {}, r"segmentation_map is 4×6 but image is 6×4 \(width×height\): .*resize the map to"),
        (np.array([[1, 9], [1, 7]]), {1: 5}, {}, r"holds the ids 7, 9, which its .* does not have \(it has 1\)"),
        (np.full((4, 6), 0.5), None, {}, "segmentation_map holds fractions"),
        (np.full((4, 6), -1), None, {}, "holds the class -1: pass ignore_index=-1"),
        (np.zeros((4, 6, 4)), None, {}, "segmentation_map has four channels"),
        (np.full((4, 6, 3), 256), None, {}, "three channels with values outside of 0…255"),
        (np.zeros((4, 6)), [{}, {}], {}, "has 2 mappings for 1 maps"),
        (np.zeros((4, 6)), 5, {}, "instance_id_to_semantic_id is 5: pass the class of each id"),
        ([np.zeros((4, 6))] * 2, None, {}, "1 images but 2 segmentation_maps"),
        (None, {1: 2}, {}, "without segmentation_maps"),
        (np.zeros((4, 6)), None, {"do_reduce_labels": True}, "needs ignore_index"),
        (Image.new("RGBA", (6, 4)), None, {}, "partly transparent"),
        (Image.new("CMYK", (6, 4)), None, {}, "Pillow mode CMYK"),
        ("nowhere.png", None, {}, "nowhere.png does not exist"),
        (b"no image", None, {}, "holds text"),
    ],
)
def test_maps_that_cannot_be_used(labels, classes, options, message):
    image = picture(*np.shape(labels)) if classes == {1: 5} else picture(4, 6)
    with pytest.raises((InputError, ConfigError), match=message):
        Mask2FormerImageProcessor()(image, labels, classes, **PLAIN, **options)


def test_a_jpeg_is_no_label_map():
    stream = io.BytesIO()
    Image.new("L", (6, 4)).save(stream, "jpeg")
    with pytest.raises(InputError, match="JPEG, whose compression changes labels"):
        encode(stream.getvalue(), image=picture(4, 6))


def test_minus_one_can_be_left_out():
    assert encode(np.array([[-1, 2], [0, -1]]), ignore_index=-1)[1] == [0, 2]


def test_compressed_masks_are_the_same_masks():
    images = [picture(33, 20), picture(17, 40)]
    labels = [np.random.default_rng(n).integers(0, 3, image.shape[:2]) for n, image in enumerate(images)]
    processor = Mask2FormerImageProcessor(do_resize=False, ignore_index=0)
    dense = processor(images, labels, return_tensors="pt")
    short = processor(images, labels, return_tensors="pt", return_compressed=True)
    height, width = dense.pixel_mask.shape[1:]
    grid = torch.stack(
        torch.meshgrid((torch.arange(width) + 0.5) / width, (torch.arange(height) + 0.5) / height, indexing="xy"), -1
    )
    for masks, compressed, classes in zip(dense.mask_labels, short.mask_labels, dense.class_labels, strict=True):
        points = grid.reshape(1, -1, 2).expand(len(classes), -1, -1)
        torch.testing.assert_close(compressed.sample(points), masks.flatten(1), atol=1e-4, rtol=0)
