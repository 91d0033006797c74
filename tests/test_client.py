"""`Client`: the results of the functions, by way of a server; patience with a busy one, and its errors as ours."""

import socket
import sys
import threading
import time

import httpx
import numpy as np
import pytest
import uvicorn
from PIL import Image

import perpixel
from perpixel.client import Client, ServerError
from perpixel.errors import InputError, MissingDependencyError, PerpixelError
from serve.served import BOX, make_app, square
from tasks.known_depth import estimator, picture, smooth
from tasks.painted import painted_segmenter, scene

TOKEN = "a-token-of-some-length"


@pytest.fixture(scope="module")
def address():
    """A server in a thread of this process."""
    with pytest.MonkeyPatch.context() as patch, socket.create_server(("127.0.0.1", 0)) as door:
        patch.setattr("perpixel.serve.service.WARM_UP", 64)
        app = make_app(token=TOKEN)
        server = uvicorn.Server(uvicorn.Config(app, log_config=None))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [door]})
        thread.start()
        while not app.state.service.ready:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{door.getsockname()[1]}"
        server.should_exit = True
        thread.join()


@pytest.fixture
def client(address):
    with Client(address, TOKEN) as client:
        yield client


def answering(*answers, timeout=30.0):
    """A client of a server that gives these answers one after the other, and what it was asked."""
    asked = []
    coming = iter(answers)

    def answer(request):
        asked.append(request)
        return next(coming)

    client = Client("http://test", timeout=timeout)
    client._http = httpx.Client(base_url="http://test", transport=httpx.MockTransport(answer))
    return client, asked


def error(status, kind="busy", **headers):
    body = {"error": {"kind": kind, "message": "told", "request_id": "r1"}}
    return httpx.Response(status, json=body, headers={name.replace("_", "-"): value for name, value in headers.items()})


def models():
    return httpx.Response(200, json={"models": []})


def same_matte(found, expected):
    np.testing.assert_array_equal(found.alpha, expected.alpha)
    np.testing.assert_array_equal(found.trimap, expected.trimap)
    np.testing.assert_array_equal(found.cutout(), expected.cutout())
    assert found.icc_profile == expected.icc_profile


