"""`perpixel train` and `perpixel.train`: what they pass on, print and return; something fast replaces the loop."""

import subprocess
import sys

import pytest

import perpixel
from perpixel.cli import main
from perpixel.errors import ConfigError, PerpixelError
from perpixel.train import loop

RECIPE = "task: depth\ndata: {layout: nyuv2, root: nyu}\nsteps: 7\n"


@pytest.fixture
def told(monkeypatch, tmp_path):
    """The recipes that the loop was given."""
    recipes = []

    def train(recipe):
        recipes.append(recipe)
        if recipe.seed == 1:
            raise PerpixelError("the loss is nan")
        if recipe.seed == 2:
            raise KeyboardInterrupt
        return tmp_path / "run" / "best"

    monkeypatch.setattr(loop, "train", train)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    return recipes


def test_the_folder_of_the_best_model_is_printed(told, tmp_path, capsys):
    assert main(["train", "recipe.yaml", "steps=3", "data.root=other", "augment.flip=0.5"]) == 0
    assert capsys.readouterr() == (f"{tmp_path / 'run' / 'best'}\n", "")
    (recipe,) = told
    assert (recipe.steps, recipe.data.root, recipe.augment.flip) == (3, "other", 0.5)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["recipe.yaml", "seed=1"], 1, "the loss is nan"),
        (["recipe.yaml", "seed=2"], 130, "stopped"),
        (["recipe.yaml", "stepz=3"], 2, "the recipe has no field stepz: did you mean steps?"),
        (["recipe.yaml", "steps"], 2, "'steps' changes nothing: write it as name=value"),
        (["none.yaml"], 2, "cannot read the recipe none.yaml: [Errno 2] No such file or directory: 'none.yaml'"),
        ([], 2, "Missing argument 'RECIPE.yaml' (`perpixel train --help` shows the options)"),
    ],
)
def test_what_goes_wrong_is_one_line(told, capsys, arguments, code, message):
    assert main(["train", *arguments]) == code
    output, errors = capsys.readouterr()
    assert output == "" and errors == f"perpixel: {message}\n"
    assert len(told) == (code in (1, 130))


def test_only_the_first_process_prints(told, capsys, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    assert main(["train", "recipe.yaml"]) == 0
    assert capsys.readouterr().out == ""


def test_help_loads_no_torch(program_environment):
    code = "import sys; from perpixel.cli import main; main(['train', '--help']); print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], env=program_environment, capture_output=True, text=True)
    assert "RECIPE.yaml" in run.stdout and run.stdout.splitlines()[-1] == "False"


def test_the_function_takes_files_and_mappings(told, tmp_path):
    assert perpixel.train("recipe.yaml", steps=3) == tmp_path / "run" / "best"
    perpixel.train({"task": "depth", "data": {"layout": "nyuv2"}}, **{"data.root": "here"})
    perpixel.train(told[0], seed=0)
    assert [(recipe.steps, recipe.data.root) for recipe in told] == [(3, "nyu"), (10_000, "here"), (3, "nyu")]
    with pytest.raises(ConfigError, match=r"no field stepz: did you mean steps\?"):
        perpixel.train("recipe.yaml", stepz=3)
