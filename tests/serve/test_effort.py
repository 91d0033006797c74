"""What a model cannot do in time is refused before it begins, by what it was seen to take."""

import asyncio

import pytest

from perpixel.serve.effort import Effort, Finishing
from perpixel.serve.models import Served
from perpixel.tasks.matting import load_matting_model
from serve.served import BOX, form, kind_of, make_app, running, square


def test_the_model_is_measured_when_it_is_warmed_up():
    async def main():
        app = make_app()
        async with running(app):
            matting, *others = app.state.service.models.all
            assert matting.effort.pixels == 64 * 64 and 0 < matting.effort.seconds < 30
            assert [model.effort for model in others] == [None, None]  # these are not warmed up

    asyncio.run(main())


def test_a_picture_that_takes_too_long_is_refused_and_a_smaller_one_is_not():
    async def main():
        app = make_app(timeout=30.0)
        async with running(app) as client:
            app.state.service.models.all[0].effort = Effort(64 * 64, 2.0)
            assert (await client.post("/v1/cutout", **form(square(), {"box": BOX}))).status_code == 200
            for options in ({"box": BOX}, {"box": BOX, "max_memory": "2GB"}):
                refused = await client.post("/v1/cutout", **form(square(256, 256), options))
                assert (refused.status_code, kind_of(refused)) == (413, "too_large")
                assert "128 seconds" in refused.json()["error"]["message"]

    asyncio.run(main())


@pytest.mark.parametrize(
    ("route", "model", "options"),
    [("segment", 1, {}), ("depth", 2, {"size": 640}), ("depth", 2, {"detail": "tiled", "size": 32})],
)
def test_an_input_that_is_too_large_for_the_others_is_refused_too(route, model, options):
    async def main():
        app = make_app(timeout=30.0)
        async with running(app) as client:
            app.state.service.models.all[model].effort = Effort(64 * 64, 4.0)
            asked = form(square(256, 256), options)
            refused = await client.post(f"/v1/{route}", **asked)
            assert (refused.status_code, kind_of(refused)) == (413, "too_large")
            asked = form(square(), {})
            assert (await client.post(f"/v1/{route}", **asked)).status_code == 200

    asyncio.run(main())


def test_an_answer_that_takes_too_long_to_make_is_refused_before_the_model_works():
    async def main():
        app = make_app(timeout=30.0)
        async with running(app) as client:
            service = app.state.service
            large = form(square(600, 600), {})
            assert (await client.post("/v1/segment?what=map", **large)).status_code == 200
            assert 0 < service._finishing.expected(("painted", "image/png", "map"), 600 * 600) < 15
            service._finishing.took(("painted", "image/png", "overlay"), 600 * 600, 20.0)
            refused = await client.post("/v1/segment", **large)
            assert (refused.status_code, kind_of(refused)) == (413, "too_large")
            assert "20 seconds" in refused.json()["error"]["message"]
            for what, asked in (("map", large), ("overlay", form(square(), {}))):
                assert (await client.post(f"/v1/segment?what={what}", **asked)).status_code == 200

    asyncio.run(main())


def test_what_comes_after_the_model_is_learned_from_pictures_that_are_not_small():
    finishing = Finishing()
    finishing.took("x", 100, 1.0)
    assert finishing.expected("x", 10**6) == 0
    for seconds in (1.0, 2.0):
        finishing.took("x", 10**6, seconds)
    assert finishing.expected("x", 2 * 10**6) == pytest.approx(2.4)
    finishing.took("x", 10**6, 0.1)
    assert finishing.expected("x", 10**6) == pytest.approx(0.1)
    assert finishing.expected("y", 10**6) == 0


def test_a_slow_rehearsal_neither_stops_the_server_nor_counts_for_long(monkeypatch):
    monkeypatch.setattr("perpixel.serve.service.WARM_UP", 600)
    slow = iter([300.0] * 3)  # as if the first had to wait until their loops are compiled

    def took(finishing, kind, pixels, seconds, *, take=Finishing.took):
        take(finishing, kind, pixels, next(slow, seconds) if "image/png" in kind else seconds)

    monkeypatch.setattr(Finishing, "took", took)

    async def main():
        app = make_app(timeout=10.0)
        painted = app.state.service.models.find("segmentation", None)
        painted.rehearsal = lambda side: 6 * Served.rehearsal(painted, side)
        app.state.service.models.all = [painted]
        async with running(app) as client:
            assert next(slow, None) is None
            assert (await client.post("/v1/segment", **form(square(600, 600), {}))).status_code == 200

    asyncio.run(main())


def test_more_pixels_take_longer_and_tiles_of_them_less_than_the_whole():
    network, effort = load_matting_model(), Effort(640 * 640, 1.0)
    found = [effort.of_matting(network, side, side, None) for side in (640, 1280, 2560)]
    assert found == pytest.approx([1, 8, 64])
    limit = network.working_memory(1000, 1000, 256)
    assert 16 < effort.of_matting(network, 2560, 2560, limit) < 64
