"""Inference copies against the models that they are made of: sizes, batches, weights, states, memory."""

import gc
import weakref

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from models.dpt import tiny as dpt
from models.mask2former import tiny as mask2former
from models.vitmatte import tiny as vitmatte
from parity.randomise import randomise, randomise_depth
from perpixel.backbones import config_from_dict
from perpixel.errors import ConfigError
from perpixel.layers import winograd
from perpixel.layers.packed import PackedLinear, has_packing
from perpixel.models import optimize
from perpixel.models.depth_anything.config import DepthAnythingConfig
from perpixel.models.depth_anything.model import DepthAnythingForDepthEstimation
from perpixel.models.dpt.model import DPTForDepthEstimation, DPTForSemanticSegmentation
from perpixel.models.mask2former.model import Mask2FormerForUniversalSegmentation


def depth_anything(**changes):
    config = DepthAnythingConfig(
        config_from_dict({**dpt.DINOV2, "reshape_hidden_states": True}),
        patch_size=8,
        reassemble_hidden_size=16,
        neck_hidden_sizes=[4, 6, 8, 10],
        fusion_hidden_size=8,
        head_hidden_size=4,
        **changes,
    )
    return DepthAnythingForDepthEstimation(config)


def build(name):
    """A model of a family, every weight random."""
    torch.manual_seed(0)
    if name == "vitmatte":
        return vitmatte.tiny_model()
    if name == "mask2former":
        model = Mask2FormerForUniversalSegmentation(mask2former.tiny_config())
        randomise(model)
        return model.eval()
    if name == "segmentation":
        config = dpt.tiny_config(num_labels=3, use_batch_norm_in_fusion_residual=True)
        return dpt.tiny_model(DPTForSemanticSegmentation, config)
    model = {
        "dpt": lambda: DPTForDepthEstimation(dpt.tiny_config(readout_type="project", add_projection=True)),
        "dpt-dinov2": lambda: DPTForDepthEstimation(
            dpt.tiny_config({**dpt.NECK, "backbone_config": dpt.DINOV2, "reassemble_factors": [4, 2, 1, 0.5]})
        ),
        "depth-anything": depth_anything,
        "metric": lambda: depth_anything(depth_estimation_type="metric", max_depth=20),
    }[name]()
    randomise_depth(model)
    if name == "metric":
        with torch.no_grad():
            model.head.conv3.weight /= 10  # where the sigmoid is not flat, and the depth varies
    return model.eval()


FAMILIES = ["vitmatte", "mask2former", "segmentation", "dpt", "dpt-dinov2", "depth-anything", "metric"]
STEP = {"vitmatte": 16, "mask2former": 32}


def pixels(name, b, rows, columns):
    step = STEP.get(name, 16)
    channels = 4 if name == "vitmatte" else 3
    generator = torch.Generator().manual_seed(rows * 10 + columns)
    return torch.randn(b, channels, rows * step, columns * step, generator=generator)


def answers(model, x, **options):
    """The tensors that a model is asked for."""
    with torch.inference_mode():
        outputs = model(x, **options)
    names = ("alphas", "predicted_depth", "logits", "class_queries_logits", "masks_queries_logits")
    return [outputs[name] for name in names if outputs.get(name) is not None]


def assert_same(quick, plain, x, **options):
    for ours, theirs in zip(answers(quick, x, **options), answers(plain, x, **options), strict=True):
        assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
        assert (ours - theirs).abs().max() <= 1e-4 * max(float(theirs.std()), 1e-3)


def test_the_named_classes_exist():
    names = [*optimize.FORMS, *optimize.FORMS.values(), *optimize.FOLLOWED, *optimize.PACKED.items(), *optimize.READ]
    for name in [part for item in names for part in ([item] if isinstance(item, str) else item)]:
        assert issubclass(optimize._class(name), nn.Module)


@pytest.fixture(params=FAMILIES)
def family(request):
    return request.param


@pytest.fixture
def every_fast_path(monkeypatch):
    """The faster convolutions at any size."""
    for limit in ("LEAST_INPUTS", "LEAST_OUTPUTS", "LEAST_WORK"):
        monkeypatch.setattr(winograd, limit, 0)


