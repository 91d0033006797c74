"""ViTMatte's processor: what it takes, what it makes of it, and how alphas come back."""

import importlib.util
import inspect
import io
import json
import pathlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from perpixel.errors import ConfigError, InputError, PerpixelWarning
from perpixel.models.outputs import ImageMattingOutput
from perpixel.models.planes import ChannelDimension
from perpixel.models.processing import TensorType
from perpixel.models.vitmatte.processor import VitMatteImageProcessor

SIDES = st.integers(1, 40)
SIZES = st.tuples(SIDES, SIDES)


def picture(height=5, width=7, seed=0):
    """An image and a trimap of random bytes."""
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (height, width, 3), np.uint8), random.choice(
        np.array([0, 128, 255], np.uint8), (height, width)
    )


def expected_planes(image, trimap, mean=0.5, std=0.5):
    """The definition: the image normalised, the trimap only rescaled. (4, h, w)."""
    colours = (image / 255 - mean) / std
    return np.concatenate([colours, trimap[..., None] / 255], axis=2).transpose(2, 0, 1)


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


# Batches


@settings(max_examples=30, deadline=None)
@given(sizes=st.lists(SIZES, min_size=1, max_size=4), divisor=st.sampled_from([1, 8, 32]), last=st.booleans())
def test_an_image_is_the_same_alone_and_in_a_batch(sizes, divisor, last):
    processor = VitMatteImageProcessor(size_divisibility=divisor)
    pictures = [picture(*size, seed=seed) for seed, size in enumerate(sizes)]
    images, trimaps = [image for image, _ in pictures], [trimap for _, trimap in pictures]
    layout = "channels_last" if last else "channels_first"
    batch = processor(
        images, trimaps, input_data_format="channels_last", data_format=layout, return_tensors="np"
    ).pixel_values
    batch = np.moveaxis(batch, -1, 1) if last else batch
    rows, columns = (-(-max(side) // divisor) * divisor for side in zip(*sizes, strict=True))
    assert batch.shape == (len(sizes), 4, rows, columns)
    for one, image, trimap, (height, width) in zip(batch, images, trimaps, sizes, strict=True):
        (alone,) = processor(image, trimap, input_data_format="channels_last").pixel_values
        assert alone.shape == (4, -(-height // divisor) * divisor, -(-width // divisor) * divisor)
        np.testing.assert_array_equal(one[:, :height, :width], alone[:, :height, :width])
        np.testing.assert_allclose(alone[:, :height, :width], expected_planes(image, trimap), atol=1e-6)
        assert np.count_nonzero(one[:, height:]) == np.count_nonzero(one[:, :, width:]) == 0


@settings(max_examples=20, deadline=None)
@given(sizes=st.lists(SIZES, min_size=1, max_size=3), half=st.booleans())
def test_mattes_have_the_sizes_of_the_images(sizes, half):
    processor = VitMatteImageProcessor()
    pictures = [picture(*size, seed=seed) for seed, size in enumerate(sizes)]
    inputs = processor(*zip(*pictures, strict=True), input_data_format="channels_last", return_tensors="pt")
    # The "model" returns the trimap's plane, so that each pixel's way back can be followed.
    alphas = inputs.pixel_values[:, 3:].to(torch.float16 if half else torch.float32)
    mattes = processor.post_process_image_matting(ImageMattingOutput(alphas=alphas), sizes)
    for matte, (_, trimap) in zip(mattes, pictures, strict=True):
        assert matte.dtype == torch.float32 and matte.is_contiguous()
        np.testing.assert_allclose(matte, trimap / 255, atol=1e-3)


def test_different_sizes_without_padding(processor):
    images, trimaps = zip(picture(), picture(4, 9), strict=True)
    assert [a.shape for a in processor(images, trimaps, do_pad=False).pixel_values] == [(4, 5, 7), (4, 4, 9)]
    with pytest.raises(InputError, match=r"different sizes \(7×5, 9×4, width×height\).*do_pad=True"):
        processor(images, trimaps, do_pad=False, return_tensors="pt")


@pytest.mark.parametrize("kind", ["np", "pt"])
def test_sizes_are_told_only_where_they_differ_after_padding(processor, kind):
    def keys(*sizes, **options):
        pairs = zip(*[picture(*size) for size in sizes], strict=True)
        return list(processor(*pairs, return_tensors=kind, **options))

    assert keys((5, 7)) == keys((5, 7), (8, 1)) == keys((5, 7), (5, 7), do_pad=False) == ["pixel_values"]
    assert keys((5, 7), (9, 7)) == keys((5, 7), (5, 9)) == ["pixel_values", "image_sizes"]
    assert keys((5, 7), (9, 7), size_divisibility=32) == ["pixel_values"]
    images, trimaps = zip(picture(5, 7), picture(9, 17), picture(16, 3), strict=True)
    inputs = processor(images, trimaps, return_tensors=kind, data_format="channels_last")
    assert inputs.pixel_values.shape == (3, 16, 24, 4)
    assert inputs.image_sizes.tolist() == [[8, 8], [16, 24], [16, 8]]
    assert str(inputs.image_sizes.dtype).endswith("int64")
    assert list(processor(images, trimaps)) == ["pixel_values"]


def test_batches_of_arrays(processor):
    images = np.stack([picture(seed=seed)[0] for seed in range(3)])
    trimaps = np.stack([picture(seed=seed)[1] for seed in range(3)])
    expected = processor(list(images), list(trimaps), return_tensors="np").pixel_values
    for batch in (trimaps, trimaps[:, None], trimaps[..., None], torch.from_numpy(trimaps), list(trimaps)):
        np.testing.assert_array_equal(processor(images, batch, return_tensors="np").pixel_values, expected)
    tensors = torch.from_numpy(images).permute(0, 3, 1, 2)
    np.testing.assert_array_equal(processor(tensors, trimaps, return_tensors="np").pixel_values, expected)


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


# Back to mattes


def test_mattes_are_cut_from_the_top_left(processor):
    alphas = torch.rand(2, 1, 16, 24, requires_grad=True)
    for sizes in ([(9, 20), (16, 1)], torch.tensor([[9, 20], [16, 1]]), np.array([[9, 20], [16, 1]])):
        mattes = processor.post_process_image_matting(alphas, sizes)
        assert torch.equal(mattes[0], alphas[0, 0, :9, :20]) and torch.equal(mattes[1], alphas[1, 0, :16, :1])
    (whole, _) = processor.post_process_image_matting(alphas)
    assert torch.equal(whole, alphas[0, 0]) and not whole.requires_grad
    whole.zero_()
    assert alphas[0].any()  # a matte is a copy


def test_known_pixels_become_exact(processor):
    trimap = np.array([[0, 128, 255], [255, 128, 0]], np.uint8)
    alphas = torch.full((2, 1, 8, 8), 0.25)
    expected = torch.tensor([[0, 0.25, 1], [1, 0.25, 0]])
    for given_ in ([trimap, trimap / 255], np.stack([trimap, trimap]), [trimap[None], Image.fromarray(trimap)]):
        for matte in processor.post_process_image_matting(alphas, [(2, 3)] * 2, trimaps=given_):
            assert torch.equal(matte, expected)
    (one,) = processor.post_process_image_matting(alphas[:1], [(2, 3)], trimaps=trimap)
    assert torch.equal(one, expected)


def test_outputs_that_do_not_fit(processor):
    alphas = torch.zeros(2, 1, 16, 24)
    trimap = np.zeros((16, 24), np.uint8)
    for arguments, message in (
        ((alphas, [(16, 24)]), "target_sizes has 1 sizes for 2 alphas"),
        ((alphas, [(16, 24), (17, 24)]), r"target_sizes\[1\] is 24×17 but the alpha is 24×16 \(width×height\)"),
        ((alphas, [(16, 24), (0, 24)]), r"target_sizes\[1\] is 24×0"),
        ((alphas, (16, 24)), r"one \(height, width\) of whole numbers for each"),
        ((alphas, [(16.5, 24), (16, 24)]), "whole numbers"),
        ((alphas[:, 0],), r"outputs is a tensor of shape \(2, 16, 24\)"),
        ((alphas.repeat(1, 4, 1, 1),), r"outputs is a tensor of shape \(2, 4, 16, 24\)"),
        (((alphas,),), "outputs is tuple: pass the model's output"),
    ):
        with pytest.raises(InputError, match=message):
            processor.post_process_image_matting(*arguments)
    with pytest.raises(InputError, match="2 alphas but 1 trimaps"):
        processor.post_process_image_matting(alphas, trimaps=[trimap])
    with pytest.raises(InputError, match=r"trimaps\[1\] is 24×15 but its matte is 24×16 \(width×height\)"):
        processor.post_process_image_matting(alphas, trimaps=[trimap, trimap[:15]])
