"""A checkpoint with another number of classes: its weights are kept, the head starts fresh, and one warning says so."""

import warnings

import pytest
import torch

from models.dpt.tiny import tiny_config as dpt_config
from models.mask2former.tiny import tiny_model as tiny_mask2former
from models.vitmatte.tiny import tiny_model as tiny_vitmatte
from perpixel import DPTForSemanticSegmentation, Mask2FormerForUniversalSegmentation, VitMatteForImageMatting
from perpixel.errors import CheckpointError, PerpixelWarning

CASES = {
    "mask2former": (
        lambda: tiny_mask2former(),
        {"id2label": {0: "sky", 1: "sea", 2: "land", 3: "boat", 4: "bird"}},
        {"class_predictor.weight", "class_predictor.bias", "criterion.empty_weight"},
    ),
    "dpt": (
        lambda: DPTForSemanticSegmentation(dpt_config(num_labels=3)),
        {"num_labels": 5},
        {"head.head.4.weight", "head.head.4.bias", "auxiliary_head.head.4.weight", "auxiliary_head.head.4.bias"},
    ),
    "vitmatte": (
        lambda: tiny_vitmatte(),
        {"fusion_hidden_sizes": [8, 6, 6, 8]},
        {
            "decoder.fusion_blocks.3.conv.conv.weight",
            *(f"decoder.fusion_blocks.3.conv.batch_norm.{name}" for name in ("weight", "bias")),
            *(f"decoder.fusion_blocks.3.conv.batch_norm.running_{name}" for name in ("mean", "var")),
            "decoder.matting_head.matting_convs.0.weight",
        },
    ),
}


@pytest.mark.parametrize("family", CASES)
def test_a_new_head_on_old_weights(family, tmp_path):
    build, changes, fresh = CASES[family]
    old = build()
    old.save_pretrained(tmp_path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        new = type(old).from_pretrained(tmp_path, ignore_mismatched_sizes=True, **changes)
    messages = [str(item.message) for item in caught if item.category is PerpixelWarning]
    assert len(messages) == 1
    assert all(name in messages[0] for name in fresh)
    before, after = old.state_dict(), new.state_dict()
    assert {name for name in after if not torch.equal(before[name], after[name])} == fresh
    assert family == "vitmatte" or new.config.num_labels == 5
    assert all(tensor.isfinite().all() for tensor in after.values())
    with pytest.raises(CheckpointError, match=r"mis-shaped .*ignore_mismatched_sizes=True to start those"):
        type(old).from_pretrained(tmp_path, **changes)


def test_the_loss_of_a_new_head_counts_its_own_classes(tmp_path):
    tiny_mask2former().save_pretrained(tmp_path)
    with pytest.warns(PerpixelWarning, match=r"3 mis-shaped \(class_predictor"):
        model = Mask2FormerForUniversalSegmentation.from_pretrained(
            tmp_path, num_labels=5, ignore_mismatched_sizes=True
        )
    assert model.criterion.empty_weight.tolist() == pytest.approx([1, 1, 1, 1, 1, model.config.no_object_weight])
    masks = [torch.ones(1, 64, 64)]
    assert model(torch.zeros(1, 3, 64, 64), masks, [torch.tensor([4])]).loss.isfinite()


def test_missing_names_still_raise(tmp_path):
    tiny_vitmatte().save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="missing"):
        VitMatteForImageMatting.from_pretrained(
            tmp_path,
            ignore_mismatched_sizes=True,
            convstream_hidden_sizes=[4, 8, 8, 16],
            fusion_hidden_sizes=[16, 8, 8, 8, 8],
            backbone_config=dict(tiny_vitmatte().config.backbone_config.to_dict(), patch_size=32),
        )
