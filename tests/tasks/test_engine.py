"""`engine="openvino"` in every task: the numbers of torch, converted once; and named errors."""

import sys

import numpy as np
import pytest
import torch

from models.dpt.tiny import TINY as VIT
from models.dpt.tiny import tiny_config as dpt_config
from models.mask2former.tiny import tiny_model as tiny_mask2former
from models.vitmatte.tiny import tiny_model as tiny_vitmatte
from parity.randomise import randomise_depth
from perpixel.errors import ConfigError, InputError, MissingDependencyError
from perpixel.export import write
from perpixel.export.runtime import ExportedModel
from perpixel.models.dpt.model import DPTForDepthEstimation
from perpixel.tasks.depth import depth, load_depth_model
from perpixel.tasks.matting import load_matting_model, matte
from perpixel.tasks.segmentation import load_segmenter, segment

pytest.importorskip("openvino")
IMAGE = np.random.default_rng(0).integers(0, 256, (37, 61, 3), np.uint8)
TRIMAP = np.full((37, 61), 128, np.uint8)
TRIMAP[:, :20], TRIMAP[:, 40:] = 0, 255


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PERPIXEL_CACHE", str(tmp_path))


def depth_model():
    model = DPTForDepthEstimation(dpt_config(VIT)).eval()
    randomise_depth(model)
    return model


@pytest.mark.slow
def test_mattes(monkeypatch):
    model = tiny_vitmatte()
    expected = matte(IMAGE, TRIMAP, model=model).alpha
    by_openvino = load_matting_model(model, engine="openvino")
    assert isinstance(by_openvino, ExportedModel)
    np.testing.assert_allclose(matte(IMAGE, TRIMAP, model=by_openvino).alpha, expected, atol=1e-4)
    monkeypatch.setattr(write, "write_model", None)  # it is converted, so this is not called again
    np.testing.assert_allclose(matte(IMAGE, TRIMAP, model=model, engine="openvino").alpha, expected, atol=1e-4)
    half = matte(IMAGE, TRIMAP, model=model, engine="openvino", dtype="bf16").alpha
    np.testing.assert_allclose(half, expected, atol=0.2)


@pytest.mark.slow
def test_depth():
    model = depth_model()
    expected = depth(IMAGE, model=model, size=32)
    found = depth(IMAGE, model=model, size=32, engine="openvino")
    assert found.kind == expected.kind
    np.testing.assert_allclose(found.values, expected.values, atol=1e-3 * expected.values.std())


@pytest.mark.slow
def test_segments():
    # Its Swin's windows divide the maps of the size that is recorded, and must be filled up at others.
    model = tiny_mask2former()
    by_openvino = load_segmenter(model, engine="openvino")
    for kind in ("semantic", "panoptic"):
        found = segment(IMAGE, model=by_openvino, kind=kind, size=64, threshold=0)
        expected = segment(IMAGE, model=model, kind=kind, size=64, threshold=0)
        assert (found.label_map == expected.label_map).mean() > 0.98


CALLS = (
    lambda **options: load_matting_model(tiny_vitmatte(), **options),
    lambda **options: load_depth_model(depth_model(), **options),
    lambda **options: load_segmenter(tiny_mask2former(), **options),
)


@pytest.mark.parametrize("call", CALLS)
def test_wrong_choices_say_what_to_use(call, monkeypatch):
    with pytest.raises(InputError, match="use one of torch, openvino"):
        call(engine="tensorrt")
    with pytest.raises(InputError, match="runs on the CPU: use 'bf16'"):
        call(engine="openvino", dtype="fp16")
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'perpixel\[export\]'"):
        call(engine="openvino")


def test_torch_is_the_engine_without_a_choice():
    model = tiny_vitmatte()
    found = [matte(IMAGE, TRIMAP, model=model, engine=engine).alpha for engine in (None, "torch")]
    np.testing.assert_array_equal(*found)


@pytest.mark.filterwarnings("ignore::perpixel.errors.PerpixelWarning")
def test_a_model_in_half_precision_cannot_be_converted():
    half = load_matting_model(tiny_vitmatte(), dtype=torch.bfloat16)
    with pytest.raises(ConfigError, match="give dtype with engine"):
        load_matting_model(half, engine="openvino")


def test_an_exported_file_has_its_own_engine():
    with pytest.raises(ConfigError, match="leave engine out"):
        load_matting_model("model.onnx", engine="openvino")
