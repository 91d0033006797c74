"""`dtype` in every task: near full precision, named errors, and loaded models."""

import numpy as np
import pytest
import torch

from models.dpt.tiny import TINY as VIT
from models.dpt.tiny import tiny_config as dpt_config
from models.mask2former.tiny import tiny_model as tiny_mask2former
from models.vitmatte.tiny import tiny_model as tiny_vitmatte
from parity.randomise import randomise_depth
from perpixel.errors import ConfigError, InputError
from perpixel.models.dpt.model import DPTForDepthEstimation
from perpixel.tasks.cutout import cutout
from perpixel.tasks.depth import depth, load_depth_model
from perpixel.tasks.matting import load_matting_model, matte
from perpixel.tasks.segmentation import load_segmenter, segment

pytestmark = pytest.mark.filterwarnings("ignore::perpixel.errors.PerpixelWarning")  # a CPU without bf16
IMAGE = np.random.default_rng(0).integers(0, 256, (37, 61, 3), np.uint8)
TRIMAP = np.full((37, 61), 128, np.uint8)
TRIMAP[:, :20], TRIMAP[:, 40:] = 0, 255


def depth_model():
    model = DPTForDepthEstimation(dpt_config(VIT)).eval()
    randomise_depth(model)
    return model


def test_mattes():
    model = tiny_vitmatte()
    full = matte(IMAGE, TRIMAP, model=model).alpha
    half = matte(IMAGE, TRIMAP, model=model, dtype="bf16").alpha
    assert half.dtype == np.float32 and (half[:, :20] == 0).all() and (half[:, 40:] == 1).all()
    assert 0 < np.abs(half - full).max() < 0.2
    np.testing.assert_array_equal(matte(IMAGE, TRIMAP, model=model).alpha, full)  # the model stayed as it was
    np.testing.assert_array_equal(matte(IMAGE, TRIMAP, model=load_matting_model(model, dtype="bf16")).alpha, half)
    np.testing.assert_array_equal(cutout(IMAGE, trimap=TRIMAP, model=model, dtype="bf16").alpha, half)
    tight = matte(IMAGE, TRIMAP, model=model, dtype="bf16", max_memory="2GB").alpha
    np.testing.assert_allclose(tight, half, atol=0.02)


def test_depth():
    model = depth_model()
    full = depth(IMAGE, model=model, size=32).values
    half = depth(IMAGE, model=model, size=32, dtype=torch.bfloat16).values
    assert half.dtype == np.float32 and 0 < np.abs(half - full).mean() < 0.1 * full.std()
    again = depth(IMAGE, model=load_depth_model(model, dtype="bf16"), size=32).values
    np.testing.assert_array_equal(again, half)


def test_segments():
    model = tiny_mask2former()
    segmenter = load_segmenter(model, dtype="bf16")
    assert segmenter.network.compute_dtype == torch.bfloat16 and model.compute_dtype is None
    for kind in ("semantic", "instance", "panoptic"):
        found = segment(IMAGE, model=segmenter, kind=kind, size=64, threshold=0)
        assert found.size == (61, 37)
    classes = [segment(IMAGE, model=each, kind="semantic", size=64).label_map for each in (model, segmenter)]
    assert (classes[0] == classes[1]).mean() > 0.9


def test_wrong_precisions_say_what_to_use():
    for call in (
        lambda dtype: matte(IMAGE, TRIMAP, model=tiny_vitmatte(), dtype=dtype),
        lambda dtype: depth(IMAGE, model=depth_model(), dtype=dtype),
        lambda dtype: segment(IMAGE, model=tiny_mask2former(), dtype=dtype),
    ):
        with pytest.raises(InputError, match="dtype='bf15' is not known"):
            call("bf15")
        with pytest.raises(InputError, match="'fp16' is for GPUs"):
            call("fp16")


def test_full_precision_cannot_be_had_back():
    with pytest.raises(ConfigError, match="load it anew"):
        load_matting_model(load_matting_model(tiny_vitmatte(), dtype="bf16"), dtype="float32")
    assert load_matting_model(tiny_vitmatte(), dtype="float32").compute_dtype is None
