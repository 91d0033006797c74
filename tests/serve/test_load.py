"""Many requests at once: who waits, who is sent away, and that nobody's place is kept for ever."""

import asyncio
import time

import numpy as np
import pytest
from starlette.responses import StreamingResponse

import perpixel
from perpixel.client import _unpacked
from serve.served import BOX, Gate, form, kind_of, make_app, running, square
from tasks.painted import painted_segmenter, scene

JSON = {"Accept": "application/json"}


async def entered(gate):
    await asyncio.to_thread(gate.entered.acquire)


def test_beyond_the_queue_429_and_afterwards_all_is_well():
    async def main():
        gate = Gate()
        async with running(make_app(gate, queue=3)) as client:
            tasks = [asyncio.create_task(client.post("/v1/segment", **form(scene()))) for _ in range(3)]
            await entered(gate)
            while "perpixel_busy_requests 3.0" not in (await client.get("/metrics")).text:
                await asyncio.sleep(0.01)
            sent_away = await client.post("/v1/segment", **form(scene()))
            assert (sent_away.status_code, kind_of(sent_away)) == (429, "busy")
            assert 1 <= int(sent_away.headers["retry-after"]) <= 60
            assert (await client.get("/healthz")).status_code == 200  # the loop is free
            gate.open.set()
            assert [response.status_code for response in await asyncio.gather(*tasks)] == [200] * 3
            assert (await client.post("/v1/segment", **form(scene()))).status_code == 200

    asyncio.run(main())


def test_a_request_whose_time_is_over_gives_its_place_back():
    async def main():
        gate = Gate()
        async with running(make_app(gate, queue=1, timeout=0.2)) as client:
            late = await client.post("/v1/segment", **form(scene()))
            assert (late.status_code, kind_of(late)) == (504, "timeout")
            text = (await client.get("/metrics")).text
            assert "perpixel_busy_requests 0.0" in text and "perpixel_held_bytes 0.0" in text
            gate.open.set()
            for _ in range(50):
                response = await client.post("/v1/segment", **form(scene()))
                if response.status_code == 200:
                    break
            assert response.status_code == 200

    asyncio.run(main())


def test_equal_requests_go_through_the_model_together():
    async def main():
        gate = Gate()
        app = make_app(gate, batch=4, queue=16)
        async with running(app) as client:
            first = asyncio.create_task(client.post("/v1/segment", headers=JSON, **form(scene())))
            await entered(gate)
            others = [
                asyncio.create_task(client.post("/v1/segment", headers=JSON, **form(scene(), {"kind": kind})))
                for kind in ("instance", "semantic", "panoptic")
            ]
            while "perpixel_waiting_jobs 3.0" not in (await client.get("/metrics")).text:
                await asyncio.sleep(0.01)
            gate.open.set()
            await first
            for task, kind in zip(others, ("instance", "semantic", "panoptic"), strict=True):
                told = (await task).json()
                expected = perpixel.segment(scene(), model=painted_segmenter(), kind=kind)
                np.testing.assert_array_equal(_unpacked(told["map"]), expected.map)
            text = (await client.get("/metrics")).text
            assert 'perpixel_batch_size_bucket{le="1.0",task="segmentation"} 1.0' in text
            assert 'perpixel_batch_size_sum{task="segmentation"} 4.0' in text

    asyncio.run(main())


def test_mixed_requests_from_many_clients_are_all_right():
    async def main():
        expected = {
            "cutout": perpixel.cutout(square(), box=BOX).alpha,
            "segment": perpixel.segment(scene(), model=painted_segmenter()).map,
        }
        async with running(make_app(decodes=3)) as client:

            async def one(number):
                if number % 2:
                    told = (await client.post("/v1/segment", headers=JSON, **form(scene()))).json()
                    return np.array_equal(_unpacked(told["map"]), expected["segment"])
                told = (await client.post("/v1/cutout", headers=JSON, **form(square(), {"box": BOX}))).json()
                return np.array_equal(_unpacked(told["alpha"]), expected["cutout"])

            assert all(await asyncio.gather(*(one(number) for number in range(12))))

    asyncio.run(main())


