"""Files of samples found by name: every arrangement of folders, and every way in which they do not fit."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from data.miniatures_matting import photo, write
from perpixel.data.folders import Part, Reader, find_parts, list_files, named_list, pair_names, plain_folder, read_lines
from perpixel.data.samples import Sample
from perpixel.errors import InputError

PARTS = (Part("image", ("images", "image")), Part("alpha", ("alphas",)), Part("trimap", ("trimaps",), needed=False))


def fill(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


def find(root: Path, split: str = "train", parts=PARTS):
    return find_parts(root, parts, split, "images/NAME and alphas/NAME")


class TestArrangements:
    @pytest.mark.parametrize(
        ("images", "alphas", "split"),
        [
            ("images", "alphas", "train"),
            ("image", "alphas", "all"),
            ("train/images", "train/alphas", "train"),
            ("training/images", "training/alphas", "train"),
            ("images/val", "alphas/val", "validation"),
            ("validation/images", "validation/alphas", "validation"),
            ("night/images", "night/alphas", "night"),
        ],
    )
    def test_folders(self, tmp_path, images, alphas, split):
        fill(tmp_path, f"{images}/b.JPG", f"{images}/sub/a.png", f"{alphas}/sub/a.webp", f"{alphas}/b.png")
        found = find(tmp_path, split)
        assert found.names == ("b", "sub/a")
        assert found.paths["image"] == (tmp_path / images / "b.JPG", tmp_path / images / "sub/a.png")
        assert found.paths["alpha"] == (tmp_path / alphas / "b.png", tmp_path / alphas / "sub/a.webp")
        assert "trimap" not in found.paths

    def test_each_split_has_its_own(self, tmp_path):
        fill(tmp_path, "images/train/a.png", "alphas/train/a.png", "images/test/b.png", "alphas/test/b.png")
        assert find(tmp_path).names == ("a",)
        assert find(tmp_path, "test").names == ("b",)
        assert find(tmp_path, "all").names == ("test/b", "train/a")

    def test_all_in_one_folder(self, tmp_path):
        fill(tmp_path, "x.color.jpg", "x.depth.png", "y/z.color.jpg", "y/z.depth.png", "notes.txt")
        parts = (Part("image", ("images",), ending=".color.jpg"), Part("depth", ("depths",), ending=".depth.png"))
        assert find(tmp_path, parts=parts).names == ("x", "y/z")

    def test_the_longest_ending_wins_and_other_pictures_are_left(self, tmp_path):
        fill(tmp_path, "x.png", "x_alpha.png", "x_trimap1.png", "x_trimap2.png", "y.png", "y_alpha.png")
        parts = (Part("image", ("images",), ending=".png"), Part("alpha", ("alphas",), ending="_alpha.png"))
        found = find(tmp_path, parts=parts)
        assert found.names == ("x", "y")
        assert found.paths["image"] == (tmp_path / "x.png", tmp_path / "y.png")

    def test_hidden_files_and_other_kinds_are_left(self, tmp_path):
        fill(tmp_path, "images/a.png", "images/.a.png", "images/._b.png", "images/.cache/c.png", "images/x.txt")
        assert list(list_files(tmp_path / "images")) == ["a"]

    def test_endings_in_folders_of_their_own(self, tmp_path):
        fill(tmp_path, "images/x_rgb.png", "images/x_depth.png", "images/_rgb.png", "alphas/x.png")
        assert list_files(tmp_path / "images", ending="_rgb.png") == {"x": tmp_path / "images" / "x_rgb.png"}
        parts = (Part("image", ("images",), ending="_rgb.png"), Part("alpha", ("alphas",)))
        assert find(tmp_path, parts=parts).names == ("x",)

    def test_links_are_followed_and_circles_are_not(self, tmp_path):
        fill(tmp_path, "far/a.png", "near/b.png")
        (tmp_path / "near" / "away").symlink_to(tmp_path / "far")
        (tmp_path / "near" / "self").symlink_to(tmp_path / "near")
        assert list(list_files(tmp_path / "near")) == ["away/a", "b"]


class TestWhatDoesNotFit:
    def test_no_partner(self, tmp_path):
        fill(tmp_path, *(f"images/{n}.png" for n in range(9)), "alphas/0.png", "alphas/extra.png")
        with pytest.raises(InputError, match=r"8 of 9 images have no alpha.*1\.png.*5\.png and 3 more"):
            find(tmp_path)
        fill(tmp_path, *(f"alphas/{n}.png" for n in range(9)))
        with pytest.raises(InputError, match=r"1 of 10 alphas have no image.*extra\.png"):
            find(tmp_path)

    def test_a_needless_part_must_be_whole_if_it_is_there(self, tmp_path):
        fill(tmp_path, "images/a.png", "alphas/a.png", "images/b.png", "alphas/b.png", "trimaps/a.png")
        with pytest.raises(InputError, match=r"1 of 2 images have no trimap.*b\.png"):
            find(tmp_path)

    def test_one_name_twice(self, tmp_path):
        fill(tmp_path, "images/a.png", "images/a.jpg", "alphas/a.png")
        with pytest.raises(InputError, match=r"a\.(png|jpg) and .*a\.(png|jpg) have the same name 'a'"):
            find(tmp_path)

    @pytest.mark.parametrize(
        ("files", "split", "message"),
        [
            (["images/a.png"], "train", "no folder alphas with alphas: expected is images/NAME"),
            (["alphas/a.png"], "train", "no folder images: expected"),
            (["images/a.txt", "alphas/a.png"], "train", r"images holds no image .*\.png"),
            (["images/a.png", "alphas/a.png"], "validation", "no part 'validation': put it into a folder validation"),
            (["train/images/a.png", "train/alphas/a.png"], "test", "no part 'test': it has train"),
            (["images/val/a.png", "alphas/val/a.png"], "train", "no part 'train'"),
            (["train/images/a.png", "train/x.png"], "train", "no folder alphas"),
        ],
    )
    def test_missing(self, tmp_path, files, split, message):
        fill(tmp_path, *files)
        with pytest.raises(InputError, match=message):
            find(tmp_path, split)

    def test_nothing_with_that_ending(self, tmp_path):
        fill(tmp_path, "x.color.jpg", "x.depth.png")
        parts = (Part("image", ("images",), ending=".color.jpg"), Part("depth", ("depths",), ending=".depht.png"))
        with pytest.raises(InputError, match=r"no depth \(\*\.depht\.png\)"):
            find(tmp_path, parts=parts)
        with pytest.raises(InputError, match="no part 'test'"):
            find(tmp_path, "test", parts)


def test_plain_folder(tmp_path):
    fill(tmp_path, "a.png")
    assert plain_folder(tmp_path, "train") == plain_folder(tmp_path, "all") == tmp_path
    with pytest.raises(InputError, match="no part 'test'"):
        plain_folder(tmp_path, "test")
    fill(tmp_path, "val/b.png")
    assert plain_folder(tmp_path, "validation") == tmp_path / "val"
    with pytest.raises(InputError, match="no part 'train': it has val"):
        plain_folder(tmp_path, "train")


def test_pairs_keep_the_order_of_the_photographs():
    listed = {"image": {"b": Path("b"), "a": Path("a")}, "label": {"a": Path("a"), "b": Path("b")}}
    assert pair_names(listed) == ("b", "a")


def test_lists_of_names(tmp_path):
    (tmp_path / "list.txt").write_bytes(b"\xef\xbb\xbfone.png\r\n\r\n two words.png \nlast")
    assert read_lines(tmp_path / "list.txt") == ["one.png", "two words.png", "last"]
    assert named_list(tmp_path, "list.txt") == named_list(Path("/"), tmp_path / "list.txt") == tmp_path / "list.txt"
    with pytest.raises(InputError, match=r"lst\.txt is neither a file nor one in"):
        named_list(tmp_path, "lst.txt")
    (tmp_path / "list.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"list\.txt cannot be read"):
        read_lines(tmp_path / "list.txt")


class Counted(Reader[Sample]):
    def read(self, place):
        return Sample(self.names[place], np.zeros((1, 1, 3), np.uint8))


class TestReader:
    def test_is_a_sequence(self):
        data = Counted("matting", ["a", "b", "c"])
        assert [sample.name for sample in data] == ["a", "b", "c"] == list(data.names)
        assert len(data) == 3
        assert data[-1].name == data[np.int64(2)].name == "c"
        assert (data.kind, data.categories) == ("matting", None)
        assert repr(data) == "Counted(3 matting samples)"

    @pytest.mark.parametrize("place", [3, -4])
    def test_ends(self, place):
        with pytest.raises(IndexError):
            Counted("matting", ["a", "b", "c"])[place]

    def test_pickles(self):
        copy = pickle.loads(pickle.dumps(Counted("depth", ["a"])))
        assert copy.names == ("a",)
        assert copy[0].name == "a"


def test_names_are_listed_without_reading(tmp_path):
    """Files that are no pictures do not matter before they are read."""
    fill(tmp_path, "images/a.png", "alphas/a.png")
    assert find(tmp_path).names == ("a",)
    write(tmp_path / "images" / "a.png", photo(0))
