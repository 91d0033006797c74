"""BEiT against transformers: the same random weights, any size, both kinds of relative positions, files both ways."""

import pytest
import torch
import transformers

from parity.randomise import randomise
from perpixel.backbones import AutoBackbone
from perpixel.backbones.beit import BeitBackbone, BeitConfig, BeitModel

SHAPE = {
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 40,
    "image_size": 24,
    "patch_size": 8,
}
OWN, SHARED = {"use_relative_position_bias": True}, {"use_shared_relative_position_bias": True}
ABSOLUTE = {"use_absolute_position_embeddings": True}
EVERYTHING = {"output_hidden_states": True, "output_attentions": True}
FOUR = {"num_hidden_layers": 4, "out_indices": [1, 2, 3, 4]}


def pair(folder, ours_class=BeitModel, **changes):
    ours = ours_class(BeitConfig(**SHAPE | changes)).eval()
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


@pytest.mark.parametrize("changes", [OWN, SHARED, OWN | SHARED | ABSOLUTE, ABSOLUTE, {"use_mean_pooling": False}])
@torch.no_grad()
def test_a_model_equals_transformers(tmp_path, changes):
    ours, theirs = pair(tmp_path, **changes)
    for size in ((24, 24), (16, 40), (8, 8), (8, 48), (47, 29)):
        pixels = torch.randn(2, 3, *size)
        a, b = ours(pixels, **EVERYTHING), theirs(pixels, interpolate_pos_encoding=True, **EVERYTHING)
        assert list(a.keys()) == list(b.keys())
        for one, other in zip(
            (a.last_hidden_state, a.pooler_output, *a.hidden_states, *a.attentions),
            (b.last_hidden_state, b.pooler_output, *b.hidden_states, *b.attentions),
            strict=True,
        ):
            assert distance(one, other) <= 1e-4
        # The way that keeps no weights
        assert distance(ours(pixels, return_dict=False)[0], b.last_hidden_state) <= 1e-4


@pytest.mark.parametrize(
    "changes",
    [
        {"reshape_hidden_states": True, "out_indices": [0, 1, 3]},
        {"reshape_hidden_states": False, "out_indices": [0, 1, 3]},
        FOUR | {"add_fpn": True},
    ],
)
@torch.no_grad()
def test_a_backbone_equals_transformers(tmp_path, changes):
    for positions in (OWN, SHARED):
        ours, theirs = pair(tmp_path / str(positions), BeitBackbone, **changes, **positions)
        pixels = torch.randn(2, 3, 16, 40)
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
        {"layer_scale_init_value": 0.0, "hidden_act": "relu", "layer_norm_eps": 1e-2},
        {"num_channels": 4, "num_hidden_layers": 1},
    ],
)
@torch.no_grad()
def test_every_switch_equals_transformers(tmp_path, changes):
    ours, theirs = pair(tmp_path, **OWN, **changes)
    pixels = torch.randn(1, changes.get("num_channels", 3), 24, 24)
    assert distance(ours(pixels).last_hidden_state, theirs(pixels).last_hidden_state) <= 1e-4


@pytest.mark.parametrize("changes", [OWN, SHARED, {}])
@torch.no_grad()
def test_masks_equal_transformers(tmp_path, changes):
    ours, theirs = pair(tmp_path, use_mask_token=True, **changes)
    pixels, masked = torch.randn(2, 3, 16, 24), torch.rand(2, 6) < 0.5
    seen = torch.ones(2, 7, dtype=torch.long)
    seen[1, -2:] = 0
    plain = ours(pixels).last_hidden_state
    for attend in (False, True):
        options = {"bool_masked_pos": masked, "attention_mask": seen, "output_attentions": attend}
        a, b = ours(pixels, **options).last_hidden_state, theirs(pixels, **options).last_hidden_state
        assert distance(a, b) <= 1e-4
        assert distance(a, plain) > 1e-2


@pytest.mark.parametrize("positions", [OWN, SHARED])
@torch.no_grad()
def test_what_transformers_saves_loads_here(tmp_path, positions):
    pixels = torch.randn(1, 3, 16, 40)
    for name in ("Backbone", "Model", "ForImageClassification", "ForSemanticSegmentation"):
        fpn = {"add_fpn": name == "Backbone"}
        theirs = getattr(transformers, f"Beit{name}")(transformers.BeitConfig(**SHAPE | FOUR | positions | fpn)).eval()
        randomise(theirs)
        theirs.save_pretrained(tmp_path / name)
        backbone = AutoBackbone.from_pretrained(tmp_path / name)
        if name == "Backbone":
            for one, other in zip(backbone(pixels).feature_maps, theirs(pixels).feature_maps, strict=True):
                assert distance(one, other) <= 1e-4
            continue
        expected = (theirs if name == "Model" else theirs.beit)(pixels).last_hidden_state
        patches = expected[:, 1:].transpose(1, 2).reshape(1, -1, 2, 5)
        assert distance(backbone(pixels).feature_maps[-1], patches) <= 1e-4
        if name != "ForSemanticSegmentation":
            ours = BeitModel.from_pretrained(tmp_path / name)
            assert distance(ours(pixels).last_hidden_state, expected) <= 1e-4


