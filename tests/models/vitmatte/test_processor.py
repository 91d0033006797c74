"""ViTMatte's processor: what it takes, and what it makes of it."""

import importlib.util
import inspect
import io
import json
import pathlib

import numpy as np
import pytest
import torch
from PIL import Image

from models.vitmatte.pictures import expected_planes, picture
from perpixel.errors import ConfigError, InputError, PerpixelWarning
from perpixel.models.planes import ChannelDimension
from perpixel.models.processing import TensorType
from perpixel.models.vitmatte.processor import VitMatteImageProcessor


@pytest.fixture
def processor():
    return VitMatteImageProcessor(size_divisibility=8)


# Settings


def test_signatures_begin_like_the_documented_ones():
    names = list(inspect.signature(VitMatteImageProcessor).parameters)
    assert names[:7] == (
        ["do_rescale", "rescale_factor", "do_normalize", "image_mean", "image_std", "do_pad", "size_divisibility"]
    )
    for method in (VitMatteImageProcessor.preprocess, VitMatteImageProcessor.__call__):
        parameters = inspect.signature(method).parameters
        assert list(parameters)[1:13] == [
            "images",
            "trimaps",
            *names[:7],
            "return_tensors",
            "data_format",
            "input_data_format",
        ]
        assert parameters["data_format"].default is ChannelDimension.FIRST


def test_defaults_are_the_documented_ones():
    settings = {"do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True, "do_pad": True}
    settings |= {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "size_divisibility": 32, "size_divisor": 32}
    assert VitMatteImageProcessor().to_dict() == {**settings, "image_processor_type": "VitMatteImageProcessor"}


def test_both_names_of_the_divisor_are_one_setting():
    processor = VitMatteImageProcessor(size_divisor=16)
    assert (processor.size_divisibility, processor.size_divisor) == (16, 16)
    processor.size_divisor = 4
    assert processor.size_divisibility == 4
    assert VitMatteImageProcessor(size_divisor=16, size_divisibility=16).size_divisor == 16
    with pytest.raises(ConfigError, match=r"size_divisibility is 8 and size_divisor is 16.*one setting"):
        VitMatteImageProcessor(size_divisibility=8, size_divisor=16)
    with pytest.raises(ConfigError, match="one setting"):
        processor(*picture(), size_divisibility=8, size_divisor=16)


@pytest.mark.parametrize(
    "wrong",
    [
        {"do_pad": "yes"},
        {"do_rescale": 1},
        {"rescale_factor": 0},
        {"image_mean": [0.5, 0.5]},
        {"image_std": [0.5, 0, 0.5]},
        {"size_divisibility": 0},
        {"size_divisor": 2.5},
    ],
)
def test_settings_of_the_wrong_kind(wrong, processor):
    (name,) = wrong
    shown = "size_divisibility" if name == "size_divisor" else name
    with pytest.raises(ConfigError, match=f"{shown} is "):
        VitMatteImageProcessor(**wrong)
    with pytest.raises(ConfigError, match=f"{shown} is "):
        processor(*picture(), **wrong)


def test_misspelt_arguments_are_named(processor):
    with pytest.raises(ConfigError, match="no argument 'size_divisble': did you mean 'size_divis"):
        VitMatteImageProcessor(size_divisble=8)
    with pytest.raises(ConfigError, match="preprocess has no argument 'return_tensor': did you mean 'return_tensors'"):
        processor(*picture(), return_tensor="pt")


@pytest.mark.parametrize("extra", [{}, {"size_divisor": 16}, {"do_convert_rgb": None, "data_format": "channels_first"}])
def test_files_of_every_version_load(tmp_path, extra):
    written = {"do_pad": False, "size_divisibility": 16, "image_processor_type": "VitMatteImageProcessor", **extra}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(written))
    loaded = VitMatteImageProcessor.from_pretrained(tmp_path, do_normalize=False)
    assert loaded == VitMatteImageProcessor(do_pad=False, size_divisibility=16, do_normalize=False)


# Values


def test_values_follow_the_definition(processor):
    image, trimap = picture()
    inputs = processor(image, trimap, image_mean=[0.1, 0.2, 0.3], image_std=[0.4, 0.5, 0.6])
    assert list(inputs) == ["pixel_values"]
    (planes,) = inputs.pixel_values
    assert planes.dtype == np.float32 and planes.shape == (4, 8, 8)
    expected = expected_planes(image, trimap, [0.1, 0.2, 0.3], [0.4, 0.5, 0.6])
    np.testing.assert_allclose(planes[:, :5, :7], expected, atol=1e-6)
    assert not planes[:, 5:].any() and not planes[:, :, 7:].any()


