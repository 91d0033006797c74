import os
from pathlib import Path

import pytest

from perpixel.cli.files import expand, hint_for, place
from perpixel.cli.reporting import UsageError
from perpixel.errors import InputError, OutputError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("b.jpg", "a.PNG", "notes.txt", "deep/c.webp", "deep/er/d.tif", "empty/readme.md"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def names(sources):
    return [os.fspath(source.path) for source in sources]


def test_a_folder_stands_for_the_pictures_directly_in_it(folder):
    assert [source.folder for source in expand(["deep", "b.jpg"])] == [Path("deep"), None]
    assert names(expand(["."])) == ["a.PNG", "b.jpg"]
    assert names(expand(["deep"])) == ["deep/c.webp"]


def test_patterns_files_and_repeats(folder):
    assert names(expand(["deep/**/*.*"])) == ["deep/c.webp", "deep/er/d.tif"]
    assert names(expand(["notes.txt", "b.jpg", "*.jpg", "absent.png"])) == ["notes.txt", "b.jpg", "absent.png"]


def test_a_file_whose_name_looks_like_a_pattern_is_itself(folder):
    (folder / "photo[1].jpg").touch()
    assert names(expand(["photo[1].jpg"])) == ["photo[1].jpg"]


@pytest.mark.parametrize("argument", ["empty", "*.exr"])
def test_nothing_found_is_a_usage_error(folder, argument):
    with pytest.raises(UsageError, match=argument.replace("*", r"\*")):
        expand([argument])


def outputs(arguments, output=None):
    return [os.fspath(path) for path in place(expand(arguments), output, "cutout")]


def test_results_lie_beside_their_inputs(folder):
    assert outputs(["b.jpg", "deep/c.webp"]) == ["b-cutout.png", "deep/c-cutout.png"]


def test_results_of_a_folder_lie_in_a_folder_beside_it(folder):
    assert outputs(["deep"]) == [str(folder / "deep-cutout" / "c.png")]
    assert (folder / "deep-cutout").is_dir()


@pytest.mark.parametrize("output", ["out", "out/", "out.d/"])
def test_an_output_folder_is_made(folder, output):
    assert outputs(["b.jpg"], output) == [f"{output.rstrip('/')}/b.png"]
    assert (folder / output).is_dir()


def test_an_output_file_is_taken_as_it_is(folder):
    assert outputs(["b.jpg"], "deep/x.webp") == ["deep/x.webp"]


@pytest.mark.parametrize(
    ("arguments", "output", "words"),
    [
        (["b.jpg", "a.PNG"], "x.png", "2 pictures"),
        (["deep"], "x.png", "give a folder"),
        (["a.PNG"], "a.PNG", "overwritten"),
        (["deep/../a.PNG"], "a.PNG", "overwritten"),
        (["b.jpg", "b.png"], "out", "would both become"),
    ],
)
def test_no_result_overwrites_anything_of_this_command(folder, arguments, output, words):
    with pytest.raises(UsageError, match=words):
        outputs(arguments, output)


def test_a_hint_is_not_overwritten(folder):
    with pytest.raises(UsageError, match="overwritten"):
        place(expand(["b.jpg"]), "a.PNG", "alpha", others=[None, folder / "a.PNG"])


def test_a_format_without_transparency_is_refused_before_the_work(folder):
    assert place(expand(["b.jpg"]), "x.jpg", "cutout") == [Path("x.jpg")]
    with pytest.raises(InputError, match="transparency"):
        place(expand(["b.jpg"]), "x.jpg", "cutout", alpha=True)


def test_a_missing_input_makes_no_folder(folder):
    assert outputs(["nowhere/a.jpg"]) == ["nowhere/a-cutout.png"]
    assert not (folder / "nowhere").exists()


def test_a_missing_folder_for_an_output_file_is_said_before_the_work(folder):
    with pytest.raises(OutputError, match="the folder nowhere does not exist"):
        outputs(["b.jpg"], "nowhere/x.png")


def test_a_folder_below_a_file_cannot_be_made(folder):
    with pytest.raises(OutputError, match="cannot make the folder"):
        outputs(["b.jpg"], "notes.txt/out/")


def test_hints_are_matched_by_name(folder):
    image = folder / "b.jpg"
    hints = folder / "hints"
    hints.mkdir()
    with pytest.raises(InputError, match=r"b\.png or b-trimap\.png"):
        hint_for(image, hints, "trimap")
    for name in ("b_trimap.png", "b-trimap.png", "b.png"):  # from the last choice to the first
        (hints / name).touch()
        assert hint_for(image, hints, "trimap") == hints / name
    assert hint_for(image, hints / "any.png", "trimap") == hints / "any.png"


def test_an_image_is_never_its_own_hint(folder):
    with pytest.raises(InputError):
        hint_for(folder / "b.jpg", folder, "mask")
