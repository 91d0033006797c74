"""Mask2Former: what comes out, padded batches, labels, saving, and errors."""

import pytest
import torch

from models.mask2former.tiny import RESNET, SWIN, tiny_config, tiny_model
from perpixel import (
    Mask2FormerForUniversalSegmentation,
    Mask2FormerForUniversalSegmentationOutput,
    Mask2FormerModel,
    Mask2FormerModelOutput,
)
from perpixel.errors import ConfigError, InputError
from perpixel.models.mask2former.padding import groups_of, image_sizes


def photo(*size, seed=0):
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed))


def padded(images):
    """A batch with zeros to the right and below, and its pixel_mask."""
    height, width = (-(-max(image.shape[i] for image in images) // 32) * 32 for i in (1, 2))
    pixels, mask = (
        torch.zeros(len(images), 3, height, width),
        torch.zeros(len(images), height, width, dtype=torch.int64),
    )
    for i, image in enumerate(images):
        h, w = image.shape[1:]
        pixels[i, :, :h, :w], mask[i, :h, :w] = image, 1
    return pixels, mask


def labels(*counts, size=(64, 64)):
    generator = torch.Generator().manual_seed(1)
    masks = [(torch.rand(n, *size, generator=generator) > 0.5).float() for n in counts]
    return masks, [torch.randint(0, 3, (n,), generator=generator) for n in counts]


@torch.no_grad()
def test_what_comes_out():
    output = tiny_model()(photo(2, 3, 33, 47))
    assert isinstance(output, Mask2FormerForUniversalSegmentationOutput)
    assert list(output.keys()) == [
        "class_queries_logits",
        "masks_queries_logits",
        "encoder_last_hidden_state",
        "pixel_decoder_last_hidden_state",
        "transformer_decoder_last_hidden_state",
    ]
    assert output.class_queries_logits.shape == (2, 6, 4) and output.masks_queries_logits.shape == (2, 6, 9, 12)
    assert output.mask_sizes is None


@torch.no_grad()
def test_the_model_without_classes_gives_the_masks_of_every_layer():
    whole = tiny_model()
    pixels = photo(1, 3, 64, 40)
    output = whole.model(pixels)
    assert isinstance(output, Mask2FormerModelOutput) and len(output.masks_queries_logits) == 5
    full = whole(pixels, output_auxiliary_logits=True)
    assert torch.equal(output.masks_queries_logits[-1], full.masks_queries_logits)
    for mask, earlier in zip(output.masks_queries_logits, full.auxiliary_logits, strict=False):
        assert torch.equal(mask, earlier["masks_queries_logits"])
    assert torch.equal(whole(pixels).masks_queries_logits, full.masks_queries_logits)
    assert len(whole.model(pixels, every_mask=False).masks_queries_logits) == 1


@torch.no_grad()
def test_the_config_chooses_what_the_call_does_not():
    model = tiny_model(tiny_config(output_auxiliary_logits=True, output_attentions=True, return_dict=False))
    values = model(photo(1, 3, 64, 32))
    assert isinstance(values, tuple) and len(values) == 7
    assert len(model(photo(1, 3, 64, 32), output_auxiliary_logits=False, output_attentions=False)) == 5


@pytest.mark.parametrize("encoder", [SWIN, RESNET], ids=["swin", "resnet"])
@torch.no_grad()
def test_one_image_alone_and_in_a_padded_batch(encoder):
    model = tiny_model(tiny_config(encoder))
    images = [photo(3, 40, 70, seed=1), photo(3, 96, 64, seed=2), photo(3, 33, 90, seed=3)]
    flags = {"output_hidden_states": True, "output_attentions": True, "output_auxiliary_logits": True}
    pixels, mask = padded(images)
    together = model(pixels, pixel_mask=mask, **flags)
    assert together.masks_queries_logits.shape == (3, 6, 24, 24)
    for i, image in enumerate(images):
        own_pixels, own_mask = padded([image])
        alone = model(own_pixels, pixel_mask=own_mask, **flags)
        rows, columns = alone.masks_queries_logits.shape[2:]
        close = {"rtol": 1e-4, "atol": 1e-4}
        torch.testing.assert_close(together.class_queries_logits[i], alone.class_queries_logits[0], **close)
        torch.testing.assert_close(
            together.masks_queries_logits[i, :, :rows, :columns], alone.masks_queries_logits[0], **close
        )
        assert not together.masks_queries_logits[i, :, rows:].any()
        assert not together.masks_queries_logits[i, :, :, columns:].any()
        assert torch.equal(together.mask_sizes[i], alone.mask_sizes[0])
        earlier, own = together.auxiliary_logits[1], alone.auxiliary_logits[1]
        torch.testing.assert_close(earlier["class_queries_logits"][i], own["class_queries_logits"][0], **close)
        for name in ("encoder_hidden_states", "pixel_decoder_hidden_states"):
            for mine, other in zip(together[name], alone[name], strict=True):
                h, w = other.shape[2:]
                torch.testing.assert_close(mine[i, :, :h, :w], other[0], **close)
        for mine, other in zip(
            together.transformer_decoder_hidden_states, alone.transformer_decoder_hidden_states, strict=True
        ):
            torch.testing.assert_close(mine[:, i], other[:, 0], **close)
        torch.testing.assert_close(together.attentions[0][i], alone.attentions[0][0], **close)


@torch.no_grad()
def test_how_much_of_the_masks_an_image_covers():
    pixels, mask = padded([torch.ones(3, 45, 64), torch.ones(3, 30, 50)])
    output = tiny_model()(pixels, pixel_mask=mask)
    assert output.mask_sizes.dtype == torch.float32
    # 45 of 64 pixels are 11.25 of 16 rows.
    assert output.mask_sizes.tolist() == [[11.25, 16.0], [7.5, 12.5]]
    assert "mask_sizes" not in output and len(output.to_tuple()) == 5


@torch.no_grad()
def test_a_mask_of_ones_changes_nothing():
    model, pixels = tiny_model(), photo(2, 3, 50, 70)
    plain, masked = model(pixels), model(pixels, pixel_mask=torch.ones(2, 50, 70))
    torch.testing.assert_close(plain.masks_queries_logits, masked.masks_queries_logits, atol=1e-4, rtol=0)
    assert masked.mask_sizes.tolist() == [[13, 18], [13, 18]]


def test_in_training_the_padding_is_part_of_the_image():
    model = tiny_model().train()
    pixels, mask = padded([photo(3, 40, 60, seed=1), photo(3, 70, 30, seed=2)])
    assert torch.equal(model(pixels, pixel_mask=mask).class_queries_logits, model(pixels).class_queries_logits)


def test_groups_of_equal_extent():
    assert [group.images for group in groups_of([(1, 1), (32, 32), (33, 1), (90, 90)], 90, 90)] == [[0, 1], [2], [3]]
    group = groups_of([(90, 20)], 90, 90)[0]
    assert (group.height, group.width) == (90, 32)
    # A hole in the mask does not end the image.
    mask = torch.ones(1, 8, 8)
    mask[0, 2:4] = 0
    assert image_sizes(torch.zeros(1, 3, 8, 8), mask) == [(8, 8)]


def test_labels_give_a_loss_and_a_gradient_to_every_parameter():
    model = tiny_model().train()
    masks, classes = labels(2, 1)
    loss = model(photo(2, 3, 64, 64), masks, classes).loss
    assert loss.ndim == 0
    loss.backward()
    silent = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    # A key's bias moves all scores of a query alike.
    assert [name for name in silent if "key.bias" not in name and "k_proj.bias" not in name] == []


@pytest.mark.parametrize("counts", [(2, 1), (0, 0)])
def test_the_loss_comes_first_in_a_tuple(counts):
    model = tiny_model()
    masks, classes = labels(*counts)
    values = []
    for return_dict in (True, False):
        torch.manual_seed(0)
        values.append(model(photo(2, 3, 64, 64), masks, classes, return_dict=return_dict))
    assert isinstance(values[1], tuple) and len(values[1]) == 6
    assert torch.equal(values[1][0], values[0].loss) and values[0].loss.isfinite()
    assert torch.equal(values[1][1], values[0].class_queries_logits)


def test_without_auxiliary_losses_only_the_last_layer_is_judged():
    model = tiny_model(tiny_config(use_auxiliary_loss=False))
    masks, classes = labels(2)
    torch.manual_seed(0)
    output = model(photo(1, 3, 64, 64), masks, classes, output_auxiliary_logits=True)
    assert len(output.auxiliary_logits) == 4
    torch.manual_seed(0)
    losses = model.criterion(output.masks_queries_logits, output.class_queries_logits, masks, classes)
    torch.testing.assert_close(output.loss, model.criterion.total(losses))


@torch.no_grad()
@pytest.mark.parametrize("size", [(1, 1), (5, 200), (4, 4)])
def test_small_and_narrow_images(size):
    output = tiny_model(tiny_config(feature_size=64))(photo(1, 3, *size))
    assert output.masks_queries_logits.shape[2:] == tuple(-(-side // 4) for side in size)
    assert output.masks_queries_logits.isfinite().all()


def test_saved_and_loaded(tmp_path):
    model = tiny_model(tiny_config(id2label={0: "sky", 1: "sea", 2: "sand"}))
    model.save_pretrained(tmp_path)
    again = Mask2FormerForUniversalSegmentation.from_pretrained(tmp_path)
    pixels = photo(1, 3, 40, 40)
    with torch.no_grad():
        assert torch.equal(again(pixels).masks_queries_logits, model(pixels).masks_queries_logits)
        inner = Mask2FormerModel.from_pretrained(tmp_path)
        assert torch.equal(inner(pixels).masks_queries_logits[-1], model(pixels).masks_queries_logits)
    assert again.config == model.config and again.config.id2label[1] == "sea"


def test_a_half_precision_model_stays_finite():
    model = tiny_model().bfloat16()
    with torch.no_grad():
        output = model(photo(1, 3, 64, 64).bfloat16())
    assert output.masks_queries_logits.isfinite().all() and output.class_queries_logits.isfinite().all()


def test_new_models_give_finite_masks_and_name_their_config():
    model = Mask2FormerForUniversalSegmentation(tiny_config()).eval()
    with torch.no_grad():
        assert model(photo(1, 3, 64, 64)).masks_queries_logits.isfinite().all()
    with pytest.raises(ConfigError, match="needs a Mask2FormerConfig"):
        Mask2FormerModel(model.config.backbone_config)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pixel_values": torch.zeros(3, 32, 32)}, "batch, channels, height, width"),
        ({"pixel_mask": torch.ones(1, 32, 31)}, r"has to be \(1, 32, 32\)"),
        ({"pixel_mask": torch.zeros(1, 32, 32)}, "0 everywhere for image 0"),
        ({"mask_labels": [torch.zeros(1, 32, 32)]}, "without class_labels"),
        ({"class_labels": [torch.zeros(1)]}, "without mask_labels"),
    ],
)
def test_inputs_that_do_not_fit(arguments, message):
    with pytest.raises(InputError, match=message):
        tiny_model()(**{"pixel_values": torch.zeros(1, 3, 32, 32), **arguments})
