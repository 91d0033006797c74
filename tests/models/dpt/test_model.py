import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.dpt.tiny import BEIT, DINOV2, HYBRID, NECK, REGISTERS, TINY, tiny_config, tiny_model
from perpixel.backbones.dinov2 import Dinov2Config
from perpixel.errors import CheckpointError, ConfigError, InputError, PerpixelWarning
from perpixel.models.dpt.config import DPTConfig
from perpixel.models.dpt.model import DPTForDepthEstimation, DPTForSemanticSegmentation, DPTModel
from perpixel.models.dpt.vit import DPTViTEmbeddings

WITH_DINOV2 = {**NECK, "backbone_config": DINOV2}
KINDS = [TINY, HYBRID, WITH_DINOV2]


def photo(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def depth_of(model, pixels, **options):
    with torch.no_grad():
        return model(pixels, **options)


def test_positions_are_resampled_bilinearly():
    embeddings = DPTViTEmbeddings(tiny_config(image_size=[8, 16]))  # one row, two columns
    with torch.no_grad():
        embeddings.position_embeddings[:] = torch.tensor([5.0, 0.0, 1.0])[:, None]
    assert embeddings.positions(1, 2)[0, :, 0].tolist() == [5, 0, 1]
    assert embeddings.positions(2, 4)[0, :, 0].tolist() == [5, *[0, 0.25, 0.75, 1] * 2]


@settings(max_examples=12, deadline=None)
@given(st.integers(1, 6), st.integers(1, 6), st.sampled_from(["ignore", "add", "project"]))
def test_any_size_that_the_patch_divides(rows, columns, readout):
    model = tiny_model(config=tiny_config(readout_type=readout))
    depth = depth_of(model, photo(1, 3, rows * 8, columns * 8)).predicted_depth
    # The coarsest map is half of the grid, rounded up, and is doubled five times.
    assert depth.shape == (1, (rows + 1) // 2 * 32, (columns + 1) // 2 * 32)
    assert depth.isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_is_its_images(kind):
    model = tiny_model(config=tiny_config(kind))
    pixels = photo(2, 3, 32, 64)
    together = depth_of(model, pixels).predicted_depth
    alone = torch.cat([depth_of(model, pixels[i : i + 1]).predicted_depth for i in range(2)])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(33, 32), (32, 7), (0, 32)])
def test_a_size_that_the_patch_does_not_divide(kind, size):
    model = tiny_model(config=tiny_config(kind))
    with pytest.raises(InputError, match=r"do not divide: resize the image to \d+×\d+"):
        model(photo(1, 3, *size))


def test_inputs_of_another_kind():
    with pytest.raises(InputError, match="batch, channels"):
        tiny_model()(photo(3, 32, 32))
    for kind in (TINY, HYBRID):
        with pytest.raises(InputError, match=r"\(b, 3, H, W\)"):
            tiny_model(config=tiny_config(kind))(photo(1, 1, 32, 32))


def test_what_comes_out():
    model = tiny_model()
    output = depth_of(model, photo(1, 3, 32, 32))
    assert list(output.keys()) == ["predicted_depth"]
    output = depth_of(model, photo(1, 3, 16, 24), output_hidden_states=True, output_attentions=True)
    assert [tuple(tokens.shape) for tokens in output.hidden_states] == [(1, 7, 16)] * 5
    assert [tuple(weights.shape) for weights in output.attentions] == [(1, 2, 7, 7)] * 4
    torch.testing.assert_close(output.attentions[0].sum(-1), torch.ones(1, 2, 7))
    output = depth_of(model, photo(1, 3, 32, 32), labels=torch.ones(1, 32, 32), return_dict=False)
    assert isinstance(output, tuple)
    assert output[0].ndim == 0 and output[1].shape == (1, 64, 64)


