"""ViTMatte's model: the documented example, training, batches of mixed sizes, errors."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.vitmatte.pictures import picture
from models.vitmatte.tiny import tiny_config, tiny_model
from parity.randomise import randomise
from perpixel.backbones.vitdet import VitDetConfig
from perpixel.errors import ConfigError, InputError
from perpixel.models.outputs import ImageMattingOutput
from perpixel.models.vitmatte.config import VitMatteConfig
from perpixel.models.vitmatte.loss import matting_loss
from perpixel.models.vitmatte.model import VitMatteForImageMatting
from perpixel.models.vitmatte.processor import VitMatteImageProcessor


def pixels(b=2, height=32, width=48, seed=0):
    """Random colours, and a trimap plane with all three values."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(b, 4, height, width, generator=generator)
    values[:, 3] = torch.randint(0, 3, (b, height, width), generator=generator) / 2
    return values


def truth(b=2, height=32, width=48):
    return torch.rand(b, 1, height, width, generator=torch.Generator().manual_seed(1))


@pytest.mark.slow
def test_the_documented_example():
    configuration = VitMatteConfig()
    model = VitMatteForImageMatting(configuration)
    assert model.config is configuration
    with torch.no_grad():
        alphas = model.eval()(pixels(1, 32, 32)).alphas
    assert alphas.shape == (1, 1, 32, 32)
    assert alphas.min() >= 0 and alphas.max() <= 1


def test_the_documented_example_can_be_built():
    # The cheap part of the example above: transformers fails here, where it joins the decoder's sizes.
    with torch.device("meta"):
        model = VitMatteForImageMatting(VitMatteConfig())
    assert model.decoder.fusion_blocks[0].conv.conv.in_channels == 384 + 192
    assert sum(p.numel() for p in model.parameters()) > 20_000_000


# Training


def test_labels_give_a_loss_and_a_gradient_to_every_parameter():
    model = tiny_model().train()
    output = model(pixels(), labels=truth())
    assert output.loss.ndim == 0 and torch.isfinite(output.loss) and output.loss > 0
    output.loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 0, name


def test_a_new_model_trains():
    torch.manual_seed(0)
    model = VitMatteForImageMatting(tiny_config()).train()
    losses = []
    for _ in range(12):
        model.zero_grad()
        loss = model(pixels(), labels=truth().round()).loss
        loss.backward()
        losses.append(float(loss.detach()))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= 3e-3 * parameter.grad.sign()
    assert losses[-1] < 0.9 * losses[0]
    assert all(p.isfinite().all() for p in model.parameters())


def test_new_batch_norms_leave_the_scale_alone():
    model = VitMatteForImageMatting(tiny_config())
    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert len(norms) == 3 + 4 + 1
    for norm in norms:
        assert (norm.weight == 1).all() and (norm.bias == 0).all()
    # So the decoder of a new model already tells pixels apart.
    with torch.no_grad():
        assert model(pixels()).alphas.std() > 0.01


def test_gradient_checkpointing_gives_equal_gradients():
    gradients = []
    for checkpointing in (False, True):
        model = tiny_model(drop_path_rate=0.5, dropout_prob=0.2).train()
        if checkpointing:
            model.gradient_checkpointing_enable()
            assert model.backbone.encoder.gradient_checkpointing
        torch.manual_seed(3)
        model(pixels(4), labels=truth(4)).loss.backward()
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-4, atol=1e-6, msg=name)


@torch.no_grad()
def test_labels_in_bytes_booleans_and_without_a_channel():
    model = tiny_model()
    values = pixels()
    bytes_ = torch.randint(0, 256, (2, 1, 32, 48), dtype=torch.uint8)
    expected = model(values, labels=bytes_ / 255).loss
    for labels in (bytes_, bytes_[:, 0], bytes_.long(), (bytes_ / 255)[:, 0]):
        assert torch.equal(model(values, labels=labels).loss, expected)
    mask = bytes_ > 128
    expected = model(values, labels=mask.float()).loss
    for labels in (mask, mask.to(torch.uint8), mask.to(torch.uint8) * 255):
        assert torch.equal(model(values, labels=labels).loss, expected)


