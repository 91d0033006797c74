"""A running Studio, and a browser."""

import shutil
import socket
import threading
import time

import pytest


@pytest.fixture(scope="module")
def hold():
    """While this is set, models are not handed out: work goes on until somebody cancels it."""
    return threading.Event()


@pytest.fixture(scope="module")
def address(hold):
    import uvicorn
    from fastapi import FastAPI

    from perpixel.studio.app import create_studio, mount_studio, private_folder
    from perpixel.studio.settings import StudioSettings
    from perpixel.studio.shelf import Shelf
    from tasks.painted import painted_segmenter

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
    from playwright.sync_api import sync_playwright

    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("there is no Chromium on this machine")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(chromium, address):
    from studio.cutout_page import opened

    with opened(chromium, address) as page:
        yield page


@pytest.fixture(scope="module")
def portrait(examples):
    return examples / "portrait.jpg"