def test_the_same_numbers_at_any_size(family, every_fast_path):
    plain = build(family)
    quick = plain.optimize()

    @settings(max_examples=2, deadline=None)
    @given(b=st.integers(1, 2), rows=st.integers(1, 5), columns=st.integers(1, 5))
    def check(b, rows, columns):
        assert_same(quick, plain, pixels(family, b, 2 * rows, columns * 2))

    check()


def test_the_original_stays_as_it_is(family):
    plain, x = build(family), pixels(family, 1, 2, 4)
    before = {name: tensor.clone() for name, tensor in plain.state_dict().items()}
    expected = answers(plain, x)
    quick = plain.optimize()
    assert quick is not plain and not plain.optimized and quick.optimize() is quick
    plain.train()
    assert not quick.training and all(not module.training for module in quick.modules())
    plain.eval()
    assert all(torch.equal(a, b) for a, b in zip(answers(plain, x), expected, strict=True))
    assert_same(quick, plain, x)
    after = plain.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert all(parameter.requires_grad for parameter in plain.parameters())


def test_the_state_dict_is_that_of_the_original(family, tmp_path):
    plain = build(family)
    quick = plain.optimize()
    ours, theirs = quick.state_dict(), plain.state_dict()
    assert set(ours) == set(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    quick.save_pretrained(tmp_path)
    again = type(plain).from_pretrained(tmp_path)
    assert_same(again, plain, pixels(family, 1, 2, 2))


def test_a_copy_cannot_be_trained(family):
    quick = build(family).optimize()
    with pytest.raises(ConfigError, match="inference copy"):
        quick.train()
    assert quick.eval() is quick


def test_inputs_with_gradients(every_fast_path):
    plain, x = build("dpt"), pixels("dpt", 1, 2, 2).requires_grad_()
    gradients = []
    for model in (plain, plain.optimize()):
        x.grad = None
        model(x).predicted_depth.sum().backward()
        gradients.append(x.grad)
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-4 * float(gradients[0].std()))


def test_hidden_states_and_attentions():
    plain = build("dpt-dinov2")
    x, options = pixels("dpt", 1, 2, 2), {"output_hidden_states": True, "output_attentions": True}
    with torch.inference_mode():
        ours, theirs = plain.optimize()(x, **options), plain(x, **options)
    for name in ("hidden_states", "attentions"):
        for a, b in zip(ours[name], theirs[name], strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_other_types_and_devices():
    plain, x = build("dpt"), pixels("dpt", 1, 2, 2)
    double = plain.optimize().double()
    assert plain.dtype == torch.float32
    with torch.inference_mode():
        theirs = build("dpt").double()(x.double()).predicted_depth
        torch.testing.assert_close(double(x.double()).predicted_depth, theirs)
    assert build("dpt").optimize().to("meta").device.type == "meta"


@pytest.mark.skipif(not has_packing(), reason="this processor has no packed linear maps")
def test_nothing_is_held_twice():
    plain = build("dpt")
    held = [weakref.ref(module.weight) for module in plain.dpt.encoder.modules() if isinstance(module, nn.Linear)]
    quick = plain.optimize()
    packed = [module for module in quick.modules() if isinstance(module, PackedLinear)]
    assert len(packed) >= 4 * 4
    # What is not packed is shared, not copied.
    assert quick.neck.convs[0].weight.data_ptr() == plain.neck.convs[0].weight.data_ptr()
    del plain
    gc.collect()
    assert held and all(weight() is None for weight in held)


def test_without_packing_or_loops(monkeypatch):
    monkeypatch.setattr("perpixel.layers.packed.has_packing", lambda: False)
    monkeypatch.setattr(winograd, "has_loops", lambda **_: False)
    plain = build("dpt")
    quick = plain.optimize()
    assert not any(isinstance(module, PackedLinear) for module in quick.modules())
    assert_same(quick, plain, pixels("dpt", 1, 2, 3))
