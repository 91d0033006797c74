"""docs/reproduce.md: every command is one that the program takes, for a layout and options that there are."""

import inspect
import re
import shlex
from importlib import import_module

import pytest

import perpixel
from perpixel.cli import main
from perpixel.data.layouts import EXPECTED, LAYOUTS
from perpixel.evaluate import files, model
from perpixel.evaluate.rules import Rules
from perpixel.hub.catalog import find_entry

PAGE = "docs/reproduce.md"


def commands(repository):
    found = re.findall(r"`(perpixel evaluate [^`…]+)`", (repository / PAGE).read_text("utf-8"))
    return [shlex.split(line)[1:] for line in found]


@pytest.fixture
def asked(monkeypatch):
    """What the program would do, without doing it."""
    calls = []

    def stand_in(kind):
        def record(*args, **options):
            calls.append((kind, args, options))
            raise perpixel.InputError("enough")

        return record

    monkeypatch.setattr(model, "evaluate", stand_in("model"))
    monkeypatch.setattr(files, "evaluate_files", stand_in("files"))
    return calls


def test_every_command_is_understood(repository, asked, capsys):
    lines = commands(repository)
    assert len(lines) > 60
    for words in lines:
        before = len(asked)
        assert main(words) == 1, words
        assert capsys.readouterr().err == "perpixel: enough\n", words
        kind, args, options = asked[-1]
        assert len(asked) == before + 1
        rules = options["rules"]
        assert isinstance(rules, Rules)
        if kind == "files":
            rules.check(args[0])
            continue
        assert options["dataset"] in LAYOUTS and options["dataset"] in EXPECTED
        module, _, name = LAYOUTS[options["dataset"]].partition(":")
        reader = inspect.signature(getattr(import_module(module), name))
        assert set(options["options"]) <= set(reader.parameters)
        task = options["task"] or default_task(options["dataset"])
        rules.check(task)
        (source,) = args
        if not source.endswith((".pkl", ".pt")) and not source.startswith("runs/"):
            entry = find_entry(source)
            assert entry is not None, f"{source} is not among the models that perpixel knows"
            assert entry.family in families(task)


def default_task(dataset):
    if dataset in ("composition-1k", "distinctions-646"):
        return "matting"
    if dataset in ("nyuv2", "kitti"):
        return "depth"
    return {"coco": "instance", "coco-panoptic": "panoptic"}.get(dataset, "semantic")


def families(task):
    if task == "matting":
        return ("vitmatte",)
    return ("dpt", "depth_anything") if task == "depth" else ("mask2former", "dpt")


def test_every_data_set_of_the_papers_is_there(repository):
    named = {words[words.index("--dataset") + 1] for words in commands(repository) if "--dataset" in words}
    assert named == {
        "composition-1k", "distinctions-646", "coco", "coco-panoptic", "ade20k", "cityscapes", "nyuv2", "kitti",
        "pascal-context",
    }  # fmt: skip


def test_the_figures_are_those_of_the_catalogue(repository):
    """Where both say one, they say the same."""
    compared = 0
    for row in (repository / PAGE).read_text("utf-8").splitlines():
        source = re.search(r"perpixel evaluate (\S+) --dataset", row)
        entry = source and find_entry(source[1])
        if not entry or entry.family != "mask2former":
            continue
        headline = "AP" if "instance" in entry.name else "mIoU" if "semantic" in entry.name else "PQ"
        assert f"{entry.published[headline]:.1f}" in re.findall(r"\d+\.\d", row.split("`")[0]), row
        compared += 1
    assert compared > 20
