"""Labelled images in the order of training, and a part of them kept for validation."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Generic, Literal, TypeVar

import numpy as np
import numpy.typing as npt
from torch.utils.data import Dataset

from perpixel.data.matting_sets import COPY
from perpixel.data.samples import Categories, LabelKind, LabelledImages, Sample
from perpixel.errors import ConfigError, InputError

__all__ = ["SampleStream", "Subset", "holdout"]

AnySample = TypeVar("AnySample", bound=Sample)
Item = TypeVar("Item")


class SampleStream(Dataset[Item], Generic[AnySample, Item]):
    """The samples of a data set over and over, each time through in another order.

    Item n is sample `permutation(seed, epoch)[n % len(data)]` with `epoch = n // len(data)`: every sample comes once
    an epoch, and an item depends on nothing but the seed and n. So any number of worker processes gives the same
    items, and a run that goes on after a stop goes on with the items that it would have had.

    Args:
        data: what is learnt from.
        length: how many items there are: those that the whole run takes, over all epochs.
        seed: of the orders, a whole number from 0.
        prepare: makes the item from the sample and from n. What it does at random it has to derive from n, as
            `augment(sample, recipe, (seed, n))` does.

    Raises:
        InputError: there is no sample.

    >>> from perpixel.data.samples import Sample
    >>> class Letters:
    ...     kind, categories, names = "depth", None, ("a", "b", "c")
    ...     def __len__(self): return 3
    ...     def __getitem__(self, index): return Sample(self.names[index], np.zeros((1, 1, 3), np.uint8))
    >>> stream = SampleStream(Letters(), 6, seed=0, prepare=lambda sample, n: f"{sample.name}{n}")
    >>> [stream[n] for n in range(6)]
    ['c0', 'a1', 'b2', 'c3', 'a4', 'b5']
    """

    def __init__(
        self, data: LabelledImages[AnySample], length: int, seed: int, prepare: Callable[[AnySample, int], Item]
    ) -> None:
        if not len(data):
            raise InputError("the data set has no sample: give a folder with labelled images")
        self._data = data
        self._length = length
        self._seed = seed
        self._prepare = prepare
        self._order: tuple[int, npt.NDArray[np.int64]] = (-1, np.empty(0, np.int64))  # of the epoch asked for last

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, n: int) -> Item:
        if not 0 <= n < self._length:
            raise IndexError(f"item {n} of a stream of {self._length}")
        epoch, place = divmod(n, len(self._data))
        if self._order[0] != epoch:
            order = np.random.default_rng([self._seed, epoch]).permutation(len(self._data))
            self._order = (epoch, order)
        return self._prepare(self._data[int(self._order[1][place])], n)


class Subset(LabelledImages[AnySample]):
    """Some samples of a data set, in the order given.

    Args:
        data: the whole.
        indices: which of its samples.
    """

    def __init__(self, data: LabelledImages[AnySample], indices: Sequence[int]) -> None:
        self._data = data
        self._indices = tuple(int(index) for index in indices)
        names = data.names
        self._names = tuple(names[index] for index in self._indices)

    @property
    def kind(self) -> LabelKind:
        """What the samples are labelled with."""
        return self._data.kind

    @property
    def categories(self) -> Categories | None:
        """The classes of the whole data set."""
        return self._data.categories

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the samples that were chosen."""
        return self._names

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> AnySample:
        return self._data[self._indices[index]]


def holdout(
    data: LabelledImages[AnySample], share: float, part: Literal["train", "validation"] = "train"
) -> LabelledImages[AnySample]:
    """Keep a share of a data set for validation, the same one whatever comes to it later.

    A hash of its name decides about each sample, so a sample stays in its part when others are added, removed or
    listed in another order. Composites of one subject (`NAME@0`, `NAME@1`) stay together. Each part has at least one
    sample: where the hash would leave a part empty, the sample nearest to it joins.

    Args:
        data: the whole data set.
        share: about how much is kept for validation, above 0 and below 1.
        part: which part is returned.

    Raises:
        ConfigError: a share out of its range, or another part.
        InputError: fewer than two samples, which cannot be parted.
    """
    if not 0 < share < 1:
        raise ConfigError(f"the share held out is {share}: it must be above 0 and below 1, such as 0.1")
    if part not in ("train", "validation"):
        raise ConfigError(f"there is no part {part!r} of a data set: it must be train or validation")
    if len(data) < 2:
        raise InputError(
            f"a data set of {len(data)} cannot be parted into training and validation: give more labelled images, "
            "or other data for the validation"
        )
    subjects = [name.partition(COPY)[0] for name in data.names]
    if len(set(subjects)) < 2:
        subjects = list(data.names)
    ascending = sorted(set(subjects), key=_hash)
    wanted = sum(_hash(subject) < share for subject in ascending)
    held = set(ascending[: min(max(1, wanted), len(ascending) - 1)])
    chosen = [index for index, subject in enumerate(subjects) if (subject in held) == (part == "validation")]
    return Subset(data, chosen)


def _hash(name: str) -> float:
    """A number in [0, 1) for a name, alike on every machine, unlike Python's own hash."""
    digest = hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
