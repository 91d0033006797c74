"""What people do on the page of Cut out, for tests in a browser."""

from contextlib import contextmanager

import numpy as np
from PIL import Image

WAIT = 60_000  # milliseconds; far more than needed, because the machine may be busy
BOX = (35, 3, 325, 345)
DONE = "#cutout-result [data-empty=false]"
STAGE = "#cutout-editor .pp-paint"


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
