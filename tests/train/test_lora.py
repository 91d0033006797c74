"""LoRA: only what is low in rank and what is new learns, and what is saved opens with and without peft."""

import json

import pytest
import torch

from perpixel.errors import ConfigError
from perpixel.train.loop import train
from perpixel.train.tasks import training_task
from train.families import small_recipe

NAMES = ["vitmatte", "mask2former-semantic", "dpt-semantic", "dpt-relative", "depth-anything"]
LORA = {"rank": 2, "alpha": 4.0}


def started(name, folder, **changes):
    """A task that goes on from a whole checkpoint, with LoRA."""
    first = training_task(small_recipe(name, folder))
    first.save(first.model(), folder / "start")
    changes = {"start": str(folder / "start"), "model": {}, "lora": LORA, **changes}
    return training_task(small_recipe(name, folder, **changes))


@pytest.mark.parametrize("name", NAMES)
def test_adapters_learn_are_merged_and_open_with_peft(name, tmp_path):
    from peft import PeftModel

    task = started(name, tmp_path)
    torch.manual_seed(0)
    model = task.model()
    learning = {key for key, parameter in model.named_parameters() if parameter.requires_grad}
    assert learning and all("lora_" in key or "modules_to_save" in key for key in learning)
    assert any("lora_" in key for key in learning)
    fixed = {key: p.detach().clone() for key, p in model.named_parameters() if not p.requires_grad}
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    batch = task.collate([task.training_data(2)[n] for n in range(2)])
    losses = []
    for _ in range(8):
        torch.manual_seed(0)
        loss, _ = task.loss(model, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    assert all(torch.equal(p, fixed[key]) for key, p in model.named_parameters() if key in fixed)
    task.save(model, tmp_path / "saved")
    assert any("lora_" in key for key, _ in model.named_parameters())  # the run goes on with its adapters

    pixels = batch["pixel_values"]
    cls = type(model.get_base_model())
    with torch.no_grad():
        wanted = model.eval()(pixels)
        merged = cls.from_pretrained(tmp_path / "saved")(pixels)
        base = cls.from_pretrained(tmp_path / "start")
        before = base(pixels)
        adapted = PeftModel.from_pretrained(base, tmp_path / "saved" / "adapter").eval()(pixels)
    for key, value in wanted.items():
        if isinstance(value, torch.Tensor):
            assert torch.allclose(merged[key], value, atol=1e-4), key
            assert torch.allclose(adapted[key], value, atol=1e-5), key
    assert any(not torch.allclose(before[key], v) for key, v in wanted.items() if isinstance(v, torch.Tensor))
    settings = json.loads((tmp_path / "saved" / "adapter" / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == str(tmp_path / "start") and settings["r"] == 2


def test_all_but_the_backbone_of_a_new_model_is_trained_in_full(tmp_path):
    model = training_task(small_recipe("dpt-relative", tmp_path, lora=LORA)).model()
    learning = {key for key, parameter in model.named_parameters() if parameter.requires_grad}
    inside = {key for key in learning if ".dpt." in key}
    assert inside and all("lora_" in key for key in inside)
    assert any("neck" in key for key in learning) and any("head" in key for key in learning)
    assert not any("neck" in key and "lora" in key for key in learning)


def test_targets(tmp_path):
    model = started("vitmatte", tmp_path, lora={**LORA, "targets": ["mlp.fc1"]}).model()
    changed = {key.split(".lora_")[0] for key, _ in model.named_parameters() if ".lora_" in key}
    assert changed == {f"base_model.model.backbone.encoder.layer.{i}.mlp.fc1" for i in (0, 1)}
    with pytest.raises(ConfigError, match=r"lora\.targets \['qvk'\] end no layer's name: name some, such as"):
        started("vitmatte", tmp_path / "b", lora={**LORA, "targets": ["qvk"]}).model()


def test_saving_asks_no_network(tmp_path, monkeypatch):
    import socket

    from peft.utils import other

    def refused(*arguments, **options):
        raise AssertionError("the network was asked")

    task = started("vitmatte", tmp_path)
    model = task.model()
    model.peft_config["default"].base_model_name_or_path = "somebody/something"
    monkeypatch.setattr(socket, "getaddrinfo", refused)
    monkeypatch.setattr(other, "check_file_exists_on_hf_hub", refused)
    task.save(model, tmp_path / "saved")
    assert (tmp_path / "saved" / "adapter" / "adapter_config.json").is_file()


def test_through_the_loop(tmp_path):
    task = started("dpt-relative", tmp_path)
    best = train(task.recipe)
    assert (best / "adapter" / "adapter_model.safetensors").is_file() and (best / "model.safetensors").is_file()
    assert training_task(small_recipe("dpt-relative", tmp_path, start=str(best), model={})).model().training
