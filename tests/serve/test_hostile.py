"""A server on real HTTP against what is made to harm it: it is refused in one line, and the next is served."""

import io
import os
import socket
import struct
import threading
import time
import zlib
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from serve.live import live, spoken
from serve.served import BOX, form, make_app, png, square
from serve.test_process import server

pytestmark = pytest.mark.slow

HEAD = b"POST /v1/cutout HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: multipart/form-data; boundary=x\r\n"


@pytest.fixture(scope="module")
def url():
    with live(make_app(max_pixels=25_000_000)) as url:
        yield url


@pytest.fixture(autouse=True)
def serves_afterwards(url):
    yield
    assert httpx.post(f"{url}/v1/cutout", **form(square(), {"box": BOX}), timeout=60).status_code == 200


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of(width, height, *chunks, data=b""):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def zeros(count):
    packer, found = zlib.compressobj(9), []
    for _ in range(count >> 20):
        found.append(packer.compress(bytes(1 << 20)))
    return b"".join([*found, packer.flush()])


def post(url, image, options=None, route="cutout", **files):
    return httpx.post(f"{url}/v1/{route}", **form(image, options or {"box": BOX}, **files), timeout=60)


def refused(response):
    assert 400 <= response.status_code < 500, response.text[:300]
    assert "Traceback" not in response.text
    return True


@pytest.fixture(scope="module")
def bomb():
    """30,000 × 30,000 pixels, 2.7 gigabytes, in a few megabytes."""
    return png_of(30_000, 30_000, data=zeros(900 << 20))


def test_pictures_that_are_bombs(url, bomb):
    start = time.monotonic()
    assert post(url, bomb).status_code == 413
    assert post(url, square(), trimap=bomb, options={}).status_code == 413
    assert post(url, square(), mask=bomb, options={}).status_code == 413
    assert time.monotonic() - start < 20
    for huge in (png_of(2**31 - 1, 2**31 - 1), png_of(0, 5), png_of(25_000_000, 1), png_of(5000, 5000, data=b"x")):
        refused(post(url, huge))
    header = struct.pack("<HHH", 65535, 65535, 0)
    refused(post(url, b"GIF89a" + header + b"\0\0"))
    refused(post(url, b"BM" + struct.pack("<IIIIiiHHIIiiII", 60, 0, 54, 40, 2**30, 2**30, 1, 24, 0, 0, 0, 0, 0, 0)))


