"""The model card: what was measured, on what it was trained, and a recipe that can be run again."""

import re

import pytest

from perpixel.train.card import model_card, start_licence
from perpixel.train.recipe import DataRecipe, Recipe, load_recipe
from perpixel.train.state import Position


def card(processes=1, **fields):
    recipe = Recipe("semantic", DataRecipe("ade20k", "data/ade"), **fields)
    best = {"pixel_accuracy": 0.81234, "mean_iou": 0.5, "iou/void": float("nan")}
    before = {"mean_iou": 0.25}
    position = Position(step=100, items=800, seconds=7500.0, best_step=80, best=best, before=before)
    return recipe, model_card(recipe, position, "mean_iou", "a machine", processes)


def test_it_tells_what_was_measured_on_what():
    _, text = card()
    assert "On the 10% of the data that were held out:" in text
    assert "| measure | before | after step 80 |" in text
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert rows[2:] == [
        "| mean_iou | 0.25 | 0.5 |",
        "| pixel_accuracy | – | 0.8123 |",
    ]  # the headline first, nothing unknown
    assert "`data/ade` (ade20k, train)" in text
    assert "Seed 0; 2 h 5 min on a machine." in text
    assert "step 80 of 100, 8 samples a step" in text
    _, text = card(validation=DataRecipe("ade20k", "other", "validation"), validation_samples=50)
    assert "On `other` (ade20k, validation), the first 50 of them:" in text


def test_its_recipe_runs_again(tmp_path):
    recipe, text = card(loss={"mask": 2.0}, batch_size=3, accumulate=2)
    settings = re.search(r"```yaml\n(.*)```", text, re.DOTALL)[1]
    (tmp_path / "recipe.yaml").write_text(settings)
    assert load_recipe(tmp_path / "recipe.yaml") == recipe
    assert "\nperpixel train recipe.yaml\n" in text
    assert "6 samples a step" in text
    _, text = card(processes=4)
    assert "accelerate launch --num_processes 4 -m perpixel train recipe.yaml" in text
    assert "on 4 × a machine" in text


def test_it_names_the_start_and_its_licence():
    _, text = card()
    assert "Start: random weights." in text and "license:" not in text
    _, text = card(start="facebook/mask2former-swin-tiny-coco-panoptic")
    head = text.split("---")[1].splitlines()
    assert "base_model: facebook/mask2former-swin-tiny-coco-panoptic" in head
    assert "license: cc-by-nc-4.0" in head
    assert "under CC-BY-NC-4.0" in text
    _, text = card(start="vitmatte-nano")  # no name on the Hub
    assert "base_model" not in text and "license: apache-2.0" in text
    _, text = card(start="somebody/something")
    assert "`somebody/something`, whose licence is not known here" in text


@pytest.mark.parametrize(
    ("text", "licence"),
    [
        ("---\nlibrary_name: x\nlicense: mit\n---\n# A model", "mit"),
        ("---\nlibrary_name: x\n---\nlicense: mit\n", None),
        ("# A model\nlicense: mit\n", None),
        ("---\nlicense: mit\n", None),
        ("", None),
    ],
)
def test_a_licence_is_read_from_a_cards_head(tmp_path, text, licence):
    (tmp_path / "README.md").write_text(text)
    assert start_licence(str(tmp_path)) == licence
    assert start_licence("vitmatte-nano") == "Apache-2.0"
    assert start_licence(None) is None
