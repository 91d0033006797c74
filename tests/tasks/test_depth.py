"""`depth`: what a known picture gives, models of each family, tiles, memory and errors."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from models.dpt.tiny import DINOV2, NECK, SWINV2, tiny_config, tiny_model
from parity.randomise import randomise
from perpixel.errors import CheckpointError, InputError
from perpixel.images.read import read_photo
from perpixel.models.depth_anything.config import DepthAnythingConfig
from perpixel.models.depth_anything.model import DepthAnythingForDepthEstimation
from perpixel.models.dpt.model import DPTForSemanticSegmentation
from perpixel.models.dpt.processor import DPTImageProcessor
from perpixel.tasks import depth as module
from perpixel.tasks.dense import model_multiple
from perpixel.tasks.depth import DepthEstimator, depth, load_depth_model
from tasks.known_depth import estimator, picture, smooth

SCENE = smooth(96, 128)


def tiny_anything(**changes):
    config = DepthAnythingConfig(dict(DINOV2), patch_size=8, reassemble_hidden_size=16, **NECK, **changes)
    model = DepthAnythingForDepthEstimation(config).eval()
    randomise(model)
    return model


def test_a_known_picture():
    image = picture(SCENE)
    found = depth(image, model=estimator(side=64, multiple=32))
    assert found.kind == "inverse" and found.unit is None and found.size == (128, 96)
    np.testing.assert_allclose(found.values, SCENE, atol=5e-3)
    np.testing.assert_array_equal(found.image, image)


def test_the_size_that_the_model_sees():
    model = estimator(side=64, multiple=32)
    depth(picture(SCENE), model=model)
    depth(picture(SCENE), model=model, size=40)
    depth(picture(smooth(60, 500)), model=model)
    # 96×128 to 64 rows; to 40; and a panorama, whose rows need the smaller change.
    assert model.network.sizes == [(64, 96), (32, 64), (64, 544)]


def test_photographs_by_path_and_of_sixteen_bits(tmp_path):
    eight = np.rint(SCENE[..., None].repeat(3, 2) * 255).astype(np.uint8)
    Image.fromarray(eight).save(tmp_path / "a.png")
    expected = depth(eight, model=estimator()).values
    for image in (tmp_path / "a.png", read_photo(tmp_path / "a.png")):
        np.testing.assert_array_equal(depth(image, model=estimator()).values, expected)
    deep = depth(eight.astype(np.uint16) * 257, model=estimator()).values
    np.testing.assert_allclose(deep, expected, atol=2 / 255)


def test_strips_change_nothing(monkeypatch):
    model = estimator()
    expected = model.processor.post_process_depth_estimation(
        model.network(model.processor(picture(SCENE), return_tensors="pt").pixel_values), [SCENE.shape]
    )[0]["predicted_depth"]
    monkeypatch.setattr(module, "STRIP", 7)
    np.testing.assert_array_equal(depth(picture(SCENE), model=model).values, expected.numpy())


@settings(max_examples=8, deadline=None)
@given(height=st.integers(1, 70), width=st.integers(1, 70), detail=st.sampled_from(module.DETAILS))
def test_any_size(height, width, detail):
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    image[0, 0] = 200
    found = depth(image, model=estimator(side=16, moody=True), detail=detail)
    assert found.size == (width, height) and np.isfinite(found.values).all()


# Families


def test_every_family_by_its_folder(tmp_path):
    image = picture(SCENE)
    for name, model in (
        ("own", tiny_model()),
        (
            "swinv2",
            tiny_model(config=tiny_config(NECK, backbone_config=dict(SWINV2), neck_hidden_sizes=[8, 16, 32, 64])),
        ),
        ("anything", tiny_anything()),
    ):
        model.save_pretrained(tmp_path / name)
        DPTImageProcessor(size=64).save_pretrained(tmp_path / name)
        found = depth(image, model=tmp_path / name)
        assert found.kind == "inverse" and found.values.std() > 0, name
        # 64 rows and not 64×64: the aspect stays.
        made = load_depth_model(tmp_path / name).processor(image, return_tensors="pt").pixel_values
        assert tuple(made.shape[2:]) == {"own": (64, 80), "swinv2": (64, 96), "anything": (64, 88)}[name]
        expected = DPTImageProcessor().post_process_depth_estimation(model(made), [SCENE.shape])[0]
        np.testing.assert_allclose(found.values, expected["predicted_depth"].detach().numpy(), rtol=1e-4, atol=1e-4)


def test_metres_of_the_models_that_say_so(tmp_path):
    metric = tiny_anything(depth_estimation_type="metric", max_depth=20)
    found = depth(picture(SCENE), model=metric, size=32)
    assert (found.kind, found.unit) == ("metric", "m") and 0 < found.values.min() <= found.values.max() <= 20
    trained = tiny_model(config=tiny_config(depth_loss="metric"))
    assert load_depth_model(trained).output_kind == "metric"
    assert load_depth_model(tiny_anything()).output_kind == "inverse"


def test_metres_of_the_models_that_do_not_say_so(tmp_path):
    folder = tmp_path / "dpt-dinov2-small-nyu"
    tiny_model(config=tiny_config(NECK, backbone_config=dict(DINOV2))).save_pretrained(folder)
    assert load_depth_model(folder).output_kind == "metric"
    assert load_depth_model(folder, kind="inverse").output_kind == "inverse"
    assert depth(picture(SCENE), model=estimator(), kind="metric").unit == "m"


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (tiny_config(patch_size=16), 32),
        (tiny_config(NECK, backbone_config={**DINOV2, "patch_size": 14}), 28),
        (tiny_config(NECK, backbone_config=dict(SWINV2), neck_hidden_sizes=[8, 16, 32, 64]), 32),
        (DepthAnythingConfig(), 14),
    ],
    ids=["own", "dinov2", "swinv2", "depth anything"],
)
def test_the_multiple_that_a_model_needs(config, expected):
    assert model_multiple(config) == expected


def test_the_checkpoints_own_settings_but_the_aspect(tmp_path):
    tiny_model().save_pretrained(tmp_path)
    DPTImageProcessor(size=48, image_std=0.25, ensure_multiple_of=3, do_pad=True, size_divisor=5).save_pretrained(
        tmp_path
    )
    processor = load_depth_model(tmp_path).processor
    assert processor.size == {"height": 48, "width": 48} and processor.image_std == 0.25
    assert processor.keep_aspect_ratio and processor.ensure_multiple_of == 16 and not processor.do_pad


def test_without_a_processor_file_the_models_own_size(tmp_path):
    tiny_anything().save_pretrained(tmp_path)
    processor = load_depth_model(tmp_path).processor
    assert processor.size == {"height": 32, "width": 32} and processor.image_mean == [0.485, 0.456, 0.406]
    assert load_depth_model(tiny_model()).processor.image_mean == [0.5, 0.5, 0.5]


# Tiles


def test_tiles_of_any_scale_and_shift_join_without_seams():
    truth = smooth(150, 203)
    model = estimator(side=64, moody=True)
    whole = depth(picture(truth), model=estimator(side=64)).values
    tiled = depth(picture(truth), model=model, detail="tiled").values
    assert len(model.network.sizes) > 6 and set(model.network.sizes[1:]) == {(64, 64)}
    np.testing.assert_allclose(tiled, truth, atol=1.5e-3)
    assert np.abs(tiled - truth).max() < np.abs(whole - truth).max() / 3
    # At a seam the difference to the truth would jump.
    for line in (0, 1):
        assert np.abs(np.diff(tiled - truth, axis=line)).max() < 2e-4


def test_the_slant_of_a_tile_is_that_of_the_whole_image():
    truth = smooth(150, 203)
    tiled = depth(picture(truth), model=estimator(side=64, slant=0.1), detail="tiled").values
    # Scale and shift alone leave errors up to 0.079, 0.012 on average, and steps of 0.015.
    assert np.abs(tiled - truth).max() < 0.006 and np.abs(tiled - truth).mean() < 0.001
    for line in (0, 1):
        assert np.abs(np.diff(tiled - truth, axis=line)).max() < 0.002


def test_tiles_bring_detail():
    truth = smooth(96, 128)
    truth[30:33, 20:110] += 0.15  # a wire that the whole image's depth is too coarse for
    whole = depth(picture(truth), model=estimator()).values
    tiled = depth(picture(truth), model=estimator(moody=True), detail="tiled").values
    wire = np.s_[30:33, 20:110]
    assert np.abs(whole - truth)[wire].mean() > 0.05
    assert np.abs(tiled - truth)[wire].mean() < 0.02


def test_an_image_no_larger_than_the_models_is_not_tiled():
    model = estimator(side=96)
    depth(picture(SCENE), model=model, detail="tiled")
    assert len(model.network.sizes) == 1


def test_an_image_without_depth_stays_flat_in_tiles():
    for image in (np.full((50, 70, 3), 90, np.uint8), np.zeros((50, 70, 3), np.uint8)):
        found = depth(image, model=estimator(side=16, moody=True), detail="tiled")
        assert np.ptp(found.values) < 1e-6 and not found.normalized().any()


def test_metric_tiles_stay_above_zero():
    rng = np.random.default_rng(1)
    image = (rng.random((60, 80, 1)) ** 8 * np.ones(3) * 255).astype(np.uint8) + 1
    found = depth(image, model=estimator(side=16, kind="metric", moody=True), detail="tiled")
    assert found.kind == "metric" and found.valid.all() and found.values.min() > 0


# Memory and errors


def test_the_memory_that_is_needed():
    image = picture(SCENE)
    expected = depth(image, model=estimator())
    with pytest.raises(InputError, match=r"max_memory is 10 MB: this model needs (\d+) MB for 128×96") as error:
        depth(image, model=estimator(), max_memory="10MB")
    needed = int(str(error.value).split("needs ")[1].split(" MB")[0])
    found = depth(image, model=estimator(), max_memory=f"{needed + 1}MB")
    np.testing.assert_array_equal(found.values, expected.values)
    with pytest.raises(InputError, match="max_memory"):
        depth(image, model=estimator(), max_memory=f"{needed - 1}MB")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"detail": "fine"}, "detail='fine' is not known: use one of whole, tiled"),
        ({"size": 0}, "size is 0"),
        ({"size": 3.5}, r"size is 3\.5"),
        ({"kind": "disparity"}, "use one of inverse, metric"),
        ({"max_memory": "much"}, "no amount of memory"),
        ({"image": "there_is_none.jpg"}, r"there_is_none\.jpg"),
        ({"device": "gpu7"}, "there is no device 'gpu7'"),
    ],
)
def test_inputs_that_cannot_be_used(change, words):
    arguments = {"image": picture(SCENE), "model": estimator(), **change}
    with pytest.raises(InputError, match=words):
        depth(arguments.pop("image"), **arguments)


def test_a_model_that_says_nothing():
    class Broken(type(estimator().network)):
        def forward(self, pixel_values, **options):
            output = super().forward(pixel_values, **options)
            output.predicted_depth[:] = float("nan")
            return output

    made = estimator()
    model = DepthEstimator(Broken(made.network.config).eval(), made.processor)
    with pytest.raises(InputError, match="no pixel of the depth is known"):
        depth(picture(SCENE), model=model)


def test_the_default_model_without_a_network(monkeypatch, tmp_path):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(CheckpointError, match=r"Depth-Anything-V2-Small-hf is not on this machine.*hf download"):
        depth(picture(SCENE))


def test_checkpoints_of_other_families(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "vitmatte"}))
    with pytest.raises(CheckpointError, match=r"is a vitmatte, and depth needs .* depth_anything or dpt"):
        depth(picture(SCENE), model=tmp_path)
    config = tiny_config(num_labels=3)
    tiny_model(DPTForSemanticSegmentation, config).save_pretrained(tmp_path / "classes")
    with pytest.raises(CheckpointError, match="does not fit DPTForDepthEstimation"):
        depth(picture(SCENE), model=tmp_path / "classes")
