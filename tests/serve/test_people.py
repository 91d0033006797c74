"""Studio's work has a server's queue, its line before the models, and its limits."""

import asyncio
import threading

import pytest

pytest.importorskip("gradio")

from perpixel.errors import InputError, PerpixelError
from perpixel.serve.people import studio_settings
from perpixel.studio.photo_box import check_pixels
from serve.served import Gate, form, make_app, png, running, square


def within(doing, gate=None, **changes):
    """Run `doing` with a client, Studio's settings and the service of an application."""

    async def go():
        app = make_app(gate, **changes)
        async with running(app) as client:
            await doing(client, studio_settings(app.state.service), app.state.service)

    asyncio.run(go())


def test_people_and_programs_stand_in_one_line():
    gate, order = Gate(), []

    async def doing(client, studio, service):
        held = asyncio.create_task(client.post("/v1/segment", **form(square())))
        await asyncio.to_thread(gate.entered.acquire)
        person = asyncio.create_task(studio.work(lambda stop: order.append(threading.current_thread().name)))
        await asyncio.sleep(0.05)
        assert order == [] and not person.done()
        gate.open.set()
        await person
        assert (await held).status_code == 200
        assert order == ["perpixel-model"]

    within(doing, gate)


def test_a_full_queue_and_a_long_wait_are_told_in_words():
    gate = Gate()

    async def doing(client, studio, service):
        held = asyncio.create_task(client.post("/v1/segment", **form(square())))
        await asyncio.to_thread(gate.entered.acquire)
        waiting = asyncio.create_task(studio.work(lambda stop: None))
        await asyncio.sleep(0)
        with pytest.raises(PerpixelError, match=r"busy: try again in \d+ seconds"):
            await studio.work(lambda stop: None)
        with pytest.raises(PerpixelError, match="longer than the 0"):
            await waiting
        gate.open.set()
        await held
        assert await studio.work(lambda stop: 7) == 7
        service.ready = False
        with pytest.raises(PerpixelError, match="being loaded"):
            await studio.work(lambda stop: None)

    within(doing, gate, queue=2, timeout=0.3)


def test_work_that_is_cancelled_stops_and_an_error_comes_back():
    async def doing(client, studio, service):
        started, told = threading.Event(), []

        def work(stop):
            started.set()
            for _ in range(1000):
                threading.Event().wait(0.005)
                try:
                    stop.check()
                except BaseException as error:
                    told.append(type(error).__name__)
                    raise

        task = asyncio.create_task(studio.work(work))
        await asyncio.to_thread(started.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(InputError, match="no box"):
            await studio.work(lambda stop: (_ for _ in ()).throw(InputError("no box")))
        assert told == ["Stopped"]

    within(doing)


def test_limits_and_models_are_those_of_the_server(tmp_path):
    async def doing(client, studio, service):
        assert studio.loaded("vitmatte-nano") is service.models.find("matting", None).loaded
        assert studio.loaded("another") is None
        assert (studio.at_once, studio.max_memory) == (5, "1GB")
        (tmp_path / "wide.png").write_bytes(png(square(64, 65)))
        with pytest.raises(InputError, match="is 65×64"):
            check_pixels(str(tmp_path / "wide.png"), studio.max_pixels)

    within(doing, queue=5, max_pixels=64 * 64, max_memory="1GB")
