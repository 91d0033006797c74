"""An application with known models, and pictures to send it."""

import asyncio
import io
import json
import threading
from contextlib import asynccontextmanager

import httpx
import numpy as np
from PIL import Image

from perpixel.serve.app import create_app
from perpixel.serve.models import Served
from perpixel.serve.settings import Settings
from tasks.known_depth import estimator
from tasks.painted import painted_segmenter

BOX = [12, 12, 52, 52]


class Loaded(Served):
    """A model that a test made."""

    def load(self, settings):
        pass

    def rehearsal(self, side):
        return []


class Gate:
    """Holds up every call of a segmentation model until it is opened."""

    def __init__(self):
        self.open = threading.Event()
        self.entered = threading.Semaphore(0)
        self.calls = 0

    def __call__(self, *_):
        self.calls += 1
        self.entered.release()
        assert self.open.wait(20)


def make_app(gate=None, **changes):
    """vitmatte-nano, the painted segmenter and the depth that sees brightness."""
    app = create_app(Settings(**{"studio": False, **changes}))
    segmenter = painted_segmenter()
    if gate is not None:
        segmenter.network.register_forward_pre_hook(gate)
    app.state.service.models.all += [
        Loaded("painted", "painted", "segmentation", segmenter),
        Loaded("seer", "seer", "depth", estimator(side=64, multiple=32)),
    ]
    return app


@asynccontextmanager
async def running(app):
    """A client of an application that has started and is ready."""
    async with app.router.lifespan_context(app):
        while not app.state.service.ready:
            assert app.state.service.failure is None
            await asyncio.sleep(0.01)
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test", timeout=30) as client:
            yield client


def square(height=64, width=64):
    """A subject in the box (16, 16, 48, 48)."""
    image = np.full((height, width, 3), 30, np.uint8)
    image[16:48, 16:48] = (200, 60, 20)
    return image


def png(pixels, **options):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", **options)
    return stream.getvalue()


def form(image, options=None, **files):
    """The arguments of httpx for a request with a picture."""
    data = image if isinstance(image, bytes) else png(image)
    parts = {"image": ("x.png", data, "image/png")} | {name: (name, part) for name, part in files.items()}
    return {"files": parts} | ({} if options is None else {"data": {"options": json.dumps(options)}})


def shown(response):
    assert response.status_code == 200, response.text
    return np.asarray(Image.open(io.BytesIO(response.content)))


def kind_of(response):
    """The word of an error, after a look at its shape."""
    told = response.json()
    assert set(told) == {"error"} and set(told["error"]) == {"kind", "message", "request_id"}
    assert told["error"]["request_id"] == response.headers["x-request-id"]
    assert "Traceback" not in response.text and "\n" not in told["error"]["message"]
    return told["error"]["kind"]
