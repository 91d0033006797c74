"""The addresses: what each gives is what the Python function gives, and what cannot be served is told in one shape."""

import io
import json

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

import perpixel
from perpixel.client import _unpacked
from serve.served import BOX, form, kind_of, make_app, png, shown, square
from tasks.known_depth import estimator, picture, smooth
from tasks.painted import painted_segmenter, scene

JSON = {"Accept": "application/json"}


@pytest.fixture(scope="module")
def client():
    with TestClient(make_app(max_pixels=40_000)) as client:
        while client.get("/readyz").status_code != 200:
            pass
        yield client


def trimap():
    known = np.full((64, 64), 128, np.uint8)
    known[:12], known[30:34, 30:34] = 0, 255
    return known


def test_a_cutout_is_the_file_that_the_function_saves(client, tmp_path):
    response = client.post("/v1/cutout", **form(square(), {"box": BOX}))
    perpixel.cutout(square(), box=BOX).save(tmp_path / "x.png")
    assert response.content == (tmp_path / "x.png").read_bytes()
    assert response.headers["content-type"] == "image/png"


@pytest.mark.parametrize("what", ["alpha", "preview", "foreground"])
def test_other_parts_of_a_matte(client, what):
    found = shown(client.post("/v1/cutout", params={"what": what}, **form(square(), {"box": BOX})))
    expected = perpixel.cutout(square(), box=BOX).to_pil(what)
    np.testing.assert_array_equal(found, np.asarray(expected))


def test_every_hint(client):
    mask = np.zeros((64, 64), np.uint8)
    mask[16:48, 16:48] = 255
    points = {"points": [[30, 30]], "background_points": [[2, 2]]}
    for options, files, expected in (
        (points, {}, perpixel.cutout(square(), **points)),
        (None, {"mask": png(mask)}, perpixel.cutout(square(), mask=mask)),
        (None, {"trimap": png(trimap())}, perpixel.cutout(square(), trimap=trimap())),
    ):
        found = client.post("/v1/cutout", headers=JSON, **form(square(), options, **files)).json()
        np.testing.assert_array_equal(_unpacked(found["alpha"]), expected.alpha)
        np.testing.assert_array_equal(_unpacked(found["trimap"]), expected.trimap)


def test_a_cutout_by_a_label(client):
    options = {"label": "dog"}
    found = client.post("/v1/cutout", headers=JSON, **form(scene(), options)).json()
    expected = perpixel.cutout(scene(), label="dog", segmentation_model=painted_segmenter())
    np.testing.assert_array_equal(_unpacked(found["alpha"]), expected.alpha)
    assert kind_of(client.post("/v1/cutout", **form(scene(), {"label": "zebra"}))) == "input"


def test_a_matte(client):
    sent = form(square(), {"max_memory": "1GB"}, trimap=png(trimap()))
    expected = perpixel.matte(square(), trimap())
    np.testing.assert_array_equal(shown(client.post("/v1/matte", **sent)), np.asarray(expected.to_pil("alpha")))
    told = client.post("/v1/matte", headers=JSON, **sent).json()
    np.testing.assert_array_equal(_unpacked(told["alpha"]), expected.alpha)
    assert (told["width"], told["height"], told["model"]) == (64, 64, "vitmatte-nano")


@pytest.mark.parametrize("kind", ["panoptic", "instance", "semantic"])
def test_segments(client, kind):
    response = client.post("/v1/segment", headers=JSON, **form(scene(), {"kind": kind}))
    told = response.json()
    expected = perpixel.segment(scene(), model=painted_segmenter(), kind=kind)
    np.testing.assert_array_equal(_unpacked(told["map"]), expected.map)
    assert [row["label"] for row in told["segments"]] == [segment.label for segment in expected]
    assert [row["segmentation"] for row in told["segments"]] == [expected.rle(segment) for segment in expected]
    drawn = shown(client.post("/v1/segment", params={"what": "map"}, **form(scene(), {"kind": kind})))
    np.testing.assert_array_equal(drawn, expected.map)


def test_depth(client):
    image = picture(smooth(96, 128))[..., :1].repeat(3, 2)
    expected = perpixel.depth((image >> 8).astype(np.uint8), model=estimator(side=64, multiple=32))
    sent = form((image >> 8).astype(np.uint8))
    told = client.post("/v1/depth", headers=JSON, **sent).json()
    np.testing.assert_array_equal(_unpacked(told["values"]), expected.values)
    assert (told["kind"], told["unit"], told["valid"]) == ("inverse", None, None)
    response = client.post("/v1/depth", **sent)
    note = json.loads(response.headers["x-depth"])
    values = np.asarray(Image.open(io.BytesIO(response.content))) * note["scale"] + note["shift"]
    np.testing.assert_allclose(values, expected.values, atol=note["precision"] * 1.01)


