"""Eight bits: kept beside the converted model, shown images once, refused where they do not hold, and silent."""

import sys

import numpy as np
import pytest
import torch

from models.vitmatte.tiny import tiny_model
from perpixel.errors import ConfigError, InputError, MissingDependencyError
from perpixel.export import int8
from perpixel.export.int8 import check_int8, quantized, window_of
from perpixel.tasks.export import describe
from perpixel.tasks.matting import load_matting_model, matte

pytest.importorskip("openvino")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PERPIXEL_CACHE", str(tmp_path))


def test_a_file_that_is_there_is_taken_without_a_look_at_images(tmp_path):
    about = describe(tiny_model())[1]
    for suffix in (".xml", ".bin"):
        (tmp_path / f"model-int8{suffix}").write_text("")

    def never():
        raise AssertionError("looked at")
        yield

    assert quantized(tmp_path / "model.xml", about, never()) == tmp_path / "model-int8.xml"


def test_without_images_there_is_nothing_to_go_by(tmp_path):
    with pytest.raises(InputError, match="give some, such as 16, as calibration="):
        quantized(tmp_path / "model.xml", describe(tiny_model())[1], [])


def test_a_family_can_be_refused(monkeypatch):
    monkeypatch.setitem(int8.REFUSED, "VitMatteForImageMatting", "its SAD doubles")
    with pytest.raises(
        ConfigError, match="not offered for a VitMatteForImageMatting: its SAD doubles; use dtype='bf16'"
    ):
        check_int8("VitMatteForImageMatting")
    with pytest.raises(ConfigError, match="its SAD doubles"):
        load_matting_model(tiny_model(), quantize="int8")


def test_a_missing_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(MissingDependencyError, match="needs NNCF"):
        check_int8("VitMatteForImageMatting")
    assert "openvino_telemetry" not in sys.modules or sys.modules["openvino_telemetry"] is not None


def test_wrong_choices():
    with pytest.raises(InputError, match="use 'int8', or leave it out"):
        load_matting_model(tiny_model(), quantize="int4")
    with pytest.raises(InputError, match="done by OpenVINO"):
        load_matting_model(tiny_model(), engine="torch", quantize="int8")


def test_a_window_of_multiples_from_the_middle():
    pixels = torch.arange(80.0).expand(1, 4, 700, 80)
    found = window_of(pixels, 32)
    assert found.shape == (1, 4, 512, 64) and found[0, 0, 0, 0] == 8
    assert window_of(torch.zeros(1, 3, 518, 14), 14).shape == (1, 3, 504, 14)


@pytest.mark.slow
def test_mattes_in_eight_bits():
    pytest.importorskip("nncf")
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (64, 96, 3), np.uint8)
    trimap = np.full((64, 96), 128, np.uint8)
    trimap[:, :20], trimap[:, 70:] = 0, 255
    model = tiny_model()
    network = load_matting_model(model, quantize="int8", calibration=[(image, trimap)] * 2)
    full = matte(image, trimap, model=model).alpha
    found = matte(image, trimap, model=network).alpha
    assert (found[:, :20] == 0).all() and (found[:, 70:] == 1).all()
    assert 0 < np.abs(found - full).mean() < 0.1
    # Another picture is not looked at: the file is there.
    np.testing.assert_array_equal(matte(image, trimap, model=model, quantize="int8").alpha, found)
