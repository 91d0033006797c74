"""The tab Segment's functions: what is under a click, what hiding shows again, and what the files hold."""

import json
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools.coco import COCO

from perpixel.errors import InputError
from perpixel.images.write import write_image
from perpixel.ops.rle import encode_rle
from perpixel.results import Segments
from perpixel.studio.missing_model import how_to_get_one
from perpixel.studio.photo_box import opened, stem
from perpixel.studio.segment_files import write_segments
from perpixel.studio.segment_table import EMPTY, chosen_line, share, table
from perpixel.studio.segment_view import LEAST_SIDE, MOST_SIDE, chosen_mask, open_view, without
from perpixel.tasks.segmentation import segment
from tasks.painted import mask, painted_segmenter, scene

LABELS = {0: "cat", 1: "sky"}


def two(height=30, width=40, photo=True):
    """A sky above a cat's square, and nothing below."""
    map = np.zeros((height, width), np.int32)
    map[: height // 3] = 5
    map[height // 3 : 2 * height // 3, : width // 2] = 9
    infos = [{"id": 5, "label_id": 1, "score": 0.8}, {"id": 9, "label_id": 0, "score": 0.955}]
    image = np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8) if photo else None
    return Segments.from_map(map, infos, LABELS, image=image)


def overlapping():
    """A large cat of low score under a small one of high score: (20, 20)."""
    large, small = np.zeros((2, 20, 20), bool)
    large[2:18, 2:18] = True
    small[6:12, 6:12] = True
    infos = [{"label_id": 0, "score": 0.6}, {"label_id": 0, "score": 0.9}]
    return Segments.from_masks([encode_rle(large), encode_rle(small)], infos, LABELS, (20, 20)), large, small


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90))
def test_a_click_finds_the_segment_of_the_photograph_there(height, width):
    found = two(height, width, photo=False) if height > 2 and width > 1 else two(3, 2, photo=False)
    view = open_view(found)
    rows, columns = view.map.shape
    rng = np.random.default_rng(height * 100 + width)
    for row, column in zip(rng.integers(0, found.height, 20), rng.integers(0, found.width, 20), strict=True):
        own = int(found.map[row, column])
        if own:
            assert view.at((column + 0.5) / found.width * columns, (row + 0.5) / found.height * rows) == own


def test_a_click_just_beside_a_segment_means_it_and_far_from_all_means_none():
    view = open_view(two(photo=False))
    rows, columns = view.map.shape
    edge = 2 * rows // 3
    assert view.at(columns / 4, edge + 4) == 2  # some pixels below the cat
    assert view.at(columns / 4, edge + 60) is None
    assert view.at(-5, 1e9) is None  # outside counts as the nearest corner


@pytest.mark.parametrize("size", [(1, 1), (7, 3), (600, 800), (1500, 2000)])
def test_the_picture_has_the_size_of_the_page_and_the_photographs_shape(size):
    view = open_view(
        two(*size) if min(size) > 2 else Segments.from_map(np.ones(size, int), [{"id": 1, "label_id": 0}], {})
    )
    drawn = view.picture()
    assert drawn.dtype == np.uint8 and drawn.shape == (*view.map.shape, 3) == view.ground.shape
    assert LEAST_SIDE <= max(drawn.shape) <= MOST_SIDE
    assert drawn.shape[0] / drawn.shape[1] == pytest.approx(size[0] / size[1], rel=0.01)


def test_the_chosen_segment_stays_bright_and_the_rest_is_dimmed():
    found = two(300, 400)
    view = open_view(found)
    drawn = view.choose(2).picture(opacity=0, names=False)
    inside, sky = (slice(270, 480), slice(20, 480)), (slice(20, 230), slice(20, 980))
    np.testing.assert_allclose(drawn[inside], view.ground[inside], atol=1)
    assert drawn[sky].mean() == pytest.approx(0.4 * view.ground[sky].mean(), rel=0.02)
    assert np.array_equal(view.choose(2).choose(None).picture(), view.picture())
    with pytest.raises(InputError, match="there is no segment 3"):
        view.choose(3)


def test_hiding_and_showing():
    view = open_view(two(300, 400)).choose(2).hide(2)
    assert view.hidden == {2} and view.chosen is None
    assert [each.id for each in view.shown] == [1] and set(np.unique(view.map)) == {0, 1}
    np.testing.assert_array_equal(view.picture(names=False)[270:480, 20:480], view.ground[270:480, 20:480])
    again = view.show(2)
    assert again.chosen == 2 and not again.hidden and again.shown is again.found
    assert view.hide(1).show_all().hidden == frozenset()
    assert view.choose(2).picture().tobytes() == view.picture().tobytes()  # a hidden one cannot be highlighted


def test_hiding_an_instance_shows_what_lay_under_it():
    found, large, small = overlapping()
    np.testing.assert_array_equal(found.map == 2, small)
    left = without(found, {2})
    np.testing.assert_array_equal(left.map == 1, large)
    np.testing.assert_array_equal(without(found, {1}).map == 2, small)
    assert len(without(found, {1, 2})) == 0 and without(found, set()) is found


def test_the_mask_for_cut_out_is_whole_and_of_the_photographs_size():
    found, large, _ = overlapping()
    view = open_view(found).choose(1)
    np.testing.assert_array_equal(chosen_mask(view), np.where(large, 255, 0))
    with pytest.raises(InputError, match="no segment is chosen: click one"):
        chosen_mask(open_view(found))


