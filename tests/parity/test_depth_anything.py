"""Depth Anything gives the numbers that transformers gives, of any shape, and files go both ways."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

import perpixel as px
from parity.randomise import randomise_depth

TOLERANCE = 1e-4
BACKBONE: dict[str, Any] = {
    "model_type": "dinov2",
    "hidden_size": 16,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "image_size": 42,
    "patch_size": 14,
    "out_indices": [1, 2, 3, 4],
    "reshape_hidden_states": False,
}
TINY: dict[str, Any] = {
    "reassemble_hidden_size": 16,
    "neck_hidden_sizes": [4, 6, 8, 10],
    "fusion_hidden_size": 8,
    "head_hidden_size": 6,
}


def pair(folder: Path, **values: Any) -> tuple[Any, Any]:
    """The same model with the same random weights, theirs and ours; theirs reads what ours has written."""
    config = px.DepthAnythingConfig(backbone_config=dict(BACKBONE), **TINY, **values)
    ours = px.DepthAnythingForDepthEstimation(config).eval()
    randomise_depth(ours)
    ours.save_pretrained(folder)
    theirs, report = transformers.DepthAnythingForDepthEstimation.from_pretrained(
        folder, attn_implementation="eager", output_loading_info=True
    )
    assert not any(report.values())
    return theirs.eval(), ours


def image(height: int, width: int) -> Tensor:
    return torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(1))


def assert_close(got: Tensor, expected: Tensor) -> None:
    assert got.shape == expected.shape
    assert expected.std() > 1e-4
    assert (expected != 0).float().mean() > 0.2  # a head that is dead all but everywhere would prove little
    torch.testing.assert_close(got, expected, atol=TOLERANCE * float(expected.std()), rtol=TOLERANCE)


@pytest.mark.parametrize("kind", [{}, {"depth_estimation_type": "metric", "max_depth": 20}])
@pytest.mark.parametrize(("height", "width"), [(42, 42), (28, 70), (14, 14)])
def test_depth_of_any_shape(kind: dict[str, Any], height: int, width: int, tmp_path: Path) -> None:
    theirs, ours = pair(tmp_path, **kind)
    with torch.no_grad():
        got, expected = (model(image(height, width), output_hidden_states=True) for model in (ours, theirs))
    assert_close(got.predicted_depth, expected.predicted_depth)
    assert len(got.hidden_states) == len(expected.hidden_states)
    for one, other in zip(got.hidden_states, expected.hidden_states, strict=True):
        torch.testing.assert_close(one, other, atol=TOLERANCE, rtol=TOLERANCE)


def test_files_come_back(tmp_path: Path) -> None:
    theirs, ours = pair(tmp_path / "ours", depth_estimation_type="metric", max_depth=80)
    theirs.save_pretrained(tmp_path / "theirs")
    again = px.DepthAnythingForDepthEstimation.from_pretrained(tmp_path / "theirs")
    assert again.config == ours.config
    expected = ours.state_dict()
    assert again.state_dict().keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in again.state_dict().items())


def test_the_fields_are_those_of_transformers() -> None:
    expected, got = transformers.DepthAnythingConfig().to_dict(), px.DepthAnythingConfig().to_dict()
    common = (set(expected) & set(got)) - {"backbone_config"}
    assert len(common) > 10
    for key in common:
        assert got[key] == (list(expected[key]) if isinstance(expected[key], tuple) else expected[key]), key


# What docs/differences.md says about transformers' Depth Anything.


def test_no_max_depth_fails_there(tmp_path: Path) -> None:
    theirs, _ = pair(tmp_path, max_depth=None)
    with pytest.raises(TypeError), torch.no_grad():
        theirs(image(28, 28))


def test_labels_fail_there(tmp_path: Path) -> None:
    theirs, _ = pair(tmp_path)
    with pytest.raises(NotImplementedError):
        theirs(image(28, 28), labels=torch.ones(1, 28, 28))


def test_a_size_that_the_patch_does_not_divide_is_cut_there(tmp_path: Path) -> None:
    theirs, _ = pair(tmp_path)
    with torch.no_grad():
        assert theirs(image(30, 41)).predicted_depth.shape == (1, 28, 28)
