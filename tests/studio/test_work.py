"""Long work: its result, its errors, and that it really stops."""

import asyncio
import threading
import time

import pytest
import torch

from perpixel.studio.work import Stopped, in_thread


class Slow(torch.nn.Module):
    """A network of many layers that take a hundredth of a second each."""

    def __init__(self):
        super().__init__()
        self.layers = torch.nn.ModuleList(torch.nn.Identity() for _ in range(300))
        self.seen = 0

    def forward(self, values):
        for layer in self.layers:
            time.sleep(0.01)
            values = layer(values)
            self.seen += 1
        return values


def test_errors_of_the_work_come_out():
    with pytest.raises(ZeroDivisionError):
        asyncio.run(in_thread(lambda stop: 1 / 0))


def test_a_cancelled_network_stops_within_a_layer():
    network, ended = Slow(), threading.Event()
    caught = []

    def work(stop):
        try:
            network(torch.zeros(1))
        except Stopped as error:
            caught.append(error)
            raise
        finally:
            ended.set()

    async def page():
        task = asyncio.create_task(in_thread(work))
        while not network.seen:
            await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(page())
    assert ended.wait(5)
    assert caught
    assert network.seen < 250


def test_others_go_on_with_the_same_network():
    network = torch.nn.Sequential(*(torch.nn.Identity() for _ in range(5)))

    async def page():
        begun, go_on = threading.Event(), threading.Event()

        def cancelled(stop):
            begun.set()
            go_on.wait(5)
            network(torch.zeros(1))

        task = asyncio.create_task(in_thread(cancelled))
        await asyncio.to_thread(begun.wait, 5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        result = await in_thread(lambda stop: network(torch.ones(3)))
        go_on.set()
        return result

    assert asyncio.run(page()).tolist() == [1, 1, 1]


def test_no_hook_is_left_behind():
    from torch.nn.modules import module

    before = dict(module._global_forward_pre_hooks)
    asyncio.run(in_thread(lambda stop: stop.check()))
    with pytest.raises(ValueError, match="no"):
        asyncio.run(in_thread(lambda stop: (_ for _ in ()).throw(ValueError("no"))))
    assert dict(module._global_forward_pre_hooks) == before