def test_maps_and_tokens_of_a_backbone_give_one_result():
    tokens = tiny_model(config=tiny_config(WITH_DINOV2))
    maps = tiny_model(config=tiny_config(WITH_DINOV2, backbone_config={**DINOV2, "reshape_hidden_states": True}))
    pixels = photo(1, 3, 24, 40)
    got, expected = (depth_of(model, pixels).predicted_depth for model in (maps, tokens))
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)
    # Maps without a class token do where it is not used.
    ignoring = tiny_model(config=tiny_config(WITH_DINOV2, readout_type="ignore"))
    expected = depth_of(ignoring, pixels).predicted_depth
    ignoring.backbone.config.reshape_hidden_states = True
    torch.testing.assert_close(depth_of(ignoring, pixels).predicted_depth, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("backbone", [REGISTERS, BEIT])
def test_other_backbones_with_tokens(backbone):
    model = tiny_model(config=tiny_config(NECK, backbone_config=backbone))
    assert depth_of(model, photo(1, 3, 16, 32)).predicted_depth.shape == (1, 32, 64)


@pytest.mark.parametrize("model_type", ["resnet", "swin"])
def test_backbones_whose_maps_differ_in_size(model_type):
    features = [f"stage{i}" for i in range(1, 5)]
    backbone = {"model_type": model_type, "depths": [1] * 4, "out_features": features}
    if model_type == "resnet":
        backbone |= {"embedding_size": 8, "hidden_sizes": [8, 16, 32, 64]}
    else:
        backbone |= {"embed_dim": 8, "num_heads": [1, 2, 2, 4], "window_size": 2}
    values = {"neck_hidden_sizes": [8, 16, 32, 64], "fusion_hidden_size": 8, "backbone_config": backbone}
    model = tiny_model(config=tiny_config(values))
    assert model.neck.reassemble_stage is None
    assert depth_of(model, photo(1, 3, 64, 96)).predicted_depth.shape == (1, 64, 96)
    with pytest.raises(ConfigError, match=r"neck_hidden_sizes=\[8, 16, 32, 64\]"):
        DPTForDepthEstimation(tiny_config(values, neck_hidden_sizes=[8, 16, 32, 65]))


def test_a_plain_vit_as_the_backbone():
    values = {key: DINOV2[key] for key in ("hidden_size", "num_hidden_layers", "num_attention_heads", "out_indices")}
    backbone = {"model_type": "vit", "patch_size": 8, "image_size": 32, **values}
    model = tiny_model(config=tiny_config(NECK, backbone_config=backbone, readout_type="ignore"))
    assert depth_of(model, photo(1, 3, 16, 32)).predicted_depth.shape == (1, 32, 64)
    with pytest.raises(ConfigError, match="without a class token: set readout_type='ignore'"):
        DPTForDepthEstimation(tiny_config(NECK, backbone_config=backbone))


def test_as_many_maps_as_the_neck_has_sizes():
    with pytest.raises(ConfigError, match=r"3 maps.*4 neck_hidden_sizes"):
        DPTForDepthEstimation(tiny_config(NECK, backbone_config={**DINOV2, "out_indices": [1, 2, 3]}))


def test_the_hybrids_maps_have_to_fit():
    with pytest.raises(ConfigError, match=r"begin with \[32, 32\]"):
        DPTForDepthEstimation(tiny_config(HYBRID, neck_hidden_sizes=[32, 33, 8, 10]))
    backbone = {**HYBRID["backbone_config"], "out_features": ["stage2", "stage3"]}
    with pytest.raises(ConfigError, match="three stages"):
        DPTForDepthEstimation(tiny_config(HYBRID, backbone_config=backbone))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("auxiliary", [True, False])
def test_segmentation_trains_with_and_without_the_second_head(kind, auxiliary):
    config = tiny_config(kind, num_labels=3, use_auxiliary_head=auxiliary)
    model = DPTForSemanticSegmentation(config).train()
    labels = torch.randint(0, 3, (2, 40, 56), generator=torch.Generator().manual_seed(0))
    output = model(photo(2, 3, 32, 48), labels=labels)
    output.loss.backward()
    # The first fusion layer has nothing to fuse; what is after the last layer that the neck takes is not used.
    idle = ("neck.fusion_stage.layers.0.residual_layer1.", "dpt.layernorm.", "backbone.embeddings.mask_token")
    for name, parameter in model.named_parameters():
        if not name.startswith(idle):
            assert parameter.grad is not None and parameter.grad.isfinite().all(), name
    assert any(name.startswith("auxiliary_head") for name, _ in model.named_parameters()) == auxiliary


def test_the_second_head_weighs_what_the_config_says():
    losses = []
    for weight in (0.0, 1.0, 3.0):
        config = tiny_config(num_labels=3, auxiliary_loss_weight=weight)
        model = tiny_model(DPTForSemanticSegmentation, config)
        losses.append(depth_of(model, photo(1, 3, 32, 32), labels=torch.ones(1, 32, 32, dtype=torch.long)).loss)
    assert losses[2] - losses[0] == pytest.approx(3 * float(losses[1] - losses[0]), rel=1e-4)
    assert losses[1] > losses[0]


def test_one_class_cannot_be_learned():
    model = tiny_model(DPTForSemanticSegmentation, tiny_config(num_labels=1))
    with pytest.raises(InputError, match="num_labels is 1"):
        model(photo(1, 3, 32, 32), labels=torch.zeros(1, 32, 32, dtype=torch.long))


@pytest.mark.parametrize("kind", ["relative", "metric", None])
def test_depth_trains(kind):
    torch.manual_seed(0)
    model = DPTForDepthEstimation(tiny_config(depth_loss=kind)).train()
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    pixels = photo(1, 3, 32, 32)
    labels = torch.linspace(1, 3, 48).expand(1, 40, 48).clone()  # not of the prediction's size
    labels[:, :4], labels[:, 4] = 0, float("nan")
    losses = []
    for _ in range(8):
        loss = model(pixels, labels=labels).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


def test_masked_depth_does_not_count():
    model, pixels = tiny_model(), photo(1, 3, 32, 32)
    labels = torch.rand(1, 32, 32, generator=torch.Generator().manual_seed(0)) + 1
    mask = torch.ones(1, 32, 32)
    mask[:, :, 16:] = 0
    spoilt = torch.where(mask.bool(), labels, 1000.0)
    got = [depth_of(model, pixels, labels=x, valid_mask=mask).loss for x in (labels, spoilt)]
    assert float(got[0]) == pytest.approx(float(got[1]), rel=1e-4)
    assert float(depth_of(model, pixels, labels=spoilt).loss) != pytest.approx(float(got[0]), rel=1e-2)
    with pytest.raises(InputError, match="1 images"):
        model(pixels, labels=labels[:, None])


def test_gradient_checkpointing_changes_nothing():
    gradients = []
    for on in (False, True):
        model = tiny_model().train()
        if on:
            model.gradient_checkpointing_enable()
        model(photo(1, 3, 16, 32)).predicted_depth.sum().backward()
        gradients.append(model.dpt.embeddings.patch_embeddings.projection.weight.grad)
    torch.testing.assert_close(*gradients)


def test_the_model_alone():
    model = tiny_model(DPTModel, tiny_config(pooler_output_size=5))
    output = depth_of(model, photo(1, 3, 16, 24), output_hidden_states=True)
    assert output.pooler_output.shape == (1, 5)
    torch.testing.assert_close(output.last_hidden_state, model.layernorm(output.hidden_states[-1]))
    assert DPTModel(tiny_config(), add_pooling_layer=False).pooler is None
    with pytest.raises(ConfigError, match="AutoBackbone"):
        DPTModel(tiny_config(WITH_DINOV2))


def test_the_model_reads_a_file_of_the_depth_estimator(tmp_path):
    whole = tiny_model()
    whole.save_pretrained(tmp_path)
    with pytest.warns(PerpixelWarning, match=r"pooler\.dense\.weight"):  # which depth does not need
        part = DPTModel.from_pretrained(tmp_path)
    assert torch.equal(part.encoder.layer[3].output.dense.weight, whole.dpt.encoder.layer[3].output.dense.weight)
    with pytest.raises(CheckpointError, match="head"):
        DPTForSemanticSegmentation.from_pretrained(tmp_path)


def test_a_pretrained_backbone_keeps_its_weights(tmp_path):
    teacher = tiny_model(config=tiny_config(WITH_DINOV2)).backbone
    teacher.save_pretrained(tmp_path)
    config = tiny_config(NECK, backbone=str(tmp_path), use_pretrained_backbone=True)
    student = DPTForDepthEstimation(config)
    for name, tensor in student.backbone.state_dict().items():
        assert torch.equal(tensor, teacher.state_dict()[name]), name
    assert student.backbone.config.reshape_hidden_states is False


@pytest.mark.parametrize("key", ["backbone.embeddings.mask_token", "backbone.encoder.layer.0.relative_position_index"])
def test_what_a_checkpoint_holds_for_other_tasks_is_left(tmp_path, key):
    model = tiny_model(config=tiny_config(WITH_DINOV2))
    model.save_pretrained(tmp_path)
    state = model.state_dict()
    for extra in (key, "backbone.pooler.dense.weight"):
        state.setdefault(extra, torch.zeros(1))
    (tmp_path / "model.safetensors").unlink()
    torch.save(state, tmp_path / "pytorch_model.bin")
    assert DPTForDepthEstimation.from_pretrained(tmp_path).config == model.config


def test_the_example_of_the_documentation():
    backbone = {key: value for key, value in DINOV2.items() if key not in ("model_type", "out_indices")}
    chosen = Dinov2Config(**backbone, out_features=["stage1", "stage2", "stage3", "stage4"])
    model = DPTForDepthEstimation(config=DPTConfig(backbone_config=chosen)).eval()
    assert depth_of(model, photo(1, 3, 16, 24)).predicted_depth.shape == (1, 32, 64)