def test_a_picture_of_16_bits_gives_one(client):
    image = picture(smooth(64, 64))
    image[16:48, 16:48] = (60_000, 20_000, 5_000)
    import cv2

    data = cv2.imencode(".png", image[..., ::-1])[1].tobytes()
    response = client.post("/v1/cutout", **form(data, {"box": BOX}))
    assert cv2.imdecode(np.frombuffer(response.content, np.uint8), cv2.IMREAD_UNCHANGED).dtype == np.uint16


def test_the_models(client):
    rows = client.get("/v1/models").json()["models"]
    assert [(row["name"], row["task"], row["default"], row["licence"]) for row in rows] == [
        ("vitmatte-nano", "matting", True, "Apache-2.0"),
        ("painted", "segmentation", True, None),
        ("seer", "depth", True, None),
    ]
    assert "dog" in rows[1]["labels"]


@pytest.mark.parametrize(
    ("accept", "given"),
    [
        ("image/png", "image/png"),
        ("*/*", "image/png"),
        ("image/*;q=0.2, application/json;q=0.1", "image/png"),
        ("image/png;q=0, */*", "application/json"),
        ("text/html, application/json;q=0.9, */*;q=0.8", "application/json"),
    ],
)
def test_what_the_client_accepts(client, accept, given):
    response = client.post("/v1/segment", headers={"Accept": accept}, **form(scene()))
    assert response.headers["content-type"] == given


@pytest.mark.parametrize("accept", ["text/html", "image/jpeg, image/png;q=0", "application/json;q=x"])
def test_what_is_not_to_be_had(client, accept):
    response = client.post("/v1/segment", headers={"Accept": accept}, **form(scene()))
    assert (response.status_code, kind_of(response)) == (406, "not_acceptable")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"boxx": BOX}, "boxx"),
        ({"box": [1, 2, 3]}, "box"),
        ({"box": ["a", 2, 3, 4]}, "box"),
        ({"box": [0, 0, 64, 64]}, "covers the whole image"),
        ({"box": [50, 50, 10, 10]}, "is empty"),
        ({"box": BOX, "label": "dog"}, "give one of them"),
        ({}, "needs a hint"),
        ({"points": [[30, 30]] * 101}, "points"),
        ({"points": [[3000, 30]]}, "outside the image"),
        ({"box": BOX, "model": "/etc/passwd"}, "not served"),
        ({"box": BOX, "model": "hustvl/vitmatte-small-composition-1k"}, "not served"),
        ({"box": BOX, "model": "painted"}, "not served for matting"),
        ({"box": BOX, "max_memory": "much"}, "no amount of memory"),
        ({"box": BOX, "device": "cuda"}, "device"),
        ({"box": BOX, "image": "/etc/passwd"}, "image"),
        ([], "no object"),
        (None, "no object"),
    ],
)
def test_options_that_cannot_be_used(client, options, words):
    response = client.post("/v1/cutout", files=form(square())["files"], data={"options": json.dumps(options)})
    assert response.status_code == 422 and kind_of(response) in ("input", "options")
    assert words in response.json()["error"]["message"]


@pytest.mark.parametrize(
    "text", ["{", "NaN", '{"box": [1e999, 0, 1, 1]}', "[" * 30_000, "9" * 5000, '{"a": 1, "\\ud800": 2}']
)
def test_options_that_are_no_json(client, text):
    response = client.post("/v1/cutout", files=form(square())["files"], data={"options": text})
    assert (response.status_code, kind_of(response)) == (422, "options")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"size": 1}, "'size'"),
        ({"size": {"shortest_edge": 64, "longest_edge": 1}}, "'size.longest_edge'"),
        ({"labels": []}, "'labels' cannot be used: List should have at least 1"),
        ({"labels": ["dog", ""]}, "'labels.1'"),
    ],
)
def test_options_are_called_as_the_client_calls_them(client, options, words):
    refused = client.post("/v1/segment", **form(square(), options))
    assert refused.status_code == 422 and words in refused.json()["error"]["message"]


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"", 422),
        (b"hello", 415),
        (b"%PDF-1.4", 415),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415),
        (png(square())[:120], 422),
        (b"\x89PNG\r\n\x1a\n", 415),
        (b"II*\0\x08\0\0\0", 422),
    ],
)
def test_files_that_are_no_pictures(client, data, status):
    response = client.post("/v1/cutout", files={"image": ("a.png", data)}, data={"options": json.dumps({"box": BOX})})
    assert response.status_code == status, response.text
    kind_of(response)


