"""The tab Cut out without a page: hints in, files out."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import perpixel as px
from perpixel.errors import InputError
from perpixel.images.read import Photo, read_photo
from perpixel.results import Matte, Segments
from perpixel.studio.cutout_work import (
    Look,
    colour_of,
    current_trimap,
    in_look,
    on_page,
    smaller,
    trimap_of_file,
    trimap_of_label,
    write_cutout,
)
from perpixel.studio.trimap_editor import Drawing, Stroke

RNG = np.random.default_rng(7)


@pytest.fixture(scope="module")
def matte():
    """A disc with a soft edge, red, before green."""
    y, x = np.mgrid[:60, :80]
    alpha = np.clip((22 - np.hypot(y - 30, x - 40)) / 8, 0, 1).astype(np.float32)
    red, green = np.float32([200, 30, 30]), np.float32([20, 160, 40])
    image = np.rint(alpha[..., None] * red + (1 - alpha[..., None]) * green).astype(np.uint8)
    trimap = np.where(alpha == 1, 255, np.where(alpha == 0, 0, 128)).astype(np.uint8)
    return Matte(alpha, image, trimap=trimap)


@pytest.mark.parametrize(
    ("text", "colour"),
    [
        ("#2080ff", "#2080ff"),
        ("#fff", "#ffffff"),
        ("white", "#ffffff"),
        ("rgb(1, 2, 3)", "#010203"),
        ("rgba(163.6, 46.2, 255, 1)", "#a42eff"),
    ],
)
def test_colours_of_the_picker(text, colour):
    assert colour_of(text) == colour


@pytest.mark.parametrize("text", ["", "no colour", "rgba(1, 2)", "/etc/passwd"])
def test_what_is_no_colour_is_refused(text):
    with pytest.raises(InputError, match="no colour"):
        colour_of(text)


def test_repairs_are_painted_on_the_trimap_and_can_be_taken_back():
    photo, base = Photo(np.zeros((40, 40, 3), np.uint8)), np.zeros((40, 40), np.uint8)
    repair = Stroke("unknown", 5, np.array([[20.0, 20.0]]))
    kept, repaired = current_trimap(photo, base, Drawing("repair", repairs=(repair,)))
    assert kept is base
    assert (repaired[20, 20], repaired[2, 2]) == (128, 0)
    _, again = current_trimap(photo, kept, Drawing("repair"))
    assert np.array_equal(again, base)


def test_marks_make_a_new_trimap(matte):
    photo = Photo(matte.image)
    old = np.zeros((photo.height, photo.width), np.uint8)
    new, shown = current_trimap(photo, old, Drawing("mark", box=(14, 4, 66, 56)))
    assert new is not old
    assert np.array_equal(new, shown)
    assert (new == 255).any()


PHOTO = Photo(np.zeros((40, 60, 3), np.uint8))


def disc(size=(40, 60)):
    y, x = np.mgrid[: size[0], : size[1]]
    return np.hypot(y - size[0] / 2, x - size[1] / 2)


def test_three_greys_are_a_trimap(tmp_path):
    away = disc()
    trimap = np.where(away < 10, 255, np.where(away < 15, 128, 0)).astype(np.uint8)
    Image.fromarray(trimap).save(tmp_path / "t.png")
    found, kind = trimap_of_file(tmp_path / "t.png", PHOTO)
    assert kind == "trimap"
    assert np.array_equal(found, trimap)


@pytest.mark.filterwarnings("ignore::perpixel.errors.PerpixelWarning")
def test_a_trimap_saved_as_jpeg_is_still_one(tmp_path):
    photo = Photo(np.zeros((200, 300, 3), np.uint8))
    away = disc((200, 300))
    trimap = np.where(away < 50, 255, np.where(away < 70, 128, 0)).astype(np.uint8)
    Image.fromarray(trimap).save(tmp_path / "t.jpg", quality=90)
    found, kind = trimap_of_file(tmp_path / "t.jpg", photo)
    assert kind == "trimap"
    assert (found == trimap).mean() > 0.97


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_mask_with_narrow_soft_edges_is_no_trimap(tmp_path, suffix):
    grey = np.rint(255 * np.clip((50 - disc((200, 300))) / 3, 0, 1)).astype(np.uint8)
    assert ((grey > 96) & (grey < 160)).mean() > 0.002
    Image.fromarray(grey).save(tmp_path / f"m.{suffix}")
    photo = Photo(np.zeros((200, 300, 3), np.uint8))
    assert trimap_of_file(tmp_path / f"m.{suffix}", photo)[1] == "mask"


@pytest.mark.parametrize("mode", ["black and white", "soft", "transparent"])
def test_anything_else_is_a_mask(tmp_path, mode):
    alpha = np.clip((12 - disc()) / (8 if mode == "soft" else 0.1), 0, 1)
    grey = np.rint(255 * alpha).astype(np.uint8)
    if mode == "transparent":
        pixels = np.dstack([RNG.integers(0, 255, (40, 60, 3)).astype(np.uint8), grey])
        Image.fromarray(pixels).save(tmp_path / "m.png")
    else:
        Image.fromarray(grey).save(tmp_path / "m.png")
    found, kind = trimap_of_file(tmp_path / "m.png", PHOTO)
    assert kind == "mask"
    assert (found[20, 30], found[1, 1]) == (255, 0)
    assert (found == 128).any()


def test_a_file_of_another_size_is_refused(tmp_path):
    for name, values in (("mask", [0, 255]), ("trimap", [0, 128, 255])):
        Image.fromarray(RNG.choice(values, (30, 30)).astype(np.uint8)).save(tmp_path / f"{name}.png")
        with pytest.raises(InputError, match=r"30×30 .*60×40"):
            trimap_of_file(tmp_path / f"{name}.png", PHOTO)


def test_a_file_that_is_no_image_is_refused(tmp_path):
    (tmp_path / "t.png").write_text("no image")
    with pytest.raises(InputError, match="text"):
        trimap_of_file(tmp_path / "t.png", PHOTO)


def test_a_name_finds_its_segments(monkeypatch):
    ids = np.zeros((40, 60), np.int64)
    ids[5:20, 5:20], ids[25:38, 30:58] = 1, 2
    infos = [{"id": 1, "label_id": 0, "score": 0.9}, {"id": 2, "label_id": 1, "score": 0.9}]
    found = Segments.from_map(ids, infos, {0: "cat", 1: "dog"}, image=PHOTO.pixels)
    monkeypatch.setattr("perpixel.tasks.segmentation.segment", lambda *a, **k: found)

    class Segmenter:
        labels: dict = {0: "cat", 1: "dog"}  # noqa: RUF012
        kinds = ("panoptic",)

    cat, largest = (trimap_of_label(PHOTO, words, Segmenter()) for words in (" Cat ", ""))
    assert (cat[12, 12], cat[31, 44]) == (255, 0)
    assert (largest[12, 12], largest[31, 44]) == (0, 255)
    with pytest.raises(InputError, match="horse"):
        trimap_of_label(PHOTO, "horse", Segmenter())


def test_the_page_gets_a_size_for_screens(matte):
    small = smaller(matte, 40)
    assert small.size == (40, 30)
    assert small.image.dtype == np.uint8
    assert abs(small.alpha.mean() - matte.alpha.mean()) < 1e-3
    assert np.array_equal(smaller(matte).alpha, matte.alpha)
    deep = Matte(matte.alpha, matte.image.astype(np.uint16) * 257)
    assert np.array_equal(smaller(deep).image, matte.image)


def test_the_pictures_to_compare(matte):
    before, after = on_page(matte, Look())
    assert np.array_equal(before, matte.image)
    inside, outside = matte.alpha == 1, matte.alpha == 0
    assert np.array_equal(after[inside], matte.image[inside])
    assert set(np.unique(after[outside])) == {204, 255}  # the checkerboard's greys
    _, blue = on_page(matte, Look("#0000ff"))
    assert (blue[outside] == (0, 0, 255)).all()


def test_clean_colours_leave_no_old_background_at_the_edge(matte):
    edge = (matte.alpha > 0.3) & (matte.alpha < 0.7)
    green = [in_look(matte, Look(clean=clean))[edge][:, 1].mean() for clean in (True, False)]
    assert green[0] < 50 < 80 < green[1]
    unclean = in_look(matte, Look(clean=False))
    assert np.array_equal(unclean[..., :3], matte.image)


@pytest.mark.parametrize(("form", "suffix"), [("png", ".png"), ("webp", ".webp")])
def test_the_file_holds_the_cut_out(tmp_path, matte, form, suffix):
    path = write_cutout(tmp_path, matte, Look(), form, "flower")
    assert path.name == f"flower-cutout{suffix}"
    with Image.open(path) as opened:
        pixels = np.asarray(opened)
    expected = np.asarray(matte.to_pil())
    assert pixels.shape == (60, 80, 4)
    assert np.array_equal(pixels[..., 3], expected[..., 3])
    seen = expected[..., 3] > 0
    assert np.abs(pixels[seen].astype(int) - expected[seen]).max() <= 1


def test_sixteen_bits_keep_what_eight_round_off(tmp_path, matte):
    path = write_cutout(tmp_path, matte, Look(), "png16", "flower")
    photo = read_photo(path)
    assert photo.pixels.dtype == np.uint16
    assert np.abs(photo.alpha - matte.alpha).max() < 1 / 65535
    on_white = read_photo(write_cutout(tmp_path, matte, Look("white"), "png16", "flower"))
    assert on_white.pixels.dtype == np.uint16
    assert on_white.alpha is None


def test_a_picture_is_a_background(tmp_path, matte):
    Image.new("RGB", (16, 9), (10, 20, 250)).save(tmp_path / "sky.png")
    path = write_cutout(tmp_path, matte, Look(str(tmp_path / "sky.png")), "png", "flower")
    pixels = read_photo(path).pixels
    assert (pixels[0, 0] == (10, 20, 250)).all()
    assert np.array_equal(pixels[30, 40], matte.image[30, 40])


def test_mask_and_trimap_can_be_taken_into_other_programs(tmp_path, matte):
    mask = write_cutout(tmp_path, matte, Look(), "alpha", "flower")
    assert mask.name == "flower-mask.png"
    assert np.abs(px.read_mask(mask) - matte.alpha).max() < 1 / 65535
    trimap = write_cutout(tmp_path, matte, Look(), "trimap", "flower")
    assert np.array_equal(px.read_trimap(trimap), matte.trimap)
    with pytest.raises(InputError, match="without a trimap"):
        write_cutout(tmp_path, Matte(matte.alpha, matte.image), Look(), "trimap", "flower")


def test_the_profile_is_kept(tmp_path, matte):
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    managed = Matte(matte.alpha, matte.image, icc_profile=profile)
    for look in (Look(), Look("white"), replace(Look(), clean=False)):
        with Image.open(write_cutout(tmp_path, managed, look, "png", "x")) as opened:
            assert opened.info["icc_profile"] == profile
