"""Bodies: the limit holds while they arrive, forms in any pieces are read the same, and no name of a file is used."""

import asyncio
from itertools import pairwise

import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.requests import Request

from perpixel.serve.problems import Refusal
from perpixel.serve.settings import Settings
from perpixel.serve.upload import Held, LimitedBody, read_form
from serve.served import BOX, form, kind_of, make_app, square

FIELDS = {"image": True, "options": False}


def request_of(chunks, headers):
    parts = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    messages = iter([*parts, {"type": "http.request", "body": b"", "more_body": False}])

    async def receive():
        return next(messages)

    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": raw}, receive)


def encoded(files, data=None):
    request = httpx.Request("POST", "http://test", files=files, data=data)
    return request.read(), {"content-type": request.headers["content-type"]}


def read(body, headers, cuts=(), held=None):
    edges = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
    chunks = [body[a:b] for a, b in pairwise(edges)]
    return asyncio.run(read_form(request_of(chunks, headers), FIELDS, held or Held(10**6)))


@given(st.binary(max_size=300), st.text(max_size=30), st.lists(st.integers(0, 10**4), max_size=6))
@settings(max_examples=40, deadline=None)
def test_a_form_in_any_pieces_is_read_the_same(image, options, cuts):
    body, headers = encoded({"image": ("a.png", image)}, {"options": options})
    found = read(body, headers, cuts)
    assert found.fields == {"image": image, "options": options.encode()}


@given(st.binary(max_size=200), st.lists(st.integers(0, 10**4), max_size=3))
@settings(max_examples=40, deadline=None)
def test_anything_else_is_refused_and_nothing_stays_held(body, cuts):
    held = Held(10**6)
    with pytest.raises(Refusal) as caught:
        read(body, {"content-type": "multipart/form-data; boundary=xyz"}, cuts, held)
    assert 400 <= caught.value.status < 500
    assert held.bytes == 0


def test_a_form_without_its_end():
    body, headers = encoded({"image": ("a.png", b"abc")})
    with pytest.raises(Refusal) as caught:
        read(body[:-6], headers)
    assert caught.value.status == 400


@pytest.mark.parametrize("kind", ["", "application/json", "multipart/form-data", "multipart/mixed; boundary=a", "x; é"])
def test_other_types_of_bodies(kind):
    with pytest.raises(Refusal) as caught:
        read(b"{}", {"content-type": kind})
    assert caught.value.status == 415


def test_fields_that_are_not_known_or_come_twice():
    for files in (
        [("url", ("a", b"x"))],
        [("image", ("a", b"x")), ("image", ("a", b"y"))],
        [("options", ("a", b"{}"))],
    ):
        body, headers = encoded(files)
        with pytest.raises(Refusal) as caught:
            read(body, headers)
        assert caught.value.status == 422


def test_options_have_a_limit_of_their_own():
    body, headers = encoded({"image": ("a", b"x")}, {"options": " " * 70_000})
    with pytest.raises(Refusal) as caught:
        read(body, headers)
    assert caught.value.status == 413


def test_all_bodies_together_have_a_limit():
    held = Held(500)
    body, headers = encoded({"image": ("a", b"x" * 300)})
    first = read(body, headers, held=held)
    assert held.bytes == len(body)
    with pytest.raises(Refusal) as caught:
        read(body, headers, held=held)
    assert caught.value.status == 429
    first.release()
    first.release()
    assert held.bytes == 0


def test_names_of_files_are_not_looked_at(tmp_path):
    with TestClient(make_app()) as client:
        while client.get("/readyz").status_code != 200:
            pass
        expected = client.post("/v1/cutout", **form(square(), {"box": BOX})).content
        for name in ("../../etc/passwd", "/etc/passwd", "a\0b.png", "x" * 2000, "CON", "..\\..\\x", "%2e%2e%2f"):
            sent = form(square(), {"box": BOX})
            sent["files"]["image"] = (name, *sent["files"]["image"][1:])
            assert client.post("/v1/cutout", **sent).content == expected


class Endless:
    """A body without end, which counts how much of it was taken."""

    def __init__(self):
        self.taken = 0

    def __iter__(self):
        while True:
            self.taken += 1000
            yield b"x" * 1000


def test_a_body_that_says_its_size_is_refused_before_it_is_read():
    with TestClient(make_app(max_upload=10_000)) as client:
        while client.get("/readyz").status_code != 200:
            pass
        for path in ("/v1/cutout", "/v1/nothing", "/healthz"):
            body = Endless()
            headers = {"Content-Length": str(2**31), "Content-Type": "multipart/form-data; boundary=a"}
            response = client.post(path, content=b"x", headers=headers)
            assert (response.status_code, kind_of(response)) == (413, "too_large")
            assert response.headers["connection"] == "close"
            assert body.taken == 0


def limited(messages, headers, **changes):
    """What an application behind the limit is given."""
    iterator = iter(messages)

    async def receive():
        wait, message = next(iterator)
        await asyncio.sleep(wait)
        return message

    async def main():
        scope = {"headers": [(name.encode(), value.encode()) for name, value in headers.items()]}
        body = LimitedBody(scope, receive, Settings(**changes))
        body.check()
        while not body.complete:
            await body()
        return body.received

    return asyncio.run(main())


def part(size, more=True, wait=0.0):
    return wait, {"type": "http.request", "body": b"x" * size, "more_body": more}


def test_a_body_in_chunks_is_refused_when_it_becomes_too_large():
    chunked = {"transfer-encoding": "chunked"}
    assert limited([part(60), part(40, more=False)], chunked, max_upload=100) == 100
    with pytest.raises(Refusal) as caught:
        limited([part(60), part(41), part(0, wait=60)], chunked, max_upload=100)
    assert caught.value.status == 413


def test_a_body_that_trickles_is_refused():
    trickle = [part(1, wait=0.03)] * 100
    with pytest.raises(Refusal) as caught:
        limited(trickle, {"content-length": "100"}, upload_timeout=0.2)
    assert caught.value.status == 408


def test_without_a_body_nobody_is_timed():
    assert limited([], {}) == 0
    assert limited([], {"content-length": "0"}) == 0


def test_the_app_is_one_of_fastapi():
    assert isinstance(make_app(), FastAPI)
