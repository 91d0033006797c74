"""Half precision: near full precision in every family, only numbers, float32 out, the model as it was."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from models.dpt.tiny import BEIT, DINOV2, HYBRID, NECK, REGISTERS, SWINV2
from models.dpt.tiny import TINY as VIT
from models.dpt.tiny import tiny_config as dpt_config
from models.mask2former.tiny import RESNET, tiny_config
from models.mask2former.tiny import tiny_model as tiny_mask2former
from models.vitmatte.tiny import tiny_model as tiny_vitmatte
from parity.randomise import randomise_depth
from perpixel.errors import ConfigError, InputError, PerpixelWarning
from perpixel.layers.precision import ExactConv2d, ExactLinear, full_precision, lowered
from perpixel.models import precision
from perpixel.models.depth_anything.config import DepthAnythingConfig
from perpixel.models.depth_anything.model import DepthAnythingForDepthEstimation
from perpixel.models.dpt.model import DPTForDepthEstimation, DPTForSemanticSegmentation
from perpixel.models.precision import half_precision, in_half_precision

BF16 = torch.bfloat16
pytestmark = pytest.mark.filterwarnings("ignore::perpixel.errors.PerpixelWarning")  # a CPU without bf16


def dpt(values, model_class=DPTForDepthEstimation):
    model = model_class(dpt_config(values)).eval()
    randomise_depth(model)
    return model


def over(backbone):
    return {**NECK, "backbone_config": backbone}


def depth_anything():
    model = DepthAnythingForDepthEstimation(
        DepthAnythingConfig(dict(DINOV2), patch_size=8, reassemble_hidden_size=16, **NECK)
    ).eval()
    randomise_depth(model)
    return model


# What makes the model, the channels and sides of its input, and how far outputs may be apart in their deviations.
FAMILIES = {
    "vitmatte": (tiny_vitmatte, (4, 32, 48), 0.1),
    "mask2former with swin": (tiny_mask2former, (3, 33, 47), 0.3),
    "mask2former with resnet": (lambda: tiny_mask2former(tiny_config(RESNET)), (3, 33, 47), 0.3),
    "dpt": (lambda: dpt(VIT), (3, 32, 64), 0.1),
    "dpt hybrid": (lambda: dpt(HYBRID), (3, 64, 64), 0.2),
    "dpt with beit": (lambda: dpt(over(BEIT)), (3, 32, 48), 0.1),
    "dpt with dinov2": (lambda: dpt(over(DINOV2)), (3, 32, 48), 0.1),
    "dpt with registers": (lambda: dpt(over(REGISTERS)), (3, 32, 48), 0.1),
    "dpt with swinv2": (lambda: dpt({**over(SWINV2), "neck_hidden_sizes": [8, 16, 32, 64]}), (3, 64, 64), 0.2),
    "dpt for classes": (lambda: dpt(VIT, DPTForSemanticSegmentation), (3, 32, 64), 0.1),
    "depth anything": (depth_anything, (3, 40, 24), 0.1),
}
WANTED = ("alphas", "predicted_depth", "logits", "class_queries_logits", "masks_queries_logits")


def results(model, pixels):
    with torch.inference_mode():
        output = model(pixels)
    return {name: getattr(output, name) for name in WANTED if getattr(output, name, None) is not None}


def noise(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("family", FAMILIES)
def test_each_family(family):
    make, shape, apart = FAMILIES[family]
    model = make()
    half = in_half_precision(model, BF16)
    pixels = noise(2, *shape)
    full = results(model, pixels)
    found = results(half, pixels)
    assert found.keys() == full.keys() and found
    for name, values in found.items():
        assert values.dtype == torch.float32 and torch.isfinite(values).all(), name
        difference = (values - full[name]).abs().mean() / full[name].std()
        assert 0 < difference < apart, name


@settings(max_examples=6, deadline=None)
@given(height=st.integers(33, 70), width=st.integers(1, 70), seed=st.integers(0, 3))
def test_masks_of_any_size_are_numbers(height, width, seed):
    half = in_half_precision(tiny_mask2former(seed=seed), BF16)
    for name, values in results(half, 5 * noise(1, 3, height, width)).items():
        assert torch.isfinite(values).all(), name


def test_a_loud_input_does_not_overflow():
    # Far beyond what a photograph gives: a model that is cast as a whole loses its softmax to this.
    for make, shape, _ in FAMILIES.values():
        for name, values in results(in_half_precision(make(), BF16), 1e4 * noise(1, *shape)).items():
            assert torch.isfinite(values).all(), name


def test_a_depth_lies_on_no_staircase():
    model = dpt(VIT)
    values = results(in_half_precision(model, BF16), noise(1, 3, 64, 64))["predicted_depth"]
    assert len(values.unique()) > 0.9 * values.numel()
    assert len(values.bfloat16().unique()) < 0.5 * values.numel()


def test_a_batch_gives_what_single_images_give():
    half = in_half_precision(tiny_vitmatte(), BF16)
    pixels = noise(2, 4, 48, 32)
    both = results(half, pixels)["alphas"]
    alone = [results(half, pixels[i : i + 1])["alphas"] for i in range(2)]
    torch.testing.assert_close(both, torch.cat(alone), atol=0.02, rtol=0)


def test_the_model_itself_stays_as_it_is():
    model = tiny_vitmatte()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    half = in_half_precision(model, BF16)
    assert half is not model and model.compute_dtype is None
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]) and tensor.dtype == before[name].dtype
    assert half.state_dict().keys() == before.keys()
    assert not any(parameter.requires_grad for parameter in half.parameters())
    assert all(parameter.requires_grad for parameter in model.parameters())
    # Moving the copy elsewhere leaves the model where it is.
    half.to("meta")
    assert model.device.type == "cpu"


def test_linear_layers_and_convolutions_need_half_the_memory_and_the_rest_is_shared():
    model = dpt(VIT)
    half = in_half_precision(model, BF16)
    assert half.dtype == torch.float32  # of what goes in and comes out
    for name, module in half.named_modules():
        if type(module) in (nn.Linear, nn.Conv2d):
            assert module.weight.dtype == BF16, name
    norm = "dpt.encoder.layer.0.layernorm_before"
    assert half.get_submodule(norm).weight.data_ptr() == model.get_submodule(norm).weight.data_ptr()


def test_the_last_layers_are_exact():
    half = in_half_precision(dpt(VIT), BF16)
    last = half.head.head[4]
    assert isinstance(last, ExactConv2d) and last.weight.dtype == torch.float32
    layer, x = ExactLinear(8, 3), noise(5, 8)
    with torch.autocast("cpu", BF16):
        exact = layer(x)
        assert layer(x.bfloat16()).dtype == torch.float32
        assert nn.Linear.forward(layer, x).dtype == BF16
    assert torch.equal(exact, nn.functional.linear(x, layer.weight, layer.bias))
    assert layer.double()(x.double()).dtype == torch.float64


def test_contexts_only_where_there_is_an_autocast():
    x = noise(3, 3)
    assert lowered(x) is x
    with full_precision(x):
        assert (x @ x).dtype == torch.float32
    with torch.autocast("cpu", BF16):
        assert lowered(x).dtype == BF16 and (x @ x).dtype == BF16
        with full_precision(x):
            assert (x @ x).dtype == torch.float32


def test_names():
    for name in ("bf16", "bfloat16", torch.bfloat16, "torch.bfloat16"):
        assert half_precision(name) == BF16
    assert half_precision("fp16") == half_precision(torch.float16) == torch.float16
    assert half_precision(None) is half_precision("float32") is half_precision(torch.float32) is None
    for wrong in ("int8", "half", torch.float64, 16):
        with pytest.raises(InputError, match="use 'float32', 'bf16', or 'fp16' on a GPU"):
            half_precision(wrong)


def test_float16_needs_a_gpu():
    with pytest.raises(InputError, match="the model is on the CPU"):
        in_half_precision(tiny_vitmatte(), torch.float16)


def test_a_model_in_another_precision_is_refused():
    half = in_half_precision(tiny_vitmatte(), BF16)
    assert in_half_precision(half, BF16) is half
    with pytest.raises(ConfigError, match="bfloat16 already"):
        in_half_precision(half, torch.float16)
    with pytest.raises(ConfigError, match="float64 already"):
        in_half_precision(tiny_vitmatte().double(), BF16)
    with pytest.raises(ConfigError, match="give dtype where it is loaded"):
        in_half_precision(tiny_vitmatte().optimize(), BF16)


def test_a_processor_without_bf16_is_told_of(monkeypatch):
    monkeypatch.setattr(precision.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    with pytest.warns(PerpixelWarning, match="no instructions for bf16"):
        in_half_precision(tiny_vitmatte(), BF16)
