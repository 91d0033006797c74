"""`perpixel studio`: its options, its messages, and a whole life of the program."""

import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from perpixel.cli import main


@pytest.fixture
def runs(monkeypatch):
    """How `run_studio` is called, instead of calling it."""
    calls = []
    monkeypatch.setattr("perpixel.studio.run.run_studio", lambda settings, **rest: calls.append((settings, rest)))
    return calls


def test_a_page_of_ones_own_may_name_any_model(runs):
    assert main(["studio"]) == 0
    settings, rest = runs[0]
    assert settings.typed_models
    assert settings.offline is None
    assert (rest["host"], rest["port"], rest["browser"]) == ("127.0.0.1", 7860, True)


def test_a_page_for_the_network_names_no_folders(runs):
    assert main(["studio", "--host", "0.0.0.0", "--no-browser", "--port", "0", "--offline"]) == 0
    settings, rest = runs[0]
    assert not settings.typed_models
    assert settings.offline
    assert (rest["host"], rest["port"], rest["browser"]) == ("0.0.0.0", 0, False)


def test_models_are_offered_in_the_order_given(runs):
    assert main(["studio", "--model", "a/one", "--model", "two", "--device", "cuda"]) == 0
    assert runs[0][0].models == ("a/one", "two")
    assert runs[0][0].device == "cuda"


def test_without_gradio_it_says_how_to_get_it(monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["studio"]) == 1
    assert 'pip install "perpixel[studio]"' in capsys.readouterr().err


def test_a_taken_port_is_told(capsys):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert main(["studio", "--port", str(port), "--no-browser", "--offline"]) == 1
    assert f"port {port} is taken" in capsys.readouterr().err


def test_an_address_of_another_machine_is_told(capsys):
    assert main(["studio", "--host", "192.0.2.7", "--no-browser", "--offline"]) == 1
    assert "cannot listen at 192.0.2.7" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 128 + signal.SIGTERM)])
def test_it_runs_until_it_is_told_to_end_and_leaves_nothing(program_environment, tmp_path, number, code):
    command = [sys.executable, "-m", "perpixel", "studio", "--port", "0", "--no-browser", "--offline"]
    environment = {**program_environment, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as program:
        address = program.stdout.readline().split()[3]
        assert address.startswith("http://127.0.0.1:")
        deadline = time.monotonic() + 60
        while True:
            try:
                with urllib.request.urlopen(address, timeout=30) as answer:
                    assert "perpixel Studio" in answer.read().decode()
                break
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.2)
        assert list(tmp_path.glob("perpixel-studio-*"))
        program.send_signal(number)
        assert program.wait(30) == code
    assert not list(tmp_path.glob("perpixel-studio-*"))
