"""DPT gives the numbers that transformers gives: every readout, the hybrid, backbones, both tasks, files both ways."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

import perpixel as px
from parity.randomise import randomise, randomise_depth

TOLERANCE = 1e-4
TINY: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "image_size": 32,
    "patch_size": 8,
    "backbone_out_indices": [0, 1, 2, 3],
    "neck_hidden_sizes": [4, 6, 8, 10],
    "fusion_hidden_size": 8,
}
DINOV2: dict[str, Any] = {
    "model_type": "dinov2",
    "hidden_size": 16,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
    "out_indices": [1, 2, 3, 4],
    "reshape_hidden_states": False,
}


def pair(folder: Path, name: str, values: dict[str, Any], seed: int = 0) -> tuple[Any, Any]:
    """The same model with the same random weights, theirs and ours; theirs reads what ours has written."""
    ours = getattr(px, name)(px.DPTConfig(**values)).eval()
    (randomise_depth if name.endswith("DepthEstimation") else randomise)(ours, seed)
    ours.save_pretrained(folder)
    theirs, report = getattr(transformers, name).from_pretrained(
        folder, attn_implementation="eager", output_loading_info=True
    )
    assert not any(report.values())
    return theirs.eval(), ours


def image(height: int, width: int, batch: int = 1) -> Tensor:
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(1))


def assert_close(got: Tensor, expected: Tensor) -> None:
    assert got.shape == expected.shape
    assert expected.std() > 1e-3
    assert (expected != 0).float().mean() > 0.2  # a head that is dead all but everywhere would prove little
    torch.testing.assert_close(got, expected, atol=TOLERANCE * float(expected.std()), rtol=TOLERANCE)


def assert_same_weights(one: torch.nn.Module, other: torch.nn.Module) -> None:
    expected = other.state_dict()
    assert one.state_dict().keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in one.state_dict().items())


def with_dinov2(**values: Any) -> dict[str, Any]:
    # Each side makes its own object from the dictionary.
    own = ("neck_hidden_sizes", "fusion_hidden_size", "readout_type")
    return {**{key: TINY[key] for key in own if key in TINY}, "backbone_config": dict(DINOV2), **values}


@pytest.mark.parametrize("readout", ["ignore", "add", "project"])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_depth_with_its_own_vit(readout: str, batch_norm: bool, tmp_path: Path) -> None:
    values = {**TINY, "readout_type": readout, "use_batch_norm_in_fusion_residual": batch_norm}
    theirs, ours = pair(tmp_path, "DPTForDepthEstimation", values)
    x = image(32, 32, batch=2)
    with torch.no_grad():
        assert_close(ours(x).predicted_depth, theirs(x).predicted_depth)


def test_square_images_of_another_size(tmp_path: Path) -> None:
    theirs, ours = pair(tmp_path, "DPTForDepthEstimation", TINY)
    x = image(56, 56)
    with torch.no_grad():
        assert_close(ours(x).predicted_depth, theirs(x).predicted_depth)


@pytest.mark.parametrize("readout", ["ignore", "add", "project"])
def test_images_that_are_not_square(readout: str, tmp_path: Path) -> None:
    theirs, ours = pair(tmp_path, "DPTForDepthEstimation", {**TINY, "readout_type": readout})
    x = image(24, 40)
    with torch.no_grad():
        # Their ViT takes any shape, only then they take a root: the parts one by one, with the true grid.
        layers = theirs.dpt(x, output_hidden_states=True).hidden_states[1:]
        expected = theirs.head(theirs.neck(list(layers), 3, 5))
        assert_close(ours(x).predicted_depth, expected)


def test_hidden_states_and_attentions(tmp_path: Path) -> None:
    theirs, ours = pair(tmp_path, "DPTForDepthEstimation", TINY)
    with torch.no_grad():
        got, expected = (
            model(image(32, 32), output_hidden_states=True, output_attentions=True) for model in (ours, theirs)
        )
    for name in ("hidden_states", "attentions"):
        assert len(got[name]) == len(expected[name])
        for one, other in zip(got[name], expected[name], strict=True):
            torch.testing.assert_close(one, other, atol=TOLERANCE, rtol=TOLERANCE)


def test_the_model_with_its_pooler(tmp_path: Path) -> None:
    theirs, ours = pair(tmp_path, "DPTModel", {**TINY, "pooler_output_size": 6, "qkv_bias": False})
    with torch.no_grad():
        got, expected = ours(image(32, 32)), theirs(image(32, 32))
    assert list(got.keys()) == list(expected.keys())
    assert_close(got.last_hidden_state, expected.last_hidden_state)
    assert_close(got.pooler_output, expected.pooler_output)


@pytest.mark.parametrize("readout", ["ignore", "add", "project"])
@pytest.mark.parametrize(("height", "width"), [(32, 32), (24, 40)])
def test_dinov2_of_any_shape(readout: str, height: int, width: int, tmp_path: Path) -> None:
    theirs, ours = pair(tmp_path, "DPTForDepthEstimation", with_dinov2(readout_type=readout))
    with torch.no_grad():
        got, expected = (model(image(height, width), output_hidden_states=True) for model in (ours, theirs))
    assert_close(got.predicted_depth, expected.predicted_depth)
    assert len(got.hidden_states) == len(expected.hidden_states)
    assert_close(got.hidden_states[-1], expected.hidden_states[-1])


def test_a_depth_head_with_one_convolution_more(tmp_path: Path) -> None:
    theirs, ours = pair(tmp_path, "DPTForDepthEstimation", {**TINY, "fusion_hidden_size": 256, "add_projection": True})
    with torch.no_grad():
        assert_close(ours(image(32, 32)).predicted_depth, theirs(image(32, 32)).predicted_depth)


def test_segmentation_and_its_losses(tmp_path: Path) -> None:
    theirs, ours = pair(tmp_path, "DPTForSemanticSegmentation", {**TINY, "num_labels": 5, "auxiliary_loss_weight": 0.7})
    labels = torch.randint(0, 5, (2, 40, 48), generator=torch.Generator().manual_seed(2))
    labels[:, :7] = 255
    with torch.no_grad():
        got, expected = ours(image(32, 32, 2), labels=labels), theirs(image(32, 32, 2), labels=labels)
    assert_close(got.logits, expected.logits)
    torch.testing.assert_close(got.loss, expected.loss, atol=1e-5, rtol=1e-5)


def test_gradients_of_the_segmentation_loss(tmp_path: Path) -> None:
    values = {**TINY, "num_labels": 3, "semantic_classifier_dropout": 0.0}
    theirs, ours = pair(tmp_path, "DPTForSemanticSegmentation", values)
    labels = torch.randint(0, 3, (1, 32, 32), generator=torch.Generator().manual_seed(2))
    for model in (ours, theirs):
        model(image(32, 32), labels=labels).loss.backward()
    expected = {name: parameter.grad for name, parameter in theirs.named_parameters() if parameter.grad is not None}
    assert len(expected) > 50
    for name, parameter in ours.named_parameters():
        if name in expected:
            torch.testing.assert_close(parameter.grad, expected[name], atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("name", ["DPTForDepthEstimation", "DPTForSemanticSegmentation"])
def test_files_come_back(name: str, tmp_path: Path) -> None:
    theirs, ours = pair(tmp_path / "ours", name, {**TINY, "id2label": {0: "a", 1: "b", 2: "c"}})
    theirs.save_pretrained(tmp_path / "theirs")
    again = getattr(px, name).from_pretrained(tmp_path / "theirs")
    assert again.config == ours.config
    assert again.config.id2label == theirs.config.id2label == {0: "a", 1: "b", 2: "c"}
    assert_same_weights(again, ours)


def test_a_file_with_a_backbone_comes_back(tmp_path: Path) -> None:
    theirs, ours = pair(tmp_path / "ours", "DPTForDepthEstimation", with_dinov2())
    theirs.save_pretrained(tmp_path / "theirs")
    again = px.DPTForDepthEstimation.from_pretrained(tmp_path / "theirs")
    assert again.config == ours.config
    assert_same_weights(again, ours)


def test_the_depth_loss_goes_through_a_file_of_transformers(tmp_path: Path) -> None:
    px.DPTConfig(**TINY, depth_loss="metric").save_pretrained(tmp_path)
    transformers.DPTConfig.from_pretrained(tmp_path).save_pretrained(tmp_path)
    assert px.DPTConfig.from_pretrained(tmp_path).depth_loss == "metric"


def test_the_fields_are_those_of_transformers() -> None:
    expected = transformers.DPTConfig().to_dict()
    got = px.DPTConfig().to_dict()
    own = {"id2label", "label2id", "depth_loss", "backbone", "use_pretrained_backbone", "use_timm_backbone"}
    common = set(expected) & set(got)
    assert {key for key in got if key not in expected} <= own
    assert len(common) > 30
    for key in common:
        assert got[key] == (list(expected[key]) if isinstance(expected[key], tuple) else expected[key]), key


# What docs/differences.md says about transformers' DPT.


def test_non_square_images_fail_there(tmp_path: Path) -> None:
    theirs, _ = pair(tmp_path, "DPTForDepthEstimation", TINY)
    with pytest.raises(RuntimeError, match="invalid for input of size"), torch.no_grad():
        theirs(image(24, 40))


def test_without_the_auxiliary_head_labels_fail_there(tmp_path: Path) -> None:
    theirs, _ = pair(tmp_path, "DPTForSemanticSegmentation", {**TINY, "use_auxiliary_head": False})
    with pytest.raises(UnboundLocalError), torch.no_grad():
        theirs(image(32, 32), labels=torch.zeros(1, 32, 32, dtype=torch.long))


def test_depth_labels_fail_there(tmp_path: Path) -> None:
    theirs, _ = pair(tmp_path, "DPTForDepthEstimation", TINY)
    with pytest.raises(NotImplementedError), torch.no_grad():
        theirs(image(32, 32), labels=torch.ones(1, 32, 32))


def test_maps_of_a_backbone_fail_there() -> None:
    values = with_dinov2(backbone_config={**DINOV2, "reshape_hidden_states": True})
    theirs = transformers.DPTForDepthEstimation(transformers.DPTConfig(**values)).eval()
    with pytest.raises(ValueError, match="too many values"), torch.no_grad():
        theirs(image(32, 32))


def test_a_segmentation_model_ignores_its_backbone_there() -> None:
    theirs = transformers.DPTForSemanticSegmentation(transformers.DPTConfig(**TINY | with_dinov2()))
    assert not [name for name in theirs.state_dict() if name.startswith("backbone.")]


def test_labels_without_a_class_give_nan_there(tmp_path: Path) -> None:
    theirs, _ = pair(tmp_path, "DPTForSemanticSegmentation", {**TINY, "num_labels": 3})
    with torch.no_grad():
        loss = theirs(image(32, 32), labels=torch.full((1, 32, 32), 255)).loss
    assert loss.isnan()


def test_the_projection_needs_256_channels_there() -> None:
    theirs = transformers.DPTForDepthEstimation(transformers.DPTConfig(**TINY, add_projection=True))
    with pytest.raises(RuntimeError, match="256"), torch.no_grad():
        theirs(image(32, 32))
