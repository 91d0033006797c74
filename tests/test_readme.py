"""What the README shows works: its Python is run, and its commands, in a folder that holds the examples.

The installation that its first two commands begin with is the matter of `end_to_end/test_first_command.py` and
of `.ci/run`.
"""

import re
import shlex
import shutil
from pathlib import Path

import pytest
from PIL import Image

from perpixel.cli import main
from perpixel.tasks import segmentation
from tasks.known_depth import estimator
from train import pictures

README = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
SHELL = [
    line
    for block in re.findall(r"```bash\n(.*?)```", README, flags=re.DOTALL)
    for line in block.replace("\\\n", " ").splitlines()
]


def framed_segmenter():
    """A Mask2Former that finds a person in the middle of every picture, and wall around."""
    import torch

    from models.mask2former.tiny import tiny_config
    from perpixel import Mask2FormerForUniversalSegmentation, Mask2FormerForUniversalSegmentationOutput
    from perpixel.models.mask2former.processor import Mask2FormerImageProcessor
    from perpixel.tasks.segmentation import Segmenter

    class Framed(Mask2FormerForUniversalSegmentation):
        def forward(self, pixel_values, pixel_mask=None, **_):
            height, width = pixel_values.shape[-2] // 4, pixel_values.shape[-1] // 4
            y, x = torch.linspace(-1, 1, height)[:, None], torch.linspace(-1, 1, width)
            inside = (y / 0.8).square() + (x / 0.5).square() < 1
            person = torch.where(inside, 10.0, -10.0)
            return Mask2FormerForUniversalSegmentationOutput(
                class_queries_logits=torch.tensor([[[9.0, 0, 0], [0, 9.0, 0]]]),
                masks_queries_logits=torch.stack([person, -person])[None],
            )

    model = Framed(tiny_config(num_labels=None, id2label={0: "person", 1: "wall"})).eval()
    return Segmenter(model, Mask2FormerImageProcessor(size_divisor=32))


def at_hand(words, folder):
    """The same command with a tiny model and two steps instead of a long run from a model of the Hub."""
    if words[1] != "train":
        return words
    from models.mask2former.tiny import tiny_config
    from perpixel import Mask2FormerForUniversalSegmentation
    from perpixel.models.mask2former.processor import Mask2FormerImageProcessor

    config = tiny_config(num_labels=None, id2label={0: "dark", 1: "bright"})
    Mask2FormerForUniversalSegmentation(config).save_pretrained(folder)
    Mask2FormerImageProcessor(size={"height": 64, "width": 64}).save_pretrained(folder)
    small = ["augment.crop=[64, 64]", "batch_size=2", "workers=0", "trackers=[]", "validate_every=1"]
    return [*words, f"start={folder}", "steps=2", *small]


COMMANDS = [part.strip() for line in SHELL for part in line.split("&&") if part.strip().startswith("perpixel ")]


@pytest.fixture
def checkout(tmp_path, monkeypatch, examples):
    # The Hub's models are out of reach here: one that sees a person in the middle of a picture takes the place of the
    # one for segmentation, and one that takes what is bright for near that of the one for depth.
    load_segmenter = segmentation.load_segmenter
    monkeypatch.setattr(
        segmentation,
        "load_segmenter",
        lambda model=None, *more, **named: (
            framed_segmenter() if model is None else load_segmenter(model, *more, **named)
        ),
    )
    monkeypatch.setattr("perpixel.tasks.depth.load_depth_model", lambda *_, **__: estimator(side=64))
    shutil.copytree(examples, tmp_path / "examples")
    shutil.copytree(examples.parent / "recipes", tmp_path / "recipes")
    pictures.labels(tmp_path / "photos")
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_first_screen_installs_cuts_out_and_tests():
    first, second = SHELL[:2]
    assert first.startswith("python -m pip install -c constraints.txt . && perpixel cutout examples/")
    assert second == 'python -m pip install -c constraints.txt ".[test]" && python -m pytest -n 2'


@pytest.mark.slow
def test_python_examples_run(checkout):
    assert len(PYTHON) >= 3
    names = {}
    for block in PYTHON:
        exec(compile(block, "README.md", "exec"), names)
    assert names["finer"].alpha.shape == names["result"].alpha.shape == (345, 340)
    assert names["on_white"].shape == (345, 340, 3)
    assert names["alpha"].shape[-2:] == (70, 90)
    assert names["mask"].shape == (512, 512) and names["mask"][256, 256] and not names["mask"][0, 0]
    assert names["metres"].unit == "m" and Path("astronaut.ply").stat().st_size > 1000
    for name in ("portrait.png", "person.png"):
        with Image.open(name) as picture:
            assert picture.mode == "RGBA"


@pytest.mark.slow
def test_commands_run_in_order(checkout, capsys):
    assert len(COMMANDS) >= 6
    for command in COMMANDS:
        words = at_hand(shlex.split(command), checkout / "tiny")
        assert main(words[1:]) == 0, f"{command}\n{capsys.readouterr().err}"
        if "-o" in words:
            assert Path(words[words.index("-o") + 1]).exists()


def test_the_table_of_hints_names_real_options(capsys):
    assert main(["cutout", "--help"]) == 0
    shown = capsys.readouterr().out
    options = set(re.findall(r"`(--[a-z-]+)", README))
    assert {"--box", "--point", "--mask", "--trimap", "--label", "--json", "--max-memory"} <= options
    for option in options:
        assert option in shown, option


def test_links_lead_somewhere():
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link]
    assert links
    for link in links:
        assert (Path(__file__).parents[1] / link).exists(), link
