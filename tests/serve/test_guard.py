"""The token, and what the log says of requests."""

import base64
import hmac
import json
import logging
import subprocess
import sys

import pytest
from fastapi.testclient import TestClient

from perpixel.errors import InputError
from perpixel.serve import guard
from perpixel.serve.journal import JsonLines, TextLines
from perpixel.serve.settings import Settings
from serve.served import form, kind_of, make_app
from tasks.painted import scene

TOKEN = "correct-horse-battery"


@pytest.fixture(scope="module")
def client():
    with TestClient(make_app(token=TOKEN)) as client:
        while client.get("/readyz").status_code != 200:
            pass
        yield client


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def basic(password):
    return {"Authorization": "Basic " + base64.b64encode(f"me:{password}".encode()).decode()}


@pytest.mark.parametrize("path", ["/v1/models", "/v1/nothing", "/metrics", "/openapi.json", "/", "/assets/x.js"])
def test_without_the_token_nothing_is_told(client, path):
    for headers in (
        {},
        bearer("wrong"),
        bearer(TOKEN[:-1]),
        bearer(TOKEN + "x"),
        {"Authorization": TOKEN},
        basic("no"),
    ):
        response = client.get(path, headers=headers)
        assert (response.status_code, kind_of(response)) == (401, "unauthorized")
        assert response.headers["www-authenticate"].startswith(
            "Bearer" if path not in ("/", "/assets/x.js") else "Basic"
        )


def test_with_the_token_all_works(client):
    assert client.get("/v1/models", headers=bearer(TOKEN)).status_code == 200
    assert client.post("/v1/segment", headers=bearer(TOKEN), **form(scene())).status_code == 200
    assert client.get("/v1/models", headers={"Authorization": f"bearer  {TOKEN}"}).status_code == 200


def test_probes_need_no_token(client):
    assert client.get("/healthz").status_code == client.get("/readyz").status_code == 200


def test_a_browsers_password_opens_pages_and_not_the_interface(client):
    assert client.get("/", headers=basic(TOKEN)).status_code == 404  # there is no Studio here
    assert client.get("/v1/models", headers=basic(TOKEN)).status_code == 401
    assert client.get("/", headers={"Authorization": "Basic !!!"}).status_code == 401


def test_the_token_is_compared_in_constant_time(client, monkeypatch):
    compared = []
    monkeypatch.setattr(guard.hmac, "compare_digest", lambda a, b: compared.append((a, b)) or False)
    assert client.get("/v1/models", headers=bearer("guess")).status_code == 401
    assert compared == [(b"guess", TOKEN.encode())]
    assert hmac.compare_digest is not None


def test_without_a_token_a_body_is_not_read(client):
    response = client.post("/v1/segment", **form(scene()))
    assert response.status_code == 401 and response.headers["connection"] == "close"


def test_the_token_is_in_openapi_and_never_shown(client):
    told = client.get("/openapi.json", headers=bearer(TOKEN))
    assert told.json()["paths"]["/v1/cutout"]["post"]["security"] and TOKEN not in told.text
    assert TOKEN not in repr(Settings(token=TOKEN))


@pytest.mark.parametrize("token", ["", "short", "with\nnewline", "pässword-long"])
def test_tokens_that_are_none(token):
    with pytest.raises(InputError, match="token"):
        Settings(token=token)


@pytest.mark.parametrize(
    "change", [{"queue": 0}, {"timeout": 0}, {"max_pixels": 0}, {"batch": 0}, {"max_memory": "lots"}, {"models": ()}]
)
def test_settings_that_no_server_runs_with(change):
    with pytest.raises(InputError):
        Settings(**change)


def test_every_request_is_a_line_with_its_id(client, caplog):
    with caplog.at_level(logging.INFO, "perpixel.serve"):
        client.get("/v1/a%0Ab", headers={**bearer(TOKEN), "X-Request-ID": "job-1"})
    record = next(record for record in caplog.records if record.message == "request")
    line = json.loads(JsonLines().format(record))
    assert (line["request_id"], line["status"], line["path"], line["method"]) == ("job-1", 404, "/v1/a\nb", "GET")
    text = TextLines().format(record)
    assert "\n" not in text and "request_id=job-1" in text and r'path="/v1/a\nb"' in text
    assert TOKEN not in text


def test_whoever_logs_it_is_one_object_a_line(program_environment):
    code = """
import logging, warnings
from perpixel.serve.journal import LOGGER, start_log
start_log("json")
LOGGER.info("ready", extra={"models": 2})
logging.getLogger("elsewhere").warning("two\\nlines")
logging.getLogger("elsewhere").info("not told")
logging.getLogger("python_multipart.multipart").warning("noise")
warnings.warn("mind", stacklevel=1)
"""
    run = subprocess.run(
        [sys.executable, "-c", code], env=program_environment, capture_output=True, text=True, check=True
    )
    lines = [json.loads(line) for line in run.stderr.splitlines()]
    assert [line["level"] for line in lines] == ["info", "warning", "warning"]
    assert lines[0]["models"] == 2 and lines[1]["message"] == "two\nlines" and "mind" in lines[2]["message"]


def test_a_trace_is_in_the_log_and_stays_one_object():
    try:
        raise RuntimeError("oops")
    except RuntimeError as error:
        record = logging.LogRecord("a", logging.ERROR, "f", 1, "failed", (), (type(error), error, None))
    assert json.loads(JsonLines().format(record))["trace"].endswith("RuntimeError: oops")
    assert TextLines().format(record).endswith("RuntimeError: oops")