def test_a_client_that_is_gone_is_not_worked_for():
    async def main():
        gate = Gate()
        app = make_app(gate, queue=2)
        async with running(app) as client:
            first = asyncio.create_task(client.post("/v1/segment", **form(scene())))
            await entered(gate)
            request = client.build_request("POST", "/v1/segment", **form(scene()))
            request.read()
            leave = asyncio.Event()
            messages = iter([{"type": "http.request", "body": request.content, "more_body": False}])

            async def receive():
                for message in messages:
                    return message
                await leave.wait()
                return {"type": "http.disconnect"}

            sent = []

            async def send(message):
                sent.append(message)

            headers = [(name.lower(), value) for name, value in request.headers.raw]
            scope = {"type": "http", "method": "POST", "path": "/v1/segment", "query_string": b"", "headers": headers}
            scope |= {"http_version": "1.1", "scheme": "http", "server": ("test", 80), "client": ("test", 1)}
            second = asyncio.create_task(app(scope, receive, send))
            while "perpixel_waiting_jobs 1.0" not in (await client.get("/metrics")).text:
                await asyncio.sleep(0.01)
            leave.set()
            await second
            assert not sent
            text = (await client.get("/metrics")).text
            assert "perpixel_waiting_jobs 0.0" in text and "perpixel_busy_requests 1.0" in text
            gate.open.set()
            assert (await first).status_code == 200
            assert gate.calls == 1

    asyncio.run(main())


def test_only_so_many_pictures_are_decoded_at_a_time(monkeypatch):
    from perpixel.serve import work

    seen, now = [], []
    real = work.read_photo

    def counted(*arguments, **named):
        now.append(1)
        seen.append(len(now))
        time.sleep(0.02)
        now.pop()
        return real(*arguments, **named)

    monkeypatch.setattr(work, "read_photo", counted)

    async def main():
        async with running(make_app(decodes=2)) as client:
            tasks = [client.post("/v1/segment", **form(scene())) for _ in range(8)]
            assert {response.status_code for response in await asyncio.gather(*tasks)} == {200}

    asyncio.run(main())
    assert max(seen) == 2


def test_work_before_the_models_are_loaded(monkeypatch):
    from perpixel.serve.models import Models

    async def main():
        app = make_app()
        import threading

        loading = threading.Event()
        monkeypatch.setattr(Models, "load", lambda self, settings: loading.wait(10))
        import httpx

        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client,
        ):
            assert (await client.get("/healthz")).status_code == 200
            for response in (await client.get("/readyz"), await client.post("/v1/segment", **form(scene()))):
                assert (response.status_code, kind_of(response)) == (503, "not_ready")
                assert response.headers["retry-after"]
            loading.set()

    asyncio.run(main())


def test_models_that_cannot_be_loaded(monkeypatch):
    from perpixel.errors import CheckpointError
    from perpixel.serve.models import Models

    def fail(self, settings):
        raise CheckpointError("/srv/secret/model is damaged")

    async def main():
        import httpx

        app = make_app()
        failed = []
        app.state.service.failed = lambda: failed.append(True)
        monkeypatch.setattr(Models, "load", fail)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client,
        ):
            while not failed:
                await asyncio.sleep(0.01)
            response = await client.get("/readyz")
            assert (response.status_code, kind_of(response)) == (503, "failed")
            assert "secret" not in response.text

    asyncio.run(main())


def test_a_page_that_stays_open_is_ended_and_the_work_is_not():
    async def main():
        gate = Gate()
        app = make_app(gate)
        opened = asyncio.Event()

        async def stream():
            opened.set()
            yield b"alive"
            await asyncio.sleep(60)

        app.add_route("/stream", lambda request: StreamingResponse(stream()), methods=["GET"])
        async with running(app) as client:
            page = asyncio.create_task(client.get("/stream"))
            work = asyncio.create_task(client.post("/v1/segment", **form(scene())))
            await entered(gate)
            await opened.wait()
            app.state.pages.end()
            async with asyncio.timeout(10):
                await asyncio.wait({page})
            gate.open.set()
            assert (await work).status_code == 200
            assert not app.state.pages.tasks

    asyncio.run(main())


@pytest.mark.parametrize("error", [RuntimeError("secret path /srv/x"), MemoryError()])
def test_what_fails_inside_is_told_without_a_trace(error, caplog):
    def fail(*_):
        raise error

    async def main():
        async with running(make_app(fail)) as client:
            response = await client.post("/v1/segment", **form(scene()))
            internal = isinstance(error, RuntimeError)
            assert (response.status_code, kind_of(response)) == ((500, "internal") if internal else (413, "too_large"))
            assert "secret" not in response.text
            assert ("secret path" in caplog.text) == internal

    asyncio.run(main())
