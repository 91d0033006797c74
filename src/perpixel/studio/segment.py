"""The tab Segment: a photograph in, what is in it out, to click on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from perpixel.errors import InputError
from perpixel.images.read import Photo
from perpixel.results.segments import Kind
from perpixel.studio.busy import start_and_cancel
from perpixel.studio.messages import plain_errors
from perpixel.studio.missing_model import missing_model
from perpixel.studio.photo_box import KEPT, photo_box, result_picture, stem
from perpixel.studio.save_button import save_button
from perpixel.studio.segment_files import Wanted, write_segments
from perpixel.studio.segment_table import NOTHING, chosen_line, segment_table, table
from perpixel.studio.segment_view import SegmentView, chosen_mask, open_view
from perpixel.studio.shelf import Shelf, model_picker
from perpixel.studio.work import Stop

if TYPE_CHECKING:
    from perpixel.studio.cutout import CutoutTab

KINDS: list[tuple[str, Kind]] = [
    ("Panoptic: things and surroundings", "panoptic"),
    ("Instance: each thing", "instance"),
    ("Semantic: one segment a label", "semantic"),
]
OPACITY = 0.45


def segment_tab(shelf: Shelf, cutout: CutoutTab) -> None:
    """Build the tab.

    Args:
        shelf: the models.
        cutout: the tab that a segment is sent to.
    """
    view = gr.State(None, time_to_live=KEPT)
    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            _, photo, changes = photo_box("segment-photo", shelf.settings.max_pixels)
            model = model_picker(shelf, "segmentation")
            missing_model(shelf, "segmentation")
            kind = gr.Radio(KINDS, value="panoptic", label="What to find", elem_id="segment-kind")
            threshold = gr.Slider(
                0, 1, 0.5, step=0.05, label="Least score", info="Lower finds more, and more that is wrong."
            )
            with gr.Row():
                run = gr.Button("Find segments", variant="primary", elem_id="segment-run")
                cancel = gr.Button("Cancel", elem_id="segment-cancel", visible=False)
        with gr.Column(scale=3, min_width=300):
            picture = result_picture(
                "Segments",
                "segment-picture",
                "The photograph with its segments in colour. The table below lists them.",
            )
            with gr.Row():
                opacity = gr.Slider(0, 1, OPACITY, step=0.05, label="Colours", scale=3, min_width=160)
                names = gr.Checkbox(True, label="Names", scale=1, min_width=90)
            line = gr.Markdown("", elem_id="segment-chosen")
            with gr.Row():
                send = gr.Button(
                    "Send to Cut out",
                    variant="primary",
                    interactive=False,
                    elem_id="segment-send",
                    size="md",
                    min_width=120,
                )
                hide = gr.Button("Hide", interactive=False, elem_id="segment-hide", size="md", min_width=80)
                show_all = gr.Button("Show all", interactive=False, elem_id="segment-show-all", size="md", min_width=80)
            rows = segment_table()
            with gr.Row():
                files = [
                    _file_button("COCO JSON", "coco", view, photo, opacity, names),
                    _file_button("Panoptic PNG", "panoptic", view, photo, opacity, names),
                    _file_button("Overlay PNG", "overlay", view, photo, opacity, names),
                ]
    shown = [view, picture, rows, line, send, hide, show_all, *files]

    async def find(
        found: Photo | None,
        name: str,
        wanted: Kind,
        least: float,
        strength: float,
        named: bool,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 (so Gradio finds it)
    ) -> Any:
        def work(stop: Stop) -> list[Any]:
            return _values(_found(shelf, found, name, wanted, least, progress, stop), strength, named)

        progress(0.05, desc="Loading the model")  # the first time, PyTorch too: a word before that
        with plain_errors():
            return await shelf.settings.work(work)

    def clicked(now: SegmentView | None, strength: float, named: bool, event: gr.SelectData) -> Any:
        with plain_errors():
            there = _there(now)
            segment = there.at(*event.index)
            return _values(there.choose(None if segment == there.chosen else segment), strength, named)

    def pressed(now: SegmentView | None, strength: float, named: bool, event: gr.SelectData) -> Any:
        with plain_errors():
            there = _there(now)
            deed = {"choose": there.choose, "hide": there.hide, "show": there.show}[event.value]
            return _values(deed(event.index), strength, named)

    def hidden(now: SegmentView | None, strength: float, named: bool) -> Any:
        with plain_errors():
            return _values(_toggled(_there(now)), strength, named)

    def all_shown(now: SegmentView | None, strength: float, named: bool) -> Any:
        with plain_errors():
            return _values(_there(now).show_all(), strength, named)

    def sent(now: SegmentView | None, found: Photo) -> Any:
        with plain_errors():
            return cutout.take(found, mask=chosen_mask(_there(now)) > 0)

    private: dict[str, Any] = {"api_visibility": "private"}
    quiet: dict[str, Any] = {**private, "show_progress": "hidden"}
    look = [opacity, names]
    start_and_cancel(
        run,
        cancel,
        find,
        [photo, model, kind, threshold, *look],
        shown,
        show_progress_on=picture,
        at_once=shelf.settings.at_once,
    )
    picture.select(clicked, [view, *look], shown, **quiet)
    rows.select(pressed, [view, *look], shown, **quiet)
    hide.click(hidden, [view, *look], shown, **quiet)
    show_all.click(all_shown, [view, *look], shown, **quiet)
    send.click(sent, [view, photo], cutout.takes, **private)
    for control in look:  # on change, not on release: the keyboard releases nothing
        control.change(_redrawn, [view, *look], picture, trigger_mode="always_last", **quiet)
    for gone in changes:
        gone(_emptied, None, shown, **quiet)


def _found(
    shelf: Shelf, photo: Photo | None, name: str, kind: Kind, threshold: float, progress: Any, stop: Stop
) -> SegmentView:
    from perpixel.tasks.segmentation import segment

    if photo is None:
        raise InputError("there is no photograph yet: drop one on the page first")
    model = shelf.load(name, "segmentation")
    stop.check()
    if kind not in model.kinds:
        gr.Info(f"This model finds {model.kinds[0]} segments only, so these are shown.")
        kind = model.kinds[0]
    progress(0.3, desc="Looking for segments")
    found = segment(photo, model=model, kind=kind, threshold=threshold)
    stop.check()
    progress(0.9, desc="Drawing")
    return open_view(found)


def _there(view: SegmentView | None) -> SegmentView:
    if view is None:
        raise InputError("there are no segments, or they lay here for too long: press Find segments")
    return view


def _values(view: SegmentView, opacity: float, names: bool) -> list[Any]:
    """What the components show of a view, in their order."""
    chosen = view.chosen is not None
    word = "Show" if view.chosen in view.hidden else "Hide"
    return [
        view,
        view.picture(opacity=opacity, names=names),
        table(view),
        chosen_line(view),
        gr.Button(interactive=chosen),
        gr.Button(word, interactive=chosen),
        gr.Button(interactive=bool(view.hidden)),
        *[gr.Button(interactive=len(view.shown) > 0)] * 3,
    ]


def _emptied() -> list[Any]:
    """The same before there is a result: that of the last photograph must not stand beside another."""
    return [None, None, NOTHING, "", *[gr.Button(interactive=False)] * 6]


def _toggled(view: SegmentView) -> SegmentView:
    if view.chosen is None:
        raise InputError("no segment is chosen: click one in the picture or in the table")
    return view.show(view.chosen) if view.chosen in view.hidden else view.hide(view.chosen)


def _redrawn(view: SegmentView | None, opacity: float, names: bool) -> Any:
    return gr.skip() if view is None else view.picture(opacity=opacity, names=names)


def _file_button(
    label: str, wanted: Wanted, view: gr.State, photo: gr.State, opacity: gr.Slider, names: gr.Checkbox
) -> gr.Button:
    def write(folder: Path, now: SegmentView | None, source: Photo, strength: float, named: bool) -> Path:
        return write_segments(_there(now), wanted, folder, stem(source), opacity=strength, names=named)

    return save_button(label, write, [view, photo, opacity, names], elem_id=f"segment-save-{wanted}")
