"""Mask2Former against transformers: the same random weights, odd sizes, every output.

A bit of an attention region flips where a mask's logit is within rounding of 0, and transformers shrinks the masks
rather than the features. Outputs of all layers are therefore compared in float64, where no logit is that near; the
float32 test checks that the usual precision is no worse for the seeds it uses.
"""

import pytest
import torch

from models.mask2former.tiny import RESNET, SWIN, tiny_config, tiny_model
from parity.randomise import randomise
from perpixel import Mask2FormerForUniversalSegmentation, Mask2FormerModel

transformers = pytest.importorskip("transformers")

EVERYTHING = {"output_hidden_states": True, "output_attentions": True, "output_auxiliary_logits": True}
CASES = {
    "swin": (SWIN, {}),
    "swin with larger windows": (SWIN | {"window_size": 7, "embed_dim": 12, "num_heads": [1, 2, 3, 4]}, {}),
    "pre-norm": (SWIN, {"pre_norm": True}),
    "projections": (SWIN, {"feature_size": 64, "mask_feature_size": 32}),
    "forced projections": (SWIN, {"enforce_input_projection": True, "activation_function": "gelu"}),
    "resnet": (RESNET, {}),
}


def both(folder, case="swin", dtype=torch.float64):
    """Our model and theirs, which read ours from the disk."""
    encoder, changes = CASES[case]
    ours = tiny_model(tiny_config(encoder, **changes))
    ours.save_pretrained(folder)
    theirs = transformers.Mask2FormerForUniversalSegmentation.from_pretrained(folder).eval()
    return ours.to(dtype), theirs.to(dtype)


def flat(value):
    """The tensors of an output's field, in order."""
    if isinstance(value, torch.Tensor):
        return [value]
    values = value.values() if isinstance(value, dict) else value
    return [tensor for item in values for tensor in flat(item)]


def assert_equal(ours, theirs, tolerance=1e-4):
    assert list(ours.keys()) == list(theirs.keys())
    for name in ours.keys():  # noqa: SIM118
        pairs = list(zip(flat(ours[name]), flat(theirs[name]), strict=True))
        for mine, other in pairs:
            torch.testing.assert_close(
                mine, other, rtol=tolerance, atol=tolerance, msg=lambda text, n=name: f"{n}: {text}"
            )


