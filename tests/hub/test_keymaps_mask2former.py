"""The Mask2Former authors' names: the way back is written on its own here, with plain replacements."""

import functools
import pickle
import re

import pytest
import torch

from parity.randomise import randomise
from perpixel.backbones.resnet import ResNetBackbone
from perpixel.backbones.swin import SwinBackbone
from perpixel.errors import CheckpointError
from perpixel.hub.keymaps import detect_layout, infer_config, to_hugging_face_names
from perpixel.models.mask2former.config import Mask2FormerConfig
from perpixel.models.mask2former.model import Mask2FormerForUniversalSegmentation, Mask2FormerModel

transformers = pytest.importorskip("transformers")

# Names as they stand in the authors' sources (modeling/backbone/swin.py, pixel_decoder/msdeformattn.py,
# transformer_decoder/mask2former_transformer_decoder.py, detectron2's resnet.py).
BLOCK = "model.pixel_level_module.encoder.encoder.layers.2.blocks.5"
LAYER = "model.transformer_module.decoder.layers.8"
ENCODER = "model.pixel_level_module.encoder"
HEAD = "sem_seg_head.predictor"
OLD_BLOCK = "backbone.layers.2.blocks.5"
DEFORMABLE = "sem_seg_head.pixel_decoder.transformer.encoder.layers.5"
PIXEL = "model.pixel_level_module.decoder"
PAIRS = {
    "backbone.patch_embed.proj.bias": f"{ENCODER}.embeddings.patch_embeddings.projection.bias",
    "backbone.patch_embed.norm.weight": f"{ENCODER}.embeddings.norm.weight",
    f"{OLD_BLOCK}.norm1.weight": f"{BLOCK}.layernorm_before.weight",
    f"{OLD_BLOCK}.attn.relative_position_bias_table": f"{BLOCK}.attention.self.relative_position_bias_table",
    f"{OLD_BLOCK}.attn.proj.bias": f"{BLOCK}.attention.output.dense.bias",
    f"{OLD_BLOCK}.norm2.bias": f"{BLOCK}.layernorm_after.bias",
    f"{OLD_BLOCK}.mlp.fc1.weight": f"{BLOCK}.intermediate.dense.weight",
    f"{OLD_BLOCK}.mlp.fc2.bias": f"{BLOCK}.output.dense.bias",
    "backbone.layers.0.downsample.reduction.weight": f"{ENCODER}.encoder.layers.0.downsample.reduction.weight",
    "backbone.norm3.weight": f"{ENCODER}.hidden_states_norms.stage4.weight",
    "backbone.stem.conv1.weight": f"{ENCODER}.embedder.embedder.convolution.weight",
    "backbone.stem.conv1.norm.bias": f"{ENCODER}.embedder.embedder.normalization.bias",
    "backbone.res4.22.conv3.weight": f"{ENCODER}.encoder.stages.2.layers.22.layer.2.convolution.weight",
    "backbone.res2.0.shortcut.norm.running_mean": (
        f"{ENCODER}.encoder.stages.0.layers.0.shortcut.normalization.running_mean"
    ),
    "sem_seg_head.pixel_decoder.input_proj.0.0.weight": f"{PIXEL}.input_projections.0.0.weight",
    "sem_seg_head.pixel_decoder.input_proj.2.1.bias": f"{PIXEL}.input_projections.2.1.bias",
    "sem_seg_head.pixel_decoder.transformer.level_embed": f"{PIXEL}.level_embed",
    f"{DEFORMABLE}.self_attn.sampling_offsets.weight": (f"{PIXEL}.encoder.layers.5.self_attn.sampling_offsets.weight"),
    f"{DEFORMABLE}.norm1.weight": (f"{PIXEL}.encoder.layers.5.self_attn_layer_norm.weight"),
    f"{DEFORMABLE}.linear2.bias": f"{PIXEL}.encoder.layers.5.fc2.bias",
    f"{DEFORMABLE}.norm2.bias": f"{PIXEL}.encoder.layers.5.final_layer_norm.bias",
    "sem_seg_head.pixel_decoder.mask_features.weight": f"{PIXEL}.mask_projection.weight",
    "sem_seg_head.pixel_decoder.adapter_1.weight": f"{PIXEL}.adapter_1.0.weight",
    "sem_seg_head.pixel_decoder.adapter_1.norm.weight": f"{PIXEL}.adapter_1.1.weight",
    "sem_seg_head.pixel_decoder.layer_1.norm.bias": f"{PIXEL}.layer_1.1.bias",
    "sem_seg_head.layer_1.weight": f"{PIXEL}.layer_1.0.weight",  # the first files
    f"{HEAD}.transformer_self_attention_layers.8.self_attn.out_proj.weight": f"{LAYER}.self_attn.out_proj.weight",
    f"{HEAD}.transformer_self_attention_layers.8.norm.weight": f"{LAYER}.self_attn_layer_norm.weight",
    f"{HEAD}.transformer_cross_attention_layers.8.multihead_attn.in_proj_weight": f"{LAYER}.cross_attn.in_proj_weight",
    f"{HEAD}.transformer_cross_attention_layers.8.multihead_attn.out_proj.bias": f"{LAYER}.cross_attn.out_proj.bias",
    f"{HEAD}.transformer_cross_attention_layers.8.norm.bias": f"{LAYER}.cross_attn_layer_norm.bias",
    f"{HEAD}.transformer_ffn_layers.8.linear1.weight": f"{LAYER}.fc1.weight",
    f"{HEAD}.transformer_ffn_layers.8.norm.bias": f"{LAYER}.final_layer_norm.bias",
    "sem_seg_head.predictor.decoder_norm.weight": "model.transformer_module.decoder.layernorm.weight",
    "sem_seg_head.predictor.query_feat.weight": "model.transformer_module.queries_features.weight",
    "sem_seg_head.predictor.static_query.weight": "model.transformer_module.queries_features.weight",
    "sem_seg_head.predictor.query_embed.weight": "model.transformer_module.queries_embedder.weight",
    "sem_seg_head.predictor.level_embed.weight": "model.transformer_module.level_embed.weight",
    "sem_seg_head.predictor.input_proj.1.weight": "model.transformer_module.input_projections.1.weight",
    "sem_seg_head.predictor.class_embed.bias": "class_predictor.bias",
    f"{HEAD}.mask_embed.layers.2.weight": "model.transformer_module.decoder.mask_predictor.mask_embedder.2.0.weight",
    "criterion.empty_weight": "criterion.empty_weight",
}