def test_a_model_s_segments_are_clicked_where_they_are():
    view = open_view(segment(scene(), model=painted_segmenter(), things={0, 1}))
    rows, columns = view.map.shape
    dog = view.at(114 / 128 * columns, 72 / 96 * rows)
    assert view.found[dog - 1].label == "dog"
    inside = chosen_mask(view.choose(dog)) > 0
    assert np.count_nonzero(inside != mask(2)) <= 16


def test_the_table_has_a_row_for_each_segment():
    view = open_view(two(300, 400)).choose(2).hide(1)
    rows = table(view).split("<tr data-id=")[1:]
    assert [row[1] for row in rows] == ["1", "2"]
    assert "sky" in rows[0] and "80 %" in rows[0] and "33 %" in rows[0] and "0, 0, 400, 100" in rows[0]
    assert "class=hidden" in rows[0] and ">Show<" in rows[0] and 'aria-selected="false"' in rows[0]
    assert 'aria-selected="true"' in rows[1] and ">Hide<" in rows[1] and "17 %" in rows[1]
    assert table(open_view(Segments.from_map(np.zeros((3, 3), int), [], {}))) == EMPTY


def test_a_label_is_text_whatever_is_in_it():
    nasty = "<img src=x onerror=alert(1)>{{value}}${value}"
    view = open_view(Segments.from_map(np.ones((4, 4), int), [{"id": 1, "label_id": 0}], {0: nasty}))
    for page in (table(view), chosen_line(view.choose(1))):
        assert not {"<img", "{{", "${"} & {part for part in ("<img", "{{", "${") if part in page}


def test_the_line_about_the_chosen_one():
    view = open_view(two(300, 400))
    assert chosen_line(None) == ""
    assert chosen_line(view) == "Click a segment in the picture or in the table."
    assert chosen_line(view.hide(1)).endswith("1 hidden.")
    assert chosen_line(view.choose(2)) == "**cat** · score 96 % · 17 % of the picture"
    assert [share(1, 4), share(1, 30), share(1, 7000)] == ["25 %", "3.3 %", "0.014 %"]


def test_pycocotools_reads_the_json_and_its_ids_are_those_of_the_panoptic_png(tmp_path):
    view = open_view(two(300, 400)).hide(1)
    paths = [write_segments(view, kind, tmp_path, "a b", opacity=0.5, names=True) for kind in ("coco", "panoptic")]
    assert [path.name for path in paths] == ["a b-coco.json", "a b-panoptic.png"]
    coco = COCO(paths[0])
    (annotation,) = coco.loadAnns(coco.getAnnIds())
    assert annotation["id"] == 2 and coco.cats[annotation["category_id"]]["name"] == "cat"
    np.testing.assert_array_equal(coco.annToMask(annotation), view.found.mask(2))
    colours = np.asarray(Image.open(paths[1])).astype(int)
    ids = colours[..., 0] + 256 * colours[..., 1] + 65536 * colours[..., 2]
    np.testing.assert_array_equal(ids, np.where(view.found.mask(2), 2, 0))


def test_the_overlay_file_has_the_photographs_size_and_shows_no_hidden_segment(tmp_path):
    view = open_view(two(300, 400)).hide(1)
    path = write_segments(view, "overlay", tmp_path, "photo", opacity=0.5, names=False)
    drawn = np.asarray(Image.open(path))
    np.testing.assert_array_equal(drawn[:90], view.found.image[:90])
    assert (drawn[120:180, 20:180] != view.found.image[120:180, 20:180]).any()
    with pytest.raises(InputError, match="no segment is shown"):
        write_segments(view.hide(2), "coco", tmp_path, "photo", opacity=0.5, names=False)


def test_an_image_without_photograph_is_drawn_on_grey():
    view = open_view(two(photo=False))
    assert (view.ground == 40).all() and json.dumps(table(view))


def test_an_uploaded_file_is_read_as_it_came(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 65536, (900, 1500, 3)).astype(np.uint16)
    photo, shown = opened(str(write_image(tmp_path / "deep.png", pixels)))
    np.testing.assert_array_equal(photo.pixels, pixels)
    assert shown.dtype == np.uint8 and shown.shape == (768, 1280, 3) and stem(photo) == "deep"
    turned = Image.fromarray(np.zeros((4, 6, 3), np.uint8))
    exif = turned.getexif()
    exif[0x0112] = 6  # stored lying on its side
    turned.save(tmp_path / "turned.jpg", exif=exif)
    photo, shown = opened(str(tmp_path / "turned.jpg"))
    assert photo.pixels.shape == shown.shape == (6, 4, 3)
    assert opened(None) == (None, None)


def test_a_damaged_upload_is_refused_in_words(tmp_path):
    (tmp_path / "half.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(20))
    with pytest.raises(gr.Error) as caught:
        opened(str(tmp_path / "half.png"))
    assert "half.png" in caught.value.message and "Traceback" not in caught.value.message


def test_the_box_for_photographs_leaves_no_file_beside_its_module():
    from perpixel.studio import photo_box

    assert not Path(photo_box.__file__).with_suffix(".pyi").exists()


@pytest.mark.parametrize("task", ["segmentation", "depth"])
def test_where_no_model_is_the_page_says_how_to_get_one(task):
    offline = how_to_get_one(task, typed=True, offline=True)
    assert f"no model for {task} on this machine" in offline
    assert "hf download " in offline and "perpixel studio --model " in offline and "type the folder" in offline
    online = how_to_get_one(task, typed=False, offline=False)
    assert "downloaded when it is first used" in online and "type the folder" not in online
