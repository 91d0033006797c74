"""`perpixel export`: its options, and what it says."""

import json

import pytest

import perpixel
from perpixel.cli import main
from perpixel.export.about import About, Sizes
from perpixel.export.check import Difference
from perpixel.export.write import Export


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """The calls of `perpixel.export`, which writes nothing here."""
    calls = []

    def export(model, path, **options):
        calls.append((model, path.name, options))
        file = tmp_path / path.name
        file.write_bytes(b"x" * 1000)
        sizes = Sizes(32, options["size"])
        about = About("A", {}, {}, sizes, ("alphas",), "1", opset=20)
        return Export(file, (file,), about, (Difference(64, 96, 1e-5), Difference(64, 96, 2e-5)), 1.5)

    monkeypatch.setattr(perpixel, "export", export, raising=False)
    monkeypatch.chdir(tmp_path)
    return calls


def test_the_model_is_enough(asked, capsys):
    assert main(["export", "vitmatte-nano"]) == 0
    assert asked == [
        ("vitmatte-nano", "vitmatte-nano.onnx", {"format": None, "size": None, "dynamic": None, "half": False})
    ]
    told = capsys.readouterr().out
    assert "vitmatte-nano.onnx" in told and "multiples of 32" in told and "2e-05" in told


@pytest.mark.parametrize(
    ("options", "name", "expected"),
    [
        (["--format", "openvino"], "nano.xml", {"format": "openvino"}),
        (["-f", "torch-export", "--half"], "nano.pt2", {"format": "torch-export", "half": True}),
        (["-o", "there.xml"], "there.xml", {"format": None}),
        (["--size", "512x768"], "nano.onnx", {"size": (512, 768), "dynamic": None}),
        (["--fixed"], "nano.onnx", {"size": None, "dynamic": False}),
        (["--dynamic"], "nano.onnx", {"dynamic": True}),
    ],
)
def test_options(options, name, expected, asked):
    assert main(["export", "somebody/nano", *options]) == 0
    ((_, path, given),) = asked
    assert path == name
    assert given == {"format": None, "size": None, "dynamic": None, "half": False, **expected}


def test_json(asked, capsys):
    assert main(["export", "nano", "--size", "64", "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["bytes"] == 1000 and row["difference"] == 2e-5 and row["sizes"] == [[64, 96], [64, 96]]
    assert asked[0][2]["size"] == (64, 64)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--size", "512,768"], "--size takes height and width such as 512x768"),
        (["--size", "64x64", "--dynamic"], "exclude each other"),
        (["-o", "nano.bin"], "add --format onnx"),
    ],
)
def test_wrong_options(options, message, asked, capsys):
    assert main(["export", "nano", *options]) == 2
    assert message in capsys.readouterr().err
    assert not asked