SWIN = {
    "tiny": {"embed_dim": 96, "depths": [2, 2, 6, 2], "num_heads": [3, 6, 12, 24], "window_size": 7},
    "small": {"embed_dim": 96, "depths": [2, 2, 18, 2], "num_heads": [3, 6, 12, 24], "window_size": 7},
    "base": {"embed_dim": 128, "depths": [2, 2, 18, 2], "num_heads": [4, 8, 16, 32], "window_size": 12},
    "large": {"embed_dim": 192, "depths": [2, 2, 18, 2], "num_heads": [6, 12, 24, 48], "window_size": 12},
}
RESNET = {"R50": [3, 4, 6, 3], "R101": [3, 4, 23, 3]}
STAGES = ["stage1", "stage2", "stage3", "stage4"]
SMALL = {
    "feature_size": 32,
    "mask_feature_size": 48,
    "hidden_dim": 64,
    "encoder_feedforward_dim": 24,
    "dim_feedforward": 40,
    "num_attention_heads": 4,
    "encoder_layers": 2,
    "decoder_layers": 4,
    "num_queries": 7,
    "num_labels": 5,
    "no_object_weight": 0.2,
}
SMALL_SWIN = {"embed_dim": 12, "depths": [1, 2, 1, 1], "num_heads": [1, 2, 3, 4], "window_size": 3}
SMALL_RESNET = {"embedding_size": 8, "hidden_sizes": [16, 24, 32, 40], "depths": [2, 1, 1, 1]}


def reference(backbone, **fields):
    """transformers' model, and its tensors under the names that it writes into files."""
    kind = transformers.SwinConfig if "embed_dim" in backbone else transformers.ResNetConfig
    config = transformers.Mask2FormerConfig(
        backbone_config=kind(**backbone, out_features=STAGES),
        **fields,
    )
    model = transformers.Mask2FormerForUniversalSegmentation(config)
    state = {}
    for key, tensor in model.state_dict().items():
        # Its Swin has other names in memory than in files, and a last norm that no checkpoint of the Hub has.
        for memory, file in (
            (".encoder.swin.", ".encoder."),
            (".attention.q_proj.", ".attention.self.query."),
            (".attention.k_proj.", ".attention.self.key."),
            (".attention.v_proj.", ".attention.self.value."),
            (".attention.o_proj.", ".attention.output.dense."),
            (".relative_position_bias.relative", ".self.relative"),
            (".mlp.fc1.", ".intermediate.dense."),
            (".mlp.fc2.", ".output.dense."),
        ):
            key = key.replace(memory, file)
        if not key.startswith("model.pixel_level_module.encoder.layernorm."):
            state[key] = tensor
    return config, state


