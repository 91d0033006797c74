"""Recipes: what a file may hold, changes from the command line, and errors that name the field."""

import pytest

from perpixel.data.augment import AugmentRecipe
from perpixel.errors import ConfigError
from perpixel.train.recipe import DataRecipe, LoraRecipe, Recipe, load_recipe, recipe_text

LEAST = "task: depth\ndata: {layout: nyuv2}\n"


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
        "task: panoptic\n"
        "model: {hidden_size: 8}\n"
        "data: {layout: coco-panoptic, root: coco, split: val, options: {year: 2017}}\n"
        "validation: {layout: coco-panoptic, root: other}\n"
        "lora: {rank: 4, targets: [query, value]}\n"
        "augment: {crop: [64, 32], scale: [5e-1, 2], flip: 0.5, scale_of: fit}\n"
        "learning_rate: 1.2e-3\n"
        "weight_decay: 1e-2\n"  # YAML takes this for text
        "clip: 2\n"
        "loss: {mask: 1e-1, dice: 2}\n"
        "precision: no\n"  # and this for false
        "start: vit\n"
        "trackers: []\n"
    )
    assert load_recipe(path) == Recipe(
        task="panoptic",
        model={"hidden_size": 8},
        data=DataRecipe("coco-panoptic", "coco", "val", {"year": 2017}),
        validation=DataRecipe("coco-panoptic", "other"),
        lora=LoraRecipe(rank=4, targets=["query", "value"]),
        augment=AugmentRecipe(crop=(64, 32), scale=(0.5, 2.0), flip=0.5, scale_of="fit"),
        learning_rate=0.0012,
        weight_decay=0.01,
        clip=2.0,
        loss={"mask": 0.1, "dice": 2.0},
        precision="no",
        start="vit",
        trackers=[],
    )
    assert load_recipe(recipe(LEAST)) == Recipe("depth", DataRecipe("nyuv2"))
    assert load_recipe(recipe(LEAST + "start: null\nlora: null")).start is None


def test_changes_come_on_top(recipe):
    path = recipe(LEAST + "steps: 7\nmodel: {hidden_size: 8}")
    changes = ["steps=200", "data.root=x", "data.options.include=[x, y]", "start=some/folder", "learning_rate=1e-4"]
    changed = load_recipe(path, [*changes, "model.backbone_config.hidden_size=16", "output=a=b", "lora.rank=2"])
    assert (changed.steps, changed.data.root, changed.data.options) == (200, "x", {"include": ["x", "y"]})
    assert (changed.start, changed.learning_rate, changed.output) == ("some/folder", 1e-4, "a=b")
    assert changed.model == {"hidden_size": 8, "backbone_config": {"hidden_size": 16}}
    assert changed.lora == LoraRecipe(rank=2)


