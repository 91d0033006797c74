"""Files of the authors of DPT and Depth Anything give the same models."""

import pytest
import torch

from hub.dpt_authors import authors_names, tiny
from models.dpt.tiny import tiny_config, tiny_model
from perpixel.backbones.bit import BitBackbone
from perpixel.errors import PerpixelWarning
from perpixel.models.dpt.model import DPTForDepthEstimation, DPTModel


@pytest.mark.parametrize("kind", ["vit", "ade", "hybrid", "beit", "swinv2", "dinov2"])
@pytest.mark.parametrize("wrapper", ["", "module."])
def test_a_file_of_the_authors_gives_the_same_model(tmp_path, kind, wrapper):
    model, family, size = tiny(kind)
    theirs = {wrapper + key: tensor.clone() for key, tensor in authors_names(model.state_dict(), family).items()}
    # MiDaS saves the optimizer beside the model while it trains.
    torch.save({"model": theirs} if wrapper else theirs, tmp_path / "weights.pt")
    loaded = type(model).from_pretrained(tmp_path / "weights.pt", config=model.config)
    found, wanted = loaded.state_dict(), model.state_dict()
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[key], wanted[key]) for key in wanted)
    pixels = torch.randn(1, 3, *size)
    with torch.no_grad():
        assert torch.equal(loaded(pixels)[0], model(pixels)[0])
    loaded.save_pretrained(tmp_path / "saved")  # no two parameters share memory


def test_without_a_config(tmp_path):
    """Heads are 64 wide in all these backbones, so these models are not quite so tiny."""
    shape = {"hidden_size": 64, "num_attention_heads": 1, "intermediate_size": 96, "layer_norm_eps": 1e-6}
    model = tiny_model(config=tiny_config(**shape, num_channels=2))
    torch.save(authors_names(model.state_dict(), "dpt"), tmp_path / "dpt_small.pt")
    loaded = DPTForDepthEstimation.from_pretrained(tmp_path / "dpt_small.pt")
    pixels = torch.randn(1, 2, 48, 32)
    with torch.no_grad():
        assert torch.equal(loaded(pixels).predicted_depth, model(pixels).predicted_depth)
    with pytest.warns(PerpixelWarning, match="2 missing .*pooler"):
        inner = DPTModel.from_pretrained(tmp_path / "dpt_small.pt", config=model.config)
    assert torch.equal(inner.layernorm.weight, model.dpt.layernorm.weight)


def test_a_part_of_the_hybrid_can_be_taken_out(tmp_path):
    model, _, _ = tiny("hybrid")
    torch.save(authors_names(model.state_dict(), "dpt"), tmp_path / "hybrid.pt")
    with pytest.warns(PerpixelWarning, match="2 missing .*pooler"):
        inner = DPTModel.from_pretrained(tmp_path / "hybrid.pt", config=model.config)
    assert isinstance(inner.embeddings.backbone, BitBackbone)
    assert torch.equal(inner.embeddings.projection.weight, model.dpt.embeddings.projection.weight)
