"""`perpixel serve` under the load of many clients: right answers, memory, delays, throughput, overload, SIGTERM.

    python -m benchmarks.serve_load                                   # 500 requests from 16 clients, vitmatte-nano
    python -m benchmarks.serve_load --segmenter FOLDER --depth FOLDER # with two more models
    python -m benchmarks.serve_load --requests 48 --clients 8 --sides 64 128

The server is a process of its own on loopback. Requests are drawn from a few distinct ones, whose right answers are
computed here beforehand by the Python functions; every answer is compared with them, PNG byte for byte and numbers bit
for bit. They are sent in rounds; after each round the same distinct requests go through the Python functions in a
plain loop, so that both sides see the same machine. Told are

- memory: the server's resident size when it was ready, and after each round.
- delays: of the answers, as clients see them.
- throughput: the processor time of the loop over the server's, for the same work; 1 is as fast. Processor time,
  because on a machine with other work the clock is noise, and kind to the server, which has several threads. The loop
  is told with the results saved as files, as the server sends them, and with the results thrown away.
- overload: how many of a burst beyond the queue got 429 with Retry-After, and that all is well afterwards.
- SIGTERM: sent while all clients wait; each has to get its answer.

The exit code is 0 if all answers are right, the memory stays within --memory, and the throughput is --share or more.
It needs Linux, for the numbers of another process.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray
from PIL import Image

import perpixel

EXAMPLES = Path(__file__).parents[1] / "examples"
SIDES = (96, 400)
DISTINCT = 20
ROUNDS = 5
# Room for every client of the rounds, and none for all of the burst.
ROOM, BURST = 1.5, 4
PATIENCE = 300.0


@dataclass(frozen=True)
class Asked:
    """One distinct request.

    Attributes:
        route: its address.
        accept: "image/png" or "application/json".
        parts: the fields of its form.
        call: the Python function on the same bytes, with the models that are loaded here.
        right: whether an answer's body is the function's result.
    """

    route: str
    accept: str
    parts: dict[str, Any]
    call: Callable[[], Any]
    right: Callable[[bytes], bool]


@dataclass(frozen=True)
class Answered:
    """What came of one request."""

    status: int
    seconds: float
    right: bool
    retry_after: str | None


class Served:
    """The process of `perpixel serve`."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self.process, self.url = process, url
        self.http = httpx.Client(timeout=PATIENCE, limits=httpx.Limits(max_connections=None))

    def memory(self) -> float:
        """Resident megabytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 1000

    def processor(self) -> float:
        """Seconds of the processor until now, of all its threads."""
        numbers = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(numbers[11]) + int(numbers[12])) / os.sysconf("SC_CLK_TCK")

    def busy(self) -> float:
        """Requests that wait or are worked on."""
        return float(re.findall(r"^perpixel_busy_requests (\S+)", self.http.get(f"{self.url}/metrics").text, re.M)[0])

    def ask(self, asked: Asked) -> Answered:
        """Send one request and look at the answer."""
        start = time.perf_counter()
        response = self.http.post(f"{self.url}{asked.route}", headers={"Accept": asked.accept}, files=asked.parts)
        seconds = time.perf_counter() - start
        right = response.status_code == 200 and asked.right(response.content)
        return Answered(response.status_code, seconds, right, response.headers.get("retry-after"))


@contextmanager
def served(models: Sequence[str], queue: int) -> Iterator[Served]:
    """Start the server and wait until it is ready."""
    command = [sys.executable, "-m", "perpixel", "serve", "--port", "0", "--no-studio", "--queue", str(queue)]
    command += ["--timeout", str(PATIENCE), *(word for model in models for word in ("--model", model))]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        found = re.search(r"http://[\d.]+:\d+", process.stdout.readline())
        if found is None:
            raise SystemExit("the server did not start")
        server = Served(process, found.group())
        deadline = time.monotonic() + PATIENCE
        while server.http.get(f"{server.url}/readyz").status_code != 200:
            if time.monotonic() > deadline or process.poll() is not None:
                raise SystemExit("the server did not become ready")
            time.sleep(0.1)
        yield server
    finally:
        process.kill()
        process.wait()


def encoded(pixels: NDArray[Any], form: str) -> bytes:
    """The bytes of an image file."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, form)
    return stream.getvalue()


def unpacked(plane: dict[str, Any]) -> NDArray[Any]:
    """The numbers of a JSON answer, as docs/server.md says."""
    return np.frombuffer(zlib.decompress(base64.b64decode(plane["data"])), plane["dtype"]).reshape(plane["shape"])


