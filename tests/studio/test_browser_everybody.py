"""The page of Cut out when things go wrong, for two people at a time, on a phone, and with the keyboard alone."""

import pytest
from PIL import Image

import perpixel as px
from studio.cutout_page import BOX, DONE, alpha_of, choose, cut, drag, opened, same, saved

pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.slow


def toast(page):
    words = page.locator(".toast-body").last
    words.wait_for()
    return words.inner_text()


def test_every_error_has_its_words(page, portrait, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(portrait.read_bytes()[:2000])
    page.locator("#cutout-photo input[type=file]").set_input_files(broken)
    assert "\nbroken.jpg is truncated" in toast(page)
    title = "(title) => getComputedStyle(title, '::before').content"
    assert page.locator(".toast-title").last.evaluate(title) == '"That did not work"'
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
    page.fill("#cutout-label textarea, #cutout-label input", "unicorn")
    page.click("#cutout-find")
    page.wait_for_selector(".toast-body:has-text('unicorn')")
    page.click("#cutout-editor [data-tool=background]")  # nothing lies over it
    assert page.locator("[data-testid=status-tracker] .error:visible").count() == 0


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
    page.wait_for_function("document.activeElement.id === 'cutout-cancel'")
    page.wait_for_function("(old) => document.querySelector('.pp-after').src !== old", arg=before)
    page.wait_for_function("document.activeElement.id === 'cutout-run'")
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
