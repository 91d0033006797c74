"""The tab Depth: a photograph in; its depth in colours, with blur, and as points in space."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from perpixel.errors import InputError
from perpixel.images.read import Photo
from perpixel.ops.depth import COLOUR_MAPS
from perpixel.studio.busy import start_and_cancel
from perpixel.studio.depth_view import (
    DepthView,
    Wanted,
    about_depth,
    fewer_points,
    middle_focus,
    open_depth,
    write_depth,
)
from perpixel.studio.messages import plain_errors
from perpixel.studio.missing_model import missing_model
from perpixel.studio.photo_box import KEPT, photo_box, result_picture, stem
from perpixel.studio.point_view import point_view, shown_cloud
from perpixel.studio.save_button import save_button
from perpixel.studio.shelf import Shelf, model_picker
from perpixel.studio.work import Stop

# The library's own far would stretch what is behind; on the page the scene is better seen in one piece.
FAR, FOV = 4.0, 60.0
FOCUS, APERTURE = 1.0, 2.0  # before there is a picture
LABELS: dict[Wanted, str] = {
    "png": "16-bit PNG",
    "npy": "NPY",
    "ply": "PLY points",
    "colour": "Colours PNG",
    "bokeh": "Blurred photo PNG",
}


def depth_tab(shelf: Shelf) -> None:
    """Build the tab.

    Args:
        shelf: the models.
    """
    view, in_points = gr.State(None, time_to_live=KEPT), gr.State(None, time_to_live=KEPT)
    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            _, photo, changes = photo_box("depth-photo", shelf.settings.max_pixels)
            model = model_picker(shelf, "depth")
            missing_model(shelf, "depth")
            with gr.Row():
                run = gr.Button("Estimate depth", variant="primary", elem_id="depth-run")
                cancel = gr.Button("Cancel", elem_id="depth-cancel", visible=False)
        with gr.Column(scale=3, min_width=300):
            with gr.Tabs(selected="picture") as pages:
                with gr.Tab("Depth", id="picture"):
                    picture = result_picture(
                        "Depth: bright is near",
                        "depth-picture",
                        "The depth of the photograph in colours, near is bright.",
                    )
                    map = gr.Dropdown(list(COLOUR_MAPS), value="inferno", label="Colours", elem_id="depth-map")
                with gr.Tab("Focus", id="focus"):
                    blurred = result_picture(
                        "A click puts the focus there", "depth-blurred", "The photograph, blurred out of its focus."
                    )
                    focus = gr.Slider(
                        0,
                        1,
                        FOCUS,
                        step=0.01,
                        label="Focus",
                        info="0 is the farthest, 1 the nearest.",
                        elem_id="depth-focus",
                    )
                    aperture = gr.Slider(
                        0, 10, APERTURE, step=0.1, label="Blur", info="2 is a portrait lens.", elem_id="depth-aperture"
                    )
                with gr.Tab("Points", id="points") as points:
                    cloud = point_view()
                    far = gr.Slider(
                        1.2,
                        20,
                        FAR,
                        step=0.1,
                        label="Depth of the scene",
                        elem_id="depth-far",
                        info="How many times farther the farthest point is than the nearest. Not for metres.",
                    )
                    fov = gr.Slider(
                        20,
                        110,
                        FOV,
                        step=1,
                        label="Field of view in degrees",
                        elem_id="depth-fov",
                        info="Of the longer side: a phone's main camera has about 70, a portrait lens 25.",
                    )
            about = gr.Markdown("", elem_id="depth-about")
            settings = [map, focus, aperture, fov, far]
            with gr.Row():
                files = [_file_button(wanted, [view, photo, *settings]) for wanted in LABELS]
    shown = [view, picture, blurred, cloud, in_points, about, pages, focus, *files]

    async def estimate(
        found: Photo | None,
        name: str,
        colours: str,
        lens: float,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 (so Gradio finds it)
    ) -> Any:
        def work(stop: Stop) -> Any:
            now = _estimated(shelf, found, name, progress, stop)
            progress(0.9, desc="Drawing")
            first = gr.Tabs(selected="picture")
            sharp = middle_focus(now)
            pictures = now.colours(colours), now.blurred(sharp, lens)
            # The points are made when they are looked at: the page shows none in a tab that was never open.
            return [
                now,
                *pictures,
                gr.update(cloud=None),
                None,
                about_depth(now),
                first,
                sharp,
                *[gr.Button(interactive=True)] * len(files),
            ]

        progress(0.05, desc="Loading the model")  # the first time, PyTorch too: a word before that
        with plain_errors():
            return await shelf.settings.work(work)

    def spread(now: DepthView | None, angle: float, reach: float) -> Any:
        with plain_errors():
            return (gr.skip(), gr.skip()) if now is None else (_points(now, angle, reach), now)

    def looked_at(now: DepthView | None, there: DepthView | None, angle: float, reach: float) -> Any:
        return (gr.skip(), gr.skip()) if now is there else spread(now, angle, reach)

    private: dict[str, Any] = {"api_visibility": "private"}
    quiet: dict[str, Any] = {**private, "show_progress": "hidden"}
    start_and_cancel(
        run,
        cancel,
        estimate,
        [photo, model, map, aperture],
        shown,
        show_progress_on=picture,
        at_once=shelf.settings.at_once,
    )
    map.change(_coloured, [view, map], picture, **quiet)
    for slider in (focus, aperture):
        slider.change(_blurred, [view, focus, aperture], blurred, trigger_mode="always_last", **quiet)
    blurred.select(_focus_at, view, focus, **quiet)
    for slider in (far, fov):
        slider.change(spread, [view, fov, far], [cloud, in_points], trigger_mode="always_last", **quiet)
    points.select(looked_at, [view, in_points, fov, far], [cloud, in_points], **private)
    for gone in changes:
        gone(lambda: _emptied(len(files)), None, shown, **quiet)


def _estimated(shelf: Shelf, photo: Photo | None, name: str, progress: Any, stop: Stop) -> DepthView:
    from perpixel.tasks.depth import depth

    if photo is None:
        raise InputError("there is no photograph yet: drop one on the page first")
    model = shelf.load(name, "depth")
    stop.check()
    progress(0.3, desc="Measuring depth")
    found = depth(photo, model=model, max_memory=shelf.settings.max_memory)
    stop.check()
    return open_depth(found)


def _points(view: DepthView, fov: float, far: float) -> Any:
    few = fewer_points(view.depth)
    return gr.update(cloud=shown_cloud(few.point_cloud(fov=fov, far=far), few.size, fov))


def _coloured(view: DepthView | None, map: str) -> Any:
    return gr.skip() if view is None else view.colours(map)


def _blurred(view: DepthView | None, focus: float, aperture: float) -> Any:
    return gr.skip() if view is None else view.blurred(focus, aperture)


def _focus_at(view: DepthView | None, event: gr.SelectData) -> Any:
    return gr.skip() if view is None else round(view.near_at(*event.index), 2)


def _emptied(files: int) -> list[Any]:
    return [
        None,
        None,
        None,
        gr.update(cloud=None),
        None,
        "",
        gr.Tabs(selected="picture"),
        gr.skip(),
        *[gr.Button(interactive=False)] * files,
    ]


def _file_button(wanted: Wanted, inputs: list[Any]) -> gr.Button:
    def write(
        folder: Path,
        now: DepthView | None,
        source: Photo,
        map: str,
        focus: float,
        aperture: float,
        fov: float,
        far: float,
    ) -> Path:
        if now is None:
            raise InputError("there is no depth, or it lay here for too long: press Estimate depth")
        return write_depth(now, wanted, folder, stem(source), map=map, focus=focus, aperture=aperture, fov=fov, far=far)

    return save_button(LABELS[wanted], write, inputs, elem_id=f"depth-save-{wanted}")
