"""The tab Cut out: a photograph and a hint in, the subject on another background out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from numpy.typing import NDArray

from perpixel.errors import InputError
from perpixel.images.read import Photo, read_photo
from perpixel.ops.trimap import trimap_from_mask
from perpixel.results import Matte
from perpixel.studio.before_after import before_after, compared, other_after
from perpixel.studio.busy import start_and_cancel
from perpixel.studio.cutout_work import (
    FORMS,
    Look,
    colour_of,
    current_trimap,
    on_page,
    smaller,
    trimap_of_file,
    trimap_of_label,
    write_cutout,
)
from perpixel.studio.messages import plain_errors
from perpixel.studio.photo_box import PhotoBox, check_pixels, stem
from perpixel.studio.samples import Sample, samples
from perpixel.studio.save_button import save_button
from perpixel.studio.shelf import Shelf, model_picker
from perpixel.studio.trimap_editor import Trimap, new_photo, new_trimap, parse_drawing, trimap_editor
from perpixel.studio.work import Stop
from perpixel.tasks.matting import matte

# Photographs of people who have left are forgotten after so many seconds.
KEPT = 3600
EMPTY = """Choose a photograph.
Draw a box around the subject, or click and paint on it.
Press Cut out. The result comes here."""
RUN = "() => { document.querySelector('#cutout-run').click(); }"


@dataclass(frozen=True)
class CutoutTab:
    """What other tabs need to hand this one a photograph and its subject.

    Attributes:
        tabs: all tabs of the page.
        parts: the components that `take` gives values for.
    """

    tabs: gr.Tabs
    parts: tuple[Any, ...]

    @property
    def takes(self) -> list[Any]:
        """The components that `take` gives values for: the outputs of an event."""
        return [self.tabs, *self.parts]

    def take(
        self, photo: Photo, *, mask: NDArray[Any] | None = None, trimap: NDArray[np.uint8] | None = None
    ) -> tuple[Any, ...]:
        """Open this tab with a photograph and its subject.

        Args:
            photo: the photograph.
            mask: (h, w) of the photograph's size, true or 1 on the subject; or
            trimap: (h, w) uint8 of 0, 128 and 255.

        Returns:
            the values for `takes`.
        """
        if mask is not None:
            trimap = trimap_from_mask(mask)
        return gr.Tabs(selected="cutout"), *_opened(photo, trimap)


def cutout_tab(shelf: Shelf, tabs: gr.Tabs) -> CutoutTab:
    """Build the tab.

    Args:
        shelf: the models.
        tabs: all tabs of the page.

    Returns:
        what other tabs need to hand over a photograph.
    """
    photo, base, whole, small = (gr.State(None, time_to_live=KEPT) for _ in range(4))
    progress, most = gr.Progress(), shelf.settings.max_pixels
    shown = samples()
    private: dict[str, Any] = {"api_visibility": "private"}
    with gr.Row(equal_height=False):
        with gr.Column(scale=6, min_width=320):
            with gr.Column(elem_id="cutout-start") as start:
                drop = PhotoBox(
                    label="Photograph",
                    sources=["upload", "clipboard"],
                    type="filepath",
                    image_mode=None,
                    elem_id="cutout-photo",
                    height=300,
                )
                gr.Markdown("Or try one of these:", elem_classes=["quiet"])
                with gr.Row(elem_id="cutout-examples"):
                    examples = [gr.Button(each.title, icon=str(each.path), min_width=120) for each in shown]
            with gr.Column(visible=False) as workplace:
                editor = trimap_editor()
                with gr.Row(elem_classes=["actions"]):
                    run = gr.Button("Cut out", variant="primary", elem_id="cutout-run", min_width=140, size="md")
                    cancel = gr.Button(
                        "Cancel", variant="stop", elem_id="cutout-cancel", visible=False, min_width=140, size="md"
                    )
                    only_trimap = gr.Button("Only the trimap", elem_id="cutout-trimap", min_width=120, size="md")
                    another = gr.Button("Another photograph", elem_id="cutout-another", min_width=120, size="md")
                with gr.Accordion("By name, or with a mask or trimap file", open=False, elem_id="cutout-other"):
                    file = gr.File(
                        label="Trimap or mask",
                        file_types=["image"],
                        height=140,
                        elem_id="cutout-file",
                    )
                    namer = model_picker(shelf, "segmentation", label="Model that knows names", elem_id="cutout-namer")
                    with gr.Row(elem_classes=["actions"]):
                        label = gr.Textbox(
                            label="What is the subject?",
                            placeholder="person, cat, …; nothing for the largest thing",
                            elem_id="cutout-label",
                        )
                        find = gr.Button("Find it", elem_id="cutout-find", min_width=100, size="md")
            with gr.Accordion("Model", open=False, elem_id="cutout-model"):
                model = model_picker(shelf, "matting", label="Model that finds the edges")
        with gr.Column(scale=5, min_width=320):
            result = before_after(EMPTY, elem_id="cutout-result")
            with gr.Column(visible=False) as after:
                ground = gr.Radio(
                    ["Transparent", "Colour", "Picture"],
                    value="Transparent",
                    label="Background",
                    elem_id="cutout-ground",
                )
                colour = gr.ColorPicker("#ffffff", label="Colour", visible=False, elem_id="cutout-colour")
                picture = PhotoBox(
                    label="Picture",
                    sources=["upload"],
                    type="filepath",
                    image_mode=None,
                    visible=False,
                    height=180,
                    elem_id="cutout-picture",
                )
                clean = gr.Checkbox(
                    True,
                    label="Clean edge colours",
                    info="The subject's own colours, with no old background shining through.",
                    elem_id="cutout-clean",
                )
                with gr.Row(elem_classes=["actions"]):
                    form = gr.Dropdown(FORMS, value="png", label="File", elem_id="cutout-form", min_width=180)
                    look: list[Any] = [ground, colour, picture, clean]
                    save = save_button("Download", _write, [whole, photo, form, *look], elem_id="cutout-save")

    def opened(path: str | None) -> tuple[Any, ...]:
        with plain_errors():
            if path is None:
                return _opened(None, None)
            check_pixels(path, most)
            return _opened(read_photo(path, max_pixels=most), None)

    async def cut(
        found: Photo | None, known: Trimap | None, drawn: str, name: str, *given: Any, said: gr.Progress = progress
    ) -> tuple[Any, ...]:
        def work(stop: Stop) -> tuple[Any, ...]:
            there = _needed(found)
            said(0.05, desc="Looking for the subject")
            new, trimap = current_trimap(there, known, parse_drawing(drawn))
            stop.check()
            said(0.2, desc="Getting the model")
            network = shelf.load(name, "matting")
            stop.check()
            said(0.35, desc="Finding the edges")
            made = matte(there, trimap, model=network, max_memory=shelf.settings.max_memory)
            stop.check()
            said(0.85, desc="Cleaning the colours")
            shown = smaller(made)
            pictures = compared(*on_page(shown, _look(*given)), shown.icc_profile)
            shows = gr.skip() if new is known else new_trimap(new)
            return new, shows, made, shown, pictures, gr.Column(visible=True), gr.Button(interactive=True)

        with plain_errors():
            done: tuple[Any, ...] = await shelf.settings.work(work)
            return done

    def marked(found: Photo | None, known: Trimap | None, drawn: str) -> tuple[Any, ...]:
        with plain_errors():
            new, _ = current_trimap(_needed(found), known, parse_drawing(drawn))
            return new, gr.skip() if new is known else new_trimap(new)

    def filed(found: Photo | None, path: str | None) -> tuple[Any, ...]:
        if path is None:
            return gr.skip(), gr.skip()
        with plain_errors():
            check_pixels(path, most)
            trimap, kind = trimap_of_file(path, _needed(found))
        gr.Info(f"Taken as a {kind}. Repair it with the brushes, or cut out.")
        return trimap, new_trimap(trimap)

    async def named(found: Photo | None, words: str, name: str, said: gr.Progress = progress) -> tuple[Any, ...]:
        def work(stop: Stop) -> tuple[Any, ...]:
            there = _needed(found)
            said(0.1, desc="Getting the model")
            segmenter = shelf.load(name, "segmentation")
            stop.check()
            said(0.4, desc="Looking for it")
            trimap = trimap_of_label(there, words, segmenter)
            return trimap, new_trimap(trimap)

        with plain_errors():
            done: tuple[Any, ...] = await shelf.settings.work(work)
            return done

    def relook(shown: Matte | None, *given: Any) -> Any:
        if shown is None:
            return gr.skip()
        with plain_errors():
            if given[2] is not None:
                check_pixels(given[2], most)
            return other_after(on_page(shown, _look(*given))[1], shown.icc_profile)

    def choices(kind: str) -> tuple[Any, Any]:
        return gr.ColorPicker(visible=kind == "Colour"), gr.update(visible=kind == "Picture")

    parts = (photo, base, whole, small, editor, start, workplace, result, after, save)
    # Gradio's word of an error would cover the place for the next photograph; the message says it.
    quiet: dict[str, Any] = {**private, "show_progress": "hidden"}
    drop.upload(opened, drop, list(parts), **quiet).failure(lambda: None, None, drop, **quiet)
    another.click(lambda: (None, *_opened(None, None)), None, [drop, *parts], **quiet)
    for button, each in zip(examples, shown, strict=True):
        loaded = button.click(partial(_opened_sample, each), None, list(parts), **quiet)
        loaded.success(None, js=RUN, **private)
    inputs, outputs = [photo, base, editor, model, *look], [base, editor, whole, small, result, after, save]
    at_once = shelf.settings.at_once
    start_and_cancel(run, cancel, cut, inputs, outputs, show_progress_on=result, at_once=at_once)
    only_trimap.click(marked, [photo, base, editor], [base, editor], show_progress="hidden", **private)
    file.upload(filed, [photo, file], [base, editor], show_progress="hidden", **private)
    gr.on(
        [find.click, label.submit], named, [photo, label, namer], [base, editor], concurrency_limit=at_once, **private
    )
    ground.change(choices, ground, [colour, picture], show_progress="hidden", **private)
    gr.on(
        [ground.change, colour.change, picture.upload, picture.clear, clean.change],
        relook,
        [small, *look],
        result,
        trigger_mode="always_last",
        **private,
    )
    return CutoutTab(tabs, parts)


def _opened_sample(sample: Sample) -> tuple[Any, ...]:
    with plain_errors():
        photo = read_photo(sample.path)
        trimap = None if sample.trimap is None else trimap_of_file(sample.trimap, photo)[0]
        return _opened(photo, trimap, sample.marks)


def _opened(photo: Photo | None, trimap: Trimap | None, marks: Sequence[Mapping[str, Any]] = ()) -> tuple[Any, ...]:
    """The values of `CutoutTab.parts` for another photograph."""
    return (
        photo,
        trimap,
        None,
        None,
        new_photo(photo, trimap, marks),
        gr.Column(visible=photo is None),
        gr.Column(visible=photo is not None),
        compared(None, None),
        gr.Column(visible=False),
        gr.Button(interactive=False),
    )


def _needed(photo: Photo | None) -> Photo:
    if photo is None:
        raise InputError("there is no photograph, or it lay here for too long: choose it again")
    return photo


def _look(ground: str, colour: str, picture: str | None, clean: bool) -> Look:
    if ground == "Colour":
        return Look(colour_of(colour), clean)
    return Look(picture if ground == "Picture" else None, clean)


def _write(folder: Path, whole: Matte | None, photo: Photo | None, form: Any, *look: Any) -> Path:
    if whole is None:
        raise InputError("there is no cut-out yet, or it lay here for too long: press Cut out")
    return write_cutout(folder, whole, _look(*look), form, stem(_needed(photo)))
