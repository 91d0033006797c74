"""DPT with a backbone gives the numbers of transformers: the hybrid, BEiT, Swin v2, of the shapes that both take."""

import pytest
import torch
import transformers

import perpixel as px
from models.dpt.tiny import BEIT, HYBRID, NECK, REGISTERS, SWINV2, copied
from parity.randomise import randomise, randomise_depth

TOLERANCE = 1e-4
WITH_SWINV2 = {"neck_hidden_sizes": [8, 16, 32, 64], "fusion_hidden_size": 8, "backbone_config": SWINV2}


def pair(folder, values, name="DPTForDepthEstimation"):
    ours = getattr(px, name)(px.DPTConfig(**copied(values))).eval()
    (randomise_depth if name.endswith("DepthEstimation") else randomise)(ours)
    ours.save_pretrained(folder)
    theirs, report = getattr(transformers, name).from_pretrained(
        folder, attn_implementation="eager", output_loading_info=True
    )
    unused = {"backbone.swinv2.layernorm.weight", "backbone.swinv2.layernorm.bias"}
    assert {key for keys in report.values() for key in keys} <= unused
    return ours, theirs.eval()


def image(height, width):
    return torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(1))


def assert_close(got, expected):
    assert got.shape == expected.shape
    assert expected.std() > 1e-3
    assert (expected != 0).float().mean() > 0.2  # a head that is dead all but everywhere would prove little
    torch.testing.assert_close(got, expected, atol=TOLERANCE * float(expected.std()), rtol=TOLERANCE)


@torch.no_grad()
def test_the_hybrid(tmp_path):
    ours, theirs = pair(tmp_path, HYBRID)
    got, expected = (model(image(64, 64), output_hidden_states=True) for model in (ours, theirs))
    assert_close(got.predicted_depth, expected.predicted_depth)
    assert len(got.hidden_states) == len(expected.hidden_states)
    for one, other in zip(got.hidden_states, expected.hidden_states, strict=True):
        assert_close(one, other)


@pytest.mark.parametrize("size", [(32, 80), (80, 48)])
@torch.no_grad()
def test_the_hybrid_of_another_size(tmp_path, size):
    ours, theirs = pair(tmp_path, HYBRID)
    # Their parts one by one take it, where the whole model refuses.
    embedded = theirs.dpt.embeddings(image(*size), interpolate_pos_encoding=True)
    tokens, layers = embedded.last_hidden_states, []
    for layer in theirs.dpt.encoder.layer:
        tokens = layer(tokens)
        layers.append(tokens)
    maps = [*embedded.intermediate_activations, *layers[2:]]
    expected = theirs.head(theirs.neck(maps, size[0] // 16, size[1] // 16))
    assert_close(ours(image(*size)).predicted_depth, expected)


@torch.no_grad()
def test_the_hybrid_segments(tmp_path):
    ours, theirs = pair(tmp_path, {**HYBRID, "num_labels": 3}, "DPTForSemanticSegmentation")
    assert_close(ours(image(64, 64)).logits, theirs(image(64, 64)).logits)


@torch.no_grad()
def test_the_maps_of_the_hybrid(tmp_path):
    ours, theirs = pair(tmp_path, HYBRID, "DPTModel")
    got, expected = ours(image(64, 64)), theirs(image(64, 64))
    assert list(got.keys()) == list(expected.keys())
    for one, other in zip(got.intermediate_activations, expected.intermediate_activations, strict=True):
        assert_close(one, other)


@pytest.mark.parametrize("readout", ["ignore", "project"])
@torch.no_grad()
def test_beit(tmp_path, readout):
    ours, theirs = pair(tmp_path, {**NECK, "backbone_config": BEIT, "readout_type": readout})
    assert_close(ours(image(32, 32)).predicted_depth, theirs(image(32, 32)).predicted_depth)


@pytest.mark.parametrize("size", [(64, 64), (64, 96), (40, 100)])
@torch.no_grad()
def test_swinv2(tmp_path, size):
    ours, theirs = pair(tmp_path, WITH_SWINV2)
    assert_close(ours(image(*size)).predicted_depth, theirs(image(*size)).predicted_depth)


# What docs/differences.md says about transformers.


def test_the_hybrid_takes_one_size_there(tmp_path):
    _, theirs = pair(tmp_path, HYBRID)
    with pytest.raises(ValueError, match="doesn't match"):
        theirs(image(64, 96))


def test_registers_fail_there():
    theirs = transformers.DPTForDepthEstimation(
        transformers.DPTConfig(**NECK, readout_type="ignore", backbone_config=dict(REGISTERS))
    )
    with pytest.raises(RuntimeError, match="invalid for input of size"):
        theirs(image(32, 32))


def test_other_backbones_with_stages_fail_there():
    backbone = {"model_type": "resnet", "embedding_size": 8, "hidden_sizes": [8, 16, 32, 64], "depths": [1, 1, 1, 1]}
    backbone["out_features"] = ["stage1", "stage2", "stage3", "stage4"]
    values = {**WITH_SWINV2, "backbone_config": backbone}
    theirs = transformers.DPTForDepthEstimation(transformers.DPTConfig(**copied(values)))
    with pytest.raises(AttributeError, match="patch_size"):
        theirs(image(64, 64))
