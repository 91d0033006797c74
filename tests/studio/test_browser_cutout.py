"""Cut out in a browser, as people use it; what is downloaded is what the Python calls give."""

import shutil
import socket
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest
import uvicorn
from fastapi import FastAPI
from PIL import Image

import perpixel as px
from perpixel.images.read import read_mask, read_photo, read_trimap
from perpixel.studio.app import create_studio, mount_studio, private_folder
from perpixel.studio.settings import StudioSettings
from perpixel.studio.shelf import Shelf
from tasks.painted import mask, painted_segmenter, scene

sync = pytest.importorskip("playwright.sync_api")

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")]
WAIT = 60_000  # milliseconds; far more than needed, because the machine may be busy
BOX = (35, 3, 325, 345)
DONE = "#cutout-result [data-empty=false]"
STAGE = "#cutout-editor .pp-paint"


@pytest.fixture(scope="module")
def hold():
    """While this is set, models are not handed out: work goes on until somebody cancels it."""
    return threading.Event()


@pytest.fixture(scope="module")
def address(hold):
    real = Shelf.load

    def load(shelf, name, task):
        while hold.is_set():
            time.sleep(0.05)
        return painted_segmenter() if task == "segmentation" else real(shelf, name, task)

    with pytest.MonkeyPatch.context() as patch, private_folder(), socket.socket() as door:
        patch.setattr(Shelf, "load", load)
        door.bind(("127.0.0.1", 0))
        app = mount_studio(FastAPI(openapi_url=None), create_studio(StudioSettings(offline=True)))
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [door]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.05)
        yield f"http://127.0.0.1:{door.getsockname()[1]}/"
        server.should_exit = True
        thread.join(10)


@pytest.fixture(scope="module")
def chromium():
    with sync.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def opened(chromium, address, width=1280, height=900, **options):
    """A person's browser; it may ask nothing of any other machine, and its console stays clean."""
    context = chromium.new_context(viewport={"width": width, "height": height}, reduced_motion="reduce", **options)
    page = context.new_page()
    page.set_default_timeout(WAIT)
    wrong = []
    local = (address, "data:", "blob:")
    page.on("request", lambda request: None if request.url.startswith(local) else wrong.append(request.url))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(address)
    page.wait_for_selector("#cutout-examples button")
    yield page
    context.close()
    assert wrong == []


@pytest.fixture
def page(chromium, address):
    with opened(chromium, address) as page:
        yield page


@pytest.fixture(scope="module")
def portrait(examples):
    return examples / "portrait.jpg"


def choose(page, path):
    page.locator("#cutout-photo input[type=file]").set_input_files(path)
    page.wait_for_function("document.querySelector('#cutout-editor .pp-photo')?.naturalWidth > 0")
    with Image.open(path) as picture:
        return picture.size


def spot(page, size, x, y):
    """Where a pixel of the photograph lies on the screen."""
    page.locator(STAGE).scroll_into_view_if_needed()
    box = page.locator(STAGE).bounding_box()
    return box["x"] + x / size[0] * box["width"], box["y"] + y / size[1] * box["height"]


def drag(page, size, *points):
    page.mouse.move(*spot(page, size, *points[0]))
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*spot(page, size, *point), steps=6)
    page.mouse.up()


def tool(page, name):
    page.click(f"#cutout-editor [data-tool={name}]")


def cut(page):
    before = page.evaluate("document.querySelector('#cutout-result .pp-after')?.src ?? ''")
    page.click("#cutout-run")
    page.wait_for_function("(old) => (document.querySelector('.pp-after').src || old) !== old", arg=before)
    page.wait_for_selector("#cutout-run")


def form(page, words):
    page.click("#cutout-form input")
    page.get_by_role("option", name=words, exact=True).click()


def saved(page, folder, name="file"):
    with page.expect_download() as download:
        page.click("#cutout-save")
    path = folder / f"{name}-{download.value.suggested_filename}"
    download.value.save_as(path)
    return path


def alpha_of(path):
    with Image.open(path) as opened:
        assert opened.mode == "RGBA"
        return np.asarray(opened)[..., 3] / 255


def same(alpha, expected):
    return np.abs(alpha - expected).max() <= 0.5 / 255 + 1e-3


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


def toast(page):
    words = page.locator(".toast-body").last
    words.wait_for()
    return words.inner_text()