def test_each_step_can_be_left_out(processor):
    image, trimap = picture()
    (raw,) = processor(image, trimap, do_rescale=False, do_normalize=False, do_pad=False).pixel_values
    assert raw.dtype == np.float32
    np.testing.assert_array_equal(raw[:3], image.transpose(2, 0, 1))
    np.testing.assert_array_equal(raw[3], trimap)
    (shifted,) = processor(image, trimap, do_rescale=False, image_mean=1, image_std=2, do_pad=False).pixel_values
    np.testing.assert_allclose(shifted[:3], (image.transpose(2, 0, 1) - 1.0) / 2)
    np.testing.assert_array_equal(shifted[3], trimap)
    assert processor.do_rescale and processor.size_divisibility == 8  # a call changes no setting


def file_bytes(array, kind="png"):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "as_image",
    [
        pytest.param(lambda a, _: a.transpose(2, 0, 1), id="channels first"),
        pytest.param(lambda a, _: torch.from_numpy(a), id="tensor"),
        pytest.param(lambda a, _: torch.from_numpy(a).permute(2, 0, 1).float(), id="tensor first"),
        pytest.param(lambda a, _: a.astype(np.float64), id="float"),
        pytest.param(lambda a, _: a.astype(np.uint16) * 257, id="16 bit"),
        pytest.param(lambda a, _: np.dstack([a, a[..., :1]]), id="with alpha"),
        pytest.param(lambda a, _: Image.fromarray(a), id="PIL"),
        pytest.param(lambda a, _: file_bytes(a), id="bytes"),
        pytest.param(lambda a, folder: write(folder / "i.png", a), id="path"),
        pytest.param(lambda a, folder: str(write(folder / "i.png", a)), id="str"),
        pytest.param(lambda a, _: [a], id="list"),
        pytest.param(lambda a, _: a[None], id="batch"),
    ],
)
@pytest.mark.parametrize(
    "as_trimap",
    [
        pytest.param(lambda t, _: t[None], id="trimap first"),
        pytest.param(lambda t, _: t[..., None], id="trimap last"),
        pytest.param(lambda t, _: np.dstack([t] * 3), id="trimap in colour"),
        pytest.param(lambda t, _: torch.from_numpy(t), id="trimap tensor"),
        pytest.param(lambda t, _: [t[None, ..., None]], id="trimap batch in a list"),
        pytest.param(lambda t, folder: write(folder / "t.png", t), id="trimap path"),
    ],
)
def test_every_kind_of_input_gives_the_same(processor, tmp_path, as_image, as_trimap):
    image, trimap = picture()
    expected = processor(image, trimap, return_tensors="np").pixel_values
    inputs = processor(as_image(image, tmp_path), as_trimap(trimap, tmp_path), return_tensors="np")
    np.testing.assert_allclose(inputs.pixel_values, expected, atol=1e-6)


def write(path: pathlib.Path, array):
    path.write_bytes(file_bytes(array))
    return path


def test_trimaps_as_bytes_and_pictures(processor):
    image, trimap = picture()
    expected = processor(image, trimap, return_tensors="np").pixel_values
    for other in (file_bytes(trimap), Image.fromarray(trimap), Image.fromarray(trimap).convert("RGB")):
        np.testing.assert_allclose(processor(image, other, return_tensors="np").pixel_values, expected, atol=1e-6)


def test_grey_images_get_three_equal_channels(processor):
    image, trimap = picture()
    grey = image[..., 0]
    expected = processor(np.dstack([grey] * 3), trimap, return_tensors="np").pixel_values
    for source, layout in ((grey, None), (grey, "none"), (grey[None], None), (Image.fromarray(grey), None)):
        inputs = processor(source, trimap, input_data_format=layout, return_tensors="np")
        np.testing.assert_array_equal(inputs.pixel_values, expected)
    both = processor(np.stack([grey, grey]), np.stack([trimap] * 2), input_data_format="none", return_tensors="np")
    np.testing.assert_array_equal(both.pixel_values, np.concatenate([expected] * 2))


def test_floats_in_0_to_1_are_rescaled_as_asked_with_one_warning(processor):
    image, trimap = picture()
    with pytest.warns(PerpixelWarning, match=r"values of images\[0\], trimaps\[0\], images\[1\] already") as caught:
        inputs = processor([image / 255, image / 255], [trimap / 255, trimap], return_tensors="np")
    assert len(caught) == 1 and caught[0].filename == __file__
    np.testing.assert_allclose(inputs.pixel_values[1, :3, :5, :7].max(), (image.max() / 255 / 255 - 0.5) / 0.5)
    quiet = processor(image / 255, trimap / 255, do_rescale=False, return_tensors="np").pixel_values
    np.testing.assert_allclose(quiet, processor(image, trimap, return_tensors="np").pixel_values, atol=1e-6)