def authors_names(state, frozen=True):
    """The way back: the authors' state dict, with the buffers that only theirs has."""
    theirs = {}
    for key, tensor in state.items():
        old = key
        if ".pixel_level_module.encoder." in key:
            for ours, name in (
                ("model.pixel_level_module.encoder.", "backbone."),
                ("embeddings.patch_embeddings.projection", "patch_embed.proj"),
                ("embeddings.norm", "patch_embed.norm"),
                ("backbone.encoder.layers", "backbone.layers"),
                ("layernorm_before", "norm1"),
                ("layernorm_after", "norm2"),
                ("attention.output.dense", "attn.proj"),
                ("attention.self.", "attn."),
                ("intermediate.dense", "mlp.fc1"),
                ("output.dense", "mlp.fc2"),
                ("attn.query.", "attn.qkv."),
                *((f"hidden_states_norms.stage{i + 1}", f"norm{i}") for i in range(4)),
                ("embedder.embedder.", "stem.conv1."),
                *((f"encoder.stages.{i}.layers", f"res{i + 2}") for i in range(4)),
                *((f".layer.{i}.", f".conv{i + 1}.") for i in range(3)),
                (".convolution.", "."),
                (".normalization.", ".norm."),
            ):
                old = old.replace(ours, name)
        elif ".pixel_level_module.decoder." in key:
            old = key.replace("model.pixel_level_module.decoder.", "sem_seg_head.pixel_decoder.")
            for ours, name in (
                ("input_projections", "input_proj"),
                ("mask_projection", "mask_features"),
                (".level_embed", ".transformer.level_embed"),
                (".encoder.layers", ".transformer.encoder.layers"),
                ("self_attn_layer_norm", "norm1"),
                ("final_layer_norm", "norm2"),
                (".fc", ".linear"),
                ("_1.0.", "_1."),
                ("_1.1.", "_1.norm."),
            ):
                old = old.replace(ours, name)
        elif "transformer_module" in key or key.startswith("class_"):
            number = key.split(".")[4] if ".layers." in key else ""
            for ours, name in (
                ("model.transformer_module.", "sem_seg_head.predictor."),
                ("class_predictor", "sem_seg_head.predictor.class_embed"),
                ("queries_features", "query_feat"),
                ("queries_embedder", "query_embed"),
                ("decoder.layernorm", "decoder_norm"),
                ("decoder.mask_predictor.mask_embedder", "mask_embed.layers"),
                (".input_projections.", ".input_proj."),
                (f"decoder.layers.{number}.self_attn_layer_norm", f"transformer_self_attention_layers.{number}.norm"),
                (f"decoder.layers.{number}.self_attn", f"transformer_self_attention_layers.{number}.self_attn"),
                (f"decoder.layers.{number}.cross_attn_layer_norm", f"transformer_cross_attention_layers.{number}.norm"),
                (f"decoder.layers.{number}.cross_attn", f"transformer_cross_attention_layers.{number}.multihead_attn"),
                (f"decoder.layers.{number}.final_layer_norm", f"transformer_ffn_layers.{number}.norm"),
                (f"decoder.layers.{number}.fc", f"transformer_ffn_layers.{number}.linear"),
                (".q_proj.", ".in_proj_"),
            ):
                old = old.replace(ours, name)
            if "mask_embed.layers" in old:
                old = old.replace(".0.weight", ".weight").replace(".0.bias", ".bias") if old.count(".") > 5 else old
        if old.endswith("num_batches_tracked") and frozen:
            continue
        if re.search(r"\.(key|value|k_proj|v_proj|attn\.key|attn\.value)\.(weight|bias)$", old):
            continue
        if ".self.query." in key or ".self_attn.q_proj." in key:
            q, k, v = ("query", "key", "value") if ".query." in key else ("q_proj", "k_proj", "v_proj")
            tensor = torch.cat([state[key.replace(f".{q}.", f".{part}.")] for part in (q, k, v)])
        assert old not in theirs
        theirs[old] = tensor
        if old.endswith("relative_position_bias_table"):
            theirs[old.replace("bias_table", "index")] = torch.zeros(1, dtype=torch.long)
    theirs["pixel_mean"] = torch.zeros(3, 1, 1)
    return theirs


