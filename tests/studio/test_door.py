"""What `perpixel studio` answers to requests that a page would never send."""

import json
import shutil

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

gradio = pytest.importorskip("gradio")

from gradio.utils import get_upload_folder  # noqa: E402

from perpixel.studio import run  # noqa: E402
from perpixel.studio.settings import StudioSettings  # noqa: E402


@pytest.fixture(scope="module")
def client():
    """The application that `run_studio` gives to uvicorn, without its socket."""
    import uvicorn

    taken = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            uvicorn.Server, "run", lambda server, sockets: taken.extend((server.config.app, get_upload_folder()))
        )
        run.run_studio(StudioSettings(offline=True), port=0, browser=False, say=lambda line: None)
    with TestClient(taken[0]) as client:
        yield client
    shutil.rmtree(taken[1], ignore_errors=True)  # uploads made it once more


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


def joined(client, path="queue/join", **changes):
    function = client.get("/config").json()["dependencies"][0]
    body = {"data": [None] * len(function["inputs"]), "fn_index": function["id"], "session_hash": "s"} | changes
    headers = {"content-type": "application/json"}
    return client.post(f"/gradio_api/{path}", content=json.dumps(body), headers=headers)


@pytest.mark.parametrize("index", [9999, -1, "9999", 1e300, [1], "x", True, None])
def test_a_function_that_is_not_there_is_told_so(client, index):
    assert joined(client, fn_index=index).status_code == (404 if type(index) is int else 400)


@pytest.mark.parametrize(
    "changes",
    [
        {"data": None},
        {"data": {"x": 1}},
        {"data": [None] * 99},
        {"data": [float("inf")]},
        {"data": ["\ud800"]},
        {"data": [{"\ud800": 1}]},
        {"session_hash": 5},
        {"session_hash": ""},
        {"session_hash": "s" * 65},
        {"session_hash": None},
        {"trigger_id": [1]},
        {"batched": "x"},
    ],
)
def test_calls_that_no_page_makes(client, changes):
    assert 400 <= joined(client, **changes).status_code < 500
    for path in ("cancel", "reset"):
        assert joined(client, path, **changes).status_code < 500


@pytest.mark.parametrize(
    "path",
    [
        *("run/predict", "api/predict", "call/x", "call/v2/x", "component_server", "stream/x", "vibe-edit"),
        *("dev/reload", "proxy=http://127.0.0.1:1/x", "file/x", "info", "openapi.json", "runs", "queue/status"),
    ],
)
def test_what_no_page_asks_for_is_not_there(client, path):
    for method in ("GET", "POST", "PUT"):
        answer = client.request(method, f"/gradio_api/{path}", content=b'{"data":[],"fn_index":0}')
        assert answer.status_code == 404


def test_a_call_of_the_page_passes(client):
    answer = joined(client)
    assert answer.status_code == 200 and answer.json()["event_id"]


def test_forms_that_are_no_uploads(client):
    head = b'--x\r\nContent-Disposition: form-data; name="files"'
    for body in (head + b"\r\n\r\nx\r\n--x--\r\n", b"--x\r\n\r\nx\r\n--x--\r\n", b"x"):
        for kind in ("multipart/form-data; boundary=x", "multipart/form-data", "application/json"):
            answer = client.post("/gradio_api/upload", content=body, headers={"content-type": kind})
            assert 400 <= answer.status_code < 500


def test_the_events_of_a_page_that_is_not_there_end(client):
    answer = client.get("/gradio_api/queue/data", params={"session_hash": "nobody"})
    assert answer.status_code == 200 and "session_not_found" in answer.text


def test_the_page_itself_passes(client):
    assert "perpixel Studio" in client.get("/").text
