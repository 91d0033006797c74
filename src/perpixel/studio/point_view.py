"""The 3-D view of points in the browser: small, without a library, and without holes between the points."""

from __future__ import annotations

import base64
import math
from importlib import resources
from typing import Any

import gradio as gr
import numpy as np

from perpixel.results.point_cloud import PointCloud

TEMPLATE = """
<div class="points-view">
  <canvas tabindex="0" role="img" aria-label="Points in space. Drag or use the arrow keys to turn, + and − to come
    closer, Home for the first view."></canvas>
  <p class="points-note" data-empty="The points appear here."
    data-without="This browser has no 3-D (WebGL). The PLY file opens in MeshLab, CloudCompare or Blender."></p>
</div>
<p class="points-help">Drag to turn, scroll or pinch to come closer, Shift and drag to move, double-click to begin
  again. With the keyboard: arrows, +, −, Home.</p>
"""
STYLE = """
.points-view { position: relative; overflow: hidden; height: min(30rem, 70vh); background: #171717;
  border: 1px solid var(--border-color-primary); border-radius: var(--radius-lg); }
canvas { display: block; width: 100%; height: 100%; cursor: grab; touch-action: none; }
canvas:active { cursor: grabbing; }
canvas:focus-visible { outline: 3px solid var(--color-accent); outline-offset: -3px; }
.points-note { position: absolute; inset: 0; display: grid; place-content: center; margin: 0; padding: 1rem;
  color: #c8c8c8; text-align: center; pointer-events: none; }
.points-note[hidden] { display: none; }
.points-help { margin: .4rem 0 0; color: var(--body-text-color-subdued); font-size: var(--text-sm); }
"""
STEPS = 32767  # of a coordinate on either side of the middle: finer than what is seen


def point_view() -> gr.HTML:
    """The component; `shown_cloud` gives its property `cloud`."""
    return gr.HTML(
        value="",
        html_template=TEMPLATE,
        css_template=STYLE,
        js_on_load=resources.files("perpixel.studio").joinpath("point_view.js").read_text("utf-8"),
        apply_default_css=False,
        elem_id="depth-points",
        cloud=None,
    )


def shown_cloud(cloud: PointCloud, size: tuple[int, int], fov: float) -> dict[str, Any]:
    """The points for the browser.

    Args:
        cloud: points that a camera at the origin saw, at least one.
        size: (width, height) of the depth that they came from, in pixels.
        fov: the angle in degrees that its longer side spans.

    Returns:
        count; data, base64 of count × 4 int16 for the places and count × 4 uint8 for the colours; middle and extent,
        which turn int16 into places; reach, how far the photograph reaches to each side at distance 1; and pitch, how
        wide one pixel of it is there.

    >>> found = shown_cloud(PointCloud(np.array([[0, 0, -1], [0, 1, -3]], np.float32)), (4, 3), 90)
    >>> found["count"], found["middle"], found["extent"], round(found["pitch"], 6)
    (2, [0.0, 0.5, -2.0], 1.0, 0.5)
    """
    low, high = cloud.points.min(axis=0).astype(np.float64), cloud.points.max(axis=0).astype(np.float64)
    middle = (low + high) / 2
    extent = max(float((high - low).max()) / 2, 1e-9)
    places = np.zeros((len(cloud), 4), "<i2")
    places[:, :3] = np.rint((cloud.points - middle) / extent * STEPS)
    colours = np.zeros((len(cloud), 4), np.uint8)
    colours[:, :3] = 200 if cloud.colours is None else cloud.colours
    pitch = 2 * math.tan(math.radians(fov) / 2) / max(size)
    return {
        "count": len(cloud),
        "data": base64.b64encode(places.tobytes() + colours.tobytes()).decode(),
        "middle": [round(float(value), 6) for value in middle],
        "extent": extent,
        "reach": [side * pitch / 2 for side in size],
        "pitch": pitch,
    }
