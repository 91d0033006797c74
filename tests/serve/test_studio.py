"""Studio beside the interface for programs: neither takes the other's addresses, and the token guards both."""

import pytest
from fastapi.testclient import TestClient

from serve.served import BOX, form, kind_of, make_app, square

pytestmark = pytest.mark.slow

TOKEN = "a-token-of-some-length"


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    pytest.importorskip("gradio")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("studio")))
        with TestClient(make_app(studio=True, token=TOKEN, max_upload=100_000)) as client:
            while client.get("/readyz").status_code != 200:
                pass
            yield client


def bearer():
    return {"Authorization": f"Bearer {TOKEN}"}


def test_the_page_asks_for_the_token(client):
    asked = client.get("/")
    assert asked.status_code == 401 and asked.headers["www-authenticate"].startswith("Basic")
    page = client.get("/", auth=("anybody", TOKEN))
    assert page.status_code == 200 and "text/html" in page.headers["content-type"]
    for path in ("/gradio_api/info", "/config", "/gradio_api/file=/etc/passwd"):
        assert client.get(path).status_code == 401


def test_programs_keep_their_addresses(client):
    assert client.post("/v1/cutout", headers=bearer(), **form(square(), {"box": BOX})).status_code == 200
    for method, path, status in (("GET", "/v1/cutout", 405), ("GET", "/v1/nothing", 404), ("PUT", "/v1/models", 405)):
        response = client.request(method, path, headers=bearer())
        assert response.status_code == status
        kind_of(response)
    assert client.get("/openapi.json", headers=bearer()).json()["info"]["title"] == "perpixel"
    assert "perpixel_ready 1.0" in client.get("/metrics", headers=bearer()).text


def test_uploads_to_the_page_have_the_same_limit(client):
    files = {"files": ("a.png", b"x" * 200_000)}
    response = client.post("/gradio_api/upload", files=files, auth=("anybody", TOKEN))
    assert (response.status_code, kind_of(response)) == (413, "too_large")


def test_an_upload_that_grows_beyond_it_while_gradio_reads_is_told_so_too(client):
    head = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
    response = client.post(
        "/gradio_api/upload",
        content=(part for part in (head, *[b"y" * 20_000] * 10)),
        headers={"Content-Type": "multipart/form-data; boundary=x"},
        auth=("anybody", TOKEN),
    )
    assert (response.status_code, kind_of(response)) == (413, "too_large")


def test_no_file_of_the_server_is_shown(client):
    for path in ("/etc/passwd", "pyproject.toml", "../../etc/passwd"):
        response = client.get(f"/gradio_api/file={path}", auth=("anybody", TOKEN))
        assert response.status_code in (403, 404) and "root:" not in response.text
