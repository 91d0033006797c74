"""Exported files as models of the tasks. What a file's runtime computes is here computed by the model itself."""

import numpy as np
import pytest
import torch

from export.zoo import tiny
from perpixel.errors import CheckpointError, InputError
from perpixel.export.model import TensorsOnly
from perpixel.export.runtime import ExportedModel, is_exported, open_exported
from perpixel.tasks.depth import DepthEstimator, depth, load_depth_model
from perpixel.tasks.export import describe, settled
from perpixel.tasks.matting import matte
from perpixel.tasks.segmentation import Segmenter, load_segmenter, segment

PICTURE = np.random.default_rng(0).integers(0, 256, (53, 71, 3), np.uint8)


def opened(model, fixed=None, seen=None):
    """A file of the model, without the file."""
    network, about = describe(model)
    wrapper = TensorsOnly(network)

    def run(pixels):
        if seen is not None:
            seen.append(pixels.shape)
        with torch.no_grad():
            return [part.numpy() for part in wrapper(torch.from_numpy(pixels))]

    return ExportedModel(run, settled(about, fixed, False), "here.onnx")


def trimap():
    known = np.full(PICTURE.shape[:2], 128, np.uint8)
    known[:, :20], known[:, 50:] = 255, 0
    return known


def test_matting_gives_the_same():
    model, seen = tiny("vitmatte"), []
    expected = matte(PICTURE, trimap(), model=model).alpha
    found = matte(PICTURE, trimap(), model=opened(model, seen=seen)).alpha
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert seen == [(1, 4, 64, 96)]
    assert np.unique(found[:, 20:50]).size > 10


@pytest.mark.parametrize("name", ["dpt", "depth_anything"])
def test_depth_gives_the_same(name):
    model = tiny(name)
    processor = load_depth_model(model).processor
    processor.size = {"height": 56, "width": 56}
    expected = depth(PICTURE, model=DepthEstimator(model, processor))
    file = opened(DepthEstimator(model, processor))
    assert file.about.processor["size"] == {"height": 56, "width": 56}
    found = depth(PICTURE, model=file)
    np.testing.assert_allclose(found.values, expected.values, atol=1e-5)
    assert found.kind == expected.kind
    np.testing.assert_array_equal(depth(PICTURE, model=load_depth_model(file)).values, found.values)


@pytest.mark.parametrize("kind", ["panoptic", "instance", "semantic"])
def test_segments_are_the_same(kind):
    model = tiny("mask2former_resnet")
    processor = load_segmenter(model).processor
    processor.size = {"shortest_edge": 70}
    options = {"kind": kind, "threshold": 0.0}
    expected = segment(PICTURE, model=Segmenter(model, processor), **options)
    found = segment(PICTURE, model=opened(Segmenter(model, processor)), **options)
    np.testing.assert_array_equal(found.map, expected.map)
    assert [part.label_id for part in found] == [part.label_id for part in expected]


def test_classes_are_the_same():
    model = tiny("dpt_segmentation")
    file = opened(model)
    assert load_segmenter(file).kinds == ("semantic",)
    np.testing.assert_array_equal(segment(PICTURE, model=file).map, segment(PICTURE, model=model).map)


def test_a_file_of_one_size_gets_its_images_in_it():
    seen = []
    segment(PICTURE, model=opened(tiny("mask2former_resnet"), (64, 96), seen))
    segment(PICTURE, model=opened(tiny("dpt_segmentation"), (64, 96), seen))
    depth(PICTURE, model=opened(tiny("dpt"), (96, 64), seen))
    alpha = matte(PICTURE, trimap(), model=opened(tiny("vitmatte"), (96, 128), seen)).alpha
    assert seen == [(1, 3, 64, 96), (1, 3, 64, 96), (1, 3, 96, 64), (1, 4, 96, 128)]
    assert alpha.shape == (53, 71)


def test_images_larger_than_the_only_size_are_refused():
    with pytest.raises(InputError, match=r"comes to 96×64 .* takes at most 64×64.*--dynamic"):
        matte(PICTURE, trimap(), model=opened(tiny("vitmatte"), (64, 64)))


def test_a_batch_of_padded_images_is_computed_image_by_image():
    model = tiny("mask2former_resnet")
    pixels, mask = torch.randn(2, 3, 64, 96), torch.zeros(2, 64, 96)
    mask[0, :33, :40] = mask[1] = 1
    with torch.no_grad():
        expected = model(pixels, pixel_mask=mask)
    found = opened(model)(pixels, pixel_mask=mask)
    torch.testing.assert_close(found.class_queries_logits, expected.class_queries_logits)
    torch.testing.assert_close(found.masks_queries_logits, expected.masks_queries_logits)
    torch.testing.assert_close(found.mask_sizes, expected.mask_sizes)


def test_a_file_for_another_task_is_refused():
    file = opened(tiny("vitmatte"))
    with pytest.raises(CheckpointError, match="is a model for matting, and one for depth is needed"):
        depth(PICTURE, model=file)
    with pytest.raises(CheckpointError, match="segmentation is needed"):
        segment(PICTURE, model=file)


def test_other_devices_and_types_are_refused():
    file = opened(tiny("vitmatte"))
    assert file.eval() is file.to("cpu") is file
    with pytest.raises(InputError, match="runs on the CPU"):
        file.to("cuda")
    with pytest.raises(InputError, match="computes in float32"):
        file.to(dtype=torch.bfloat16)


@pytest.mark.parametrize("name", ["lost.onnx", "lost.xml", "lost.pt2"])
def test_a_file_that_is_not_there(name, tmp_path):
    assert is_exported(name)
    with pytest.raises(CheckpointError, match="there is no file"):
        matte(PICTURE, trimap(), model=tmp_path / name)


@pytest.mark.parametrize("name", ["broken.onnx", "broken.xml", "broken.pt2"])
def test_broken_files(name, tmp_path):
    (tmp_path / name).write_bytes(b"nothing of the kind")
    with pytest.raises(CheckpointError, match="broken"):
        open_exported(tmp_path / name)


def test_names_of_checkpoints_are_no_files():
    assert not any(is_exported(name) for name in (None, "vitmatte-nano", "Intel/dpt-large", "model.safetensors"))
