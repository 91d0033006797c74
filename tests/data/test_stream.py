"""The order of training depends on the seed alone, and what is held out stays held out."""

import pickle
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from perpixel.data.augment import AugmentRecipe, augment
from perpixel.data.samples import Categories, DepthSample
from perpixel.data.stream import SampleStream, Subset, holdout
from perpixel.errors import ConfigError, InputError


@dataclass
class Numbered:
    """As many pictures as names; picture i holds the number i."""

    names: tuple[str, ...]
    kind: str = "depth"
    categories: Categories | None = None

    def __len__(self):
        return len(self.names)

    def __getitem__(self, index):
        if not 0 <= index < len(self.names):
            raise IndexError
        image = np.full((9, 11, 3), index, np.uint8)
        return DepthSample(self.names[index], image, np.full((9, 11), 1 + index, np.float32))


def numbered(count: int) -> Numbered:
    return Numbered(tuple(f"photo{number}" for number in range(count)))


def name_and_number(sample, n):
    return sample.name, n


def augmented(sample, n):
    recipe = AugmentRecipe(crop=(8, 8), rotate=20, hue=0.2, blur=2, noise=0.1, chance=1)
    result = augment(sample, recipe, (3, n))
    return torch.from_numpy(result.image), torch.from_numpy(result.depth)


def test_every_sample_comes_once_an_epoch_in_changing_orders():
    stream = SampleStream(numbered(7), 21, 5, name_and_number)
    items = [stream[n] for n in range(21)]
    assert [n for _, n in items] == list(range(21))
    epochs = [tuple(name for name, _ in items[start : start + 7]) for start in (0, 7, 14)]
    assert all(sorted(epoch) == sorted(numbered(7).names) for epoch in epochs)
    assert len(set(epochs)) == 3
    other = SampleStream(numbered(7), 21, 6, name_and_number)
    assert tuple(other[n][0] for n in range(7)) != epochs[0]


def test_an_item_depends_on_nothing_that_was_read_before():
    stream = SampleStream(numbered(5), 50, 1, name_and_number)
    forwards = [stream[n] for n in range(50)]
    backwards = [stream[n] for n in reversed(range(50))]
    assert forwards == backwards[::-1]
    copy = pickle.loads(pickle.dumps(stream))
    assert [copy[n] for n in range(50)] == forwards
    with pytest.raises(IndexError):
        stream[50]


def test_workers_give_the_items_of_one_process():
    stream = SampleStream(numbered(3), 8, 1, augmented)
    alone = list(DataLoader(stream, batch_size=2))
    torch.rand(3)
    shared = list(DataLoader(stream, batch_size=2, num_workers=2, timeout=60))
    for (image, depth), (other_image, other_depth) in zip(alone, shared, strict=True):
        assert torch.equal(image, other_image)
        assert torch.equal(depth, other_depth)


def test_no_sample_is_said():
    with pytest.raises(InputError, match="no sample"):
        SampleStream(numbered(0), 3, 0, name_and_number)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.text("ab/é", max_size=5), min_size=2, max_size=30, unique=True), st.floats(0.01, 0.99))
def test_parts_are_whole_and_apart(names, share):
    data = Numbered(tuple(names))
    train, validation = (holdout(data, share, part) for part in ("train", "validation"))
    assert len(train) and len(validation)
    assert sorted((*train.names, *validation.names)) == sorted(names)
    assert [train[index].name for index in range(len(train))] == list(train.names)


def test_the_part_of_a_sample_does_not_depend_on_the_others():
    small = set(holdout(numbered(200), 0.2, "validation").names)
    assert 20 < len(small) < 60
    backwards = Numbered(tuple(reversed(numbered(300).names)))
    large = set(holdout(backwards, 0.2, "validation").names)
    assert small == large & set(numbered(200).names)
    assert small <= set(holdout(numbered(200), 0.4, "validation").names)


def test_composites_of_one_subject_stay_together():
    names = tuple(f"subject{number}@{copy}" for number in range(20) for copy in range(3))
    train, validation = (holdout(Numbered(names), 0.3, part) for part in ("train", "validation"))
    subjects = [{name.partition("@")[0] for name in part.names} for part in (train, validation)]
    assert subjects[0].isdisjoint(subjects[1])
    one = Numbered(("cat@0", "cat@1", "cat@2"))
    assert len(holdout(one, 0.1, "validation")) == 1


def test_a_subset_is_a_data_set():
    data = Numbered(("a", "b", "c"), "semantic", Categories(("sky", "sea")))
    part = Subset(data, [2, 0])
    assert (part.kind, part.categories, part.names, len(part)) == ("semantic", data.categories, ("c", "a"), 2)
    assert part[0].name == "c"
    assert [sample.name for sample in part] == ["c", "a"]
    assert pickle.loads(pickle.dumps(part)).names == ("c", "a")


def test_what_cannot_be_parted_is_said():
    with pytest.raises(InputError, match="data set of 1 cannot be parted"):
        holdout(numbered(1), 0.1)
    for share in (0, 1, float("nan")):
        with pytest.raises(ConfigError, match="above 0 and below 1"):
            holdout(numbered(5), share)
    with pytest.raises(ConfigError, match="'test'"):
        holdout(numbered(5), 0.1, "test")
