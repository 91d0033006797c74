"""The page as a whole: what it fetches, what it tells, and what it leaves."""

import os
import re
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from perpixel.studio.app import create_studio, mount_studio, private_folder
from perpixel.studio.samples import samples
from perpixel.studio.settings import StudioSettings
from perpixel.studio.theme import studio_css, studio_theme


@pytest.fixture(scope="module")
def client():
    with private_folder():
        app = mount_studio(FastAPI(openapi_url=None), create_studio(StudioSettings(offline=True)))
        with TestClient(app) as client:
            yield client


def test_the_page_is_there(client):
    answer = client.get("/")
    assert answer.status_code == 200
    assert "perpixel Studio" in answer.text


def test_it_tells_nobody_what_people_do(client):
    config = client.get("/config").json()
    assert config["analytics_enabled"] is False
    assert not config.get("footer_links")


def test_functions_of_the_page_are_no_interface_for_programs(client):
    functions = client.get("/config").json()["dependencies"]
    assert {each["api_visibility"] for each in functions} == {"private"}
    assert client.get("/gradio_api/info").status_code == 404


def test_fonts_and_styles_come_from_here():
    for text in (studio_theme()._get_theme_css(), studio_css()):
        assert not re.search(r"""url\(["']?https?:|@import|@font-face""", text)
    assert studio_theme()._stylesheets == []


def test_files_of_the_machine_are_not_served(client):
    for path in ("/etc/passwd", str(Path(__file__).resolve()), "../../etc/passwd"):
        assert client.get(f"/gradio_api/file={path}").status_code in (403, 404)


def test_the_folder_of_uploads_is_removed(monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", "as-before")
    with private_folder() as folder:
        assert os.environ["GRADIO_TEMP_DIR"] == str(folder)
        (folder / "upload.png").write_bytes(b"x")
    assert not folder.exists()
    assert os.environ["GRADIO_TEMP_DIR"] == "as-before"


def test_examples_come_with_the_package():
    for sample in samples():
        assert sample.path.is_file()
        assert sample.marks or sample.trimap.is_file()
    total = sum(path.stat().st_size for path in samples()[0].path.parent.iterdir())
    assert total < 120_000
