"""What docs/differences.md says about transformers is so, and every test that it names exists."""

import re

import numpy as np
import pytest
import torch
import transformers

from parity.randomise import randomise

VITDET = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 64, "num_channels": 4}


def model(sizes=((4, 6, 8), (8, 6, 6, 4)), **backbone):
    config = transformers.VitDetConfig(**VITDET | backbone)
    stream, fusion = sizes
    return transformers.VitMatteForImageMatting(
        transformers.VitMatteConfig(
            backbone_config=config, hidden_size=16, convstream_hidden_sizes=stream, fusion_hidden_sizes=fusion
        )
    )


LISTS = ([4, 6, 8], [8, 6, 6, 4])


def test_every_test_that_is_named_exists(repository):
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (repository / "docs" / "differences.md").read_text("utf-8"))
    assert len(named) > 15
    for path, name in named:
        assert f"\ndef {name}(" in (repository / path).read_text("utf-8"), f"{path}::{name}"


def test_the_documented_example_fails_there():
    with torch.device("meta"), pytest.raises(TypeError, match="can only concatenate list"):
        transformers.VitMatteForImageMatting(transformers.VitMatteConfig())
    with pytest.raises(TypeError, match="can only concatenate list"):
        model()
    backbone = transformers.VitMatteConfig().backbone_config
    assert (backbone.num_channels, backbone.hidden_size) == (3, 768)


def test_labels_fail_there():
    with pytest.raises(NotImplementedError):
        model(LISTS)(torch.zeros(1, 4, 32, 32), labels=torch.zeros(1, 1, 32, 32))


def test_batch_norms_start_around_zero_there():
    gains = torch.cat([m.weight for m in model(LISTS).modules() if isinstance(m, torch.nn.BatchNorm2d)])
    assert gains.abs().max() < 0.1


def test_a_vitdet_without_absolute_positions_fails_there():
    with pytest.raises(AttributeError):
        model(LISTS, use_absolute_position_embeddings=False)


def test_sizes_that_the_patch_does_not_divide_there():
    with pytest.raises(RuntimeError, match="Sizes of tensors must match"):
        model(LISTS)(torch.zeros(1, 4, 40, 32))


def test_misspelt_arguments_there():
    assert transformers.VitMatteConfig(hiden_size=3).hiden_size == 3


def test_the_processor_there():
    module = pytest.importorskip("transformers.models.vitmatte.image_processing_pil_vitmatte")
    processor = module.VitMatteImageProcessorPil()
    image, trimap = np.zeros((20, 30, 3), np.uint8), np.full((20, 30), 128, np.uint8)
    larger, its_trimap = np.zeros((50, 30, 3), np.uint8), np.full((50, 30), 128, np.uint8)
    with pytest.raises(ValueError, match="inhomogeneous"):
        processor([image, larger], [trimap, its_trimap], return_tensors="pt")
    with pytest.raises(ValueError, match="concatenation axis"):
        processor(image, its_trimap, return_tensors="pt")
    assert processor(image, trimap, return_tensors="pt", data_format="channels_last").pixel_values.shape[1] == 4
    kept = processor(image, trimap, return_tensors="np", do_rescale=False, do_normalize=False)
    assert kept.pixel_values.dtype == np.uint8
    with pytest.raises(TypeError, match="size_divisibility"):
        processor(image, trimap, return_tensors="pt", size_divisibility=16)
    assert not hasattr(processor, "post_process_image_matting")


SWIN = {"image_size": 32, "embed_dim": 8, "depths": [2, 2], "num_heads": [2, 2], "window_size": 4}


@torch.no_grad()
def test_small_maps_of_a_swin_there():
    theirs = transformers.SwinModel(transformers.SwinConfig(**SWIN)).eval()
    randomise(theirs)
    pixels = torch.randn(1, 3, 48, 48)
    before = theirs(pixels).last_hidden_state
    theirs(torch.randn(1, 3, 32, 32))  # its second map is one window
    assert (theirs(pixels).last_hidden_state - before).abs().max() > 0.01
    with pytest.raises(RuntimeError, match="must match the size"):
        theirs(torch.randn(1, 3, 12, 40))


@torch.no_grad()
def test_stochastic_depth_of_a_swin_there():
    theirs = transformers.SwinModel(transformers.SwinConfig(**SWIN, drop_path_rate=0.999)).train()
    randomise(theirs)
    tokens = torch.randn(4, 16, 16)
    torch.manual_seed(0)
    assert not torch.equal(theirs.encoder.layers[1].blocks[1](tokens, (4, 4))[0], tokens)


@torch.no_grad()
def test_absolute_positions_of_a_swin_there():
    config = transformers.SwinConfig(**SWIN, use_absolute_embeddings=True)
    with pytest.raises(RuntimeError, match="must match the size"):
        transformers.SwinBackbone(config)(torch.zeros(1, 3, 40, 40))
    with pytest.raises(RuntimeError, match="must match the size"):
        transformers.SwinModel(config)(torch.zeros(1, 3, 33, 47), interpolate_pos_encoding=True)
    oblong = transformers.SwinConfig(**SWIN | {"image_size": [32, 48]}, use_absolute_embeddings=True)
    with pytest.raises(RuntimeError, match="is invalid for input"):
        transformers.SwinModel(oblong)(torch.zeros(1, 3, 40, 40), interpolate_pos_encoding=True)


@torch.no_grad()
def test_what_a_swin_and_a_resnet_do_not_check_there():
    pixels = torch.zeros(1, 3, 32, 32)
    theirs = transformers.SwinBackbone(transformers.SwinConfig(**SWIN)).eval()
    assert not theirs(pixels, output_attentions=True).attentions
    theirs.out_features = ["stage1"]
    with pytest.raises(KeyError, match="stage1"):
        theirs(pixels)
    with pytest.raises(RuntimeError, match="must match the size"):
        transformers.SwinModel(transformers.SwinConfig(**SWIN | {"num_heads": [3, 2]}))(pixels)
    uneven = transformers.ResNetConfig(embedding_size=4, hidden_sizes=[8, 16], depths=[1, 1, 1])
    with pytest.raises(IndexError):
        transformers.ResNetBackbone(uneven)(pixels)