def test_every_error_has_its_words(page, portrait, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(portrait.read_bytes()[:2000])
    page.locator("#cutout-photo input[type=file]").set_input_files(broken)
    assert "\nbroken.jpg is truncated" in toast(page)
    page.locator("#cutout-photo").get_by_text("Drop Image Here").wait_for()  # the place for the next is still there
    choose(page, portrait)
    page.click("#cutout-run")
    page.wait_for_selector(".toast-body:has-text('draw a box around it')")
    page.wait_for_selector("#cutout-run")  # and not Cancel
    Image.new("L", (30, 30), 255).save(tmp_path / "small.png")
    page.get_by_role("button", name="By name, or with a mask or trimap file").click()
    page.locator("#cutout-file input[type=file]").set_input_files(tmp_path / "small.png")
    page.wait_for_function("document.body.innerText.includes('30×30')")
    assert "Traceback" not in page.locator("body").inner_text()


def test_cancel_stops_the_work_and_gives_the_button_back(page, portrait, hold):
    size = choose(page, portrait)
    drag(page, size, BOX[:2], BOX[2:])
    hold.set()
    try:
        page.click("#cutout-run")
        page.click("#cutout-cancel")
        page.wait_for_selector("#cutout-run")
    finally:
        hold.clear()
    page.wait_for_timeout(1500)
    assert page.locator(DONE).count() == 0
    cut(page)  # and it can be begun again
    assert page.locator(DONE).count() == 1
    page.click("#cutout-another")
    page.wait_for_selector("#cutout-result [data-empty=true]")


@pytest.mark.parametrize("number", [0, 1])
def test_an_example_is_cut_out_at_the_first_click(page, number, tmp_path):
    page.locator("#cutout-examples button").nth(number).click()
    page.wait_for_selector(DONE)
    page.wait_for_selector("#cutout-run")
    alpha = alpha_of(saved(page, tmp_path))
    subject, wall = [((120, 200), (60, 90)), ((120, 170), (100, 420))][number]
    assert (alpha[subject], alpha[wall]) == (1, 0)


def test_two_people_do_not_see_each_other(chromium, address, portrait, examples, tmp_path):
    with opened(chromium, address) as one, opened(chromium, address) as other:
        first, second = choose(one, portrait), choose(other, examples / "cat.jpg")
        drag(one, first, BOX[:2], BOX[2:])
        drag(other, second, (100, 20), (390, 290))
        one.click("#cutout-run")
        other.click("#cutout-run")
        for person in (one, other):
            person.wait_for_selector(DONE)
            person.wait_for_selector("#cutout-run")
        assert same(alpha_of(saved(one, tmp_path)), px.cutout(portrait, box=BOX).alpha)
        cat = px.cutout(examples / "cat.jpg", box=(100, 20, 390, 290))
        assert same(alpha_of(saved(other, tmp_path)), cat.alpha)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_all_without_scrolling_sideways(chromium, address, scheme):
    options = {"color_scheme": scheme, "has_touch": True, "is_mobile": True}
    with opened(chromium, address, 390, 844, **options) as phone:
        wide = "Math.max(document.documentElement.scrollWidth, document.body.scrollWidth)"
        assert phone.evaluate(wide) <= 390
        phone.locator("#cutout-examples button").first.tap()
        phone.wait_for_selector(DONE)
        assert phone.evaluate(wide) <= 390
        phone.get_by_role("button", name="By name, or with a mask or trimap file").tap()
        phone.locator("#cutout-model > button").tap()
        assert phone.evaluate(wide) <= 390
        # What is pressed with a thumb is large enough for it (WCAG 2.2, 2.5.8: 24 pixels).
        small = phone.evaluate(
            "[...document.querySelectorAll('#cutout-editor button, .actions button')].filter((b) => b.offsetParent &&"
            " Math.min(b.offsetWidth, b.offsetHeight) < 24).map((b) => b.innerText)"
        )
        assert small == []


def focused(page):
    return page.evaluate(
        "(() => { const e = document.activeElement;"
        " return [e.id, e.innerText, e.getAttribute('aria-label')].filter(Boolean).join(' ')"
        ".replace(/\\s+/g, ' ') })()"
    )


def reach(page, words, key="Tab"):
    """Press Tab until something with these words has the focus, and see that it shows."""
    seen = []
    for _ in range(80):
        page.keyboard.press(key)
        seen.append(focused(page))
        if words in seen[-1]:
            return
    raise AssertionError(f"{words!r} is not reached, only {seen}")


def test_all_can_be_done_with_the_keyboard(page, tmp_path):
    reach(page, "Portrait")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    page.keyboard.press("Enter")
    page.wait_for_selector(DONE)
    page.wait_for_selector("#cutout-run")
    reach(page, "Mark the subject", "Shift+Tab")
    page.keyboard.press("Enter")
    reach(page, "Drawing area")
    for _ in range(3):
        page.keyboard.press("Control+z")
    page.keyboard.press("Control+Shift+z")
    reach(page, "Box")
    page.keyboard.press("Enter")
    reach(page, "Drawing area", "Shift+Tab")
    for direction in ("ArrowLeft", "ArrowUp"):
        for _ in range(10):
            page.keyboard.press(f"Shift+{direction}")
    page.keyboard.press("Space")
    for direction in ("ArrowRight", "ArrowDown"):
        for _ in range(22):
            page.keyboard.press(f"Shift+{direction}")
    page.keyboard.press("Space")
    reach(page, "cutout-run")
    before = page.evaluate("document.querySelector('.pp-after').src")
    page.keyboard.press("Enter")
    page.wait_for_function("(old) => document.querySelector('.pp-after').src !== old", arg=before)
    page.wait_for_selector("#cutout-run")
    reach(page, "Before and after")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("getComputedStyle(document.querySelector('.pp-compare')).getPropertyValue('--at')") == "26%"
    reach(page, "cutout-save")
    page.wait_for_selector("[role=listbox]", state="detached")  # that of the files, which Tab went through
    with page.expect_download() as download:
        page.keyboard.press("Enter")
    download.value.save_as(tmp_path / "made.png")
    alpha = alpha_of(tmp_path / "made.png")
    assert (alpha[120, 200], alpha[5, 5]) == (1, 0)
