"""What `perpixel studio` answers to requests that a page would never send."""

import json

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

gradio = pytest.importorskip("gradio")

from perpixel.studio import run  # noqa: E402
from perpixel.studio.settings import StudioSettings  # noqa: E402


@pytest.fixture(scope="module")
def client():
    """The application that `run_studio` gives to uvicorn, without its socket."""
    import uvicorn

    taken = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(uvicorn.Server, "run", lambda server, sockets: taken.append(server.config.app))
        run.run_studio(StudioSettings(offline=True), port=0, browser=False, say=lambda line: None)
    with TestClient(taken[0], raise_server_exceptions=False) as client:
        yield client


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../../secret.png", "http://127.0.0.1:1/a.png", "HTTPS://example.org/a"]
)
def test_no_file_of_the_machine_is_read_and_nothing_fetched(client, tmp_path, path):
    Image.fromarray(np.full((40, 40, 3), 99, np.uint8)).save(tmp_path / "secret.png")
    for named in (path, str(tmp_path / "secret.png")):
        body = {"fn_index": 0, "session_hash": "s", "data": [{"path": named, "meta": {"_type": "gradio.FileData"}}]}
        answer = client.post("/gradio_api/queue/join", json=body)
        assert answer.status_code == 403 and "upload" in answer.text


def test_bodies_that_are_no_json_or_too_large(client):
    headers = {"content-type": "application/json"}
    assert client.post("/gradio_api/queue/join", content=b"{", headers=headers).status_code == 400
    large = json.dumps({"data": ["x" * (33 << 20)]}).encode()
    assert client.post("/gradio_api/queue/join", content=large, headers=headers).status_code == 413


@pytest.mark.parametrize("index", [9999, -1, "9999", 1e300, [1], "x"])
def test_a_function_that_is_not_there_is_told_so(client, index):
    for path in ("queue/join", "run/predict", "api/predict"):
        answer = client.post(f"/gradio_api/{path}", json={"data": [], "fn_index": index, "session_hash": "s"})
        assert answer.status_code in (404, 422), answer.text


def test_the_page_itself_passes(client):
    assert "perpixel Studio" in client.get("/").text
