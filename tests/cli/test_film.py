"""`perpixel cutout`, `depth` and `segment` take films, and say in one line what is wrong with one."""

import json
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from images.films import broken_film, pictures, write_film
from models.vitmatte.tiny import tiny_model
from perpixel.cli import film, main
from perpixel.images.video import FILM_SUFFIXES, open_film
from perpixel.tasks import depth, matting, segmentation
from tasks.known_depth import estimator
from tasks.painted import painted_segmenter


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A film with sound and its first trimap; the models are not loaded but stood in for."""
    monkeypatch.chdir(tmp_path)
    segmenter, network, seer = painted_segmenter(), tiny_model(), estimator()
    monkeypatch.setattr(segmentation, "load_segmenter", lambda *_, **__: segmenter)
    monkeypatch.setattr(matting, "load_matting_model", lambda *_, **__: network)
    load = depth.load_depth_model
    monkeypatch.setattr(
        depth, "load_depth_model", lambda model, *_, **__: seer if isinstance(model, str) else load(model)
    )
    moving = [np.roll(pictures(1, 64, 48)[0], number, axis=1) for number in range(6)]
    write_film(tmp_path / "a.mp4", moving, sound="aac")
    trimap = np.full((48, 64), 128, np.uint8)
    trimap[:16], trimap[32:] = 0, 255
    Image.fromarray(trimap).save("trimap.png")
    return tmp_path


TRIMAP = ["--trimap-first", "trimap.png"]


def codecs(path):
    with av.open(str(path)) as container:
        return [stream.codec_context.name for stream in container.streams]


def test_a_cutout_by_default_is_prores_with_alpha_and_sound(folder, capsys):
    assert main(["cutout", "a.mp4", *TRIMAP]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("a.mp4 → a-cutout.mov  64×48, ") and out.endswith("6 frames\n") and not err
    assert codecs("a-cutout.mov") == ["prores", "aac"]
    assert len(list(open_film("a-cutout.mov").frames())) == 6


@pytest.mark.parametrize(("goal", "expected"), [("out.webm", ["vp9", "opus"]), ("out.mkv", ["ffv1", "aac"])])
def test_other_films_with_alpha(folder, goal, expected):
    assert main(["cutout", "a.mp4", *TRIMAP, "-o", goal]) == 0
    assert codecs(goal) == expected


def test_a_folder_becomes_frames(folder):
    assert main(["cutout", "a.mp4", *TRIMAP, "-o", "frames/"]) == 0
    assert len(list(Path("frames").glob("*.png"))) == 6
    with Image.open("frames/000001.png") as picture:
        assert picture.mode == "RGBA"
    assert Path("frames/sound.mka").exists()


def test_on_a_background_it_is_an_ordinary_film(folder):
    assert main(["cutout", "a.mp4", *TRIMAP, "--background", "white", "-o", "out.mp4"]) == 0
    assert codecs("out.mp4") == ["h264", "aac"]
    assert next(open_film("out.mp4").frames()).pixels[4, 4].min() > 240


def test_json_tells_of_the_frames(folder, capsys):
    assert main(["cutout", "a.mp4", *TRIMAP, "--json"]) == 0
    line = json.loads(capsys.readouterr().out)
    assert (line["ok"], line["frames"], line["rate"], line["output"]) == (True, 6, 10.0, "a-cutout.mov")


def test_depth_is_a_film_of_colours_or_a_folder_of_numbers(folder):
    assert main(["depth", "a.mp4", "--model", "seer"]) == 0
    assert codecs("a-depth.mp4") == ["h264", "aac"]
    assert main(["depth", "a.mp4", "--model", "seer", "-o", "numbers/"]) == 0
    with Image.open("numbers/000001.png") as picture:
        assert picture.mode.startswith("I;16")
    assert json.loads(Path("numbers/depth.json").read_text())["kind"] == "inverse"
    assert main(["depth", "a.mp4", "--model", "seer", "--colour", "grey", "-o", "pictures/"]) == 0
    with Image.open("pictures/000001.png") as picture:
        assert picture.mode == "RGB"


def test_segments_are_a_film(folder):
    assert main(["segment", "a.mp4", "--model", "painted"]) == 0
    assert codecs("a-segments.mp4") == ["h264", "aac"]


def test_many_films_go_into_a_folder(folder, capsys):
    write_film(folder / "b.mp4", pictures(1, 64, 48) * 3)
    assert main(["cutout", "a.mp4", "b.mp4", *TRIMAP, "-o", "out/"]) == 0
    assert sorted(path.name for path in Path("out").iterdir()) == ["a.mov", "b.mov"]
    assert main(["cutout", "a.mp4", "b.mp4", *TRIMAP, "-o", "out.mov"]) == 2
    assert "2 films do not fit into one file" in capsys.readouterr().err


def test_a_film_that_breaks_off_is_kept_as_far_as_it_goes(folder, capsys):
    broken = broken_film(folder)
    assert main(["depth", broken.name, "--model", "seer", "-o", "out.mp4"]) == 1
    out, err = capsys.readouterr()
    assert not out and err.count("\n") == 1
    assert "broken.mp4 breaks off after 1" in err and "are kept in out.mp4" in err
    assert 10 <= len(list(open_film("out.mp4").frames())) < 15


BAD = {
    "a text file": (["notes.mp4"], 1, "holds text"),
    "an empty file": (["empty.mp4"], 1, "empty (0 bytes)"),
    "a missing film": (["none.mp4"], 1, "does not exist"),
    "sound alone": (["sound.mp4"], 1, "has no pictures"),
    "an output that holds no alpha": (["a.mp4", "-o", "out.mp4"], 1, "cannot hold a film with transparency"),
    "an unknown output": (["a.mp4", "-o", "out.xyz"], 1, "use .mov, .webm, .mkv"),
    "no folder to write in": (["a.mp4", "-o", "no/out.mov"], 1, "does not exist, make it first"),
    "the film itself": (["a.mp4", "-o", "a.mp4", "--background", "white"], 2, "would be overwritten"),
    "a picture beside it": (["a.mp4", "trimap.png"], 2, "do films and pictures apart"),
    "an option of pictures": (["a.mp4", "--refine", "closed-form"], 2, "--refine is for pictures"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_clear_line(folder, capsys, case):
    arguments, code, words = BAD[case]
    Path("notes.mp4").write_text("no film at all\n")
    Path("empty.mp4").touch()
    with av.open("sound.mp4", "w") as container:
        stream = container.add_stream("aac", rate=48000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 2048), np.int16), format="s16", layout="mono")
        frame.sample_rate = 48000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert main(["cutout", *arguments, *TRIMAP]) == code
    out, err = capsys.readouterr()
    assert not out and err.count("\n") == 1 and words in err
    assert not list(Path().glob(".perpixel-*"))


def test_a_trimap_of_another_size(folder, capsys):
    Image.fromarray(np.array([[0, 128, 255]], np.uint8)).save("small.png")
    assert main(["cutout", "a.mp4", "--trimap-first", "small.png"]) == 1
    assert "trimap is 3×1 but the image is 64×48" in capsys.readouterr().err


def test_hints_of_films_are_not_for_pictures(folder, capsys):
    assert main(["cutout", "trimap.png", *TRIMAP]) == 2
    assert "are for films" in capsys.readouterr().err


def test_options_of_pictures_are_refused_for_films(folder, capsys):
    for command, option in (("depth", ["--save", "ply"]), ("segment", ["--coco", "x.json"])):
        assert main([command, "a.mp4", "--model", "m", *option]) == 2
        assert f"{option[0]} is for pictures" in capsys.readouterr().err


def test_films_are_known_by_the_same_suffixes():
    assert film.SUFFIXES == FILM_SUFFIXES
