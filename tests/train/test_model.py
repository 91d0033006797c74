"""The model that a recipe asks for: its start, its frozen parts, its layers."""

import pytest
import torch

from models.dpt.tiny import DINOV2, SWINV2
from models.mask2former.tiny import RESNET, SWIN
from parity.randomise import randomise
from perpixel.backbones import AutoBackbone, config_from_dict
from perpixel.errors import CheckpointError, ConfigError, PerpixelWarning
from perpixel.train.family import layer_number
from perpixel.train.start import backbone_of, merged, plan_start
from perpixel.train.tasks import training_task
from train.families import FAMILIES, small_recipe

VIT = {
    "model_type": "vit",
    "hidden_size": 16,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "image_size": 64,
}
MASK2FORMER = {key: value for key, value in FAMILIES["mask2former-semantic"][3].items() if key != "backbone_config"}
SMALL_NECK = {"neck_hidden_sizes": [4, 6, 8, 10], "fusion_hidden_size": 8}


def saved_backbone(folder, values):
    backbone = AutoBackbone.from_config(config_from_dict(values))
    randomise(backbone)
    backbone.save_pretrained(folder)
    return backbone


def built(name, folder, **changes):
    task = training_task(small_recipe(name, folder, **changes))
    return task, task.model()


# A backbone for a new model


@pytest.mark.parametrize(
    ("name", "backbone", "model"),
    [
        ("dpt-relative", VIT, SMALL_NECK),
        ("dpt-semantic", VIT, {"model_type": "dpt", **SMALL_NECK}),
        ("dpt-relative", DINOV2, SMALL_NECK),
        ("dpt-relative", SWINV2, {"fusion_hidden_size": 8}),
        ("depth-anything", DINOV2, {"model_type": "depth_anything", **SMALL_NECK}),
        (
            "mask2former-semantic",
            SWIN,
            MASK2FORMER,
        ),
        (
            "mask2former-panoptic",
            RESNET,
            MASK2FORMER,
        ),
    ],
    ids=lambda value: value.get("model_type", "") if isinstance(value, dict) else value,
)
def test_a_new_model_takes_a_backbone(name, backbone, model, tmp_path):
    source = saved_backbone(tmp_path / "backbone", {**backbone, "out_indices": None, "out_features": None})
    task, trained = built(name, tmp_path, start=str(tmp_path / "backbone"), model=model)
    assert trained.training
    theirs, ours = source.state_dict(), backbone_of(trained).state_dict()
    common = {key for key in ours if key in theirs}
    assert len(common) > 0.8 * len(ours)
    assert all(torch.equal(ours[key], theirs[key]) for key in common)
    item = task.training_data(1)[0]
    assert task.loss(trained, task.collate([item, item]))[0].isfinite()


def test_a_new_vitmatte_takes_a_plain_vit(tmp_path):
    source = saved_backbone(tmp_path / "vit", VIT)
    small = {"convstream_hidden_sizes": [4, 6, 8], "fusion_hidden_sizes": [8, 6, 6, 4]}
    _, model = built("vitmatte", tmp_path, start=str(tmp_path / "vit"), model=small)
    weights = source.state_dict()
    projection = model.backbone.embeddings.projection.weight
    assert torch.equal(projection[:, :3], weights["embeddings.patch_embeddings.projection.weight"])
    assert not projection[:, 3].any()
    assert model.config.hidden_size == 16 and model.config.backbone_config.window_block_indices == [0, 1, 3]


def test_a_checkpoint_of_the_family_goes_on_with_the_classes_of_the_data(tmp_path):
    _, first = built("mask2former-semantic", tmp_path)
    first.config.id2label = {0: "a", 1: "b", 2: "c"}
    other = type(first)(first.config)
    other.save_pretrained(tmp_path / "other")
    with pytest.warns(PerpixelWarning, match="class_predictor"):
        _, model = built(
            "mask2former-semantic", tmp_path, start=str(tmp_path / "other"), model={"dropout": 0.1, "num_queries": 6}
        )
    assert model.config.id2label == {0: "dark", 1: "bright"} and model.config.label2id == {"dark": 0, "bright": 1}
    assert model.config.dropout == 0.1
    weight = "model.transformer_module.decoder.layers.0.fc1.weight"
    assert torch.equal(model.state_dict()[weight], other.state_dict()[weight])


def test_a_depth_model_may_start_segmentation(tmp_path):
    _, depth = built("dpt-relative", tmp_path)
    depth.save_pretrained(tmp_path / "depth")
    with pytest.warns(PerpixelWarning, match=r"head\.head\.1"):
        _, model = built("dpt-semantic", tmp_path / "s", start=str(tmp_path / "depth"), model={})
    assert torch.equal(model.neck.convs[0].weight, depth.neck.convs[0].weight)