@pytest.mark.parametrize(("theirs", "ours"), PAIRS.items())
def test_each_name(theirs, ours):
    value = torch.ones(3)
    found = to_hugging_face_names({theirs: value, "sem_seg_head.predictor.x": value}, {ours})
    assert found[ours] is value


@functools.lru_cache
def zoo(name):
    """The tensors of a model of the zoo, without values."""
    backbone = SWIN[name] if name in SWIN else {"depths": RESNET[name]}
    with torch.device("meta"):
        return reference(backbone, num_labels=133, num_queries=200 if name == "large" else 100)


@pytest.mark.parametrize("name", [*SWIN, *RESNET])
def test_every_tensor_of_the_zoo(name):
    config, state = zoo(name)
    theirs = authors_names(state)
    assert not theirs.keys() & (state.keys() - {"criterion.empty_weight"})
    found = to_hugging_face_names(theirs, state.keys())
    assert found.keys() == state.keys()
    assert all(found[key].shape == state[key].shape for key in state)
    inferred = infer_config(theirs, "mask2former")
    backbone = inferred.pop("backbone_config")
    assert backbone.pop("model_type") == config.backbone_config.model_type
    expected = {**config.to_dict(), "num_labels": config.num_labels, "enforce_input_projection": False}
    assert inferred == {key: expected[key] for key in inferred}
    expected = config.backbone_config.to_dict()
    if name in SWIN:
        assert backbone.pop("image_size") == (384 if name in ("base", "large") else 224)
        assert backbone.pop("drop_path_rate") == 0.3
    assert backbone == {key: expected[key] for key in backbone}
    assert set(SWIN.get(name, {"depths"})) <= backbone.keys()


@pytest.mark.parametrize("backbone", [SMALL_SWIN, SMALL_RESNET], ids=["swin", "resnet"])
@pytest.mark.parametrize("wrapper", ["", "module."])
def test_every_value(backbone, wrapper):
    torch.manual_seed(0)
    _, state = reference(backbone, **SMALL)
    theirs = {wrapper + key: tensor for key, tensor in authors_names(state).items()}
    assert detect_layout([key.removeprefix(wrapper) for key in theirs]) == "mask2former-authors"
    found = to_hugging_face_names(theirs, state.keys())
    assert found.keys() == state.keys()
    for key, tensor in state.items():
        assert torch.equal(found[key], tensor), key
        assert found[key].dtype == tensor.dtype
    # No two parameters lie in the same memory, which safetensors could not write.
    pointers = [t.untyped_storage().data_ptr() for t in found.values() if t.numel()]
    assert len(set(pointers)) == len(pointers)
    inferred = infer_config(theirs, "mask2former")
    assert {key: inferred[key] for key in SMALL} == SMALL
    assert inferred["enforce_input_projection"] is False
    assert {key: inferred["backbone_config"][key] for key in backbone} == backbone


@pytest.mark.parametrize(
    ("kind", "protocol", "tail"),
    [("swin", 2, "1.blocks.1.attention.self.key.weight"), ("resnet", 4, "0.layers.1.layer.2.convolution.weight")],
)
def test_a_pkl_of_the_authors_gives_the_same_model(tmp_path, kind, protocol, tail):
    torch.manual_seed(0)
    shape = SMALL_SWIN if kind == "swin" else SMALL_RESNET
    backbone = {"model_type": kind, **shape, "out_features": STAGES}
    model = Mask2FormerForUniversalSegmentation(Mask2FormerConfig(backbone_config=backbone, **SMALL))
    randomise(model)
    model.eval()
    arrays = {key: tensor.numpy() for key, tensor in authors_names(model.state_dict()).items()}
    path = tmp_path / "model_final.pkl"
    path.write_bytes(pickle.dumps({"model": arrays, "__author__": "someone"}, protocol=protocol))
    pixels = torch.randn(1, 3, 61, 96)
    with torch.no_grad():
        wanted = model(pixels)
        for config in (model.config, None):
            loaded = Mask2FormerForUniversalSegmentation.from_pretrained(path, config=config)
            found = loaded(pixels)
            assert torch.equal(found.class_queries_logits, wanted.class_queries_logits)
            assert torch.equal(found.masks_queries_logits, wanted.masks_queries_logits)
    assert all(torch.equal(loaded.state_dict()[key], tensor) for key, tensor in model.state_dict().items())
    loaded.save_pretrained(tmp_path / "saved")
    again = Mask2FormerForUniversalSegmentation.from_pretrained(tmp_path / "saved")
    assert torch.equal(again.class_predictor.weight, model.class_predictor.weight)
    # The parts can be taken out of the whole.
    inner = Mask2FormerModel.from_pretrained(path, config=model.config)
    part = SwinBackbone if kind == "swin" else ResNetBackbone
    backbone = part.from_pretrained(path, config=model.config.backbone_config)
    assert torch.equal(*(weight(m, "queries_features.weight") for m in (inner, model)))
    assert torch.equal(*(weight(m, tail) for m in (backbone, model)))


