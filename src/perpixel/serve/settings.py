"""What a server is started with: its models and its limits."""

from __future__ import annotations

from dataclasses import dataclass, field

from perpixel.errors import InputError
from perpixel.ops.tiling import memory_bytes
from perpixel.tasks.precision import Engine, Precision

# All bodies that are held at a time may take the memory of so many of the largest.
HELD_BODIES = 8
# Beyond this the solver behind `refine` takes longer than a client waits; it cannot be stopped once it runs.
MAX_REFINE_PIXELS = 2_000_000


@dataclass(frozen=True)
class Settings:
    """The models and the limits of a server.

    Attributes:
        models: Hub ids, folders or exported files; the first for a task is the one that requests get by default.
        device: where to compute; the CPU if not given.
        dtype: as in `perpixel.matte`.
        engine: as in `perpixel.matte`.
        token: what requests must bring as `Authorization: Bearer …`; None lets everybody in.
        queue: requests that are worked on or wait at a time; the next gets 429.
        batch: equal requests that go through the model at once; None means 8 on an accelerator and 1 on a CPU, where
            it would only make the first wait for the last.
        decodes: pictures that are decoded at a time, and as many answers encoded.
        max_upload: bytes of a request's body.
        max_pixels: pixels of a picture.
        max_memory: working memory of a model for one picture, as in `perpixel.matte`; if not given, 4 GB on a CPU and
            no limit on an accelerator, where lack of memory stops one request and not the process.
        timeout: seconds from the end of the upload to the answer.
        upload_timeout: seconds for the upload, and for each standstill of the client while it reads the answer.
        header_timeout: seconds for the head of a request.
        studio: whether the page for people is served at `/`, where the extra `studio` is installed.
    """

    models: tuple[str, ...] = ("vitmatte-nano",)
    device: str | None = None
    dtype: Precision | None = None
    engine: Engine | None = None
    token: str | None = field(default=None, repr=False)
    queue: int = 64
    batch: int | None = None
    decodes: int = 2
    max_upload: int = 32 * 2**20
    max_pixels: int = 25_000_000
    max_memory: int | str | None = None
    timeout: float = 60.0
    upload_timeout: float = 30.0
    header_timeout: float = 10.0
    studio: bool = True

    def __post_init__(self) -> None:
        """Refuse numbers that no server can run with.

        Raises:
            InputError: one of them, by its name.
        """
        if not self.models:
            raise InputError("the server has no model: name one, such as vitmatte-nano")
        whole = {"queue": self.queue, "decodes": self.decodes, "max_upload": self.max_upload}
        whole |= {"max_pixels": self.max_pixels, "batch": 1 if self.batch is None else self.batch}
        seconds = {"timeout": self.timeout, "upload_timeout": self.upload_timeout}
        seconds |= {"header_timeout": self.header_timeout}
        for name, value in whole.items():
            if value < 1:
                raise InputError(f"{name} is {value}, and at least 1 is needed")
        for name, number in seconds.items():
            if not 0 < number <= 86_400:
                raise InputError(f"{name} is {number} seconds, and more than 0, up to a day, is needed")
        if self.token is not None and (len(self.token) < 8 or not self.token.isascii() or not self.token.isprintable()):
            raise InputError("the token needs at least 8 printable ASCII characters: make a long one at random")
        if self.max_memory is not None:
            memory_bytes(self.max_memory)

    @property
    def held_bytes(self) -> int:
        """The most bytes of bodies in memory at a time."""
        return HELD_BODIES * self.max_upload
