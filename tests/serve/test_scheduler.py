"""The thread of the models: order, equal work together, errors that hit only their own, an end without loss."""

import asyncio
import gc
import threading
import weakref

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from perpixel.serve.scheduler import Scheduler


class Recorder:
    def __init__(self):
        self.batches = []
        self.gate = threading.Event()

    def ran(self, key, count, seconds):
        self.batches.append((key, count))

    def hold(self, items):
        assert self.gate.wait(10)
        return items


def double(items):
    return [2 * item for item in items]


async def while_held(keys, batch, run=double):
    """Submit work under these keys while the thread is held up, so that all of it waits together."""
    recorder = Recorder()
    scheduler = Scheduler(batch, recorder.ran)
    scheduler.start()
    first = asyncio.create_task(scheduler.submit("first", recorder.hold, 0))
    await asyncio.sleep(0.01)
    waiting = [asyncio.create_task(scheduler.submit(key, run, number)) for number, key in enumerate(keys)]
    while scheduler.waiting() < len(keys):
        await asyncio.sleep(0)
    recorder.gate.set()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    await first
    await asyncio.to_thread(scheduler.stop)
    return results, recorder.batches[1:]


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=12), st.integers(1, 4))
@settings(max_examples=25, deadline=None)
def test_everyone_gets_their_own_result_and_no_batch_is_mixed_or_too_large(keys, batch):
    results, batches = asyncio.run(while_held(keys, batch))
    assert results == [2 * number for number in range(len(keys))]
    assert sum(count for _, count in batches) == len(keys)
    for key in set(keys):
        counts = [count for name, count in batches if name == key]
        assert sum(counts) == keys.count(key)
        assert counts == sorted(counts, reverse=True) and max(counts) <= batch  # only the last is not full
    assert batches[0][0] == keys[0]  # the oldest is first


def test_one_that_fails_does_not_take_the_others_with_it():
    def picky(items):
        if 1 in items:
            raise ValueError("one")
        return double(items)

    results, _ = asyncio.run(while_held("aaa", 8, picky))
    assert (results[0], results[2]) == (0, 4) and isinstance(results[1], ValueError)


def test_too_few_results_are_an_error():
    results, _ = asyncio.run(while_held("a", 8, lambda items: []))
    assert isinstance(results[0], RuntimeError)


def test_who_gives_up_is_not_worked_for():
    done = []

    async def main():
        recorder = Recorder()
        scheduler = Scheduler(1, recorder.ran)
        scheduler.start()
        first = asyncio.create_task(scheduler.submit("first", recorder.hold, 0))
        await asyncio.sleep(0.01)
        second = asyncio.create_task(scheduler.submit("a", lambda items: done.extend(items) or items, 1))
        third = asyncio.create_task(scheduler.submit("a", lambda items: done.extend(items) or items, 2))
        while scheduler.waiting() < 2:
            await asyncio.sleep(0)
        second.cancel()
        await asyncio.sleep(0.01)
        assert scheduler.waiting() == 1
        recorder.gate.set()
        await asyncio.gather(first, third)
        await asyncio.to_thread(scheduler.stop)

    asyncio.run(main())
    assert done == [2]


def test_a_network_that_nobody_waits_for_is_stopped_and_the_next_is_worked_for():
    layers = torch.nn.Sequential(*(torch.nn.Identity() for _ in range(3)))
    begun, go_on, ran = threading.Event(), threading.Event(), []

    def held(items):
        begun.set()
        assert go_on.wait(10)
        ran.extend(layers(item) for item in items)
        return items

    async def main():
        scheduler = Scheduler(2, lambda *_: None)
        scheduler.start()
        left = asyncio.create_task(scheduler.submit("a", held, 1))
        await asyncio.to_thread(begun.wait, 10)
        left.cancel()
        await asyncio.wait([left])
        go_on.set()
        assert await scheduler.submit("b", lambda items: [layers(item) for item in items], 2) == 2
        await asyncio.to_thread(scheduler.stop)

    asyncio.run(main())
    assert ran == []


def test_the_end_waits_for_what_is_queued():
    async def main():
        recorder = Recorder()
        scheduler = Scheduler(1, recorder.ran)
        scheduler.start()
        tasks = [asyncio.create_task(scheduler.submit("a", recorder.hold, number)) for number in range(3)]
        await asyncio.sleep(0.01)
        ending = asyncio.create_task(asyncio.to_thread(scheduler.stop))
        await asyncio.sleep(0.05)
        assert not ending.done()
        recorder.gate.set()
        assert await asyncio.gather(*tasks) == [0, 1, 2]
        await ending
        with pytest.raises(RuntimeError, match="ended"):
            await scheduler.submit("a", double, 1)

    asyncio.run(main())


def test_an_idle_thread_holds_on_to_no_work():
    class Large:
        pass

    async def main():
        scheduler = Scheduler(1, lambda *_: None)
        scheduler.start()
        item = Large()
        seen = weakref.ref(item)
        await scheduler.submit("a", lambda items: [None], item)
        del item
        for _ in range(200):
            await asyncio.sleep(0.005)
            gc.collect()
            if seen() is None:
                break
        await asyncio.to_thread(scheduler.stop)
        assert seen() is None

    asyncio.run(main())
