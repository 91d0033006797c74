"""DINOv2, with registers and without, against transformers: the same random weights, any size, files both ways."""

import pytest
import torch
import transformers

from parity.randomise import randomise
from perpixel.backbones import AutoBackbone
from perpixel.backbones.dinov2 import Dinov2Backbone, Dinov2Config, Dinov2Model
from perpixel.backbones.dinov2_with_registers import (
    Dinov2WithRegistersBackbone,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
)

SHAPE = {
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": 42,
    "patch_size": 14,
}
MODELS = [Dinov2Model, Dinov2WithRegistersModel]
BACKBONES = [Dinov2Backbone, Dinov2WithRegistersBackbone]
EVERYTHING = {"output_hidden_states": True, "output_attentions": True}


def pair(folder, ours_class, **changes):
    ours = ours_class(ours_class.config_class(**SHAPE | changes)).eval()
    randomise(ours)
    ours.save_pretrained(folder)
    theirs, report = getattr(transformers, ours_class.__name__).from_pretrained(
        folder, attn_implementation="eager", output_loading_info=True
    )
    assert not any(report.values())
    return ours, theirs.eval()


def distance(ours, theirs):
    assert ours.shape == theirs.shape
    return (ours - theirs).abs().max().item()


@pytest.mark.parametrize("ours_class", MODELS)
@torch.no_grad()
def test_a_model_equals_transformers(tmp_path, ours_class):
    ours, theirs = pair(tmp_path, ours_class)
    for size in ((42, 42), (28, 42), (14, 14), (14, 98), (75, 50)):
        pixels = torch.randn(2, 3, *size)
        a, b = ours(pixels, **EVERYTHING), theirs(pixels, **EVERYTHING)
        assert list(a.keys()) == list(b.keys())
        for one, other in zip(
            (a.last_hidden_state, a.pooler_output, *a.hidden_states, *a.attentions),
            (b.last_hidden_state, b.pooler_output, *b.hidden_states, *b.attentions),
            strict=True,
        ):
            assert distance(one, other) <= 1e-4
        # The way that keeps no weights
        assert distance(ours(pixels, return_dict=False)[0], b.last_hidden_state) <= 1e-4


@pytest.mark.parametrize("reshape", [True, False])
@pytest.mark.parametrize("ours_class", BACKBONES)
@torch.no_grad()
def test_a_backbone_equals_transformers(tmp_path, ours_class, reshape):
    for norm in (True, False):
        changes = {"out_indices": [0, 1, 3], "reshape_hidden_states": reshape, "apply_layernorm": norm}
        ours, theirs = pair(tmp_path / str(norm), ours_class, **changes)
        pixels = torch.randn(2, 3, 28, 42)
        a, b = ours(pixels, **EVERYTHING), theirs(pixels, **EVERYTHING)
        assert list(a.keys()) == list(b.keys())
        for name in list(a.keys()):
            for one, other in zip(a[name], b[name], strict=True):
                assert distance(one, other) <= 1e-4
        fused = ours(pixels)
        assert list(fused.keys()) == ["feature_maps"]
        for one, other in zip(fused.feature_maps, b.feature_maps, strict=True):
            assert distance(one, other) <= 1e-4


@pytest.mark.parametrize(
    "changes",
    [
        {"use_swiglu_ffn": True},
        {"use_swiglu_ffn": True, "hidden_size": 20, "mlp_ratio": 3},
        {"qkv_bias": False, "hidden_act": "relu", "mlp_ratio": 2, "layer_norm_eps": 1e-2},
        {"num_channels": 4, "patch_size": [7, 14]},
    ],
)
@torch.no_grad()
def test_every_switch_equals_transformers(tmp_path, changes):
    for ours_class in MODELS:
        ours, theirs = pair(tmp_path / ours_class.__name__, ours_class, **changes)
        pixels = torch.randn(1, changes.get("num_channels", 3), 42, 42)
        assert distance(ours(pixels).last_hidden_state, theirs(pixels).last_hidden_state) <= 1e-4