def distinct(count: int, sides: tuple[int, int], models: dict[str, Any], folder: Path) -> list[Asked]:
    """Requests of all kinds, and their right answers."""
    generator = np.random.default_rng(0)
    sources = [Image.open(path).convert("RGB") for path in sorted(EXAMPLES.glob("*.jpg"))]
    portrait = Image.open(EXAMPLES / "portrait.jpg").convert("RGB")
    kinds = ["box", "trimap", "box", *(task for task in ("segment", "depth") if task in models)]
    found = []
    for number in range(count):
        kind = kinds[number % len(kinds)]
        source = portrait if kind == "box" else sources[number % len(sources)]
        scale = generator.integers(sides[0], sides[1] + 1) / max(source.size)
        width, height = (max(32, round(length * scale)) for length in source.size)
        pixels = np.asarray(source.resize((width, height), Image.Resampling.LANCZOS))
        image = encoded(pixels, "JPEG" if number % 3 else "PNG")
        accept = "application/json" if number % 4 == 3 else "image/png"
        try:
            found.append(_asked(kind, image, (height, width), accept, models, folder))
        except perpixel.InputError:  # the box finds no subject in so small a picture
            found.append(_asked("trimap", image, (height, width), accept, models, folder))
    return found


def _asked(kind: str, image: bytes, size: tuple[int, int], accept: str, models: dict[str, Any], folder: Path) -> Asked:
    height, width = size
    parts: dict[str, Any] = {"image": ("x", image)}
    call: Callable[[], Any]
    if kind == "box":
        box = [round(width * 0.118), round(height * 0.03), round(width * 0.882), height]
        parts["options"] = (None, json.dumps({"box": box}))
        route, plane = "/v1/cutout", "alpha"
        call = lambda: perpixel.cutout(image, box=box, model=models["cutout"])  # noqa: E731
    elif kind == "trimap":
        y, x = np.mgrid[:height, :width]
        radius = np.hypot(x / width - 0.5, y / height - 0.5)
        trimap = encoded(np.where(radius < 0.2, 255, np.where(radius > 0.4, 0, 128)).astype(np.uint8), "PNG")
        parts["trimap"] = ("t", trimap)
        route, plane = "/v1/matte", "alpha"
        call = lambda: perpixel.matte(image, trimap, model=models["cutout"])  # noqa: E731
    elif kind == "segment":
        route, plane = "/v1/segment", "map"
        call = lambda: perpixel.segment(image, model=models["segment"])  # noqa: E731
    else:
        route, plane = "/v1/depth", "values"
        call = lambda: perpixel.depth(image, model=models["depth"])  # noqa: E731
    result = call()
    file = saved(result, route, folder)
    values = getattr(result, plane)

    def right(body: bytes) -> bool:
        if accept == "image/png":
            return body == file
        return bool(np.array_equal(unpacked(json.loads(body)[plane]), values))

    return Asked(route, accept, parts, call, right)


def saved(result: Any, route: str, folder: Path) -> bytes:
    """The file of a result, with what the server shows by itself."""
    shown = {"/v1/cutout": "cutout", "/v1/matte": "alpha", "/v1/segment": "overlay", "/v1/depth": "depth"}
    result.save(folder / "x.png", shown[route])
    return (folder / "x.png").read_bytes()


def together(server: Served, asked: Sequence[Asked], clients: int) -> list[Answered]:
    """Send requests from so many clients, each the next when it has its answer."""
    with ThreadPoolExecutor(clients) as pool:
        return list(pool.map(server.ask, asked))


def plain_loop(asked: Sequence[Asked], folder: Path) -> tuple[float, float]:
    """Processor seconds of the functions with and without their files."""
    start, without = time.process_time(), 0.0
    for each in asked:
        begun = time.process_time()
        result = each.call()
        without += time.process_time() - begun
        if each.accept == "image/png":
            saved(result, each.route, folder)
    return time.process_time() - start, without


