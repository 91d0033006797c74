import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.dpt.tiny import tiny_config
from perpixel.errors import InputError
from perpixel.models.dpt.heads import (
    DPTAuxiliaryHead,
    DPTDepthEstimationHead,
    DPTSemanticSegmentationHead,
    segmentation_loss,
)


def noise(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 2), st.integers(1, 6), st.integers(1, 6), st.integers(0, 9))
def test_the_loss_is_the_mean_of_what_counts(batch, rows, columns, seed):
    random = np.random.default_rng(seed)
    logits = random.normal(size=(batch, 3, rows, columns))
    labels = random.choice([0, 1, 2, 255], size=(batch, rows, columns))
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    losses = [-np.log(shares[b, labels[b, y, x], y, x]) for b, y, x in np.argwhere(labels != 255)]
    got = segmentation_loss(torch.tensor(logits), torch.tensor(labels), 255)
    assert got.item() == pytest.approx(np.mean(losses) if losses else 0.0, abs=1e-5)


def test_without_a_class_anywhere_nothing_is_learned():
    logits = noise(1, 3, 2, 2).requires_grad_()
    loss = segmentation_loss(logits, torch.full((1, 4, 4), 255), 255)
    loss.backward()
    assert loss.item() == 0
    assert logits.grad.abs().sum() == 0


def test_labels_of_bytes_and_a_negative_number_to_ignore():
    logits, labels = noise(1, 3, 2, 2), torch.tensor([[[0, 1], [2, 1]]])
    assert segmentation_loss(logits, labels.to(torch.uint8), -100) == segmentation_loss(logits, labels, -100)
    # 156 is -100 in bytes
    with pytest.raises(InputError, match="0 to 156"):
        segmentation_loss(logits, torch.tensor([[[0, 1], [2, 156]]], dtype=torch.uint8), -100)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (torch.zeros(1, 1, 2, 2, dtype=torch.long), r"\(1, 1, 2, 2\).*height, width"),
        (torch.zeros(2, 2, 2, dtype=torch.long), "1 images"),
        (torch.zeros(1, 2, 2), r"labels\.long"),
        (torch.full((1, 2, 2), 3), "3 to 3.*0 to 2"),
        (torch.full((1, 2, 2), -1), "-1 to -1"),
    ],
)
def test_labels_that_do_not_fit(labels, said):
    with pytest.raises(InputError, match=said):
        segmentation_loss(noise(1, 3, 2, 2), labels, 255)


@pytest.mark.parametrize("projection", [False, True])
def test_depth_has_twice_the_size_and_no_sign(projection):
    config = tiny_config(add_projection=projection)
    depth = DPTDepthEstimationHead(config)(noise(2, config.fusion_hidden_size, 3, 1))
    assert depth.shape == (2, 6, 2)
    assert depth.min() >= 0


@pytest.mark.parametrize("seed", range(8))
def test_a_new_depth_head_is_alive(seed):
    torch.manual_seed(seed)
    config = tiny_config()
    depth = DPTDepthEstimationHead(config)(noise(1, config.fusion_hidden_size, 4, 4))
    assert (depth > 0).float().mean() > 0.9


def test_classes_have_the_size_of_the_input_or_half():
    config = tiny_config(num_labels=5)
    x = noise(2, config.fusion_hidden_size, 3, 1)
    assert DPTSemanticSegmentationHead(config)(x).shape == (2, 5, 6, 2)
    assert DPTAuxiliaryHead(config)(x).shape == (2, 5, 3, 1)
