"""A real server: slow and rude clients, and what is left at its end."""

import http.client
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import httpx
import numpy as np
import pytest
from PIL import Image

import perpixel

PROGRAM = """
import sys
import perpixel.serve.service as service
service.WARM_UP = 64
from perpixel.serve.journal import start_log
from perpixel.serve.process import run_server
from perpixel.serve.settings import Settings
start_log("json")
say = lambda line: print(line, flush=True)
sys.exit(not run_server(Settings(studio=False, {settings}), port=0, say=say))
"""


class Server:
    def __init__(self, process, url):
        self.process = process
        self.url = url
        self.host, self.port = url.removeprefix("http://").split(":")
        self.port = int(self.port)

    def end(self):
        """Its exit code and the objects of its log."""
        self.process.send_signal(signal.SIGTERM)
        _, log = self.process.communicate(timeout=60)
        return self.process.returncode, [json.loads(line) for line in log.splitlines() if line.startswith("{")]


@contextmanager
def server(environment, settings=""):
    """A process that serves vitmatte-nano and is ready."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(settings=settings)],
        env={**environment, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        url = re.search(r"http://[\d.]+:\d+", process.stdout.readline()).group()
        for _ in range(1200):
            if httpx.get(f"{url}/readyz").status_code == 200:
                break
            time.sleep(0.05)
        yield Server(process, url)
    finally:
        process.kill()
        process.communicate()


def until_closed(connection, seconds):
    """What comes before the other side closes, and after how long it does."""
    connection.settimeout(seconds)
    start, found = time.monotonic(), b""
    try:
        while data := connection.recv(65536):
            found += data
    except ConnectionResetError:
        pass
    return found, time.monotonic() - start


@pytest.mark.slow
def test_clients_that_are_slow_or_send_too_much(program_environment):
    limits = "header_timeout=1.0, upload_timeout=1.5, max_upload=100_000"
    with server(program_environment, limits) as running:

        def connect():
            return socket.create_connection((running.host, running.port), timeout=30)

        silent, trickling = connect(), connect()
        trickling.sendall(b"GET /healthz HTTP/1.1\r\n")
        for _ in range(4):
            time.sleep(0.4)
            try:
                trickling.sendall(b"X-A: b\r\n")  # more of the same head must not begin its time anew
            except OSError:
                break
        for connection in (silent, trickling):
            assert until_closed(connection, 10)[0] == b""

        head = b"POST /v1/cutout HTTP/1.1\r\nHost: a\r\nContent-Type: multipart/form-data; boundary=x\r\n"
        slow = connect()
        slow.sendall(head + b"Content-Length: 5000\r\n\r\n--x\r\n")
        found, seconds = until_closed(slow, 20)
        assert b" 408 " in found.splitlines()[0] and seconds < 10

        huge = connect()
        huge.sendall(head + b"Content-Length: 2147483648\r\n\r\n")
        found, seconds = until_closed(huge, 20)
        assert b" 413 " in found.splitlines()[0] and seconds < 5

        chunked = connect()
        chunked.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n")
        with pytest.raises(OSError):
            for _ in range(2000):  # 20 MB
                chunked.sendall(b"2710\r\n" + b"x" * 10_000 + b"\r\n")
                time.sleep(0.001)
        found, _ = until_closed(chunked, 20)
        assert not found or b" 413 " in found.splitlines()[0] or b" 4" in found.splitlines()[0]

        rude = connect()
        rude.sendall(b"\x16\x03\x01 nonsense\r\n\r\n")
        assert b" 400 " in until_closed(rude, 20)[0].splitlines()[0]

        kept = http.client.HTTPConnection(running.host, running.port, timeout=30)
        for _ in range(3):  # one connection for several requests
            kept.request("GET", "/healthz")
            response = kept.getresponse()
            assert (response.status, json.loads(response.read())) == (200, {"status": "ok"})
        code, log = running.end()
        assert code == 0
        assert not [line for line in log if line["level"] in ("error", "critical")]


@pytest.mark.slow
def test_sigterm_loses_nothing_that_was_accepted(program_environment, examples, tmp_path):
    image = (examples / "portrait.jpg").read_bytes()
    box = {"options": json.dumps({"box": [40, 10, 300, 345]})}
    perpixel.cutout(examples / "portrait.jpg", box=(40, 10, 300, 345)).save(tmp_path / "x.png")
    expected = (tmp_path / "x.png").read_bytes()
    with server(program_environment) as running:
        answers = []

        def ask():
            answer = httpx.post(f"{running.url}/v1/cutout", files={"image": image}, data=box, timeout=120)
            answers.append((answer.status_code, answer.content))

        threads = [threading.Thread(target=ask) for _ in range(5)]
        for thread in threads:
            thread.start()
        for _ in range(600):
            if "perpixel_busy_requests 5.0" in httpx.get(f"{running.url}/metrics").text:
                break
            time.sleep(0.01)
        code, log = running.end()
        for thread in threads:
            thread.join()
    assert code == 0
    assert answers == [(200, expected)] * 5
    lines = [line for line in log if line.get("path") == "/v1/cutout"]
    assert len(lines) == 5 and len({line["request_id"] for line in lines}) == 5
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{running.url}/healthz")


@pytest.mark.slow
def test_the_command_prints_its_address_and_a_client_gets_the_same_pixels(program_environment, examples, tmp_path):
    environment = {**program_environment, "PERPIXEL_TOKEN": "a-token-of-some-length", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "perpixel", "serve", "--port", "0", "--no-studio", "--log-format", "json"]
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=tmp_path
    )
    try:
        url = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline()).group()
        picture = examples / "portrait.jpg"
        with perpixel.Client(url, "a-token-of-some-length") as client:
            found = client.cutout(picture, box=(40, 10, 300, 345))  # waits until the models are there
            assert [model.name for model in client.models()] == ["vitmatte-nano"]
        assert httpx.get(f"{url}/v1/models").status_code == 401
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.communicate()
    expected = perpixel.cutout(picture, box=(40, 10, 300, 345))
    np.testing.assert_array_equal(found.cutout(), expected.cutout())
    found.save(tmp_path / "a.png")
    assert np.asarray(Image.open(tmp_path / "a.png")).shape == (345, 340, 4)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png"]
