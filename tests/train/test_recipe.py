"""Recipes: what a file may hold, changes from the command line, and errors that name the field."""

import pytest

from perpixel.errors import ConfigError
from perpixel.train.__main__ import main
from perpixel.train.loop import learning_rate_factor
from perpixel.train.recipe import DataRecipe, Recipe, load_recipe


@pytest.fixture
def recipe(tmp_path):
    """Writes a recipe and returns its path."""

    def write(text):
        path = tmp_path / "recipe.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def test_a_recipe_is_read_field_by_field(recipe):
    path = recipe(
        "model: {hidden_size: 8}\n"
        "data: {backgrounds: [a, b], size: 64}\n"
        "learning_rate: 1.2e-3\n"
        "weight_decay: 1e-2\n"  # YAML takes this for text
        "clip: 2\n"
        "loss: {known: 1e-1, unknown: 2}\n"
        "start: vit\n"
    )
    assert load_recipe(path) == Recipe(
        model={"hidden_size": 8},
        data=DataRecipe(backgrounds=["a", "b"], size=64),
        learning_rate=0.0012,
        weight_decay=0.01,
        clip=2.0,
        loss={"known": 0.1, "unknown": 2.0},
        start="vit",
    )
    assert load_recipe(recipe("")) == Recipe()
    assert load_recipe(recipe("start: null")).start is None


def test_changes_come_on_top(recipe):
    path = recipe("steps: 7\ndata: {size: 64}\nmodel: {hidden_size: 8}")
    changes = ["steps=200", "data.size=128", "data.include=[x, y]", "start=some/folder", "learning_rate=1e-4"]
    changed = load_recipe(path, [*changes, "model.backbone_config.hidden_size=16", "output=a=b"])
    assert (changed.steps, changed.data.size, changed.data.include) == (200, 128, ["x", "y"])
    assert (changed.start, changed.learning_rate, changed.output) == ("some/folder", 1e-4, "a=b")
    assert changed.model == {"hidden_size": 8, "backbone_config": {"hidden_size": 16}}
    assert load_recipe(recipe("data:"), ["data.size=32"]).data.size == 32


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("step: 7", "no field step: did you mean steps?"),
        ("learningrate: 1", "did you mean learning_rate?"),
        ("data: {backgrund: [a]}", r"no field data\.backgrund: did you mean backgrounds?"),
        ("zzz: 1", "no field zzz: there are family, model, start"),
        ("7: 1", "no field 7: there are"),
        ("steps: many", "steps is 'many': it must be a whole number"),
        ("steps: 1.5", "steps is 1.5"),
        ("steps: true", "steps is True"),
        ("clip: wide", "clip is 'wide': it must be a number"),
        ("clip: [1]", r"clip is \[1\]: it must be a number"),
        ("start: 3", "start is 3: it must be text or nothing"),
        ("data: {backgrounds: a}", r"data\.backgrounds is 'a': it must be a list"),
        ("data: {backgrounds: [1]}", r"data\.backgrounds is \[1\]: it must be a list of texts"),
        ("data: folder", "data is 'folder': it must be a mapping"),
        ("model: small", "model is 'small': it must be a mapping"),
        ("loss: {known: high}", r"loss\.known is 'high': it must be a number"),
        ("loss: {known: null}", r"loss\.known is None"),
        ("steps: 0", "steps is 0: it must be 1 or more"),
        ("save_every: 0", "save_every is 0"),
        ("seed: -1", "seed is -1: it must be 0 or more"),
        ("decay: 1.5", "decay is 1.5: it must be from 0 to 1"),
        ("- a", "holds list: it must be a mapping"),
        ("a: [", "cannot read the recipe"),
        (b"\xff\xfe\x00", "cannot read the recipe"),
    ],
)
def test_recipes_that_cannot_be_followed(recipe, text, message):
    with pytest.raises(ConfigError, match=message):
        load_recipe(recipe(text))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("steps", "'steps' changes nothing: write it as name=value"),
        ("stepz=3", "did you mean steps?"),
        ("steps.more=3", "'steps.more=3' cannot be made: the recipe's steps has no fields of its own"),
        ("data.sise=3", r"data\.sise: did you mean size?"),
        ("steps=[", "cannot be read: what follows the sign must be a YAML value"),
    ],
)
def test_changes_that_cannot_be_made(recipe, change, message):
    with pytest.raises(ConfigError, match=message):
        load_recipe(recipe("steps: 7"), [change])


def test_a_recipe_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot read the recipe .*none\.yaml.*No such file"):
        load_recipe(tmp_path / "none.yaml")


def test_the_recipe_of_the_embedded_model_is_valid(repository):
    recipe = load_recipe(repository / "recipes" / "vitmatte-nano.yaml")
    assert recipe.family == "vitmatte" and recipe.model["hidden_size"] == 192


def test_the_rate_rises_stays_and_falls():
    recipe = Recipe(steps=100, warmup=4, decay=0.5)
    rates = [learning_rate_factor(step, recipe) for step in range(100)]
    assert rates[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert rates[4:51] == pytest.approx([1.0] * 47)
    assert rates[75] == pytest.approx(0.5)
    assert rates[62] > rates[75] > rates[87] > rates[99] > 0
    flat = Recipe(steps=10, warmup=0, decay=0.0)
    assert [learning_rate_factor(step, flat) for step in range(10)] == [1.0] * 10


def test_the_command(recipe, capsys):
    assert main([]) == 2 and "usage" in capsys.readouterr().out
    assert main(["--help"]) == 0
    assert main([str(recipe("step: 7"))]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: the recipe has no field step") and error.count("\n") == 1
    assert main([str(recipe("family: dpt"))]) == 1
    assert "family is 'dpt': only 'vitmatte' can be trained" in capsys.readouterr().err
