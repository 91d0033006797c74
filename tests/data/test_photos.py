from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from perpixel.data.photos import choose_split, find_images, load_art, load_photo
from perpixel.errors import InputError


def test_links_count_once_and_include_filters(photo_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "again.png").symlink_to(photo_folder / "photo1.png")
    assert len(find_images([photo_folder, tmp_path])) == 10
    # A pattern for the link's name finds it although the file itself has another name.
    assert [path.name for path in find_images([photo_folder, tmp_path], ["again.png"])] == ["again.png"]
    assert len(find_images(photo_folder, ["photo[0-3].png", "photo9.png"])) == 5


def test_nothing_found_and_no_such_folder_are_errors(photo_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        find_images(tmp_path / "nowhere")
    with pytest.raises(InputError, match="no image files"):
        find_images(photo_folder, ["*.gif"])


def test_a_file_stays_in_its_split_when_others_come_or_it_is_renamed(photo_folder: Path, tmp_path: Path) -> None:
    paths = find_images(photo_folder)
    train = choose_split(paths, "train", share=0.5)
    held_out = choose_split(paths, "validation", share=0.5)
    assert sorted(train + held_out) == sorted(paths)
    moved = tmp_path / "other.png"
    moved.write_bytes(held_out[0].read_bytes())
    assert choose_split([*train, moved], "validation", share=0.5) == [moved]


def test_one_file_or_a_wrong_split_is_refused(photo_folder: Path) -> None:
    paths = find_images(photo_folder)
    with pytest.raises(InputError, match="at least two"):
        choose_split(paths[:1], "train")
    with pytest.raises(InputError, match="'train' or 'validation'"):
        choose_split(paths, "test")  # type: ignore[arg-type]


def test_loading_limits_the_size_and_keeps_the_proportions(tmp_path: Path) -> None:
    Image.new("L", (300, 100), 90).save(tmp_path / "wide.png")
    photo = load_photo(tmp_path / "wide.png", 150)
    assert photo.shape == (50, 150, 3) and photo.dtype == np.uint8 and (photo == 90).all()
    assert load_art(tmp_path / "wide.png", 1000).shape == (100, 300, 4)


def test_a_file_that_is_no_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("not an image")
    with pytest.raises(InputError, match=r"text\.png"):
        load_photo(tmp_path / "text.png", 100)
