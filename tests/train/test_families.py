"""Every family in training: what it learns from, what it measures, what it saves."""

import pickle

import numpy as np
import pytest
import torch

from perpixel.data.samples import SegmentationSample
from perpixel.errors import ConfigError
from perpixel.models.mask2former.targets import CompressedMasks
from perpixel.train.tasks import training_task
from train.families import FAMILIES, small_recipe
from train.pictures import save, scene

DPT_NAMES = [name for name in FAMILIES if name.startswith("dpt") or name == "depth-anything"]


def batch_of(task, count=2):
    data = task.training_data(count)
    return task.collate([data[n] for n in range(count)])


@pytest.mark.parametrize("name", FAMILIES)
def test_a_few_steps_lower_the_loss_and_what_is_saved_opens(name, tmp_path):
    torch.manual_seed(0)
    task = training_task(small_recipe(name, tmp_path))
    model = task.model()
    assert model.training
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    batch = batch_of(task)
    losses = []
    for _ in range(12):
        torch.manual_seed(0)
        loss, terms = task.loss(model, batch)
        assert all(np.isfinite(value) for value in terms.values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.9 * losses[0]
    model.eval()
    meter = task.meter()
    held = task.validation_data()
    with torch.no_grad():
        task.measure(model, task.collate([held[n] for n in range(len(held))]), meter)
    before = meter.compute()
    assert np.isfinite(before[task.headline])
    task.save(model, tmp_path / "saved")
    changes = {"start": str(tmp_path / "saved"), "model": {}}
    again = training_task(small_recipe(name, tmp_path, **changes))
    meter = again.meter()
    with torch.no_grad():
        again.measure(again.model().eval(), again.collate([held[n] for n in range(len(held))]), meter)
    assert meter.compute() == pytest.approx(before, nan_ok=True)
    assert again.processor == task.processor


@pytest.mark.parametrize("name", FAMILIES)
def test_items_are_a_pure_function_of_seed_and_number(name, tmp_path):
    one, other = (training_task(small_recipe(name, tmp_path)).training_data(9) for _ in range(2))
    _ = other[0], other[5]
    first, second = one[7], other[7]
    assert first["name"] == second["name"]
    assert torch.equal(first["pixel_values"], second["pixel_values"])
    assert not torch.equal(one[7]["pixel_values"], one[8]["pixel_values"])
    sent = pickle.loads(pickle.dumps(one))  # to a worker that was not forked
    assert torch.equal(first["pixel_values"], sent[7]["pixel_values"])
    changed = training_task(small_recipe(name, tmp_path, seed=1)).training_data(9)[7]
    assert not torch.equal(first["pixel_values"], changed["pixel_values"])


def test_the_pixels_of_a_crop_are_prepared_as_the_processor_does_it(tmp_path):
    for name in ("mask2former-semantic", "dpt-semantic", "dpt-relative"):
        task = training_task(
            small_recipe(name, tmp_path / name, augment={"crop": [72, 72]} if "mask" in name else {"crop": [64, 64]})
        )
        sample = task.parts[0][0]
        item = task.prepare(sample, 0)
        assert item["pixel_values"].dtype == torch.float32
        mean, std = (
            torch.tensor(values).view(-1, 1, 1) for values in (task.processor.image_mean, task.processor.image_std)
        )
        pixels = (item["pixel_values"] * std + mean) * 255
        assert float((pixels - pixels.round()).abs().max()) < 1e-3
        assert float(pixels.min()) >= 0 and float(pixels.max()) < 255.5


def test_relative_depth_learns_inverse_and_metric_depth_metres(tmp_path):
    crop = {"crop": [64, 64]}
    for name, near in (("dpt-relative", 1.0), ("dpt-metric", 1.0)):
        item = training_task(small_recipe(name, tmp_path, augment=crop)).training_data(1)[0]
        far = 0.25 if name == "dpt-relative" else 4.0
        assert set(item["labels"].unique().tolist()) <= {0.0, near, far}


def test_void_becomes_what_the_loss_ignores(tmp_path):
    task = training_task(small_recipe("dpt-semantic", tmp_path, augment={"crop": [96, 96]}))
    labels = task.training_data(1)[0]["labels"]
    assert set(labels.unique().tolist()) == {0, 1, 255}
    assert int((labels == 255).sum()) >= 96 * 96 - 72 * 72


def test_targets_of_each_kind(tmp_path):
    crop = {"crop": [72, 72]}
    semantic = training_task(small_recipe("mask2former-semantic", tmp_path / "s", augment=crop)).training_data(1)[0]
    assert semantic["class_labels"].tolist() == [0, 1]
    assert semantic["mask_labels"].dtype == torch.bool
    assert int(semantic["mask_labels"].sum()) == 72 * 72 - 9
    panoptic = training_task(small_recipe("mask2former-panoptic", tmp_path / "p", augment=crop)).training_data(1)[0]
    assert sorted(panoptic["class_labels"].tolist()) == [0, 1]
    assert int(panoptic["mask_labels"].sum()) == 72 * 72
    task = training_task(small_recipe("mask2former-instance", tmp_path / "i", augment=crop, holdout=0.01))
    items = [task.training_data(5)[n] for n in range(5)]
    assert all(isinstance(item["mask_labels"], CompressedMasks) for item in items)
    assert sorted(len(item["mask_labels"]) for item in items) == [0, 1, 1, 1, 1]
    assert len(task.categories) == 1


def test_crowds_are_not_learnt(tmp_path):
    from perpixel.data.samples import LabelledObject
    from perpixel.train.segmentation import targets

    labels = np.array([[0, 0, 1, -1]], np.int32)
    objects = (LabelledObject(3), LabelledObject(2, crowd=True))
    masks, classes = targets(SegmentationSample("a", np.zeros((1, 4, 3), np.uint8), "panoptic", labels, objects))
    assert masks.tolist() == [[[True, True, False, False]]] and classes.tolist() == [3]


def test_the_trimap_of_a_crop_is_right_wherever_it_is_certain(tmp_path):
    task = training_task(small_recipe("vitmatte", tmp_path, augment={"crop": [64, 64], "scale": [0.7, 1.5]}))
    data = task.training_data(8)
    shares = []
    for n in range(8):
        item = data[n]
        trimap, alpha = item["pixel_values"][3], item["labels"][0]
        assert set((255 * trimap).round().unique().tolist()) <= {0.0, 128.0, 255.0}
        assert bool((alpha[trimap == 0] == 0).all()) and bool((alpha[trimap == 1] == 1).all())
        shares.append(float(((trimap > 0.25) & (trimap < 0.75)).float().mean()))
    assert min(shares) > 0 and max(shares) - min(shares) > 0.05


def test_cutouts_come_over_other_backgrounds_each_time(tmp_path):
    task = training_task(small_recipe("vitmatte-rgba", tmp_path, augment={"crop": [64, 64]}))
    count = len(task.parts[0])
    data = task.training_data(2 * count)
    items = [data[n] for n in range(2 * count)]
    first = next(item for item in items if item["name"] == items[0]["name"])
    second = next(item for item in items[count:] if item["name"] == items[0]["name"])
    inside = [item["labels"][0] == 1 for item in (first, second)]
    means = [item["pixel_values"][:3, ~mask].mean() for item, mask in zip((first, second), inside, strict=True)]
    assert abs(means[0] - means[1]) > 1e-3


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("vitmatte", {"augment": {}}, r"no augment\.crop.*such as \[768, 768\]"),
        ("vitmatte", {"augment": {"crop": [60, 64]}}, r"multiples of 32, such as \[64, 64\]"),
        ("vitmatte", {"processor": {"size": 64}}, "prepared in one way, leave it out"),
        ("dpt-relative", {"augment": {"crop": [64, 65]}}, r"multiples of 16, such as \[64, 64\]"),
        ("vitmatte", {"loss": {"lapalcian": 1.0}}, "no term 'lapalcian': did you mean 'laplacian'"),
        ("mask2former-semantic", {"loss": {"maks": 1.0}}, "no term 'maks': did you mean 'mask'"),
        ("mask2former-semantic", {"model": {"model_type": "dtp"}}, "'dtp': did you mean 'dpt'"),
        ("mask2former-instance", {"model": {**FAMILIES["dpt-semantic"][3]}}, "not the segments of task 'instance'"),
        ("dpt-semantic", {"task": "depth"}, "no labels of kind 'depth'"),
        ("vitmatte", {"task": "depth"}, "labelled for matting"),
    ],
)
def test_recipes_that_cannot_be_trained(name, changes, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        training_task(small_recipe(name, tmp_path, **changes))


def test_weights_of_the_loss(tmp_path):
    recipe = small_recipe("mask2former-semantic", tmp_path, loss={"mask": 3, "class": 0.5})
    model = training_task(recipe).model()
    assert model.criterion.weight_dict == {"loss_cross_entropy": 0.5, "loss_mask": 3.0, "loss_dice": 5.0}
    task = training_task(small_recipe("vitmatte", tmp_path / "m", loss={"known": 0.0, "gradient": 2.0}))
    model, batch = task.model(), batch_of(training_task(small_recipe("vitmatte", tmp_path / "m")))
    with torch.no_grad():
        total, terms = task.loss(model, batch)
    assert float(total) == pytest.approx(terms["unknown"] + terms["laplacian"] + 2 * terms["gradient"], rel=1e-5)
    task = training_task(small_recipe("dpt-relative", tmp_path / "d", loss={"gradient": 0.0}))
    with torch.no_grad():
        total, terms = task.loss(task.model(), batch_of(task))
    assert float(total) == pytest.approx(terms["data"], rel=1e-5)


@torch.no_grad()
def test_the_loss_of_relative_depth_is_that_of_the_model(tmp_path):
    task = training_task(small_recipe("dpt-relative", tmp_path))
    model, batch = task.model().eval(), batch_of(task)
    assert float(task.loss(model, batch)[0]) == pytest.approx(float(model(batch["pixel_values"], batch["labels"]).loss))


@torch.no_grad()
def test_the_loss_of_mask2former_is_that_of_the_model(tmp_path):
    task = training_task(small_recipe("mask2former-semantic", tmp_path))
    model, batch = task.model(), batch_of(task)
    torch.manual_seed(3)
    total, _ = task.loss(model, batch)
    torch.manual_seed(3)
    theirs = model(batch["pixel_values"], batch["mask_labels"], batch["class_labels"]).loss
    assert float(total) == pytest.approx(float(theirs), rel=1e-5)


def test_the_view_of_whole_images_is_that_of_the_crops(tmp_path):
    def size(name, **augment):
        recipe = small_recipe(name, tmp_path / name, augment={"crop": [64, 64], **augment})
        processor = training_task(recipe).processor
        return processor.size if processor.do_resize else None

    assert size("mask2former-semantic") is None
    assert size("mask2former-semantic", scale_of="cover") == {"shortest_edge": 64, "longest_edge": 256}
    assert size("mask2former-semantic", scale_of="fit") == {"max_height": 64, "max_width": 64}
    assert size("dpt-relative") == {"height": 72, "width": 72}
    assert size("dpt-relative", scale_of="cover") == {"height": 64, "width": 64}
    recipe = small_recipe("dpt-relative", tmp_path / "dpt-relative", processor={"size": 96, "image_mean": 0.25})
    processor = training_task(recipe).processor
    assert (processor.size, processor.image_mean) == ({"height": 96, "width": 96}, 0.25)


def test_composites_are_drawn_as_before_and_measured_crop_by_crop(tmp_path):
    from perpixel.data.composites import CompositeDataset

    for number in range(6):
        save(tmp_path / "photos" / f"{number}.png", scene(number, 96)[0])
    options = {"backgrounds": str(tmp_path / "photos"), "size": 64}
    recipe = small_recipe("vitmatte", tmp_path, data={"layout": "composites", "options": options}, seed=5, augment={})
    task = training_task(recipe)
    expected = CompositeDataset(str(tmp_path / "photos"), size=64, seed=5)
    items = [task.training_data(9)[n] for n in (7, 8)]
    assert all(
        torch.equal(item["pixel_values"], expected[n]["pixel_values"]) for item, n in zip(items, (7, 8), strict=True)
    )
    held = task.validation_data()
    assert len(held) == 64 and torch.equal(
        held[0]["labels"], CompositeDataset(str(tmp_path / "photos"), size=64, seed=5, split="validation")[0]["labels"]
    )
    model, meter = task.model().eval(), task.meter()
    batch = task.collate([held[0], held[1]])
    with torch.no_grad():
        task.measure(model, batch, meter)
        alphas = model(batch["pixel_values"]).alphas
    unknown = (255 * batch["pixel_values"][:, 3:4]).round() == 128
    apart = ((alphas - batch["labels"]).abs() * unknown).sum((1, 2, 3)) / 1000
    assert meter.compute()["sad"] == pytest.approx(float(apart.mean()), rel=1e-4)
    others = {"layout": "matte-folder", "root": str(tmp_path / "data"), "split": "all"}
    recipe = small_recipe("vitmatte", tmp_path, data={"layout": "composites", "options": options}, validation=others)
    assert [sample.name for sample in training_task(recipe).validation_data()] == [str(number) for number in range(6)]
    with pytest.raises(ConfigError, match="no option 'background': did you mean 'backgrounds'"):
        changed = {"layout": "composites", "options": {"background": "photos"}}
        training_task(small_recipe("vitmatte", tmp_path, data=changed))
