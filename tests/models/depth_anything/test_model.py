import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from parity.randomise import randomise
from perpixel.errors import ConfigError, InputError
from perpixel.models.depth_anything.config import DepthAnythingConfig
from perpixel.models.depth_anything.model import DepthAnythingForDepthEstimation

BACKBONE = {
    "model_type": "dinov2",
    "hidden_size": 16,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "image_size": 42,
    "patch_size": 14,
    "out_indices": [1, 2, 3, 4],
}
TINY = {
    "reassemble_hidden_size": 16,
    "neck_hidden_sizes": [4, 6, 8, 10],
    "fusion_hidden_size": 8,
    "head_hidden_size": 6,
}


def tiny_config(**changes):
    return DepthAnythingConfig(**{"backbone_config": dict(BACKBONE), **TINY, **changes})


def tiny_model(**changes):
    model = DepthAnythingForDepthEstimation(tiny_config(**changes)).eval()
    randomise(model)
    return model


def photo(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 5), st.integers(1, 5))
def test_depth_has_the_size_of_the_image(rows, columns):
    with torch.no_grad():
        depth = tiny_model()(photo(1, 3, rows * 14, columns * 14)).predicted_depth
    assert depth.shape == (1, rows * 14, columns * 14)
    assert depth.isfinite().all() and depth.min() >= 0


def test_metric_depth_ends_at_the_farthest():
    near, far = (tiny_model(depth_estimation_type="metric", max_depth=depth) for depth in (20, 80))
    with torch.no_grad():
        depths = [model(photo(1, 3, 28, 42)).predicted_depth for model in (near, far)]
    assert depths[0].min() >= 0 and depths[0].max() <= 20
    torch.testing.assert_close(4 * depths[0], depths[1])


def test_without_a_farthest_depth():
    with torch.no_grad():
        got, expected = (tiny_model(max_depth=depth)(photo(1, 3, 28, 28)).predicted_depth for depth in (None, 1))
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize(("height", "width", "nearest"), [(28, 41, "42×28"), (29, 28, "28×28"), (3, 14, "14×14")])
def test_a_size_that_the_patch_does_not_divide(height, width, nearest):
    with pytest.raises(InputError, match=f"{width}×{height}.*resize the image to {nearest}"):
        tiny_model()(photo(1, 3, height, width))


def test_what_comes_out():
    with torch.no_grad():
        output = tiny_model()(photo(1, 3, 28, 42), output_hidden_states=True, output_attentions=True)
        as_tuple = tiny_model()(photo(1, 3, 28, 42), labels=torch.ones(1, 28, 42), return_dict=False)
    assert list(output.keys()) == ["predicted_depth", "hidden_states", "attentions"]
    assert [tuple(tokens.shape) for tokens in output.hidden_states] == [(1, 7, 16)] * 5
    assert [tuple(weights.shape) for weights in output.attentions] == [(1, 2, 7, 7)] * 4
    assert as_tuple[0].ndim == 0
    torch.testing.assert_close(as_tuple[1], output.predicted_depth, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", ["relative", "metric"])
def test_it_trains(kind):
    torch.manual_seed(0)
    model = DepthAnythingForDepthEstimation(tiny_config(depth_estimation_type=kind, max_depth=10)).train()
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    pixels = photo(1, 3, 28, 28)
    labels = torch.linspace(1, 6, 20).expand(1, 20, 20).clone()
    labels[:, :3], labels[:, 3] = 0, float("inf")
    losses = []
    for _ in range(8):
        loss = model(pixels, labels=labels).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_the_loss_follows_the_kind_of_depth_unless_it_is_chosen():
    labels = torch.rand(1, 28, 28, generator=torch.Generator().manual_seed(0)) + 1
    losses = {}
    for kind in ("relative", "metric"):
        for chosen in ("relative", "metric", None):
            model = tiny_model(depth_estimation_type=kind, depth_loss=chosen)
            with torch.no_grad():
                losses[kind, chosen] = float(model(photo(1, 3, 28, 28), labels=labels).loss)
        assert losses[kind, None] == pytest.approx(losses[kind, kind], rel=1e-4)
        assert abs(losses[kind, "relative"] - losses[kind, "metric"]) > 0.01


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"patch_size": 16}, "patch_size=14"),
        ({"reassemble_hidden_size": 24}, "reassemble_hidden_size is 24"),
        ({"neck_hidden_sizes": [4, 4, 4]}, "3 neck_hidden_sizes"),
        ({"reassemble_factors": [4, 2, 1]}, "one factor"),
    ],
)
def test_parts_that_do_not_fit(changes, said):
    with pytest.raises(ConfigError, match=said):
        DepthAnythingForDepthEstimation(tiny_config(**changes))