@torch.no_grad()
def test_the_pyramid_of_a_segmentation_model_comes_along(tmp_path):
    theirs = transformers.BeitForSemanticSegmentation(transformers.BeitConfig(**SHAPE | FOUR | SHARED)).eval()
    randomise(theirs)
    theirs.save_pretrained(tmp_path)
    pixels = torch.randn(1, 3, 24, 24)
    ours = BeitBackbone.from_pretrained(tmp_path, add_fpn=True)
    hidden = theirs.beit(pixels, output_hidden_states=True).hidden_states[1:]
    expected = theirs.fpn(tuple(part[:, 1:].transpose(1, 2).reshape(1, -1, 3, 3) for part in hidden))
    for one, other in zip(ours(pixels).feature_maps, expected, strict=True):
        assert distance(one, other) <= 1e-4


@pytest.mark.parametrize("positions", [OWN, SHARED | ABSOLUTE])
def test_gradients_equal_transformers(tmp_path, positions):
    ours, theirs = pair(tmp_path, drop_path_rate=0.0, **positions)
    pixels = torch.randn(2, 3, 16, 40)
    for model in (ours, theirs):
        model.train()
        model(pixels).pooler_output.square().mean().backward()
    theirs.save_pretrained(tmp_path / "gradients", state_dict={k: p.grad for k, p in theirs.named_parameters()})
    expected = BeitModel.from_pretrained(tmp_path / "gradients").state_dict()
    for name, parameter in ours.named_parameters():
        scale = expected[name].abs().max().clamp(min=1e-6)
        assert (parameter.grad - expected[name]).abs().max() / scale < 1e-3, name


def test_defaults_are_those_of_transformers():
    theirs = transformers.BeitConfig().to_dict()
    ours = BeitConfig().to_dict()
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in theirs.items()}
    names = [name for name in ours if name not in ("architectures", "dtype")]
    assert {name: ours[name] for name in names} == {name: plain.get(name) for name in names}
    assert BeitConfig.from_dict(theirs) == BeitConfig()
    again = transformers.BeitConfig(**ours).to_dict()
    assert {name: list(value) if isinstance(value, tuple) else value for name, value in again.items()} == plain


# What docs/differences.md says of transformers


@torch.no_grad()
def test_trained_sizes_and_patches_that_are_not_square_there():
    theirs = transformers.BeitModel(transformers.BeitConfig(**SHAPE | OWN | {"image_size": [16, 40]})).eval()
    randomise(theirs)
    own = theirs.layers[0].relative_position_bias
    # The first patch of the second row looks at the second of the first: a row more, a column less.
    assert not torch.allclose(own((2, 5))[0, :, 6, 2], own.relative_position_bias_table[2 * 9 + 3])
    with pytest.raises(TypeError, match="unsupported operand"):
        transformers.BeitBackbone(transformers.BeitConfig(**SHAPE | {"patch_size": [8, 4]}))(torch.zeros(1, 3, 24, 24))
    with pytest.raises(RuntimeError, match="is invalid for input"):
        oblong = transformers.BeitConfig(**SHAPE | ABSOLUTE | {"image_size": [16, 40]})
        transformers.BeitModel(oblong)(torch.zeros(1, 3, 16, 40))


@torch.no_grad()
def test_what_does_not_fit_there():
    with pytest.raises(AttributeError):
        masked = torch.zeros(1, 9, dtype=torch.bool)
        transformers.BeitModel(transformers.BeitConfig(**SHAPE))(torch.zeros(1, 3, 24, 24), bool_masked_pos=masked)
    config = transformers.BeitConfig(**SHAPE | FOUR, add_fpn=True, reshape_hidden_states=False)
    with pytest.raises(RuntimeError, match="expected input"):
        transformers.BeitBackbone(config)(torch.zeros(1, 3, 24, 24))


@torch.no_grad()
def test_masked_patches_are_seen_there():
    pixels, seen = torch.randn(1, 3, 24, 24), torch.ones(1, 10, dtype=torch.long)
    seen[:, -3:] = 0  # the last row of patches
    changed = pixels.clone()
    changed[..., 16:, :] += 1
    for positions, is_seen in ((OWN, True), ({}, False)):
        theirs = transformers.BeitModel(transformers.BeitConfig(**SHAPE | positions)).eval()
        randomise(theirs)
        a, b = (theirs(part, attention_mask=seen).last_hidden_state[:, :7] for part in (pixels, changed))
        assert ((a - b).abs().max() > 0.01) == is_seen
