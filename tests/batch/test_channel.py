"""Channels: everything comes through once, bounded, and nobody waits for ever."""

import threading

from hypothesis import given, settings
from hypothesis import strategies as st

from perpixel.batch.channel import Channel


@settings(max_examples=15, deadline=None)
@given(count=st.integers(0, 60), size=st.integers(1, 5), fillers=st.integers(1, 3), takers=st.integers(1, 3))
def test_everything_comes_through_once(count, size, fillers, takers):
    channel = Channel(size, fillers)
    found, most = [], []

    def fill(part):
        for item in range(part, count, fillers):
            assert channel.put(item)
            most.append(len(channel._items))
        channel.leave()

    def take():
        found.extend(channel)

    threads = [threading.Thread(target=fill, args=(part,)) for part in range(fillers)]
    threads += [threading.Thread(target=take) for _ in range(takers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sorted(found) == list(range(count)) and max(most, default=0) <= size


def test_a_cut_frees_those_who_wait():
    full, empty = Channel(1, 1), Channel(1, 1)
    assert full.put(1)
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(full.put(2))),
        threading.Thread(target=lambda: results.append(list(empty))),
    ]
    for thread in threads:
        thread.start()
    full.cut()
    empty.cut()
    for thread in threads:
        thread.join(10)
    assert sorted(results, key=str) == [False, []] and not full.put(3)
    assert list(full) == []
