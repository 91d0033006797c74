"""The server on a real Ray cluster: the same answers, from two replicas, and nothing left when it ends."""

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import numpy as np
import pytest

import perpixel
from serve.served import square

pytest.importorskip("ray")
pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
BOX = (12, 12, 52, 52)


@pytest.fixture
def server():
    """A running `perpixel serve --engine ray` with two replicas, and its address."""
    command = [sys.executable, "-m", "perpixel", "serve", "--engine", "ray", "--replicas", "2", "--port", "0"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    told = []
    for line in process.stdout:
        told.append(line)
        if found := re.search(r"http://127\.0\.0\.1:\d+", line):
            break
    else:
        pytest.fail("".join(told))
    threading.Thread(target=process.stdout.read, daemon=True).start()
    yield process, found[0]
    if process.poll() is None:
        process.terminate()
        process.wait(120)


def descendants(parent):
    """The processes that a process started, and those that they started."""
    children = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            above = int((path / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        children.setdefault(above, []).append(int(path.name))
    found, waiting = [], [parent]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def test_a_server_on_ray_answers_like_one_process_and_leaves_nothing(server):
    process, address = server
    image = square()
    expected = perpixel.cutout(image, box=BOX)
    with perpixel.Client(address) as client:
        for _ in range(4):  # both replicas get some
            found = client.cutout(image, box=BOX)
            assert np.array_equal(found.alpha, expected.alpha)
            assert np.array_equal(found.cutout(), expected.cutout())
        assert [model.name for model in client.models()] == ["vitmatte-nano"]
    assert httpx.get(f"{address}/readyz").json() == {"status": "ready"}
    refused = httpx.post(f"{address}/v1/cutout", data={"options": "{}"})
    assert refused.status_code in (415, 422) and refused.json()["error"]["request_id"]
    started = descendants(process.pid)
    assert len(started) > 4
    process.send_signal(signal.SIGTERM)
    assert process.wait(120) == 0
    left = [pid for pid in started if Path("/proc", str(pid)).exists() and b"ray" in cmdline(pid)]
    assert left == []


def cmdline(pid):
    try:
        return Path("/proc", str(pid), "cmdline").read_bytes()
    except OSError:
        return b""


@pytest.mark.parametrize("words", [["--replicas", "2"], ["--address", "10.0.0.1:6379"], ["--gpus-per-worker", "1"]])
def test_options_of_a_cluster_without_one_are_refused(words):
    from perpixel.cli.app import main

    assert main(["serve", *words]) == 2


def test_a_cluster_that_does_not_answer_is_told_in_a_line(capsys):
    import socket

    from perpixel.cli.app import main

    with socket.create_server(("127.0.0.1", 0)) as door:
        port = door.getsockname()[1]
    assert main(["serve", "--engine", "ray", "--address", f"127.0.0.1:{port}", "--port", "0"]) == 1
    assert f"no Ray cluster answers at 127.0.0.1:{port}" in capsys.readouterr().err
