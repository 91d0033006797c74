"""The recipes that come with the library: valid, short, and of models that can be built."""

import pytest
import yaml

from perpixel.data.layouts import LAYOUTS
from perpixel.train.recipe import load_recipe
from perpixel.train.tasks import TASKS

NAMES = [
    "vitmatte-nano",
    "vitmatte-composition-1k",
    "vitmatte-rgba",
    "mask2former-ade20k-semantic",
    "mask2former-cityscapes-semantic",
    "mask2former-cityscapes-panoptic",
    "mask2former-coco-instance",
    "mask2former-coco-panoptic",
    "mask2former-folder-semantic",
    "dpt-nyuv2",
    "dpt-kitti",
    "dpt-folder-depth",
    "dpt-folder-semantic",
    "dpt-ade20k-semantic",
]


def test_every_recipe_is_tested(repository):
    assert sorted(path.stem for path in (repository / "recipes").iterdir()) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_is_valid_and_short(name, repository):
    path = repository / "recipes" / f"{name}.yaml"
    lines = path.read_text("utf-8").splitlines()
    assert len(lines) < 40 and lines[0].startswith("# ")
    recipe = load_recipe(path)
    assert recipe.task in TASKS and recipe.data.layout in {*LAYOUTS, "composites"}
    assert recipe.start is not None
    if recipe.data.layout != "composites":
        crop = recipe.augment.crop
        assert crop is not None and all(side % (1 if "mask2former" in name else 32) == 0 for side in crop)
    assert yaml.safe_load(path.read_text("utf-8"))["output"].startswith("runs/")


def test_the_model_of_the_embedded_one_is_that_of_its_recipe(repository):
    from perpixel import VitMatteConfig

    recipe = load_recipe(repository / "recipes" / "vitmatte-nano.yaml")
    assert VitMatteConfig.from_dict(recipe.model) == VitMatteConfig.from_pretrained("vitmatte-nano")
