"""`perpixel depth` and `perpixel bokeh`, with a model whose depth is known."""

import json
from pathlib import Path
from typing import get_args, get_type_hints

import numpy as np
import pytest
from PIL import Image

import perpixel
from models.vitmatte.tiny import tiny_model
from perpixel.cli import main
from perpixel.cli.depth import FORMS
from perpixel.cli.depth import depth as command
from perpixel.ops.depth import COLOUR_MAPS
from perpixel.results import DepthMap
from perpixel.tasks import depth as task
from perpixel.tasks import matting
from tasks.known_depth import estimator, smooth

SCENE = np.rint(smooth(48, 64)[..., None].repeat(3, 2) * 255).astype(np.uint8)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Pictures to work on; the models are not loaded but stood in for."""
    monkeypatch.chdir(tmp_path)
    network = tiny_model()
    made = {"inverse": estimator(side=48), "metric": estimator(side=48, kind="metric")}
    load = task.load_depth_model

    def stand_in(model=None, *_, kind=None):
        return load(made[kind or "inverse"] if model is None or isinstance(model, str) else model)

    monkeypatch.setattr(task, "load_depth_model", stand_in)
    monkeypatch.setattr(matting, "load_matting_model", lambda *_: network)
    monkeypatch.setitem(vars(perpixel), "tune_allocator", lambda **_: None)
    Path("in").mkdir()
    for name in ("a", "b"):
        Image.fromarray(SCENE).save(f"in/{name}.png")
    return tmp_path


def names(path):
    return sorted(each.name for each in Path(path).iterdir())


def test_sixteen_bits_by_default(folder, capsys):
    assert main(["depth", "in/a.png"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("in/a.png → in/a-depth.png  64×48, ") and "inverse depth 0.2" in out and err == ""
    assert names("in") == ["a-depth.png", "a-depth.png.json", "a.png", "b.png"]
    found = DepthMap.load("in/a-depth.png")
    assert found.kind == "inverse"
    np.testing.assert_allclose(found.values, SCENE[..., 0] / 255, atol=5e-3)
    assert Image.open("in/a-depth.png").mode.startswith("I")


def test_every_form_of_a_folder(folder, capsys):
    forms = [form for form in FORMS if form not in ("png8", "exr")]
    assert main(["depth", "in", "--save", ",".join(forms), "-o", "out", "--json", "--fov", "70"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["input"] for line in lines] == ["in/a.png", "in/b.png"]
    assert lines[0]["kind"] == "inverse" and lines[0]["unit"] is None and lines[0]["unknown"] == 0
    assert 0.19 < lines[0]["least"] < lines[0]["most"] < 0.81
    written = [Path(path).name for path in lines[0]["files"]]
    assert written == [
        "a.png", "a.tiff", "a.npy", "a.pfm", "a.ply", "a.glb", "a-colour.png", "a-relief.png",
    ]  # fmt: skip
    assert set(written) < set(names("out")) and not [name for name in names("out") if "perpixel" in name]
    exact = DepthMap.load("out/a.npy").values
    for name in ("a.tiff", "a.pfm"):
        np.testing.assert_array_equal(DepthMap.load(f"out/{name}").values, exact)
    assert Path("out/a.ply").read_bytes().startswith(b"ply")


def test_metres_from_known_distances(folder, capsys):
    assert main(["depth", "in/a.png", "--align", "38,19=2", "--align", "2,2=8", "-o", "x.npy"]) == 0
    assert " m\n" in capsys.readouterr().out
    found = DepthMap.load("x.npy")
    assert found.unit == "m"
    np.testing.assert_allclose([found.values[19, 38], found.values[2, 2]], [2, 8], rtol=1e-5)


def test_points_on_the_same_depth_are_the_pictures_error(folder, capsys):
    Image.fromarray(np.full((48, 64, 3), 90, np.uint8)).save("in/b.png")
    assert main(["depth", "in", "-o", "out", "--align", "38,19=2", "--align", "2,2=8"]) == 1
    err = capsys.readouterr().err
    assert "same depth" in err and "1 of 2 files failed" in err
    assert names("out") == ["a.png", "a.png.json"]


def test_colours(folder):
    assert main(["depth", "in/a.png", "--colour", "turbo"]) == 0
    expected = DepthMap.load("in/a-depth.png").colour("turbo")
    shown = np.asarray(Image.open("in/a-depth-colour.png")).astype(int)
    assert np.abs(shown - expected).max() <= 6  # a step of the map: the PNG's numbers are rounded
    assert main(["depth", "in/b.png", "--save", "relief", "--colour", "grey", "-o", "out/"]) == 0
    assert names("out") == ["b-relief.png"]
    options = get_type_hints(command)["colour"]
    assert set(get_args(get_args(options)[0])) == set(COLOUR_MAPS)


def test_kind_detail_and_size_reach_the_task(folder, capsys):
    words = ["--kind", "metric", "--detail", "tiled", "--size", "16", "--save", "npy", "-o", "x.npy"]
    assert main(["depth", "in/a.png", *words]) == 0
    assert DepthMap.load("x.npy").unit == "m"
    assert main(["depth", "in/a.png", "--max-memory", "1MB"]) == 1
    assert "max_memory is 1 MB: this model needs" in capsys.readouterr().err


@pytest.mark.parametrize("suffix", [".png", ".tif", ".tiff", ".npy", ".pfm", ".ply", ".glb"])
def test_the_form_follows_from_the_file(folder, suffix):
    assert main(["depth", "in/a.png", "-o", f"x{suffix}"]) == 0
    assert Path(f"x{suffix}").stat().st_size > 0


def test_a_broken_picture_does_not_stop_the_others(folder, capsys):
    Path("in/aa.png").write_text("no picture")
    assert main(["depth", "in", "-o", "out"]) == 1
    assert "1 of 3 files failed" in capsys.readouterr().err
    assert names("out") == ["a.png", "a.png.json", "b.png", "b.png.json"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["in/a.png", "--save", "png12"], "does not know 'png12'"),
        (["in/a.png", "--save", "png8,png16"], "one file"),
        (["in/a.png", "--save", "npy", "-o", "x.png"], "fits none of --save npy"),
        (["in/a.png", "-o", "x.jpg"], "suffix .jpg"),
        (["in", "-o", "x.png"], "2 pictures do not fit"),
        (["in/a.png", "-o", "in/a.png"], "would be overwritten"),
        (["in/a.png", "in/b.png", "--save", "npy", "-o", "x.npy"], "2 pictures do not fit"),
        (["in/a.png", "--align", "1,2"], "such as 120,80=1.5"),
        (["in/a.png", "--align", "1,2=0"], "such as 120,80=1.5"),
        (["in/a.png", "--align", "1=2"], "whole numbers"),
        (["in/a.png", "--align", "1,2=3"], "add another"),
        (["in/a.png", "--align", "1,2=3", "--align", "1,2=4"], "two distances at 1,2"),
        (["in/a.png", "--farthest", "50"], "without --align"),
        (["in/a.png", "--fov", "60"], "--fov is for point clouds"),
        (["in/a.png", "--save", "ply", "--fov", "180"], "between 0 and 180"),
        (["in/a.png", "--colour", "rainbow"], "--colour"),
        (["in/a.png", "--detail", "fine"], "--detail"),
        (["in/a.png", "--size", "0"], "--size"),
    ],
)
def test_a_wrong_command(folder, capsys, words, message):
    assert main(["depth", *words]) == 2
    out, err = capsys.readouterr()
    assert message in err and err.count("\n") == 1 and out == ""
    assert names(".") == ["in"] and names("in") == ["a.png", "b.png"]


def test_one_name_in_two_folders(folder, capsys):
    Path("two").mkdir()
    Image.fromarray(SCENE).save("two/a.jpg")
    assert main(["depth", "in/a.png", "two/a.jpg", "-o", "out"]) == 2
    assert "would both become out/a.png" in capsys.readouterr().err


# bokeh


def test_bokeh_estimates_depth(folder, capsys):
    assert main(["bokeh", "in", "--focus", "38,19", "--aperture", "8", "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [Path(line["output"]).name for line in lines] == names("in-bokeh") == ["a.png", "b.png"]
    expected = perpixel.bokeh(SCENE, model=estimator(side=48), focus=(38, 19), aperture=8).pixels
    np.testing.assert_array_equal(np.asarray(Image.open("in-bokeh/a.png")), expected)


@pytest.mark.parametrize("files", ["out", "out/a-depth.png"])
def test_bokeh_with_depth_from_files(folder, files):
    assert main(["depth", "in/a.png", "-o", "out/"]) == 0
    for suffix in (".png", ".png.json"):
        Path(f"out/a{suffix}").rename(f"out/a-depth{suffix}")
    assert main(["bokeh", "in/a.png", "--depth", files, "--focus", "38,19", "-o", "x.png"]) == 0
    known = DepthMap.load("out/a-depth.png")
    expected = perpixel.bokeh(SCENE, depth=known, focus=(38, 19)).pixels
    np.testing.assert_array_equal(np.asarray(Image.open("x.png")), expected)


def test_bokeh_with_depth_from_elsewhere(folder, capsys):
    Image.fromarray(SCENE[..., 0]).save("d.png")
    words = ["bokeh", "in/a.png", "--depth", "d.png", "--focus", "38,19", "-o", "x.png"]
    assert main(words) == 1
    assert "d.png.json" in capsys.readouterr().err and not Path("x.png").exists()
    assert main([*words, "--depth-kind", "inverse"]) == 0
    expected = perpixel.bokeh(SCENE, depth=DepthMap(SCENE[..., 0]), focus=(38, 19)).pixels
    np.testing.assert_array_equal(np.asarray(Image.open("x.png")), expected)


def test_bokeh_of_a_subject(folder):
    mask = np.zeros((48, 64), np.uint8)
    mask[8:40, 8:40] = 255
    Image.fromarray(mask).save("m.png")
    assert main(["bokeh", "in/a.png", "--mask", "m.png", "--aperture", "6", "-o", "x.png"]) == 0
    found = np.asarray(Image.open("x.png")).astype(int)
    assert np.abs(found - SCENE)[18:30, 18:30].max() <= 1


@pytest.mark.parametrize(
    ("words", "message", "code"),
    [
        ([], "what is to be sharp?", 2),
        (["--focus", "1"], "--focus takes 2 whole numbers", 2),
        (["--focus", "1,1", "--aperture", "30"], "--aperture", 2),
        (["--focus", "1,1", "--depth", "none.npy"], "no file none.npy", 2),
        (["--focus", "1,1", "--depth", "in", "--model", "x"], "leave --model", 2),
        (["--focus", "1,1", "--depth-kind", "metric"], "without --depth", 2),
        (["--mask", "in/b.png", "--trimap", "in/b.png"], "cannot be combined", 2),
        (["--focus", "1,1", "--matting-model", "x"], "without a subject", 2),
        (["--focus", "64,1"], "outside the image", 1),
        (["--focus", "1,1", "--depth", "two"], "there is no depth for a.png in two", 1),
    ],
)
def test_a_wrong_bokeh(folder, capsys, words, message, code):
    Path("two").mkdir()
    assert main(["bokeh", "in/a.png", *words]) == code
    out, err = capsys.readouterr()
    assert message in err and err.count("\n") == 1 and out == ""
    assert names("in") == ["a.png", "b.png"]