@torch.no_grad()
def test_the_trimap_tells_what_is_unknown():
    model, labels = tiny_model(), truth(1)
    values = pixels(1)
    unknown = values[:, 3:] == 0.5
    values[:, 3:][unknown] = 128 / 255  # as the processor writes it
    output = model(values, labels=labels)
    terms = matting_loss(output.alphas, labels, unknown)
    assert torch.isclose(terms["unknown"], (output.alphas - labels).abs()[unknown].mean())
    assert torch.isclose(output.loss, sum(terms.values()))


@torch.no_grad()
def test_tuples():
    model = tiny_model()
    output = model(pixels(), labels=truth())
    loss, alphas = model(pixels(), labels=truth(), return_dict=False)
    assert isinstance(output, ImageMattingOutput)
    assert torch.equal(loss, output.loss) and torch.equal(alphas, output.alphas)
    assert len(model(pixels(), return_dict=False)) == 1
    loss, alphas, states, attentions = model(pixels(), True, True, truth(), False)
    assert len(states) == 3 and len(attentions) == 2 and loss.ndim == 0


# Batches of mixed sizes

SIZES = st.lists(st.tuples(st.integers(1, 70), st.integers(1, 70)), min_size=2, max_size=3)


@settings(max_examples=8, deadline=None)
@given(sizes=SIZES, last=st.booleans())
@torch.no_grad()
def test_one_image_alone_and_in_a_mixed_batch(sizes, last):
    model, processor = tiny_model(), VitMatteImageProcessor()
    pictures = [picture(*size, seed=seed) for seed, size in enumerate(sizes)]
    options = {"input_data_format": "channels_last", "return_tensors": "pt"}
    batch = processor(*zip(*pictures, strict=True), **options)
    mattes = processor.post_process_image_matting(model(**batch), sizes)
    for (image, trimap), size, matte in zip(pictures, sizes, mattes, strict=True):
        alone = model(**processor(image, trimap, **options))
        (expected,) = processor.post_process_image_matting(alone, [size])
        assert matte.shape == size
        assert (matte - expected).abs().max() <= 1e-5


@torch.no_grad()
def test_sizes_matter_because_attention_is_global():
    model = tiny_model()
    values = pixels(2, 64, 64)
    values[1, :, 32:] = 0
    sizes = torch.tensor([[64, 64], [32, 64]])
    mixed = model(values, image_sizes=sizes).alphas
    assert (mixed[1:, :, :32] - model(values[1:, :, :32]).alphas).abs().max() <= 1e-6
    assert (mixed - model(values).alphas)[1, :, :32].abs().max() > 1e-4
    assert torch.equal(mixed, model(values, image_sizes=sizes.tolist()).alphas)
    assert not mixed[1, :, 32:].any()
    whole = model(values, image_sizes=[(64, 64), (64, 64)], output_hidden_states=True)
    assert len(whole.hidden_states) == 3


def test_padding_does_not_enter_the_loss():
    model = tiny_model()
    values, labels = pixels(2, 64, 64), truth(2, 64, 64)
    sizes = [(64, 64), (32, 48)]
    loss = model(values, labels=labels, image_sizes=sizes).loss
    labels[1, :, 32:], labels[1, :, :, 48:] = 0.7, 0.2
    values[1, :, 32:], values[1, :, :, 48:] = 3.0, 0.5
    again = model(values, labels=labels, image_sizes=sizes).loss
    assert torch.equal(loss, again)
    alone = [
        model(values[i : i + 1, :, :h, :w], labels=labels[i : i + 1, :, :h, :w]).loss for i, (h, w) in enumerate(sizes)
    ]
    assert torch.isclose(loss, sum(alone) / 2, rtol=1e-5)


@torch.no_grad()
def test_needed_pixels_of_a_mixed_batch():
    model = tiny_model()
    values = pixels(2, 64, 64)
    sizes = [(64, 64), (48, 32)]
    needed = torch.zeros(2, 1, 64, 64, dtype=torch.bool)
    needed[1, :, 10:20, 5:15] = True
    whole, part = model(values, image_sizes=sizes).alphas, model(values, image_sizes=sizes, needed=needed).alphas
    assert (whole - part)[needed].abs().max() <= 1e-6
    assert not part[0].any()


