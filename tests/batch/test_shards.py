"""Parts: every photograph in exactly one, whatever their number, and about as many in each."""

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perpixel.batch.shards import Shard, key_digest
from perpixel.errors import InputError


@settings(max_examples=60, deadline=None)
@given(key=st.text(st.characters(), min_size=1), count=st.integers(1, 50))
def test_every_photograph_is_in_exactly_one_part(key, count):
    assert sum(Shard(number, count).owns(key) for number in range(1, count + 1)) == 1


def test_parts_are_about_equal():
    keys = [f"trip/{number}" for number in range(4000)]
    counts = [sum(Shard(number, 4).owns(key) for key in keys) for number in range(1, 5)]
    assert sum(counts) == 4000 and max(counts) - min(counts) < 200


def test_the_digest_is_the_same_on_every_machine():
    expected = hashlib.blake2b("trip/ä".encode(), digest_size=8).hexdigest()
    assert f"{key_digest('trip/ä'):016x}" == expected


@pytest.mark.parametrize("text", ["0/4", "5/4", "1/0", "a/b", "2", "-1/3"])
def test_what_is_no_part(text):
    with pytest.raises(InputError, match="part"):
        Shard.parse(text)


def test_part_as_text():
    assert Shard.parse("2/4") == Shard(2, 4) and Shard(2, 4).ending == "-2-of-4" and Shard().ending == ""