@pytest.mark.parametrize("ours_class", MODELS)
@torch.no_grad()
def test_masks_equal_transformers(tmp_path, ours_class):
    ours, theirs = pair(tmp_path, ours_class)
    pixels, masked = torch.randn(2, 3, 28, 42), torch.rand(2, 6) < 0.5
    plain = ours(pixels).last_hidden_state
    seen = torch.ones(plain.shape[:2], dtype=torch.long)
    seen[1, -2:] = 0
    for attend in (False, True):
        options = {"bool_masked_pos": masked, "attention_mask": seen, "output_attentions": attend}
        a, b = ours(pixels, **options).last_hidden_state, theirs(pixels, **options).last_hidden_state
        assert distance(a, b) <= 1e-4
        assert distance(a, plain) > 1e-2


@pytest.mark.parametrize("swiglu", [False, True])
@pytest.mark.parametrize("kind", ["Dinov2", "Dinov2WithRegisters"])
@torch.no_grad()
def test_what_transformers_saves_loads_here(tmp_path, kind, swiglu):
    config = getattr(transformers, f"{kind}Config")(**SHAPE, use_swiglu_ffn=swiglu, out_indices=[1, 3])
    pixels = torch.randn(1, 3, 28, 42)
    for name in ("Backbone", "Model", "ForImageClassification"):
        theirs = getattr(transformers, kind + name)(config).eval()
        randomise(theirs)
        theirs.save_pretrained(tmp_path / name)
        backbone = AutoBackbone.from_pretrained(tmp_path / name, out_indices=[1, 3])
        if name == "Backbone":
            for one, other in zip(backbone(pixels).feature_maps, theirs(pixels).feature_maps, strict=True):
                assert distance(one, other) <= 1e-4
        else:
            base = theirs if name == "Model" else getattr(theirs, theirs.base_model_prefix)
            ours = (Dinov2Model if kind == "Dinov2" else Dinov2WithRegistersModel).from_pretrained(tmp_path / name)
            expected = base(pixels).last_hidden_state
            assert distance(ours(pixels).last_hidden_state, expected) <= 1e-4
            patches = expected[:, -6:].transpose(1, 2).reshape(1, -1, 2, 3)
            assert distance(backbone(pixels).feature_maps[-1], patches) <= 1e-4


@pytest.mark.parametrize("ours_class", MODELS)
def test_gradients_equal_transformers(tmp_path, ours_class):
    ours, theirs = pair(tmp_path, ours_class)
    pixels, masked = torch.randn(2, 3, 28, 56), torch.rand(2, 8) < 0.5
    for model in (ours, theirs):
        model.train()
        model(pixels, bool_masked_pos=masked).last_hidden_state.square().mean().backward()
    theirs.save_pretrained(tmp_path / "gradients", state_dict={k: p.grad for k, p in theirs.named_parameters()})
    expected = ours_class.from_pretrained(tmp_path / "gradients").state_dict()
    for name, parameter in ours.named_parameters():
        scale = expected[name].abs().max().clamp(min=1e-6)
        assert ((parameter.grad - expected[name]).abs().max() / scale) < 1e-3 or name.endswith("key.bias"), name


@pytest.mark.parametrize("ours_class", [Dinov2Config, Dinov2WithRegistersConfig])
def test_defaults_are_those_of_transformers(ours_class):
    theirs = getattr(transformers, ours_class.__name__)()
    ours = ours_class().to_dict()
    names = [name for name in ours if name not in ("architectures", "dtype")]
    assert {name: ours[name] for name in names} == {name: theirs.to_dict().get(name) for name in names}
    assert ours_class.from_dict(theirs.to_dict()) == ours_class()
    assert type(theirs)(**ours).to_dict() == theirs.to_dict()


# What docs/differences.md says of transformers


@torch.no_grad()
def test_what_does_not_fit_there():
    for kind in ("Dinov2", "Dinov2WithRegisters"):
        config = getattr(transformers, f"{kind}Config")
        oblong = getattr(transformers, f"{kind}Model")(config(**SHAPE | {"image_size": [28, 42]}))
        with pytest.raises(RuntimeError, match="is invalid for input"):
            oblong(torch.zeros(1, 3, 28, 42))
    with pytest.raises(RuntimeError, match="boolean"):
        square = transformers.Dinov2WithRegistersModel(config(**SHAPE))
        square(torch.zeros(1, 3, 42, 42), bool_masked_pos=torch.zeros(1, 9))
    with pytest.raises(Exception, match="mlp_ratio"):
        transformers.Dinov2Config(mlp_ratio=2.5)