# Errors


@pytest.mark.parametrize(
    ("shape", "arguments", "message"),
    [
        ((1, 4, 40, 48), {}, r"\(1, 4, 40, 48\).*divisible by 16.*do_pad=True"),
        ((4, 32, 48), {}, r"needs \(batch, 4, height, width\)"),
        ((1, 3, 32, 48), {}, r"\(batch, 4, height, width\)"),
        ((1, 4, 32, 48), {"labels": torch.zeros(1, 1, 32, 32)}, r"labels has shape \(1, 1, 32, 32\).*padded like"),
        ((2, 4, 32, 48), {"image_sizes": [(32, 48)]}, r"image_sizes is \[\(32, 48\)\].*one \(height, width\)"),
        ((1, 4, 32, 48), {"image_sizes": [(48, 32)]}, "none larger than the batch"),
        ((1, 4, 32, 48), {"image_sizes": [(20, 48)]}, r"\(1, 4, 20, 48\).*divisible by 16"),
        ((1, 4, 32, 48), {"image_sizes": [(16, 48)], "output_attentions": True}, "one at a time"),
    ],
)
def test_inputs_that_do_not_fit(shape, arguments, message):
    with pytest.raises(InputError, match=message):
        tiny_model()(torch.zeros(shape), **arguments)


def test_images_that_the_processor_did_not_pad():
    options = {"do_pad": False, "input_data_format": "channels_last", "return_tensors": "pt"}
    inputs = VitMatteImageProcessor()(*picture(20, 30), **options)
    with pytest.raises(InputError, match="divisible by 16; the image processor pads to that with do_pad=True"):
        tiny_model()(**inputs)


def test_parts_that_do_not_fit_together():
    with pytest.raises(ConfigError, match=r"hidden_size is 384 .* has 16 channels: set hidden_size=16"):
        VitMatteForImageMatting(VitMatteConfig(tiny_config().backbone_config))
    with pytest.raises(ConfigError, match="patch_size is 8 but 4 fusion_hidden_sizes enlarge 16 times"):
        VitMatteForImageMatting(tiny_config(patch_size=8))
    with pytest.raises(ConfigError, match="needs a VitMatteConfig, got VitDetConfig"):
        VitMatteForImageMatting(VitDetConfig())


@torch.no_grad()
def test_patches_of_eight_pixels_with_three_fusion_blocks():
    config = VitMatteConfig(
        tiny_config(patch_size=8, image_size=32, pretrain_image_size=32).backbone_config,
        hidden_size=16,
        convstream_hidden_sizes=[4, 6],
        fusion_hidden_sizes=[8, 6, 4],
    )
    model = VitMatteForImageMatting(config).eval()
    randomise(model)
    assert model(pixels(1, 24, 40)).alphas.shape == (1, 1, 24, 40)


def test_a_pretrained_backbone_starts_a_new_model(tmp_path):
    source = tiny_model()
    source.backbone.save_pretrained(tmp_path)
    torch.manual_seed(1)
    sizes = {"convstream_hidden_sizes": [4, 6, 8], "fusion_hidden_sizes": [8, 6, 6, 4]}
    config = VitMatteConfig(backbone=str(tmp_path), use_pretrained_backbone=True, hidden_size=16, **sizes)
    model = VitMatteForImageMatting(config)
    for (name, mine), theirs in zip(model.backbone.named_parameters(), source.backbone.parameters(), strict=True):
        assert torch.equal(mine, theirs), name
    assert model.training and model.backbone.training


def test_working_memory_grows_with_the_pixels():
    model = tiny_model()
    small, large = model.working_memory(512, 512), model.working_memory(1024, 1024)
    empty = model.working_memory(0, 0)
    assert large - empty == pytest.approx(4 * (small - empty), rel=1e-6)
    assert model.working_memory(33, 1) == model.working_memory(64, 32)