def load(models: list[str], loaded: dict[str, Any], count: int, clients: int, sides: tuple[int, int]) -> dict[str, Any]:
    """All phases; the numbers that are told, by their names."""
    told: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name, served(models, int(clients * ROOM)) as server:
        folder = Path(name)
        requests = distinct(DISTINCT, sides, loaded, folder)
        plain_loop(requests, folder)
        memory = [server.memory()]
        print(f"ready: {memory[0]:.0f} MB", flush=True)
        answers: list[Answered] = []
        busy = wall = saving = bare = 0.0
        each = max(1, round(count / ROUNDS / len(requests))) * len(requests)
        order = random.Random(0)  # noqa: S311
        while len(answers) < count:
            work = (requests * (each // len(requests)))[: count - len(answers)]
            order.shuffle(work)
            before, start = server.processor(), time.perf_counter()
            answers += together(server, work, clients)
            wall += time.perf_counter() - start
            busy += server.processor() - before
            memory.append(server.memory())
            with_files, without = plain_loop(work[: len(requests)], folder)
            share = len(work) / len(work[: len(requests)])
            saving, bare = saving + share * with_files, bare + share * without
            print(f"{len(answers)} requests: {memory[-1]:.0f} MB, {busy:.1f} s against {saving:.1f} s", flush=True)
        delays = sorted(answer.seconds for answer in answers)
        cuts = statistics.quantiles(delays, n=100, method="inclusive")
        told |= {"requests": len(answers), "right": sum(answer.right for answer in answers)}
        told |= {"memory when ready, MB": round(memory[0]), "memory afterwards, MB": round(memory[-1])}
        told |= {"memory, highest after a round, MB": round(max(memory))}
        told |= {"p50, s": round(cuts[49], 2), "p95, s": round(cuts[94], 2), "p99, s": round(cuts[98], 2)}
        told |= {"requests a second": round(len(answers) / wall, 1)}
        told |= {"throughput against the functions with files": round(saving / busy, 3)}
        told |= {"throughput against the functions alone": round(bare / busy, 3)}
        told |= _overload(server, requests, clients)
        told |= {"memory after the burst, MB": round(server.memory())}
        told |= _told_to_end(server, requests, clients)
    return told


def _overload(server: Served, requests: Sequence[Asked], clients: int) -> dict[str, Any]:
    burst = [requests[number % len(requests)] for number in range(BURST * clients)]
    answers = together(server, burst, len(burst))
    away = [answer for answer in answers if answer.status == 429]
    polite = sum(answer.retry_after is not None and 1 <= int(answer.retry_after) <= 60 for answer in away)
    after = together(server, requests[:clients], clients)
    return {
        "burst": len(burst),
        "burst: right": sum(answer.right for answer in answers),
        "burst: 429": len(away),
        "burst: 429 with Retry-After": polite,
        "burst: other answers": len(burst) - len(away) - sum(answer.right for answer in answers),
        "after it: right": f"{sum(answer.right for answer in after)} of {len(after)}",
    }


def _told_to_end(server: Served, requests: Sequence[Asked], clients: int) -> dict[str, Any]:
    answers: list[Answered] = []

    def ask(asked: Asked) -> None:
        try:
            answers.append(server.ask(asked))
        except httpx.TransportError:  # it came too late: nobody listened, or the idle connection was closed
            return

    threads = [threading.Thread(target=ask, args=(requests[number % len(requests)],)) for number in range(clients)]
    for thread in threads:
        thread.start()
    deadline, accepted = time.monotonic() + 30, 0.0
    while accepted < clients and time.monotonic() < deadline:
        accepted = len(answers) + server.busy()
    waiting = accepted - len(answers)
    server.process.send_signal(signal.SIGTERM)
    for thread in threads:
        thread.join()
    return {
        "SIGTERM: accepted": round(accepted),
        "SIGTERM: not answered then": round(waiting),
        "SIGTERM: right": sum(answer.right for answer in answers),
        "SIGTERM: exit code": server.process.wait(PATIENCE),
    }


def faults(told: dict[str, Any], memory: float, share: float) -> list[str]:
    """What is not as it should be."""
    before, after = told["memory when ready, MB"], told["memory afterwards, MB"]
    done, _, sent = told["after it: right"].partition(" of ")
    checks = {
        "not all answers are right": told["right"] == told["requests"],
        f"the memory grew by more than {memory:.0%}": after <= before * (1 + memory),
        f"the throughput is below {share:.0%}": told["throughput against the functions with files"] >= share,
        "the burst was not refused in part": told["burst: 429"] > 0 and told["burst: other answers"] == 0,
        "a refusal has no Retry-After": told["burst: 429"] == told["burst: 429 with Retry-After"],
        "the server did not recover": done == sent,
        "SIGTERM lost requests": told["SIGTERM: right"] >= told["SIGTERM: accepted"] and not told["SIGTERM: exit code"],
    }
    return [words for words, fine in checks.items() if not fine]


def main() -> int:
    """Measure and print; 1 where something is not as it should be."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.serve_load",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--requests", type=int, default=500)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--sides", type=int, nargs=2, default=SIDES, metavar=("LEAST", "MOST"), help="of the pictures")
    parser.add_argument("--segmenter", metavar="FOLDER", help="a segmentation model to ask as well")
    parser.add_argument("--depth", metavar="FOLDER", help="a depth model to ask as well")
    parser.add_argument("--memory", type=float, default=0.05, help="the share by which the memory may grow")
    parser.add_argument("--share", type=float, default=0.85, help="the throughput that is asked for")
    given = parser.parse_args()
    if not 1 <= given.requests <= 10_000 or not 2 <= given.clients <= 64 or not 32 <= given.sides[0] <= given.sides[1]:
        parser.error("give 1 to 10000 --requests, 2 to 64 --clients, and --sides of 32 or more, the least first")
    perpixel.tune_allocator(many_sizes=True)  # as the server does
    from perpixel.tasks.depth import load_depth_model
    from perpixel.tasks.matting import load_matting_model
    from perpixel.tasks.segmentation import load_segmenter

    models, loaded = ["vitmatte-nano"], {"cutout": load_matting_model()}
    if given.segmenter:
        models.append(given.segmenter)
        loaded["segment"] = load_segmenter(given.segmenter)
    if given.depth:
        models.append(given.depth)
        loaded["depth"] = load_depth_model(given.depth)
    told = load(models, loaded, given.requests, given.clients, tuple(given.sides))
    width = max(map(len, told))
    print("", *(f"| {name:{width}} | {value} |" for name, value in told.items()), sep="\n")
    wrong = faults(told, given.memory, given.share)
    for words in wrong:
        print(words, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