@torch.no_grad()
@pytest.mark.parametrize("case", CASES)
def test_all_outputs(tmp_path, case):
    ours, theirs = both(tmp_path, case)
    for size in ((2, 3, 33, 47), (1, 3, 96, 64)):
        pixels = torch.randn(*size, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
        assert_equal(ours(pixels, **EVERYTHING), theirs(pixels, **EVERYTHING), 1e-9)
        assert_equal(ours(pixels), theirs(pixels), 1e-9)
        ones = torch.ones(size[0], *size[2:], dtype=torch.int64)
        assert_equal(ours(pixels, pixel_mask=ones), theirs(pixels, pixel_mask=ones), 1e-9)
        assert_equal(ours.model(pixels), theirs.model(pixels), 1e-9)
        hidden = {"output_hidden_states": True, "output_attentions": True}
        assert_equal(ours.model(pixels, **hidden), theirs.model(pixels, **hidden), 1e-9)


@torch.no_grad()
@pytest.mark.parametrize("case", ["swin", "pre-norm", "resnet"])
def test_all_outputs_in_single_precision(tmp_path, case):
    ours, theirs = both(tmp_path, case, torch.float32)
    for size in ((2, 3, 33, 47), (1, 3, 96, 64)):
        pixels = torch.randn(*size, generator=torch.Generator().manual_seed(4))
        assert_equal(ours(pixels, **EVERYTHING), theirs(pixels, **EVERYTHING))


@torch.no_grad()
def test_a_padded_batch_in_training_mode(tmp_path):
    ours, theirs = both(tmp_path)
    mask = torch.ones(2, 64, 96)
    mask[0, 40:] = 0
    pixels = torch.randn(2, 3, 64, 96, dtype=torch.float64) * mask[:, None]
    assert_equal(ours.train()(pixels, pixel_mask=mask), theirs.train()(pixels, pixel_mask=mask), 1e-9)


def test_the_loss_and_its_gradients(tmp_path):
    ours, theirs = both(tmp_path)
    generator = torch.Generator().manual_seed(5)
    pixels = torch.randn(2, 3, 64, 64, generator=generator, dtype=torch.float64)
    masks = [(torch.rand(n, 64, 64, generator=generator) > 0.5).double() for n in (2, 3)]
    classes = [torch.tensor([0, 2]), torch.tensor([1, 1, 0])]
    values, gradients = [], []
    for model in (ours, theirs):
        # transformers draws the points in the type of the masks.
        torch.manual_seed(6)
        model = model.float()
        output = model(pixels.float(), mask_labels=[m.float() for m in masks], class_labels=classes)
        output.loss.backward()
        values.append(output.loss.detach())
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    torch.testing.assert_close(values[0], values[1], rtol=1e-4, atol=1e-4)
    shared = gradients[0].keys() & gradients[1].keys()
    assert any("cross_attn" in name for name in shared) and any("pixel_level_module.decoder" in name for name in shared)
    for name in shared:
        torch.testing.assert_close(gradients[0][name], gradients[1][name], rtol=1e-3, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("encoder", [SWIN, RESNET], ids=["swin", "resnet"])
def test_their_checkpoints_load_here(tmp_path, encoder):
    config = transformers.Mask2FormerConfig.from_dict(tiny_config(encoder).to_dict())
    theirs = transformers.Mask2FormerForUniversalSegmentation(config).eval()
    randomise(theirs)
    theirs.save_pretrained(tmp_path)
    pixels = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(7))
    expected = theirs(pixels)
    assert_equal(Mask2FormerForUniversalSegmentation.from_pretrained(tmp_path)(pixels), expected)
    masks = Mask2FormerModel.from_pretrained(tmp_path)(pixels).masks_queries_logits
    torch.testing.assert_close(masks[-1], expected.masks_queries_logits, rtol=1e-4, atol=1e-4)


def reference(**changes):
    config = transformers.Mask2FormerConfig.from_dict(tiny_config().to_dict() | changes)
    model = transformers.Mask2FormerForUniversalSegmentation(config).eval()
    randomise(model)
    return model


def test_a_tuple_with_a_loss_fails_there():
    masks, classes = [torch.ones(1, 64, 64)], [torch.tensor([1])]
    with pytest.raises(TypeError):
        reference()(torch.zeros(1, 3, 64, 64), mask_labels=masks, class_labels=classes, return_dict=False)


def test_without_auxiliary_losses_nothing_runs_there():
    with pytest.raises(TypeError, match="NoneType"):
        reference(use_auxiliary_loss=False)(torch.zeros(1, 3, 64, 64))


def test_half_of_the_labels_are_ignored_there():
    assert reference()(torch.zeros(1, 3, 64, 64), mask_labels=[torch.ones(1, 64, 64)]).loss is None


def test_dropout_leaves_layers_out_there():
    model = reference(dropout=0.9).train()
    torch.manual_seed(0)
    # Five predictions are four and the last; with layers left out there are fewer.
    assert len(model(torch.randn(1, 3, 64, 64), output_auxiliary_logits=True).auxiliary_logits) < 4


@torch.no_grad()
def test_padding_changes_the_masks_there():
    model = reference()
    pixels = torch.zeros(1, 3, 64, 96)
    pixels[..., :32] = torch.randn(1, 3, 64, 32, generator=torch.Generator().manual_seed(8))
    mask = torch.zeros(1, 64, 96)
    mask[..., :32] = 1
    alone = model(pixels[..., :32]).class_queries_logits
    assert (model(pixels, pixel_mask=mask).class_queries_logits - alone).abs().max() > 0.01
    assert torch.equal(model(pixels, pixel_mask=mask).class_queries_logits, model(pixels).class_queries_logits)