@pytest.mark.parametrize(
    ("start", "model", "message"),
    [
        ({"model_type": "bert"}, {}, "is bert: give a checkpoint of mask2former or dpt, or of a backbone"),
        (DINOV2, {"model_type": "vitmatte"}, "model_type is 'vitmatte'"),
        ({"model_type": "dpt"}, {"model_type": "mask2former"}, "is a 'dpt' but model.model_type is 'mask2former'"),
    ],
)
def test_starts_that_do_not_fit(start, model, message, tmp_path):
    import json

    (tmp_path / "config.json").write_text(json.dumps(start))
    classes = {"mask2former": "perpixel.models.mask2former.model:Mask2FormerForUniversalSegmentation", "dpt": "a:B"}
    with pytest.raises(ConfigError, match=message):
        plan_start(str(tmp_path), model, classes)
    with pytest.raises(CheckpointError):
        plan_start(str(tmp_path / "none"), {}, classes)


def test_changes_of_another_backbone_replace_it_as_a_whole():
    values = {"backbone_config": {"model_type": "swin", "depths": [2, 2]}, "a": 1}
    assert merged(values, {"backbone_config": {"depths": [1, 1]}})["backbone_config"]["model_type"] == "swin"
    assert merged(values, {"backbone_config": {"model_type": "vit"}}) == {
        "backbone_config": {"model_type": "vit"},
        "a": 1,
    }


# Frozen parts


@pytest.mark.parametrize("name", ["vitmatte", "mask2former-semantic", "dpt-semantic", "dpt-relative", "depth-anything"])
def test_a_frozen_backbone_does_not_learn(name, tmp_path):
    task, model = built(name, tmp_path, freeze=["backbone"])
    backbone = backbone_of(model)
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    assert any(parameter.requires_grad for parameter in model.parameters())
    before = {key: tensor.clone() for key, tensor in backbone.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    items = [task.training_data(2)[n] for n in range(2)]
    task.loss(model.train(), task.collate(items))[0].backward()
    optimizer.step()
    assert all(torch.equal(tensor, before[key]) for key, tensor in backbone.state_dict().items())


def test_frozen_batch_norms_stay_as_they_are(tmp_path):
    changes = {"model": {**FAMILIES["mask2former-semantic"][3], "backbone_config": RESNET}}
    task, model = built("mask2former-semantic", tmp_path, freeze=["backbone"], **changes)
    norm = next(m for m in backbone_of(model).modules() if isinstance(m, torch.nn.BatchNorm2d))
    before = norm.running_mean.clone()
    items = [task.training_data(2)[n] for n in range(2)]
    task.loss(model.train(), task.collate(items))
    assert torch.equal(norm.running_mean, before)
    task, model = built("mask2former-semantic", tmp_path, batch_norm_momentum=0.5, **changes)
    norm = next(m for m in backbone_of(model).modules() if isinstance(m, torch.nn.BatchNorm2d))
    task.loss(model.train(), task.collate(items))
    assert norm.momentum == 0.5 and not torch.equal(norm.running_mean, before)


def test_modules_are_frozen_by_name(tmp_path):
    _, model = built("vitmatte", tmp_path, freeze=["backbone.encoder.layer.0", "decoder.convstream"])
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert frozen and all(name.startswith(("backbone.encoder.layer.0.", "decoder.convstream.")) for name in frozen)
    with pytest.raises(ConfigError, match=r"freeze names 'decoderr'.*did you mean 'decoder'"):
        built("vitmatte", tmp_path, freeze=["decoderr"])
    with pytest.raises(ConfigError, match="leaves nothing to train"):
        built("vitmatte", tmp_path, freeze=["backbone", "decoder"])


# Layers


@pytest.mark.parametrize("name", ["vitmatte", "mask2former-semantic", "dpt-relative", "depth-anything"])
def test_every_parameter_of_the_backbone_has_its_layer(name, tmp_path):
    task, model = built(name, tmp_path)
    inside = {id(parameter) for parameter in backbone_of(model).parameters()}
    layers = {key: task.layer(key) for key, _ in model.named_parameters()}
    assert all((layers[key] is not None) == (id(p) in inside) for key, p in model.named_parameters())
    found = sorted({layer for layer in layers.values() if layer is not None})
    assert found == list(range(len(found))) and len(found) == {"vitmatte": 3}.get(name, 5)
    assert task.layer("base_model.model." + next(key for key in layers if layers[key] == 0)) == 0


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("backbone.encoder.layer.11.output.dense.weight", 12),
        ("backbone.encoder.layers.2.blocks.5.attention.self.query.weight", 3),
        ("backbone.hidden_states_norms.stage2.weight", 2),
        ("backbone.encoder.stages.3.layers.0.layer.1.normalization.bias", 4),
        ("backbone.embedder.embedder.convolution.weight", 0),
        ("backbone.encoder.relative_position_bias.relative_position_bias_table", 0),
        ("backbone._backbone.blocks.4.attn.qkv.weight", 5),
        ("backbone.layernorm.weight", 7),
        ("head.weight", None),
    ],
)
def test_layers_by_name(name, layer):
    assert layer_number(name, "backbone", 7) == layer
