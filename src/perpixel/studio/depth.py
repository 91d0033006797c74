"""The tab Depth: a photograph in; its depth in colours, with blur, and as points in space."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import gradio as gr

from perpixel.errors import InputError
from perpixel.images.read import Photo
from perpixel.ops.depth import COLOUR_MAPS
from perpixel.studio.busy import busy
from perpixel.studio.depth_view import DepthView, Wanted, about_depth, open_depth, write_depth
from perpixel.studio.messages import plain_errors
from perpixel.studio.missing_model import missing_model
from perpixel.studio.photo_box import photo_box, stem
from perpixel.studio.save_button import save_button
from perpixel.studio.shelf import Shelf, model_picker
from perpixel.studio.work import Stop, in_thread

# The library's own far would stretch what is behind; on the page the scene is better seen in one piece.
FAR, FOV = 4.0, 60.0
FOCUS, APERTURE = 0.9, 2.0
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
    view = gr.State(None)
    with gr.Row():
        with gr.Column(scale=2, min_width=300):
            box, photo = photo_box(elem_id="depth-photo")
            model = model_picker(shelf, "depth")
            missing_model(shelf, "depth")
            with gr.Row():
                run = gr.Button("Estimate depth", variant="primary", elem_id="depth-run")
                cancel = gr.Button("Cancel", elem_id="depth-cancel", visible=False)
        with gr.Column(scale=3, min_width=300):
            with gr.Tabs():
                with gr.Tab("Depth"):
                    picture = gr.Image(
                        label="Depth: bright is near",
                        interactive=False,
                        buttons=["fullscreen"],
                        height="auto",
                        elem_id="depth-picture",
                        alt_text="The depth of the photograph in colours, near is bright.",
                    )
                    map = gr.Dropdown(list(COLOUR_MAPS), value="inferno", label="Colours", elem_id="depth-map")
                with gr.Tab("Focus"):
                    blurred = gr.Image(
                        label="A click puts the focus there",
                        interactive=False,
                        buttons=["fullscreen"],
                        height="auto",
                        elem_id="depth-blurred",
                        alt_text="The photograph, blurred out of its focus.",
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
                with gr.Tab("Points"):
                    cloud = gr.Model3D(
                        label="Drag to turn, scroll to come closer",
                        interactive=False,
                        height=460,
                        clear_color=(0.09, 0.09, 0.09, 1.0),
                        camera_position=(90, 90, None),
                        elem_id="depth-points",
                    )
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
    shown = [view, picture, blurred, cloud, about, *files]

    async def estimate(
        found: Photo | None,
        name: str,
        colours: str,
        sharp: float,
        lens: float,
        angle: float,
        reach: float,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 (so Gradio finds it)
    ) -> Any:
        def work(stop: Stop) -> Any:
            now = _estimated(shelf, found, name, progress, stop)
            progress(0.9, desc="Drawing")
            made = now.colours(colours), now.blurred(sharp, lens), points_file(now, angle, reach, _folder(cloud))
            return [now, *made, about_depth(now), *[gr.Button(interactive=True)] * len(files)]

        with plain_errors():
            return await in_thread(work)

    def spread(now: DepthView | None, angle: float, reach: float) -> Any:
        with plain_errors():
            return gr.skip() if now is None else points_file(now, angle, reach, _folder(cloud))

    private: dict[str, Any] = {"api_visibility": "private"}
    quiet: dict[str, Any] = {**private, "show_progress": "hidden"}
    running = run.click(estimate, [photo, model, *settings], shown, show_progress_on=[picture, blurred], **private)
    busy(run, cancel, running)
    map.change(_coloured, [view, map], picture, **quiet)
    for slider in (focus, aperture):
        slider.change(_blurred, [view, focus, aperture], blurred, trigger_mode="always_last", **quiet)
    blurred.select(_focus_at, view, focus, **quiet)
    for slider in (far, fov):
        slider.release(spread, [view, fov, far], cloud, trigger_mode="always_last", **private)
    for gone in (box.upload, box.clear):
        gone(lambda: _emptied(len(files)), None, shown, **quiet)


def _estimated(shelf: Shelf, photo: Photo | None, name: str, progress: Any, stop: Stop) -> DepthView:
    from perpixel.tasks.depth import depth

    if photo is None:
        raise InputError("there is no photograph yet: drop one on the page first")
    progress(0.1, desc="Loading the model")
    model = shelf.load(name, "depth")
    stop.check()
    progress(0.3, desc="Measuring depth")
    found = depth(photo, model=model)
    stop.check()
    return open_depth(found)


def points_file(view: DepthView, fov: float, far: float, folder: Path) -> str:
    """Write the points of the 3-D view as .glb under a new name, and return its path."""
    place = Path(tempfile.mkdtemp(dir=folder)) / "points.glb"
    return str(view.points(fov, far).save(place))


def _coloured(view: DepthView | None, map: str) -> Any:
    return gr.skip() if view is None else view.colours(map)


def _blurred(view: DepthView | None, focus: float, aperture: float) -> Any:
    return gr.skip() if view is None else view.blurred(focus, aperture)


def _focus_at(view: DepthView | None, event: gr.SelectData) -> Any:
    return gr.skip() if view is None else round(view.near_at(*event.index), 2)


def _emptied(files: int) -> list[Any]:
    return [None, None, None, None, "", *[gr.Button(interactive=False)] * files]


def _file_button(wanted: Wanted, inputs: list[Any]) -> gr.Button:
    def write(
        folder: Path, now: DepthView, source: Photo, map: str, focus: float, aperture: float, fov: float, far: float
    ) -> Path:
        return write_depth(now, wanted, folder, stem(source), map=map, focus=focus, aperture=aperture, fov=fov, far=far)

    return save_button(LABELS[wanted], write, inputs, elem_id=f"depth-save-{wanted}")


def _folder(component: Any) -> Path:
    folder = Path(component.GRADIO_CACHE)
    folder.mkdir(parents=True, exist_ok=True)
    return folder