def test_more_pixels_than_are_read(client):
    bomb = png(np.zeros((300, 300), np.uint8))
    for response in (
        client.post("/v1/cutout", **form(bomb, {"box": BOX})),
        client.post("/v1/cutout", **form(square(), mask=bomb)),
        client.post("/v1/depth", **form(bomb)),
    ):
        assert (response.status_code, kind_of(response)) == (413, "too_large")


@pytest.mark.parametrize("size", [{}, {"height": 64}, {"height": 64, "longest_edge": 64}, 5000, {"width": 1e9}])
def test_sizes_that_are_none(client, size):
    response = client.post("/v1/segment", **form(scene(), {"size": size}))
    assert response.status_code == 422 and kind_of(response) in ("input", "options")


def test_hints_of_another_size(client):
    response = client.post("/v1/cutout", **form(square(), mask=png(np.zeros((9, 9), np.uint8))))
    assert (response.status_code, kind_of(response)) == (422, "input")
    assert "resize" in response.json()["error"]["message"]


def test_long_and_narrow_pictures(client):
    for shape in ((1, 9000, 3), (9000, 1, 3)):
        narrow = np.zeros(shape, np.uint8)
        assert client.post("/v1/depth", **form(narrow)).status_code in (200, 422)
        assert client.post("/v1/cutout", **form(narrow, {"box": BOX})).status_code == 422
        blown = client.post("/v1/segment", **form(narrow, {"size": {"shortest_edge": 800}}))
        assert blown.status_code == 422 and "longest_edge" in blown.json()["error"]["message"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/cutout", 405),
        ("DELETE", "/v1/models", 405),
        ("GET", "/v1/nothing", 404),
        ("GET", "/nothing", 404),
        ("POST", "/healthz", 405),
        ("GET", "/v1/../../etc/passwd", 404),
    ],
)
def test_addresses_that_are_none(client, method, path, status):
    response = client.request(method, path)
    assert response.status_code == status
    assert kind_of(response) == {404: "not_found", 405: "method_not_allowed"}[status]
    assert (status == 405) == ("allow" in response.headers)


def test_no_page_of_another_site_may_read_answers(client):
    response = client.get("/v1/models", headers={"Origin": "https://evil.example"})
    assert not [name for name in response.headers if name.startswith("access-control")]


def test_request_ids(client):
    assert client.get("/healthz", headers={"X-Request-ID": "job-7.a_B"}).headers["x-request-id"] == "job-7.a_B"
    made = {
        client.get("/healthz", headers={"X-Request-ID": given}).headers["x-request-id"]
        for given in ("", "a b", "x" * 65, "é".encode(), "<script>")
    }
    assert len(made) == 5 and all(len(each) == 16 for each in made)


def test_a_model_for_nothing():
    app = make_app()
    app.state.service.models.all = app.state.service.models.all[:1]
    with TestClient(app) as client:
        while client.get("/readyz").status_code != 200:
            pass
        response = client.post("/v1/depth", **form(square()))
        assert (response.status_code, kind_of(response)) == (404, "no_model")


def test_metrics_are_prometheus(client):
    client.post("/v1/segment", **form(scene()))
    families = {family.name: family for family in text_string_to_metric_families(client.get("/metrics").text)}
    counted = {(s.labels["route"], s.labels["status"]) for s in families["perpixel_requests"].samples}
    assert ("/v1/segment", "200") in counted
    assert families["perpixel_ready"].samples[0].value == 1
    assert families["perpixel_held_bytes"].samples[0].value == 0
    assert "perpixel_batch_size" in families


def test_openapi_has_examples_and_every_status(client):
    told = client.get("/openapi.json").json()
    for route in ("cutout", "matte", "segment", "depth"):
        operation = told["paths"][f"/v1/{route}"]["post"]
        schema = operation["requestBody"]["content"]["multipart/form-data"]["schema"]
        assert schema["properties"]["options"]["examples"]
        assert schema["properties"]["options"]["additionalProperties"] is False
        assert {"200", "406", "413", "415", "422", "429", "503", "504"} <= set(operation["responses"])
        assert set(operation["responses"]["200"]["content"]) == {"image/png", "application/json"}
    assert "$defs" not in json.dumps(told)


def test_the_examples_of_openapi_are_options_that_are_known(client):
    from perpixel.serve.work import OPTIONS

    for options in OPTIONS.values():
        examples = options.model_json_schema()["examples"]
        assert examples and [options.model_validate(example) for example in examples]
