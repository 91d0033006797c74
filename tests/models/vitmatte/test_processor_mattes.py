"""ViTMatte's processor: how alphas come back."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from models.vitmatte.pictures import SIZES, picture
from perpixel.errors import InputError
from perpixel.models.outputs import ImageMattingOutput
from perpixel.models.vitmatte.processor import VitMatteImageProcessor


@pytest.fixture
def processor():
    return VitMatteImageProcessor(size_divisibility=8)


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