def weight(model, tail):
    """The one tensor whose name ends like this."""
    (found,) = [tensor for key, tensor in model.state_dict().items() if key.endswith(tail)]
    return found


def test_a_state_dict_out_of_transformers_memory(tmp_path):
    """transformers 5 renames Swin's tensors while it loads; a state dict saved by hand has those names."""
    config, state = reference(SMALL_SWIN, **SMALL)
    theirs = transformers.Mask2FormerForUniversalSegmentation(config)
    torch.save(theirs.state_dict(), tmp_path / "model.pt")
    ours = Mask2FormerConfig(backbone_config=config.backbone_config.to_dict(), **SMALL)
    loaded = Mask2FormerForUniversalSegmentation.from_pretrained(tmp_path / "model.pt", config=ours).state_dict()
    assert loaded.keys() == state.keys()
    memory = dict(theirs.state_dict())
    block = "model.pixel_level_module.encoder.swin.encoder.layers.1.blocks.1"
    for name, file in (
        ("attention.q_proj.weight", "attention.self.query.weight"),
        ("attention.o_proj.bias", "attention.output.dense.bias"),
        ("mlp.fc1.weight", "intermediate.dense.weight"),
        ("mlp.fc2.weight", "output.dense.weight"),
    ):
        assert torch.equal(loaded[f"{block.replace('.swin', '')}.{file}"], memory[f"{block}.{name}"])


def test_batches_that_were_counted_stay_counted():
    _, state = reference(SMALL_RESNET, **SMALL)
    counter = "model.pixel_level_module.encoder.embedder.embedder.normalization.num_batches_tracked"
    state[counter] = torch.tensor(12)
    found = to_hugging_face_names(authors_names(state, frozen=False), state.keys())
    assert found[counter] == 12


def test_a_joint_projection_is_split_in_order():
    joint = torch.arange(12.0).reshape(6, 2)
    state = {
        "backbone.layers.0.blocks.0.attn.qkv.weight": joint,
        "sem_seg_head.predictor.transformer_self_attention_layers.0.self_attn.in_proj_bias": torch.arange(3.0),
        "sem_seg_head.predictor.transformer_cross_attention_layers.0.multihead_attn.in_proj_bias": torch.arange(3.0),
    }
    found = to_hugging_face_names(state, ())
    stem = "model.pixel_level_module.encoder.encoder.layers.0.blocks.0.attention.self"
    assert found[f"{stem}.query.weight"].tolist() == [[0, 1], [2, 3]]
    assert found[f"{stem}.key.weight"].tolist() == [[4, 5], [6, 7]]
    assert found[f"{stem}.value.weight"].tolist() == [[8, 9], [10, 11]]
    layer = "model.transformer_module.decoder.layers.0"
    assert [found[f"{layer}.self_attn.{name}_proj.bias"].item() for name in "qkv"] == [0, 1, 2]
    assert found[f"{layer}.cross_attn.in_proj_bias"].tolist() == [0, 1, 2]


def test_another_stem_is_not_taken_for_the_plain_one():
    state = {"backbone.stem.conv2.weight": torch.ones(1), "sem_seg_head.predictor.x": torch.ones(1)}
    assert "backbone.stem.conv2.weight" in to_hugging_face_names(state, ())


def test_cut_weights_are_an_error():
    state = authors_names(zoo("tiny")[1])
    del state["sem_seg_head.predictor.query_embed.weight"]
    with pytest.raises(CheckpointError, match=r"Mask2Former authors but lack .*query_embed"):
        infer_config(state, "mask2former")
    assert infer_config(state, "vitmatte") is None