def test_cutouts_are_those_of_the_function(client, tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(square()).save(path, icc_profile=None)
    for image in (path, str(path), path.read_bytes(), square(), Image.open(path), perpixel.read_photo(path)):
        same_matte(client.cutout(image, box=BOX), perpixel.cutout(square(), box=BOX))


def test_numbers_of_numpy_are_taken(client):
    points = np.array([[30, 30], [20, 20]])
    expected = perpixel.cutout(square(), points=points.tolist(), background_points=[[2, 2]])
    same_matte(client.cutout(square(), points=points, background_points=[np.array([2, 2])]), expected)
    same_matte(client.cutout(square(), box=np.array(BOX)), perpixel.cutout(square(), box=BOX))


@pytest.mark.parametrize("kind", [np.uint8, bool, np.float32])
def test_masks_of_any_kind(client, kind):
    mask = np.zeros((64, 64), kind)
    mask[16:48, 16:48] = 255 if kind is np.uint8 else 1
    same_matte(client.cutout(square(), mask=mask), perpixel.cutout(square(), mask=mask))


def test_a_photograph_of_16_bits(client):
    image = picture(smooth(64, 64))
    image[16:48, 16:48] = (60_000, 20_000, 5_001)
    found, expected = client.cutout(image, box=BOX), perpixel.cutout(image, box=BOX)
    assert found.cutout().dtype == np.uint16
    same_matte(found, expected)


def test_a_cutout_by_a_label(client):
    expected = perpixel.cutout(scene(), label="dog", segmentation_model=painted_segmenter())
    same_matte(client.cutout(scene(), label="dog", segmentation_model="painted"), expected)


def test_mattes_are_those_of_the_function(client):
    trimap = np.full((64, 64), 128, np.uint8)
    trimap[:9], trimap[30:33, 30:33] = 0, 255
    same_matte(client.matte(square(), trimap, max_memory="1GB"), perpixel.matte(square(), trimap))


@pytest.mark.parametrize("kind", ["panoptic", "instance", "semantic"])
def test_segments_are_those_of_the_function(client, kind):
    found = client.segment(scene(), kind=kind, labels=["person", "dog"], things={0, 1})
    expected = perpixel.segment(scene(), model=painted_segmenter(), kind=kind, labels=["person", "dog"], things={0, 1})
    assert list(found) == list(expected) and found.kind == kind
    np.testing.assert_array_equal(found.map, expected.map)
    for segment in expected:
        np.testing.assert_array_equal(found.mask(segment), expected.mask(segment))
    np.testing.assert_array_equal(found.overlay(), expected.overlay())


def test_depth_is_that_of_the_function(client):
    image = picture(smooth(96, 128))
    expected = perpixel.depth(image, model=estimator(side=64, multiple=32), kind="metric")
    found = client.depth(image, kind="metric", detail="whole")
    np.testing.assert_array_equal(found.values, expected.values)
    np.testing.assert_array_equal(found.valid, expected.valid)
    assert (found.kind, found.unit) == ("metric", "m")


def test_the_models(client):
    nano, painted, seer = client.models()
    assert (nano.name, nano.task, nano.default, nano.licence) == ("vitmatte-nano", "matting", True, "Apache-2.0")
    assert "dog" in painted.labels and seer.task == "depth"


def test_what_the_server_cannot_use_is_an_input_error_with_its_words(client):
    with pytest.raises(InputError, match="covers the whole image"):
        client.cutout(square(), box=(0, 0, 64, 64))
    with pytest.raises(InputError, match="not served"):
        client.depth(square(), model="another")
    with pytest.raises(InputError, match="in no image format"):
        client.cutout(b"\0\1\2\3", box=BOX)
    with pytest.raises(InputError, match="does not exist"):
        client.cutout("no-such-file.png", box=BOX)


def test_a_misspelt_name_is_refused_here():
    client, asked = answering()
    with pytest.raises(TypeError, match="boxx"):
        client.cutout(square(), boxx=BOX)
    assert not asked


def test_a_busy_server_is_asked_again_when_it_says(monkeypatch):
    waits = []
    monkeypatch.setattr("perpixel.client.time.sleep", waits.append)
    client, asked = answering(error(429, retry_after="3"), error(503, "not_ready", retry_after="2"), models())
    assert client.models() == [] and len(asked) == 3
    assert 3 <= waits[0] <= 3 * 1.25 and 2 <= waits[1] <= 2 * 1.25


def test_patience_ends(monkeypatch):
    monkeypatch.setattr("perpixel.client.time.sleep", lambda seconds: None)
    client, asked = answering(error(429, retry_after="60"), timeout=10)
    with pytest.raises(ServerError, match="told"):
        client.models()
    assert len(asked) == 1


@pytest.mark.parametrize("header", [{}, {"retry_after": "Wed, 21 Oct 2026 07:28:00 GMT"}, {"retry_after": "-5"}])
def test_waits_that_cannot_be_read(monkeypatch, header):
    waits = []
    monkeypatch.setattr("perpixel.client.time.sleep", waits.append)
    client, _ = answering(error(429, **header), models())
    client.models()
    assert 0 <= waits[0] <= 1.25


@pytest.mark.parametrize(
    ("status", "kind"), [(500, ServerError), (503, ServerError), (401, ServerError), (413, InputError)]
)
def test_other_errors_are_not_tried_again(status, kind):
    client, asked = answering(error(status, "x"))
    with pytest.raises(kind, match="told") as caught:
        client.models()
    assert len(asked) == 1 and isinstance(caught.value, PerpixelError)


@pytest.mark.parametrize(
    "answer", [httpx.Response(502, text="<html>"), httpx.Response(200, text="<html>"), httpx.Response(500, json=[1])]
)
def test_what_is_no_server_of_ours(answer):
    client, _ = answering(answer)
    with pytest.raises(ServerError, match="http://test"):
        client.models()


def test_nobody_there():
    with Client("http://127.0.0.1:9") as client, pytest.raises(ServerError, match="cannot be reached"):
        client.models()


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://x", ""])
def test_addresses_that_are_none(url):
    with pytest.raises(InputError, match="http://"):
        Client(url)


def test_without_httpx(monkeypatch):
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(MissingDependencyError, match=r"perpixel\[client\]"):
        Client()


def test_the_token_is_sent_and_only_as_a_header(monkeypatch):
    monkeypatch.setenv("PERPIXEL_TOKEN", "from-the-environment")
    assert Client("http://test")._http.headers["authorization"] == "Bearer from-the-environment"
    assert Client("http://test", "given")._http.headers["authorization"] == "Bearer given"
    monkeypatch.delenv("PERPIXEL_TOKEN")
    assert "authorization" not in Client("http://test")._http.headers


def test_only_what_was_given_is_sent():
    client, asked = answering(error(422, "input"))
    with pytest.raises(InputError):
        client.depth(square())
    sent = asked[0].read()
    assert b'"detail": "whole"' in sent and b"max_memory" not in sent
    assert asked[0].headers["content-type"].startswith("multipart/form-data")