def test_text_beside_a_picture_that_is_a_bomb(url):
    text = zeros(200 << 20)
    picture = png(square())
    for part in (
        chunk(b"zTXt", b"a\0\0" + text),
        chunk(b"iTXt", b"a\0\1\0\0\0" + text),
        chunk(b"iCCP", b"a\0\0" + text),
        chunk(b"tEXt", b"a\0" + b"x" * 5_000_000),
    ):
        response = post(url, picture[:33] + part + picture[33:])
        assert response.status_code in (200, 413, 415, 422), response.text


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "AVIF", "JPEG2000", "PPM", "TGA"])
def test_files_that_end_early_or_are_damaged(url, kind):
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    stream = io.BytesIO()
    try:
        Image.fromarray(pixels).save(stream, kind)
    except (KeyError, OSError):
        pytest.skip(f"this Pillow has no {kind}")
    whole = stream.getvalue()
    with httpx.Client(timeout=60) as client:
        for length in (1, 5, len(whole) // 3, len(whole) // 2, len(whole) - 40):
            sent = form(whole[:length], {"box": BOX})
            assert client.post(f"{url}/v1/cutout", **sent).status_code in (200, 413, 415, 422), length
        generator = np.random.default_rng(1)
        for _ in range(6):
            broken = bytearray(whole)
            for place in generator.integers(0, len(whole), 12):
                broken[place] = generator.integers(0, 256)
            answer = client.post(f"{url}/v1/cutout", **form(bytes(broken), {"box": BOX}))
            assert answer.status_code in (200, 413, 415, 422), answer.text


def test_long_and_narrow_pictures(url):
    for shape in ((1, 10_000, 3), (10_000, 1, 3)):
        picture = np.zeros(shape, np.uint8)
        picture[: shape[0] // 2, : shape[1] // 2 + 1] = 200
        refused(post(url, picture))
        for route in ("segment", "depth"):
            response = httpx.post(f"{url}/v1/{route}", **form(picture), timeout=60)
            assert response.status_code in (200, 413, 422), response.text


NUMBERS = ["NaN", "Infinity", "-Infinity", "1e999", "9" * 400, "-1", "1.5", "true", '"1"', "null", "[]", "2147483648"]


@pytest.mark.parametrize("number", NUMBERS)
def test_numbers_that_are_none(url, number):
    image = form(square())["files"]
    for route, options in (
        ("cutout", f'{{"box": [0, 0, {number}, 9]}}'),
        ("cutout", f'{{"points": [[{number}, {number}]]}}'),
        ("cutout", f'{{"box": [12, 12, 52, 52], "max_memory": {number}}}'),
        ("segment", f'{{"size": {{"height": {number}, "width": 64}}}}'),
        ("segment", f'{{"threshold": {number}}}'),
        ("segment", f'{{"things": [{number}]}}'),
        ("depth", f'{{"size": {number}}}'),
    ):
        response = httpx.post(f"{url}/v1/{route}", files=image, data={"options": options}, timeout=60)
        assert response.status_code in (200, 422), (options, response.text)


def test_deep_and_wide_json_and_many_fields(url):
    image = form(square())["files"]
    deep = '{"box":' * 5000 + "1" + "}" * 5000
    for text in (deep, "[" * 60_000, "{" * 60_000, '{"a":1,' * 5000, "\0", "\ufeff{}", '{"box": [1,2,3,4]} {}'):
        refused(httpx.post(f"{url}/v1/cutout", files=image, data={"options": text}))
    refused(httpx.post(f"{url}/v1/cutout", files=image, data={f"field{number}": "x" for number in range(5000)}))
    same = [("image", ("a.png", png(square())))] * 500
    refused(httpx.post(f"{url}/v1/cutout", files=same))
    twice = httpx.post(
        f"{url}/v1/cutout", files=image, data={"options": '{"box": [1, 1, 9, 9], "box": [12, 12, 52, 52]}'}
    )
    refused(twice)
    headers = b"".join(b"X-%d: a\r\n" % number for number in range(3000))
    part = b'--x\r\nContent-Disposition: form-data; name="image"\r\n' + headers + b"\r\n\r\n--x--\r\n"
    answer = spoken(url, HEAD + b"Content-Length: %d\r\n\r\n" % len(part) + part)
    assert answer.split()[1] in (b"400", b"413", b"415", b"422")


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/etc/passwd", "a\0b.png", "x" * 100_000, "..\\..\\x", "%2e%2e%2f", "\u202egnp.exe"]
)
def test_names_of_files(url, name, tmp_path):
    boundary = b'--x\r\nContent-Disposition: form-data; name="image"; filename="' + name.encode() + b'"\r\n\r\n'
    options = b'\r\n--x\r\nContent-Disposition: form-data; name="options"\r\n\r\n{"box": [12, 12, 52, 52]}\r\n--x--\r\n'
    body = boundary + png(square()) + options
    answer = spoken(url, HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    assert answer.split()[1] in (b"200", b"400", b"413", b"422")


SMUGGLED = b"GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Content-Length: 4\r\nContent-Length: 40\r\n\r\nabcd",
        b"Content-Length: +4\r\n\r\nabcd",
        b"Content-Length: -1\r\n\r\n",
        b"Content-Length: 0x10\r\n\r\n",
        b"Content-Length: 99999999999999999999999\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFFFFF\r\nabc\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n-1\r\nabc\r\n0\r\n\r\n",
        b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"X: a\0b\r\nContent-Length: 0\r\n\r\n",
        b"X: " + b"a" * 200_000 + b"\r\n\r\n",
    ],
)
def test_requests_hidden_in_others(url, head):
    """No answer but refusals comes, and at most one: what follows a request that is in doubt is not read."""
    start = b"POST /v1/cutout HTTP/1.1\r\nHost: a\r\nContent-Type: multipart/form-data; boundary=x\r\n"
    answer = spoken(url, start + head + SMUGGLED)
    lines = [line for line in answer.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]
    assert all(400 <= int(line.split()[1]) < 500 for line in lines)
    assert len(lines) <= 1 and b"vitmatte-nano" not in answer


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the memory of another process is read from /proc")
def test_two_gigabytes_are_refused_and_never_held(program_environment):
    def memory(process):
        lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1000

    with server(program_environment) as running:
        before = memory(running.process)
        for framing in (b"Content-Length: 2147483648\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n"):
            start, sent, block = time.monotonic(), 0, os.urandom(1 << 20)
            with socket.create_connection((running.host, running.port), timeout=60) as connection:
                answers = []
                reader = threading.Thread(target=lambda c=connection, a=answers: a.append(c.recv(65536)))
                reader.start()
                try:
                    connection.sendall(HEAD + framing)
                    while sent < 2 << 30:
                        data = block if b"Length" in framing else b"100000\r\n" + block + b"\r\n"
                        connection.sendall(data)
                        sent += len(block)
                except OSError:  # it has closed the connection, as it should
                    pass
                reader.join(60)
            assert sent < 200 << 20, "the server went on reading"
            assert time.monotonic() - start < 60
            if b"Length" in framing:
                assert answers and b" 413 " in answers[0].splitlines()[0]
        assert memory(running.process) - before < 150
        assert httpx.get(f"{running.url}/readyz").status_code == 200
        code, log = running.end()
    assert code == 0
    assert not [line for line in log if line["level"] in ("error", "critical")]
