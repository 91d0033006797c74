"""Segment and Depth in a browser, with models whose answers are known."""

import json
import shutil
import threading
import time

import numpy as np
import pytest
from fastapi import FastAPI
from PIL import Image
from pycocotools.coco import COCO

from models.dpt.tiny import tiny_model as tiny_depth
from models.mask2former.tiny import tiny_model as tiny_segments
from perpixel.images.read import read_photo
from perpixel.models.dpt.processor import DPTImageProcessor
from perpixel.models.mask2former.processor import Mask2FormerImageProcessor
from perpixel.studio.app import create_studio, mount_studio, private_folder
from perpixel.studio.settings import StudioSettings
from perpixel.studio.shelf import Shelf
from perpixel.tasks.cutout import cutout
from tasks.known_depth import estimator, picture, smooth
from tasks.painted import PARTS, mask, painted_segmenter, scene

sync = pytest.importorskip("playwright.sync_api")
uvicorn = pytest.importorskip("uvicorn")

CHROMIUM = shutil.which("chromium")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on this machine")]
WAIT = 60_000  # milliseconds; far more than needed, because the machine may be busy
DOG = "#segment-table tr:has-text('dog')"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Models to choose from, and photographs."""
    path = tmp_path_factory.mktemp("studio")
    tiny_segments().save_pretrained(path / "tiny-segments")
    Mask2FormerImageProcessor().save_pretrained(path / "tiny-segments")
    tiny_depth().save_pretrained(path / "tiny-depth")
    DPTImageProcessor().save_pretrained(path / "tiny-depth")
    Image.fromarray(scene()).save(path / "scene.png")
    hill = (picture(smooth(240, 320)) >> 8).astype(np.uint8)
    Image.fromarray(hill).save(path / "hill.png")
    (path / "broken.png").write_bytes((path / "hill.png").read_bytes()[:200])
    return path


@pytest.fixture(scope="module")
def address(folder):
    """A running Studio; models of other tasks than matting are those with known answers."""
    real = Shelf.load

    def load(shelf, name, task):
        known = {"segmentation": painted_segmenter, "depth": estimator}
        if name and task in known:
            time.sleep(0.5)  # so that Cancel can be seen
            return known[task]()
        return real(shelf, name, task)

    settings = StudioSettings(models=(str(folder / "tiny-segments"), str(folder / "tiny-depth")), offline=True)
    with pytest.MonkeyPatch.context() as patch, private_folder():
        patch.setattr(Shelf, "load", load)
        app = mount_studio(FastAPI(), create_studio(settings))
        server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error"))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.05)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}/"
        server.should_exit = True
        thread.join(10)


@pytest.fixture(scope="module")
def chromium():
    options = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
    with sync.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium, address):
    """The page on a wide screen; nothing may be asked of any other machine."""
    yield from opened(chromium, address, 1280, 900)


@pytest.fixture
def phone(chromium, address):
    yield from opened(chromium, address, 390, 844)


def opened(chromium, address, width, height):
    context = chromium.new_context(viewport={"width": width, "height": height})
    page = context.new_page()
    page.set_default_timeout(WAIT)
    elsewhere = []
    page.on("request", lambda request: elsewhere.append(request.url) if not request.url.startswith(local) else None)
    local = (address, "data:", "blob:")
    page.goto(address)
    yield page
    context.close()
    assert elsewhere == []


def choose(page, tab, photo):
    page.get_by_role("tab", name=tab, exact=True).first.click()
    page.locator(f"#{tab.lower()}-photo input[type=file]").set_input_files(photo)
    page.wait_for_selector(f"#{tab.lower()}-photo img")


def segmented(page, folder):
    choose(page, "Segment", folder / "scene.png")
    page.click("#segment-run")
    page.wait_for_selector(DOG)


def click_at(page, selector, x, y):
    """Click at a place of the picture, in parts of its width and height."""
    page.wait_for_function("selector => document.querySelector(selector)?.naturalWidth > 0", arg=f"{selector} img")
    image = page.locator(f"{selector} img")
    box = image.bounding_box()
    image.click(position={"x": x * box["width"], "y": y * box["height"]})


def saved(page, button, path):
    with page.expect_download() as download:
        page.click(button)
    download.value.save_as(path)
    return download.value.suggested_filename


def test_a_segment_is_chosen_by_a_click_and_cut_out_by_its_mask(page, folder, tmp_path):
    segmented(page, folder)
    assert page.locator("#segment-table tr[data-id]").count() == len(PARTS)  # its labels tell no things from stuff
    x0, y0, x1, y1 = PARTS[2][2]
    click_at(page, "#segment-picture", (x0 + x1) / 2 / 128, (y0 + y1) / 2 / 96)
    page.wait_for_selector(f"{DOG}[aria-selected=true]")
    assert page.inner_text("#segment-chosen").startswith("dog · score")
    page.click("#segment-send")
    page.wait_for_selector("#cutout-run", state="visible")
    page.click("#cutout-run")
    page.wait_for_selector("#cutout-save:not([disabled])")
    saved(page, "#cutout-save", tmp_path / "dog.png")
    alpha = read_photo(tmp_path / "dog.png").alpha
    inside = mask(2)
    assert alpha.shape == inside.shape
    assert alpha[inside].max() == 1 and alpha[~inside].mean() < 0.05
    assert np.abs(alpha - cutout(scene(), mask=inside.astype(np.uint8) * 255).alpha).mean() < 1 / 255


def test_a_segment_is_hidden_and_left_out_of_the_files(page, folder, tmp_path):
    segmented(page, folder)
    before = page.get_attribute("#segment-picture img", "src")
    page.locator(DOG).get_by_role("button", name="Hide").click()
    page.wait_for_selector(f"{DOG}.hidden")
    page.wait_for_function("before => document.querySelector('#segment-picture img').src !== before", arg=before)
    assert saved(page, "#segment-save-coco", tmp_path / "coco.json") == "scene-coco.json"
    coco = COCO(tmp_path / "coco.json")
    names = {coco.cats[each["category_id"]]["name"] for each in coco.loadAnns(coco.getAnnIds())}
    assert names == {"person", "sky-other-merged"}
    people = [each for each in coco.loadAnns(coco.getAnnIds()) if coco.cats[each["category_id"]]["name"] == "person"]
    found = np.any([coco.annToMask(each) for each in people], axis=0)
    assert np.count_nonzero(found != mask(0, 1)) <= 32
    page.click("#segment-show-all")
    page.wait_for_selector(f"{DOG}:not(.hidden)")
    saved(page, "#segment-save-panoptic", tmp_path / "panoptic.png")
    saved(page, "#segment-save-overlay", tmp_path / "overlay.png")
    assert Image.open(tmp_path / "panoptic.png").size == Image.open(tmp_path / "overlay.png").size == (128, 96)
    json.loads((tmp_path / "coco.json").read_text())


def test_the_table_works_by_keyboard_alone(page, folder):
    segmented(page, folder)
    button = page.locator(f"{DOG} button.choose")
    button.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector(f"{DOG}[aria-selected=true]")
    page.wait_for_function("document.activeElement.matches('#segment-table button.choose')")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_selector(f"{DOG}.hidden")


def test_what_goes_wrong_is_said_in_words(page, folder):
    page.get_by_role("tab", name="Segment", exact=True).click()
    page.click("#segment-run")
    page.wait_for_selector("text=There is no photograph yet")
    page.locator("#segment-photo input[type=file]").set_input_files(folder / "broken.png")
    page.wait_for_selector(".toast-body:has-text('damaged'), .toast-body:has-text('truncated')")
    assert page.locator("text=Traceback").count() == 0
    page.wait_for_selector("#segment-run", state="visible")


def test_depth_focus_points_and_files(page, folder, tmp_path):
    choose(page, "Depth", folder / "hill.png")
    page.click("#depth-run")
    page.wait_for_selector("#depth-picture img")
    page.get_by_role("tab", name="Focus").click()
    page.wait_for_selector("#depth-blurred img")
    before = page.get_attribute("#depth-blurred img", "src")
    click_at(page, "#depth-blurred", 0.5, 0.02)  # the floor far away is dark, so far
    page.wait_for_function("document.querySelector('#depth-focus input[type=number]').value < 0.3")
    page.wait_for_function("before => document.querySelector('#depth-blurred img').src !== before", arg=before)
    page.get_by_role("tab", name="Points").click()
    page.wait_for_function("document.querySelector('#depth-points canvas').dataset.points > 50000")
    page.locator("#depth-far input[type=range]").focus()
    before = page.evaluate("document.querySelector('#depth-points canvas').dataset.drawn")
    page.keyboard.press("ArrowRight")
    page.wait_for_function(
        "before => document.querySelector('#depth-points canvas').dataset.drawn !== before", arg=before
    )
    page.wait_for_timeout(500)
    lit = Image.open(shot(page, "#depth-points canvas", tmp_path / "points.png")).convert("L")
    assert (np.asarray(lit) > 60).mean() > 0.2
    page.focus("#depth-points canvas")
    for _ in range(6):
        page.keyboard.press("ArrowRight")
    page.wait_for_timeout(500)
    turned = Image.open(shot(page, "#depth-points canvas", tmp_path / "turned.png")).convert("L")
    assert np.abs(np.asarray(turned, int) - np.asarray(lit, int)).mean() > 2
    assert saved(page, "#depth-save-png", tmp_path / "depth.png") == "hill-depth.png"
    numbers = np.asarray(Image.open(tmp_path / "depth.png"))
    assert numbers.dtype == np.uint16 and numbers.shape == (240, 320)
    known = smooth(240, 320)
    assert np.corrcoef(numbers.ravel(), known.ravel())[0, 1] > 0.99
    saved(page, "#depth-save-npy", tmp_path / "depth.npy")
    assert np.load(tmp_path / "depth.npy").shape == (240, 320)
    saved(page, "#depth-save-ply", tmp_path / "points.ply")
    assert (tmp_path / "points.ply").read_bytes().startswith(b"ply\n")


def test_work_is_cancelled(page, folder):
    choose(page, "Depth", folder / "hill.png")
    page.click("#depth-run")
    page.click("#depth-cancel")
    page.wait_for_selector("#depth-run", state="visible")
    page.wait_for_timeout(1500)
    assert page.locator("#depth-picture img").count() == 0


def test_a_phone_shows_it_all_without_scrolling_sideways(phone, folder):
    segmented(phone, folder)
    phone.locator(f"{DOG} button.choose").click()
    phone.wait_for_selector(f"{DOG}[aria-selected=true]")
    fits = "document.documentElement.scrollWidth <= innerWidth"
    assert phone.evaluate(fits)
    for button in ("#segment-run", "#segment-send", "#segment-save-coco"):
        box = phone.locator(button).bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 390 and box["height"] >= 24
    choose(phone, "Depth", folder / "hill.png")
    phone.click("#depth-run")
    phone.wait_for_selector("#depth-picture img")
    assert phone.evaluate(fits)


def shot(page, selector, path):
    page.locator(selector).screenshot(path=path)
    return path
