"""Parts of a batch for several processes or machines that know nothing of each other."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from perpixel.errors import InputError


@dataclass(frozen=True)
class Shard:
    """One of some parts. Each photograph is in exactly one, by its key alone, so that all agree without talking.

    Attributes:
        number: of this part, from 1.
        count: of parts.

    Raises:
        InputError: there is no such part.

    >>> parts = [Shard(number, 3) for number in (1, 2, 3)]
    >>> [part.owns("trip/beach") for part in parts].count(True)
    1
    """

    number: int = 1
    count: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise InputError(f"there is no part {self.number} of {self.count}: parts are numbered from 1, such as 1/4")

    @classmethod
    def parse(cls, text: str) -> Shard:
        """The part that "2/4" names.

        Raises:
            InputError: it names none.
        """
        found = re.fullmatch(r"(\d+)/(\d+)", text.strip())
        if found is None:
            raise InputError(f"a part is given as NUMBER/COUNT such as 2/4, not {text!r}")
        return cls(int(found[1]), int(found[2]))

    def owns(self, key: str) -> bool:
        """Whether the photograph of this key is in the part."""
        return self.count == 1 or key_digest(key) % self.count == self.number - 1

    @property
    def ending(self) -> str:
        """What is added to the names of its files, so that parts do not meet; nothing where there is only one."""
        return "" if self.count == 1 else f"-{self.number}-of-{self.count}"


def key_digest(key: str) -> int:
    """64 bits of a key, the same everywhere and always."""
    return int.from_bytes(hashlib.blake2b(key.encode("utf-8", "surrogateescape"), digest_size=8).digest(), "big")
