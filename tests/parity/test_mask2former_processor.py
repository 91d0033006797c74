"""Mask2Former's processor beside transformers' own: the same arrays, and files that both load."""

import json

import numpy as np
import pytest
import torch
from huggingface_hub.errors import StrictDataclassFieldValidationError
from PIL import Image

from perpixel.images.transforms import output_size
from perpixel.models.auto import AutoImageProcessor
from perpixel.models.mask2former.processor import Mask2FormerImageProcessor

# The implementation without torchvision, which no CPU build of the torch used here has.
reference = pytest.importorskip("transformers.models.mask2former.image_processing_pil_mask2former")
Theirs = reference.Mask2FormerImageProcessorPil

SMALL = {"size": {"shortest_edge": 40, "longest_edge": 70}}
OPTIONS = [
    {"size": {"height": 50, "width": 41}},
    {"size": {"height": 50, "width": 41}, "size_divisor": 0},
    SMALL,
    {**SMALL, "size_divisor": 0},
    {**SMALL, "size_divisor": 7, "resample": 3},
    {"size": {"max_height": 60, "max_width": 45}, "resample": 0},
    {**SMALL, "do_rescale": False},
    {**SMALL, "do_normalize": False, "rescale_factor": 1 / 127.5},
    {**SMALL, "image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4]},
    {**SMALL, "pad_size": {"height": 100, "width": 97}, "ignore_index": 255},
    {"do_resize": False},
]


def picture(height, width):
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3), np.uint8)