def test_shapes_that_can_be_read_in_two_ways(processor):
    image = np.arange(45, dtype=np.uint8).reshape(3, 5, 3)
    by_trimap = processor(image, np.zeros((3, 5), np.uint8), do_pad=False).pixel_values[0]
    assert by_trimap.shape == (4, 3, 5)
    assert processor(image, np.zeros((5, 3), np.uint8), do_pad=False).pixel_values[0].shape == (4, 5, 3)
    cube = image[:, :3]
    with pytest.warns(PerpixelWarning, match="may be first or last, and is taken as channels_first") as caught:
        processor(cube, np.zeros((3, 3), np.uint8))
    assert caught[0].filename == __file__
    last = processor(cube, np.zeros((3, 3), np.uint8), input_data_format="channels_last", do_rescale=False)
    np.testing.assert_array_equal(last.pixel_values[0][:3, :3, :3], (cube.transpose(2, 0, 1) - 0.5) / 0.5)


def test_the_layout_of_the_result(processor):
    image, trimap = picture()
    first = processor(image, trimap, return_tensors="np").pixel_values
    expected = {"channels_first": first, "channels_last": np.moveaxis(first, 1, -1)}
    for source, layout, like in (
        (image, "channels_last", "channels_last"),
        (image, ChannelDimension.FIRST, "channels_first"),
        (image, None, "channels_last"),
        (image.transpose(2, 0, 1), None, "channels_first"),
        (Image.fromarray(image), None, "channels_last"),
    ):
        result = processor(source, trimap, data_format=layout, return_tensors="pt").pixel_values
        assert result.is_contiguous()
        np.testing.assert_array_equal(result, expected[like])
    assert processor(image, trimap, data_format="channels_last").pixel_values[0].shape == (8, 8, 4)


@pytest.mark.parametrize(
    ("kind", "type_"), [("np", np.ndarray), ("pt", torch.Tensor), (TensorType.PYTORCH, torch.Tensor), (None, list)]
)
def test_the_kind_of_result(processor, kind, type_):
    inputs = processor(*picture(), return_tensors=kind)
    assert isinstance(inputs.pixel_values, type_) and len(inputs.pixel_values) == 1
    if kind is None:
        assert isinstance(inputs.pixel_values[0], np.ndarray)


@pytest.mark.skipif(not importlib.util.find_spec("jax"), reason="jax is not installed")
def test_jax_arrays(processor):
    import jax

    assert isinstance(processor(*picture(), return_tensors="jax").pixel_values, jax.Array)


def test_the_inputs_are_not_changed(processor):
    image, trimap = picture()
    image, trimap = image.astype(np.float32), trimap.astype(np.float32)
    before = image.copy(), trimap.copy()
    processor(image, trimap, do_pad=False, return_tensors="pt").pixel_values.zero_()
    assert (image == before[0]).all() and (trimap == before[1]).all()


# Errors


@pytest.mark.parametrize("as_kind", [np.asarray, Image.fromarray, file_bytes, torch.from_numpy])
def test_a_trimap_of_another_size(processor, as_kind):
    image, _ = picture(600, 800)
    _, trimap = picture(480, 640)
    with pytest.raises(InputError) as caught:
        processor(image, as_kind(trimap))
    assert str(caught.value) == (
        "trimap is 640×480 but the image is 800×600 (width×height): resize the trimap to 800×600 or pass its own image"
    )
    with pytest.raises(InputError, match=r"trimaps\[1\] is 640×480 but images\[1\] is 800×600"):
        processor([image, image], [image[..., 0], trimap])


def test_inputs_that_do_not_fit(processor):
    image, trimap = picture()
    for wrong, message in (
        (([image, image], trimap), "2 images but 1 trimaps were given"),
        ((image, [trimap, trimap]), "1 images but 2 trimaps"),
        ((image, None), "trimaps is None"),
        (([], []), "images is empty"),
        ((image, image), "trimap has different colour channels"),
        ((image * np.nan, trimap), "image holds NaN"),
    ):
        with pytest.raises(InputError, match=message):
            processor(*wrong)
    with pytest.raises(InputError, match="input_data_format is 'last'"):
        processor(image, trimap, input_data_format="last")
    with pytest.raises(InputError, match="which is not channels_first"):
        processor(image, trimap, input_data_format="channels_first")
    with pytest.raises(InputError, match="return_tensors is 'torch'"):
        processor(image, trimap, return_tensors="torch")
