"""Studio beside the server neither reads the server's files nor fetches anything, whatever its requests name."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from serve.served import kind_of, make_app

gradio = pytest.importorskip("gradio")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("uploads")


@pytest.fixture(scope="module")
def client(folder):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(folder))
        with TestClient(make_app(studio=True)) as client:
            while client.get("/readyz").status_code != 200:
                pass
            yield client


@pytest.fixture
def secret(tmp_path):
    """A picture that is the server's own."""
    Image.fromarray(np.full((40, 40, 3), 99, np.uint8)).save(tmp_path / "secret.png")
    return tmp_path / "secret.png"


@pytest.fixture
def fetched(monkeypatch):
    """The addresses that were asked for in this process."""
    import safehttpx

    asked = []

    async def get(url, *_, **__):
        asked.append(url)
        raise OSError("no network in tests")

    monkeypatch.setattr(safehttpx, "get", get)
    return asked


def opening(client):
    """The number of what Studio does when a photograph is opened to be segmented."""
    config = client.get("/config").json()
    photo = next(part["id"] for part in config["components"] if part["props"].get("elem_id") == "segment-photo")
    return next(each["id"] for each in config["dependencies"] if each["inputs"] == [photo])


def open_photo(client, photo):
    sent = {"data": [photo], "fn_index": opening(client), "session_hash": "abc"}
    headers = {"Content-Type": "application/json"}
    return client.post("/gradio_api/queue/join", content=json.dumps(sent), headers=headers)


def file_data(path, **more):
    return {"path": str(path), "meta": {"_type": "gradio.FileData"}, **more}


def uploaded(client, data):
    return client.post("/gradio_api/upload", files={"files": ("a.png", data)}).json()[0]


def test_an_uploaded_photograph_is_opened(client, secret, folder):
    path = uploaded(client, secret.read_bytes())
    assert Path(path).is_relative_to(folder)
    joined = open_photo(client, file_data(path))
    assert joined.status_code == 200 and joined.json()["event_id"]


def test_no_picture_of_the_server_is_read(client, secret, folder):
    link = folder / "link.png"
    link.symlink_to(secret)
    way_out = folder / ".." / ".." / secret.relative_to(secret.parents[1])
    sent = [file_data(path) for path in (secret, f"{folder}/../{secret.name}", way_out, link, "a\0b", "x" * 5000, "")]
    sent += [
        {"path": str(secret)},
        {"path": [str(secret)]},
        {"path": {"path": 1}},
        {"x": [{"y": {"path": str(secret)}}]},
    ]
    try:
        for photo in sent:
            response = open_photo(client, photo)
            assert (response.status_code, kind_of(response)) == (403, "forbidden")
    finally:
        link.unlink()
    copies = [path for path in folder.rglob("*") if path.is_file() and path.read_bytes() == secret.read_bytes()]
    assert not [path for path in copies if path.name == secret.name]


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/a.png", "https://example.com/a.png", " HTTP://example.com/a.png", "file:///etc/passwd"]
)
def test_nothing_is_fetched(client, fetched, secret, url):
    for photo in (file_data(url), file_data(url, url=url), {"path": url}, {"path": url, "url": None}):
        response = open_photo(client, photo)
        assert (response.status_code, kind_of(response)) == (403, "forbidden")
    # An address beside a file that was uploaded is what pages send; it is not looked at.
    path = uploaded(client, secret.read_bytes())
    assert open_photo(client, file_data(path, url="http://127.0.0.1:1/a.png")).status_code == 200
    for photo in (url, {"url": url, "meta": {"_type": "gradio.FileData"}}, {"path": None, "url": url}):
        open_photo(client, photo)  # without a path it is no photograph; whether that is an error is Gradio's matter
    assert not fetched


@pytest.mark.parametrize(
    "path",
    [
        "file=http://127.0.0.1:1/x",
        "file=https://example.com/x.png",
        "file=%68ttp://example.com/x",
        "file=HTTP://example.com/x",
        "file/https://example.com/x",
        "proxy=http://127.0.0.1:1/x",
        "proxy=https://huggingface.co/x",
    ],
)
def test_no_address_is_passed_on(client, fetched, path):
    for method in ("GET", "HEAD"):
        assert client.request(method, f"/gradio_api/{path}").status_code in (403, 404)
    assert not fetched


def test_no_file_is_shown_by_any_spelling(client, secret, folder):
    shutil.copy(secret, folder.parent / "beside.png")
    for path in (
        secret,
        "/etc/passwd",
        f"{folder}/../beside.png",
        f"{folder}/%2e%2e/beside.png",
        f"{folder}/..%2fbeside.png",
        "%00",
        "x" * 4000,
        "pyproject.toml",
    ):
        for address in (f"/gradio_api/file={path}", f"/gradio_api/file/{path}", f"/static/{path}", f"/assets/{path}"):
            response = client.get(address)
            assert 400 <= response.status_code < 500
            assert b"root:" not in response.content and b"\x89PNG" not in response.content


def test_bodies_that_are_none(client):
    for body in (b"{", b"[" * 100_000, b"9" * 5000, b"\xff\xfe", b"a=b"):
        response = client.post("/gradio_api/queue/join", content=body, headers={"Content-Type": "application/json"})
        assert 400 <= response.status_code < 500


def test_the_names_of_uploads_stay_in_their_folder(client, folder):
    for name in ("../../evil.png", "/tmp/evil.png", "..\\evil.png", "a" * 3000 + ".png", "%2e%2e%2fevil.png", "."):
        response = client.post("/gradio_api/upload", files={"files": (name, b"x")})
        assert response.status_code < 500
        if response.status_code == 200:
            assert Path(response.json()[0]).resolve().is_relative_to(folder)
    assert not (folder.parent / "evil.png").exists() and not (folder.parents[1] / "evil.png").exists()
