"""Cut out in a browser, as people use it; what is downloaded is what the Python calls give."""

import numpy as np
import pytest
from PIL import Image

import perpixel as px
from perpixel.images.read import read_mask, read_photo, read_trimap
from studio.cutout_page import BOX, DONE, alpha_of, choose, cut, drag, form, same, saved, spot, tool
from tasks.painted import mask, scene

pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.slow


def test_a_box_gives_what_the_python_call_gives(page, portrait, tmp_path):
    size = choose(page, portrait)
    drag(page, size, BOX[:2], BOX[2:])
    cut(page)
    path = saved(page, tmp_path)
    assert path.name == "file-portrait-cutout.png"
    expected = px.cutout(portrait, box=BOX)
    alpha = alpha_of(path)
    assert alpha.shape == (345, 340)
    assert (alpha[120, 205], alpha[20, 60]) == (1, 0)
    assert same(alpha, expected.alpha)
    pixels = np.asarray(Image.open(path))
    seen = expected.alpha > 0.5
    assert np.abs(pixels[seen, :3].astype(int) - expected.cutout()[seen, :3]).max() <= 1


def test_brushes_say_what_the_subject_is(page, portrait, tmp_path):
    size = choose(page, portrait)
    tool(page, "foreground")
    drag(page, size, (200, 60), (205, 130))
    page.mouse.click(*spot(page, size, 230, 300))
    tool(page, "background")
    drag(page, size, (20, 20), (100, 40))
    drag(page, size, (320, 20), (325, 160))
    page.click("#cutout-editor [data-act=undo]")
    drag(page, size, (325, 20), (325, 160))
    cut(page)
    photo = read_photo(portrait)
    alpha = alpha_of(saved(page, tmp_path))
    assert alpha[60:130, 202].min() == 1
    assert alpha[20, 30:90].max() == 0
    assert alpha[30:150, 325].max() == 0
    form(page, "Only the trimap (PNG)")
    trimap = read_trimap(saved(page, tmp_path))
    assert (trimap[60:130, 202] == 255).all()
    assert same(alpha, px.matte(photo, trimap).alpha)


@pytest.fixture(scope="module")
def trimap(portrait, tmp_path_factory):
    made = px.cutout(portrait, box=BOX).trimap
    path = tmp_path_factory.mktemp("trimap") / "portrait-trimap.png"
    Image.fromarray(made).save(path)
    return path


def with_file(page, path):
    page.get_by_role("button", name="By name, or with a mask or trimap file").click()
    page.locator("#cutout-file input[type=file]").set_input_files(path)
    page.wait_for_selector("#cutout-editor [data-step=repair]:not([disabled])[aria-pressed=true]")


def test_a_trimap_is_taken_and_repaired_and_the_repair_undone(page, portrait, trimap, tmp_path):
    size = choose(page, portrait)
    with_file(page, trimap)
    cut(page)
    expected = px.matte(portrait, trimap).alpha
    form(page, "Only the mask (PNG, 16 bits)")
    assert np.abs(read_mask(saved(page, tmp_path, "first")) - expected).max() < 1e-3

    page.click("#cutout-editor [data-view=trimap]")
    tool(page, "background")
    drag(page, size, (150, 40), (260, 40))  # over the hair
    tool(page, "foreground")
    drag(page, size, (20, 20), (60, 20))
    cut(page)
    repaired = read_mask(saved(page, tmp_path, "second"))
    assert expected[40, 180:230].min() > 0.5
    assert repaired[40, 155:255].max() == 0
    assert repaired[20, 25:55].min() == 1

    page.click("#cutout-editor [data-act=undo]")
    page.click("#cutout-editor [data-act=undo]")
    cut(page)
    assert np.abs(read_mask(saved(page, tmp_path, "third")) - expected).max() < 1e-3


def test_the_background_is_changed_and_the_file_with_it(page, portrait, trimap, tmp_path):
    choose(page, portrait)
    with_file(page, trimap)
    cut(page)
    matte = px.matte(portrait, trimap)
    form(page, "PNG, 16 bits a channel")
    deep = read_photo(saved(page, tmp_path, "deep"))
    assert deep.pixels.dtype == np.uint16
    assert np.abs(deep.alpha - matte.alpha).max() < 1e-3

    form(page, "PNG")
    for kind, choice, colour in (("Colour", "white", (255, 255, 255)), ("Picture", "sky.png", (10, 20, 250))):
        page.get_by_label(kind, exact=True).first.click()
        if kind == "Picture":
            Image.new("RGB", (64, 48), colour).save(tmp_path / choice)
            page.locator("#cutout-picture input[type=file]").set_input_files(tmp_path / choice)
            page.wait_for_selector("#cutout-picture img")
        pixels = read_photo(saved(page, tmp_path, kind)).pixels
        background = choice if kind == "Colour" else tmp_path / choice
        assert (pixels[20, 60] == colour).all()
        assert np.abs(pixels.astype(int) - matte.composite(background)).max() <= 1
    page.get_by_label("Clean edge colours").click()
    unclean = read_photo(saved(page, tmp_path, "unclean")).pixels
    assert np.abs(unclean.astype(int) - pixels).max() > 20


def test_a_name_marks_the_subject(page, tmp_path):
    Image.fromarray(scene()).save(tmp_path / "scene.png")
    choose(page, tmp_path / "scene.png")
    page.get_by_role("button", name="By name, or with a mask or trimap file").click()
    page.fill("#cutout-label textarea, #cutout-label input", "dog")
    page.click("#cutout-find")
    page.wait_for_selector("#cutout-editor [data-step=repair][aria-pressed=true]")
    cut(page)
    form(page, "Only the trimap (PNG)")
    found = read_trimap(saved(page, tmp_path))
    assert (found[~mask(2)] != 255).all()
    assert (found[mask(2)] != 0).all()
    assert (found == 255).any()


@pytest.mark.parametrize("number", [0, 1])
def test_an_example_is_cut_out_at_the_first_click(page, number, tmp_path):
    page.locator("#cutout-examples button").nth(number).click()
    page.wait_for_selector(DONE)
    page.wait_for_selector("#cutout-run")
    alpha = alpha_of(saved(page, tmp_path))
    subject, wall = [((120, 200), (60, 90)), ((120, 170), (100, 420))][number]
    assert (alpha[subject], alpha[wall]) == (1, 0)