def label_map(height, width, numbers=6, dtype=np.uint8):
    """Blocks of labels 0 to `numbers` - 1 and of 255, with ragged edges."""
    random = np.random.default_rng(height + width)
    coarse = random.choice([*range(numbers), 255], (-(-height // 5), -(-width // 7)))
    return np.kron(coarse, np.ones((5, 7), int))[:height, :width].astype(dtype)


def assert_same(ours, theirs):
    for name in ("pixel_values", "pixel_mask"):
        np.testing.assert_array_equal(np.asarray(ours[name]), np.asarray(theirs[name]))
    assert ours.keys() == theirs.keys()
    for name in set(theirs) - {"pixel_values", "pixel_mask"}:
        for one, other in zip(ours[name], theirs[name], strict=True):
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(np.asarray(one), np.asarray(other))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("size", [(1, 1), (33, 47), (90, 20), (40, 60)], ids=str)
def test_the_same_arrays(options, size):
    image, labels = picture(*size), label_map(*size)
    # An array of one pixel is (1, 1, 3) in Pillow's layout, which they take as channels first.
    image = Image.fromarray(image)
    theirs = Theirs(**options)(image, labels, return_tensors="pt")
    if "pad_size" in options:  # the padding of their masks has another value, see test_padded_masks_there
        height, width = output_size(*size, SMALL["size"], divisor=32)
        theirs.mask_labels[0][:, height:], theirs.mask_labels[0][:, :, width:] = 0, 0
    ours = Mask2FormerImageProcessor(**options)(image, labels, return_tensors="pt")
    assert ours.pixel_values.dtype == torch.float32 and ours.pixel_mask.dtype == torch.int64
    assert_same(ours, theirs)
    # The same as arguments of the call rather than settings.
    assert_same(Mask2FormerImageProcessor()(image, labels, return_tensors="pt", **options), theirs)


@pytest.mark.parametrize("size", [(1, 1), (33, 47), (480, 640)], ids=str)
def test_the_same_with_the_defaults(size):
    image, labels = picture(*size), label_map(*size, numbers=3)
    given = Image.fromarray(image), labels
    assert_same(Mask2FormerImageProcessor()(*given, return_tensors="pt"), Theirs()(*given, return_tensors="pt"))


@pytest.mark.parametrize("kind", ["pt", "np", None])
def test_the_same_batches(kind):
    images = [picture(33, 47), picture(50, 30), picture(64, 64)]
    settings = {**SMALL, "size_divisor": 16}
    assert_same(
        Mask2FormerImageProcessor(**settings)(images, return_tensors=kind),
        Theirs(**settings)(images, return_tensors=kind),
    )
    labels = [label_map(*image.shape[:2]) for image in images]
    settings = {"size": {"height": 40, "width": 52}, "ignore_index": 255}
    ours = Mask2FormerImageProcessor(**settings)(images, labels, return_tensors=kind)
    assert_same(ours, Theirs(**settings)(images, labels, return_tensors=kind))
    if kind is None:
        assert isinstance(ours.pixel_values, list) and isinstance(ours.mask_labels[0], np.ndarray)


# Where 0 is reduced, they lose a class that ignore_index happens to name: see test_labels_lost_there.
@pytest.mark.parametrize(("reduce", "ignore"), [(False, None), (False, 0), (False, 2), (False, 255), (True, 255)])
def test_the_same_labels(reduce, ignore):
    options = {**SMALL, "ignore_index": ignore, "do_reduce_labels": reduce, "return_tensors": "pt"}
    for dtype in (np.uint8, np.int32, np.int64):
        given = picture(33, 47), label_map(33, 47, dtype=dtype)
        assert_same(Mask2FormerImageProcessor()(*given, **options), Theirs()(*given, **options))


@pytest.mark.parametrize("reduce", [False, True])
@pytest.mark.parametrize("each", [False, True])
def test_the_same_instances(reduce, each):
    classes = {0: 4, 1: 7, 2: 7, 3: 1, 4: 9, 5: 3}
    images, labels = [picture(33, 47), picture(40, 30)], [label_map(33, 47), label_map(40, 30)]
    given = images, labels, [classes, {**classes, 1: 8}] if each else classes
    settings = {"size": {"height": 40, "width": 52}, "ignore_index": 255, "do_reduce_labels": reduce}
    if reduce:
        for item in labels:
            item[item == 255] = 0
    assert_same(
        Mask2FormerImageProcessor(**settings)(*given, return_tensors="pt"),
        Theirs(**settings)(*given, return_tensors="pt"),
    )


@pytest.mark.parametrize("kind", ["PIL", "palette", "channels first", "tensor", "int64"])
def test_the_same_for_other_inputs(kind):
    image, labels = picture(33, 47), label_map(33, 47)
    if kind == "PIL":
        image, labels = Image.fromarray(image), Image.fromarray(labels)
    elif kind == "palette":
        labels = Image.fromarray(labels)
        labels.putpalette(np.random.default_rng(0).integers(0, 256, 768, np.uint8).tobytes())
        assert labels.mode == "P"
    elif kind == "channels first":
        image, labels = image.transpose(2, 0, 1), labels[None]
    elif kind == "tensor":
        image, labels = torch.from_numpy(image).permute(2, 0, 1), torch.from_numpy(labels)
    else:
        image, labels = image.astype(np.int64), labels.astype(np.int64)
    theirs = Theirs(**SMALL)(image, labels, return_tensors="np")
    assert_same(Mask2FormerImageProcessor(**SMALL)(image, labels, return_tensors="np"), theirs)


def test_floats_are_near_though_not_rounded_to_bytes():
    image = picture(33, 47) / 255
    theirs = Theirs(**SMALL)(image, do_rescale=False, do_normalize=False, return_tensors="np").pixel_values
    ours = Mask2FormerImageProcessor(**SMALL)(image, do_rescale=False, do_normalize=False, return_tensors="np")
    assert 0.2 / 255 < np.abs(ours.pixel_values - theirs).max() < 3 / 255


# Files


def test_our_file_loads_in_transformers(tmp_path):
    ours = Mask2FormerImageProcessor(**SMALL, ignore_index=255, do_reduce_labels=True, num_labels=150, pad_divisor=4)
    ours.save_pretrained(tmp_path)
    theirs = Theirs.from_pretrained(tmp_path)
    written = {key: value for key, value in json.loads(theirs.to_json_string()).items() if key != "pad_divisor"}
    assert written == {key: value for key, value in ours.to_dict().items() if key != "pad_divisor"}
    image, labels = picture(33, 47), label_map(33, 47)
    # Their 255 and 0 are both nothing here; see test_labels_lost_there for 256.
    labels[labels == 255] = 0
    again = Mask2FormerImageProcessor.from_dict(ours.to_dict(), pad_divisor=0)
    assert_same(again(image, labels, return_tensors="pt"), theirs(image, labels, return_tensors="pt"))


def test_their_file_loads_here(tmp_path):
    settings = {"size": 512, "max_size": 2048, "size_divisor": 0, "ignore_index": 0, "num_labels": 3}
    Theirs(**settings).save_pretrained(tmp_path)
    expected = Mask2FormerImageProcessor(**settings)
    assert expected.size == {"shortest_edge": 512, "longest_edge": 2048}
    assert Mask2FormerImageProcessor.from_pretrained(tmp_path) == AutoImageProcessor.from_pretrained(tmp_path)
    assert Mask2FormerImageProcessor.from_pretrained(tmp_path) == expected


def test_every_default_key_of_theirs_is_known_here():
    every = dict.fromkeys(Theirs.valid_kwargs.__annotations__)
    assert Mask2FormerImageProcessor.from_dict(every) == Mask2FormerImageProcessor()


# What docs/differences.md says of them


def test_the_older_names_there():
    processor = Theirs(reduce_labels=True, ignore_index=255)
    assert not processor.do_reduce_labels
    with pytest.raises(ValueError, match="shortest_edge"):
        Theirs(size=40)(picture(33, 47))


def test_padded_masks_there():
    images, labels = [picture(33, 47), picture(50, 30)], [np.ones((33, 47), np.uint8), np.ones((50, 30), np.uint8)]
    theirs = Theirs(do_resize=False, ignore_index=255)(images, labels, return_tensors="np")
    assert theirs.mask_labels[0].max() == 255
    with pytest.raises(ValueError, match="Unsupported format: None"):
        Theirs(do_resize=False)(images, labels, return_tensors="np")
    ours = Mask2FormerImageProcessor(do_resize=False, ignore_index=255)(images, labels, return_tensors="np")
    for one, other, mask in zip(ours.mask_labels, theirs.mask_labels, ours.pixel_mask, strict=True):
        np.testing.assert_array_equal(one, np.where(mask == 1, other, 0))


def test_labels_lost_there():
    image = picture(2, 2)
    for processor in (Theirs(), Mask2FormerImageProcessor()):
        with pytest.raises(ValueError, match="ignore_index"):
            processor(image, np.ones((2, 2)), do_reduce_labels=True)
    with pytest.raises(ValueError, match=r"outside the range \[0, 255\]"):
        Theirs()(image, np.array([[1, 300], [1, 300]]))
    settings = {"do_resize": False, "ignore_index": 255, "do_reduce_labels": True}
    given = image, np.array([[0, 0], [256, 1]]), {1: 5, 256: 0}
    assert Theirs(**settings)(*given).class_labels[0].tolist() == [4]
    settings["ignore_index"] = 2
    given = image, np.array([[0, 0], [3, 1]]), {1: 0, 3: 5}
    assert Theirs(**settings)(*given).class_labels[0].tolist() == [-1]


def test_other_faults_there():
    with pytest.raises(KeyError):
        Theirs()(picture(2, 2), np.array([[1, 2], [1, 2]]), {1: 5})
    with pytest.raises(StrictDataclassFieldValidationError, match="pad_size"):
        Theirs()(picture(5, 7), pad_size={"height": 9, "width": 9})
    turned = Theirs(size={"height": 8, "width": 8})(picture(5, 7), np.ones((7, 5), np.uint8))
    assert turned.mask_labels[0].shape == (1, 32, 32)  # of another size than its image, and stretched over it
    channels_last = Theirs(**SMALL)(picture(33, 47), data_format="channels_last", return_tensors="np")
    assert channels_last.pixel_values.shape[1] == 3
    assert not hasattr(Theirs(), "encode_inputs")
    with pytest.raises(ValueError, match="height=0, width=1344"):
        Theirs()(picture(1, 5000), input_data_format="channels_last")
    with pytest.raises(ValueError, match="Could not make a flat list"):
        Theirs()(picture(5, 5)[..., 0])
