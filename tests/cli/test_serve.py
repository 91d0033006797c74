"""`perpixel serve`: what its options become."""

import pytest

from perpixel.cli import main
from perpixel.serve import process
from perpixel.serve.settings import Settings


@pytest.fixture
def asked(monkeypatch):
    calls = []

    def run(settings, **place):
        place.pop("say")
        calls.append((settings, place))
        return True

    monkeypatch.setattr(process, "run_server", run)
    monkeypatch.setattr("perpixel.serve.journal.start_log", lambda form: calls.append(form))
    monkeypatch.delenv("PERPIXEL_TOKEN", raising=False)
    return calls


def test_by_default_only_this_machine_is_served(asked):
    assert main(["serve"]) == 0
    assert asked == ["text", (Settings(), {"host": "127.0.0.1", "port": 8000})]


def test_every_option(asked):
    words = "serve --host 0.0.0.0 --port 0 --model a --model b --token 12345678 --no-studio --queue 5 --batch 2"
    words += " --decodes 3 --timeout 7 --max-upload 1MB --max-pixels 2.5 --max-memory 1GB --device cpu --dtype bf16"
    assert main([*words.split(), "--engine", "torch", "--log-format", "json"]) == 0
    expected = Settings(
        models=("a", "b"),
        device="cpu",
        dtype="bf16",
        engine="torch",
        token="12345678",
        queue=5,
        batch=2,
        decodes=3,
        max_upload=1_000_000,
        max_pixels=2_500_000,
        max_memory="1GB",
        timeout=7.0,
        studio=False,
    )
    assert asked == ["json", (expected, {"host": "0.0.0.0", "port": 0})]


def test_the_token_from_the_environment(asked, monkeypatch):
    monkeypatch.setenv("PERPIXEL_TOKEN", "from-outside")
    assert main(["serve"]) == 0
    assert asked[1][0].token == "from-outside"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--token", "short"], 1, "token"),
        (["--max-upload", "much"], 1, "memory"),
        (["--queue", "0"], 2, "--queue"),
        (["--port", "70000"], 2, "--port"),
        (["--log-format", "xml"], 2, "--log-format"),
    ],
)
def test_options_that_cannot_be_used(asked, capsys, words, code, said):
    assert main(["serve", *words]) == code
    assert said in capsys.readouterr().err and not asked


def test_a_model_that_is_not_there(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("perpixel.serve.journal.start_log", lambda form: None)
    assert main(["serve", "--port", "0", "--no-studio", "--model", str(tmp_path)]) == 1
    captured = capsys.readouterr()
    assert "config.json" in captured.err and "Traceback" not in captured.err and not captured.out


def test_an_address_that_is_taken(capsys, monkeypatch):
    import socket

    monkeypatch.setattr("perpixel.serve.journal.start_log", lambda form: None)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert main(["serve", "--port", port, "--no-studio"]) == 1
    assert f"port {port}" in capsys.readouterr().err


def test_without_its_packages(asked, capsys, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "perpixel.serve.process", None)
    assert main(["serve"]) == 1
    assert "perpixel[serve]" in capsys.readouterr().err
