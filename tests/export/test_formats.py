"""Every kind of model in every format, run by the format's own runtime. `export` itself compares at three sizes."""

import json

import numpy as np
import pytest
import torch

from export.zoo import ZOO, tiny
from models.dpt.tiny import tiny_config
from parity.randomise import randomise_depth
from perpixel.export.about import Sizes
from perpixel.export.check import random_pixels
from perpixel.export.model import TensorsOnly, channels_of, record
from perpixel.export.onnx import write_onnx
from perpixel.export.runtime import open_exported
from perpixel.models.dpt.model import DPTForDepthEstimation
from perpixel.tasks.export import describe, export
from perpixel.tasks.load import load
from perpixel.tasks.matting import matte

pytest.importorskip("onnxruntime")
pytest.importorskip("openvino")

SUFFIX = {"onnx": ".onnx", "openvino": ".xml", "torch-export": ".pt2"}


def test_a_program_for_one_size():
    model = tiny("vitmatte")
    program = record(TensorsOnly(model.requires_grad_(False)), Sizes(32, (64, 96)))
    pixels = random_pixels(4, 64, 96, 0)
    with torch.no_grad():
        torch.testing.assert_close(program.module()(pixels)[0], model(pixels).alphas, atol=1e-5, rtol=1e-5)


# Recording and converting take their time, so each model goes into one format here, and another one below.
FORMS = tuple(SUFFIX)
OPEN = [(name, FORMS[place % 3]) for place, name in enumerate(ZOO)]
FIXED = [("vitmatte", form) for form in FORMS] + [
    (name, FORMS[(place + 1) % 3])
    for place, name in enumerate(ZOO)
    if name in ("mask2former_swin", "dpt_beit", "depth_anything")
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "form"), OPEN)
def test_open_sizes(name, form, tmp_path):
    model = tiny(name)
    about = describe(model)[1]
    done = export(model, tmp_path / f"{name}{SUFFIX[form]}")
    assert done.largest_difference <= 1e-3
    file = open_exported(done.path)
    assert file.about == done.about
    assert (file.about.config, file.about.processor) == (json.loads(json.dumps(about.config)), about.processor)
    assert type(file.config) is type(model.config)
    # One side is a single multiple, and one that the check does not take.
    multiple = about.sizes.multiple
    pixels = random_pixels(channels_of(model), 2 * multiple, 7 * multiple, 5)
    with torch.no_grad():
        expected = TensorsOnly(model)(pixels)
    for part, wanted in zip(file.tensors(pixels).values(), expected, strict=True):
        if not name.startswith("mask2former"):
            np.testing.assert_allclose(part, wanted, atol=1e-3 * float(wanted.std()))
        assert part.shape == wanted.shape


@pytest.mark.slow
@pytest.mark.parametrize(("name", "form"), FIXED)
def test_one_size(name, form, tmp_path):
    model = tiny(name)
    multiple = describe(model)[1].sizes.multiple
    done = export(model, tmp_path / f"{name}{SUFFIX[form]}", size=(3 * multiple, 5 * multiple))
    assert done.about.sizes == Sizes(multiple, (3 * multiple, 5 * multiple)) and not done.about.half
    assert done.largest_difference <= 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("form", ["onnx", "openvino"])
def test_half_as_large(form, tmp_path):
    # Wide enough that the weights are most of the file.
    model = DPTForDepthEstimation(tiny_config(intermediate_size=16384))
    randomise_depth(model.eval())
    whole = sum(4 * parameter.numel() for parameter in model.parameters())  # no file in 32 bits is smaller
    half = export(model, tmp_path / f"half{SUFFIX[form]}", size=(64, 96), half=True)
    assert half.about.half
    assert half.bytes < 0.6 * whole
    assert 0 < half.largest_difference <= 5e-2


@pytest.mark.slow
def test_weights_in_a_file_of_their_own(tmp_path):
    model = tiny("dpt")
    network, about = describe(model)
    program = record(TensorsOnly(network.requires_grad_(False)), Sizes(32, (64, 64)))
    write_onnx(program, tmp_path / "dpt.onnx", about, embedded_bytes=0)
    assert {path.name for path in tmp_path.iterdir()} == {"dpt.onnx", "dpt.onnx.data"}
    pixels = random_pixels(3, 64, 64, 0)
    with torch.no_grad():
        expected = model(pixels).predicted_depth
    torch.testing.assert_close(
        open_exported(tmp_path / "dpt.onnx").tensors(pixels)["predicted_depth"], expected, atol=1e-4, rtol=1e-4
    )


@pytest.mark.slow
def test_the_embedded_model_as_a_file_of_the_task(tmp_path):
    export("vitmatte-nano", tmp_path / "nano.onnx")
    image = np.random.default_rng(0).integers(0, 256, (95, 130, 3), np.uint8)
    trimap = np.full((95, 130), 128, np.uint8)
    trimap[:30], trimap[70:] = 0, 255
    expected = matte(image, trimap).alpha
    for model in (tmp_path / "nano.onnx", load(tmp_path / "nano.onnx")):
        np.testing.assert_allclose(matte(image, trimap, model=model).alpha, expected, atol=1e-4)
