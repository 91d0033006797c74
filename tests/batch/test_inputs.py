"""Inputs: what folders, patterns and lists stand for, where results go, and what is refused before any work."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perpixel.batch.hints import HintFolders
from perpixel.batch.inputs import Inputs
from perpixel.batch.shards import Shard
from perpixel.errors import InputError


def tree(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    return root


def keys(out, *words, **options):
    inputs = Inputs(tuple(map(str, words)), out, **options)
    found = sorted(record.key for record in inputs)
    assert inputs.survey() == len(found)
    return found


def test_folders(tmp_path):
    photos = tree(tmp_path / "in", "a.jpg", "B.PNG", "notes.txt", ".hidden.jpg", "sub/c.webp", "sub/deep/d.tif")
    out = tmp_path / "out"
    assert keys(out, photos) == ["B", "a"]
    assert keys(out, photos, recursive=True) == ["B", "a", "sub/c", "sub/deep/d"]


def test_patterns_keep_what_lies_below_their_fixed_part(tmp_path):
    photos = tree(tmp_path / "in", "a.jpg", "x/b.jpg", "x/y/c.jpg", "x/c.txt")
    out = tmp_path / "out"
    assert keys(out, photos / "*.jpg") == ["a"]
    assert keys(out, photos / "**" / "*.jpg") == ["a", "x/b", "x/y/c"]
    assert keys(out, photos / "x*" / "*.jpg") == ["x/b"]
    assert keys(out, photos / "x" / "**", recursive=False) == ["b", "y/c"]


def test_lists(tmp_path, monkeypatch):
    tree(tmp_path, "in/a.jpg", "in/x/a.jpg", "in/b c.jpg")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "names.txt").write_text("# three\nin/a.jpg\n\nin/x/a.jpg\r\nin/b c.jpg\n")
    assert keys(tmp_path / "out", "@names.txt") == ["in/a", "in/b c", "in/x/a"]
    assert keys(tmp_path / "out", "@names.txt", root=tmp_path / "in") == ["a", "b c", "x/a"]
    (tmp_path / "names.txt").write_text(f"{tmp_path}/in/a.jpg\n")
    assert keys(tmp_path / "out", "@names.txt") == ["a"]


def test_single_files_go_by_their_names(tmp_path):
    photos = tree(tmp_path / "in", "a.jpg", "x/b.picture")
    assert keys(tmp_path / "out", photos / "a.jpg", photos / "x" / "b.picture") == ["a", "b"]
    assert keys(tmp_path / "out", photos / "x" / "b.picture", root=tmp_path) == ["in/x/b"]


def test_results_and_hints_are_no_inputs(tmp_path):
    tree(tmp_path, "a.jpg", "out/a.png", "out/sub/b.png", "hints/a.png", "sub/b.jpg", "hints/sub/b.png")
    hints = HintFolders(trimaps=tmp_path / "hints")
    assert keys(tmp_path / "out", tmp_path, recursive=True, hints=hints) == ["a", "sub/b"]
    assert keys(tmp_path / "out", tmp_path / "**" / "a.*") == ["a", "hints/a"]


def test_a_folder_that_leads_back_to_itself_ends(tmp_path):
    tree(tmp_path / "in", "a.jpg", "sub/b.jpg")
    (tmp_path / "in" / "sub" / "loop").symlink_to(tmp_path / "in")
    assert keys(tmp_path / "out", tmp_path / "in", recursive=True) == ["a", "sub/b"]


@pytest.mark.parametrize(
    ("names", "words", "message"),
    [
        (["in/a.jpg", "in/a.png"], ["in"], "would both become a in .*out: rename one"),
        (["x/a.jpg", "y/a.jpg"], ["x", "y"], "x/a.jpg and .*y/a.jpg would both become a"),
        (["in/a.jpg"], ["in", "in/*.jpg"], "a.jpg is given twice"),
        (["in/a.txt"], ["in"], "the folder .*in holds no picture.*--recursive"),
        (["in/a.txt"], ["in/*.jpg"], "no file matches"),
        (["in/a.jpg"], [], "there is nothing to work on"),
        (["names.txt"], ["@names.txt"], None),
    ],
)
def test_what_is_refused_before_any_work(tmp_path, monkeypatch, names, words, message):
    tree(tmp_path, *names)
    monkeypatch.chdir(tmp_path)
    if message is None:
        (tmp_path / "names.txt").write_text("# nobody\n")
        message = "the list names.txt names no file"
    with pytest.raises(InputError, match=message):
        Inputs(tuple(words), tmp_path / "out").survey()


def test_a_root_that_not_all_have(tmp_path):
    tree(tmp_path, "x/a.jpg", "y/a.jpg")
    words = (str(tmp_path / "x"), str(tmp_path / "y"))
    assert keys(tmp_path / "out", *words, root=tmp_path) == ["x/a", "y/a"]
    with pytest.raises(InputError, match="does not lie below"):
        Inputs(words, tmp_path / "out", root=tmp_path / "x").survey()


def test_a_list_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match=r"names\.txt cannot be read"):
        Inputs((f"@{tmp_path}/names.txt",), tmp_path).survey()


def test_hints_of_parallel_folders(tmp_path):
    photos = tree(tmp_path / "in", "a.jpg", "b.jpg", "sub/c.jpg", "d.jpg")
    tree(tmp_path / "hints", "a.png", "b_mask.PNG", "sub/c-mask.webp", "c.png")
    inputs = Inputs((str(photos),), tmp_path / "out", recursive=True, hints=HintFolders(masks=tmp_path / "hints"))
    found = {record.key: record for record in inputs}
    assert found["a"].mask == str(tmp_path / "hints" / "a.png") and found["a"].trimap is None
    assert found["b"].mask == str(tmp_path / "hints" / "b_mask.PNG")
    assert found["sub/c"].mask == str(tmp_path / "hints" / "sub" / "c-mask.webp")
    assert "there is no mask for" in found["d"].error and found["d"].mask is None
    size, hint = (path.stat() for path in (photos / "a.jpg", tmp_path / "hints" / "a.png"))
    assert found["a"].stamp == f"{size.st_size}:{size.st_mtime_ns}+{hint.st_size}:{hint.st_mtime_ns}"


def test_a_photograph_is_no_hint_of_itself(tmp_path):
    photos = tree(tmp_path / "in", "a.jpg", "a.png")
    (photos / "a.png").rename(photos / "a-trimap.png")
    inputs = Inputs((str(photos / "a.jpg"),), tmp_path / "out", hints=HintFolders(trimaps=photos))
    (record,) = inputs
    assert record.trimap == str(photos / "a-trimap.png")


def test_hint_folders_that_are_none(tmp_path):
    with pytest.raises(InputError, match="is no folder"):
        HintFolders(masks=tmp_path / "missing")
    with pytest.raises(InputError, match="both given"):
        HintFolders(tmp_path, tmp_path)


NAMES = st.sets(st.text("abcXYZ0 äß", min_size=1, max_size=6).map(str.strip).filter(bool), min_size=1, max_size=25)


@settings(max_examples=25, deadline=None)
@given(names=NAMES, count=st.integers(1, 7))
def test_any_split_into_shards_covers_all_once(tmp_path_factory, names, count):
    photos = tree(tmp_path_factory.mktemp("in"), *(f"x/{name}.jpg" for name in names))
    parts = [Inputs((str(photos),), photos / "out", True, shard=Shard(i, count)) for i in range(1, count + 1)]
    found = [[record.key for record in part] for part in parts]
    assert sorted(key for part in found for key in part) == sorted(f"x/{name}" for name in names)
    assert [part.survey() for part in parts] == [len(each) for each in found]