def test_what_a_recipe_may_be_read_from(recipe):
    values = {"task": "depth", "data": DataRecipe("kitti"), "loss": {"a": 1}, "augment": {"crop": (8, 8)}}
    first = load_recipe(values, {"data.root": "here", "lora": LoraRecipe(3)})
    assert first == Recipe(
        "depth", DataRecipe("kitti", "here"), loss={"a": 1.0}, lora=LoraRecipe(3), augment=AugmentRecipe(crop=(8, 8))
    )
    assert values["data"].root == ""  # what was given stays as it was
    again = load_recipe(first, {"steps": 5, "loss.b": 2})
    assert (again.steps, again.loss, first.loss) == (5, {"a": 1.0, "b": 2.0}, {"a": 1.0})
    assert load_recipe(recipe(recipe_text(again))) == again


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("step: 7", "no field step: did you mean steps?"),
        ("learningrate: 1", "did you mean learning_rate?"),
        ("data: {layuot: a}", r"no field data\.layuot: did you mean layout?"),
        ("augment: {filp: 1}", r"no field augment\.filp: did you mean flip?"),
        ("augment: {crop: 64}", r"augment\.crop is 64: it must be a list of 2 numbers or nothing"),
        ("augment: {crop: [64, wide]}", r"augment\.crop\[1\] is 'wide': it must be a whole number"),
        ("augment: {flip: 2}", r"augment\.flip is 2\.0: it must be a chance"),
        ("lora: {rnak: 1}", r"no field lora\.rnak: did you mean rank?"),
        ("zzz: 1", "no field zzz: there are task, data, validation"),
        ("7: 1", "no field 7: there are"),
        ("steps: many", "steps is 'many': it must be a whole number"),
        ("steps: 1.5", "steps is 1.5"),
        ("steps: true", "steps is True"),
        ("clip: wide", "clip is 'wide': it must be a number"),
        ("clip: [1]", r"clip is \[1\]: it must be a number"),
        ("clip: .nan", "clip is nan: it must be a number"),
        ("start: 3", "start is 3: it must be text or nothing"),
        ("task: dept", r"task is 'dept': it must be one of matting, .*did you mean depth\?"),
        ("precision: fp32", "precision is 'fp32': it must be one of no, bf16, fp16"),
        ("schedule: [cosine]", r"schedule is \['cosine'\]: it must be one of cosine, poly, constant"),
        ("freeze: backbone", "freeze is 'backbone': it must be a list"),
        ("freeze: [1]", r"freeze\[0\] is 1: it must be text"),
        ("data: folder", "data is 'folder': it must be a mapping"),
        ("data: {root: a}", r"the recipe has no data\.layout: it must be text"),
        ("validation: 1", "validation is 1: it must be a mapping or nothing"),
        ("model: small", "model is 'small': it must be a mapping"),
        ("loss: {known: high}", r"loss\.known is 'high': it must be a number"),
        ("loss: {known: null}", r"loss\.known is None"),
        ("steps: 0", "steps is 0: it must be 1 or more"),
        ("lora: {rank: 0}", r"lora\.rank is 0: it must be 1 or more"),
        ("save_every: 0", "save_every is 0"),
        ("seed: -1", "seed is -1: it must be 0 or more"),
        ("decay: 1.5", "decay is 1.5: it must be from 0 to 1"),
        ("gradient_checkpointing: 1", "gradient_checkpointing is 1: it must be true or false"),
    ],
)
def test_recipes_that_cannot_be_followed(recipe, text, message):
    name = text.partition(":")[0]
    rest = [line for line in LEAST.splitlines() if not line.startswith(name)]
    with pytest.raises(ConfigError, match=message):
        load_recipe(recipe("\n".join([text, *rest])))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the recipe has no task: it must be one of matting, semantic, instance, panoptic, depth"),
        ("task: depth", "the recipe has no data: it must be a mapping"),
        ("- a", "holds list: it must be a mapping"),
        ("a: [", "cannot read the recipe"),
        (b"\xff\xfe\x00", "cannot read the recipe"),
    ],
)
def test_files_that_are_no_recipe(recipe, text, message):
    with pytest.raises(ConfigError, match=message):
        load_recipe(recipe(text))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("steps", "'steps' changes nothing: write it as name=value"),
        ("stepz=3", "did you mean steps?"),
        ("steps.more=3", "steps.more cannot be changed: the recipe's steps has no fields of its own"),
        ("data.rot=3", r"data\.rot: did you mean root?"),
        ("steps=[", "cannot be read: what follows the sign must be a YAML value"),
    ],
)
def test_changes_that_cannot_be_made(recipe, change, message):
    with pytest.raises(ConfigError, match=message):
        load_recipe(recipe(LEAST + "steps: 7"), [change])


def test_a_recipe_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot read the recipe .*none\.yaml.*No such file"):
        load_recipe(tmp_path / "none.yaml")


def test_a_recipe_made_in_python_is_checked_too():
    with pytest.raises(ConfigError, match="schedule is 'linear': it must be one of"):
        Recipe("depth", DataRecipe("nyuv2"), schedule="linear")
