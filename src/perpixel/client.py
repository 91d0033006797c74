"""A server of perpixel (`perpixel serve`) as if its models were here: pictures in, the same results out.

>>> import perpixel as px
>>> with px.Client("http://127.0.0.1:8000") as client:  # doctest: +SKIP
...     client.cutout("portrait.jpg", box=(60, 20, 440, 512)).save("portrait.png")
"""

from __future__ import annotations

import base64
import json
import os
import random
import tempfile
import time
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from perpixel.errors import InputError, MissingDependencyError, PerpixelError
from perpixel.images.read import ImageLike, Photo, read_mask, read_photo, read_trimap
from perpixel.images.write import write_image
from perpixel.results import DepthMap, Matte, Segment, Segments

if TYPE_CHECKING:
    import httpx

    from perpixel.ops.depth import Kind as DepthKind
    from perpixel.results.segments import Kind

# Of the wait between two tries where the server names none, and the share that is added at random, so that clients
# which were sent away together do not come back together.
WAIT, SPREAD = 1.0, 0.25
BUSY = (429, 503)


class ServerError(PerpixelError, RuntimeError):
    """The server cannot be reached, failed, or stayed busy for too long."""


@dataclass(frozen=True)
class ServedModel:
    """A model of the server.

    Attributes:
        name: what the methods of `Client` take as `model`.
        task: "matting", "segmentation" or "depth".
        default: whether it is taken where none is named.
        licence: the SPDX name of the weights' licence, where it is known.
        labels: what a segmentation model knows by name.
    """

    name: str
    task: str
    default: bool
    licence: str | None
    labels: tuple[str, ...]


class Client:
    """The tasks of a server. It may be used from many threads, and in a `with` block, which closes its connections.

    The methods are the functions of the same name, with the options that a server leaves to its clients, and give the
    same numbers. When the server is busy they wait as long as it asks, and try again.

    Args:
        url: the address that `perpixel serve` printed.
        token: the server's token, if it has one; by default the variable `PERPIXEL_TOKEN`.
        timeout: seconds for one call, all waiting included.

    Raises:
        InputError: an address that is none.
        MissingDependencyError: without the extra `client`.
    """

    def __init__(self, url: str = "http://127.0.0.1:8000", token: str | None = None, *, timeout: float = 120.0) -> None:
        try:
            import httpx
        except ImportError as error:
            raise MissingDependencyError('Client needs httpx: pip install "perpixel[client]"') from error
        if not url.startswith(("http://", "https://")):
            raise InputError(f"the server's address is {url!r}: give one such as http://127.0.0.1:8000")
        token = token or os.environ.get("PERPIXEL_TOKEN")
        headers = {"Accept": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
        self.url, self.timeout = url.rstrip("/"), timeout
        self._http = httpx.Client(base_url=self.url, headers=headers, timeout=timeout)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def models(self) -> list[ServedModel]:
        """The models that the server was started with.

        Raises:
            ServerError: it cannot be reached.
        """
        rows = self._call("GET", "/v1/models")["models"]
        return [
            ServedModel(row["name"], row["task"], row["default"], row["licence"], tuple(row["labels"])) for row in rows
        ]

    def cutout(
        self,
        image: ImageLike | Photo,
        *,
        trimap: ImageLike | None = None,
        mask: ImageLike | None = None,
        box: Sequence[int] | None = None,
        points: Sequence[Sequence[int]] | None = None,
        background_points: Sequence[Sequence[int]] | None = None,
        label: str | None = None,
        index: int | None = None,
        subject: Literal["largest"] | None = None,
        segmentation_model: str | None = None,
        model: str | None = None,
        max_memory: int | str | None = None,
        refine: Literal["closed-form"] | None = None,
    ) -> Matte:
        """Cut the subject out, as `perpixel.cutout`; models are names of `models()`.

        Raises:
            InputError: what the server cannot use; the message is the server's.
            ServerError: it cannot be reached, failed, or stayed busy.
        """
        options = {
            "box": _numbers(box),
            "points": _points(points),
            "background_points": _points(background_points),
            "label": label,
            "index": index,
            "subject": subject,
            "segmentation_model": segmentation_model,
            "model": model,
            "max_memory": max_memory,
            "refine": refine,
        }
        photo, parts = _image(image)
        parts |= _hints(trimap, mask)
        return _matte(photo, self._call("POST", "/v1/cutout", parts, options))

    def matte(
        self,
        image: ImageLike | Photo,
        trimap: ImageLike,
        *,
        model: str | None = None,
        max_memory: int | str | None = None,
        refine: Literal["closed-form"] | None = None,
    ) -> Matte:
        """Estimate the alpha, as `perpixel.matte`; raises as `cutout`."""
        photo, parts = _image(image)
        parts |= _hints(trimap, None)
        options = {"model": model, "max_memory": max_memory, "refine": refine}
        return _matte(photo, self._call("POST", "/v1/matte", parts, options))

    def segment(
        self,
        image: ImageLike | Photo,
        *,
        model: str | None = None,
        kind: Kind | None = None,
        threshold: float = 0.5,
        mask_threshold: float = 0.5,
        overlap_threshold: float = 0.8,
        labels: str | Iterable[str] | None = None,
        things: Iterable[int] | None = None,
        size: int | Mapping[str, int] | None = None,
    ) -> Segments:
        """Tell what is where, as `perpixel.segment`; raises as `cutout`."""
        photo, parts = _image(image)
        options = {
            "model": model,
            "kind": kind,
            "threshold": threshold,
            "mask_threshold": mask_threshold,
            "overlap_threshold": overlap_threshold,
            "labels": labels if labels is None or isinstance(labels, str) else list(labels),
            "things": None if things is None else [int(thing) for thing in things],
            "size": dict(size) if isinstance(size, Mapping) else size,
        }
        return _segments(photo, self._call("POST", "/v1/segment", parts, options))

    def depth(
        self,
        image: ImageLike | Photo,
        *,
        model: str | None = None,
        max_memory: int | str | None = None,
        detail: Literal["whole", "tiled"] = "whole",
        size: int | None = None,
        kind: DepthKind | None = None,
    ) -> DepthMap:
        """Estimate depth, as `perpixel.depth`; raises as `cutout`."""
        photo, parts = _image(image)
        options = {"model": model, "max_memory": max_memory, "detail": detail, "size": size, "kind": kind}
        told = self._call("POST", "/v1/depth", parts, options)
        valid = None if told["valid"] is None else _unpacked(told["valid"]).astype(np.bool_)
        values = _unpacked(told["values"])
        return DepthMap(values, kind=told["kind"], valid=valid, image=photo.pixels, icc_profile=photo.icc_profile)

    def _call(
        self, method: str, path: str, parts: Mapping[str, bytes] | None = None, options: Mapping[str, Any] | None = None
    ) -> Any:
        """One request, and more while the server is busy: the JSON of its answer."""
        import httpx

        files = {name: (name, data, "application/octet-stream") for name, data in (parts or {}).items()}
        given = {name: value for name, value in (options or {}).items() if value is not None}
        data = {"options": json.dumps(given)} if given else None
        deadline = time.monotonic() + self.timeout
        while True:
            try:
                response = self._http.request(
                    method, path, files=files or None, data=data, timeout=max(0.01, deadline - time.monotonic())
                )
            except httpx.TimeoutException as error:
                raise ServerError(
                    f"{self.url} gave no answer within {self.timeout:g} seconds: raise timeout"
                ) from error
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                raise ServerError(f"{self.url} cannot be reached ({error}): is the server running there?") from error
            if response.status_code == 200:
                return _told(response)
            wait = _wait(response)
            if wait is None or time.monotonic() + wait > deadline:
                raise _error(response)
            time.sleep(wait)


def _wait(response: httpx.Response) -> float | None:
    """The seconds until the next try; None where there is none to make."""
    if response.status_code not in BUSY or (response.status_code != 429 and "retry-after" not in response.headers):
        return None
    try:
        asked = float(response.headers.get("retry-after", WAIT))
    except ValueError:  # a date, as RFC 9110 allows
        asked = WAIT
    return max(asked, 0.0) * (1 + SPREAD * random.random())  # noqa: S311 (no secret)


def _told(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError as error:
        raise ServerError(f"{response.url} did not answer with JSON: is it a server of perpixel?") from error


def _error(response: httpx.Response) -> PerpixelError:
    """What the server said, as the kind that the function here raises."""
    try:
        told = response.json()["error"]
        words = str(told["message"])
        known = f" (request {told['request_id']})"
    except (ValueError, KeyError, TypeError):
        words, known = f"{response.url} answered {response.status_code} {response.reason_phrase}", ""
    if 400 <= response.status_code < 500 and response.status_code not in (401, 408, 429):
        return InputError(words)
    return ServerError(words + known)


def _image(image: ImageLike | Photo) -> tuple[Photo, dict[str, bytes]]:
    """The photograph as it is here, and as it is sent: a file as it is, pixels as a PNG."""
    if isinstance(image, Photo):
        return image, {"image": _png(image.pixels, image.icc_profile)}
    data = _file(image)
    photo = read_photo(image if data is None else data)
    return photo, {"image": _png(photo.pixels, photo.icc_profile) if data is None else data}


def _hints(trimap: ImageLike | None, mask: ImageLike | None) -> dict[str, bytes]:
    parts = {}
    if trimap is not None:
        data = _file(trimap)
        parts["trimap"] = _png(read_trimap(trimap)) if data is None else data
    if mask is not None:
        data = _file(mask)
        parts["mask"] = _png(read_mask(mask), bits=16) if data is None else data
    return parts


def _file(image: ImageLike) -> bytes | None:
    """The bytes of what is a file; None for pixels."""
    if isinstance(image, (str, os.PathLike)):
        if not Path(image).is_file():
            read_photo(image)  # says what is wrong with the path
        return Path(image).read_bytes()
    return bytes(image) if isinstance(image, (bytes, bytearray, memoryview)) else None


def _png(pixels: NDArray[Any], icc_profile: bytes | None = None, bits: int | None = None) -> bytes:
    with tempfile.TemporaryDirectory(prefix="perpixel-") as folder:
        return write_image(Path(folder) / "part.png", pixels, icc_profile=icc_profile, bits=bits).read_bytes()


def _numbers(values: Sequence[int] | None) -> list[int | float] | None:
    """Plain numbers: NumPy's are not JSON's."""
    return None if values is None else [value if isinstance(value, int) else float(value) for value in values]


def _points(points: Sequence[Sequence[int]] | None) -> list[Any] | None:
    return None if points is None else [_numbers(point) for point in points]


def _unpacked(plane: Mapping[str, Any]) -> NDArray[Any]:
    """The numbers of a plane, exactly as the server has them.

    >>> data = base64.b64encode(zlib.compress(np.float32([0.1, 1]).tobytes())).decode()
    >>> _unpacked({"dtype": "float32", "shape": [1, 2], "data": data})
    array([[0.1, 1. ]], dtype=float32)
    """
    kind = np.dtype(plane["dtype"])
    values = np.frombuffer(zlib.decompress(base64.b64decode(plane["data"])), kind.newbyteorder("<"))
    return values.astype(kind).reshape(plane["shape"])


def _matte(photo: Photo, told: Mapping[str, Any]) -> Matte:
    trimap = None if told["trimap"] is None else _unpacked(told["trimap"])
    return Matte(_unpacked(told["alpha"]), photo.pixels, icc_profile=photo.icc_profile, trimap=trimap)


def _segments(photo: Photo, told: Mapping[str, Any]) -> Segments:
    masks: dict[int, Any] = {row["id"]: row["segmentation"] for row in told["segments"]}
    found = [
        Segment(**{name: value for name, value in row.items() if name != "segmentation"} | {"box": tuple(row["box"])})
        for row in told["segments"]
    ]
    return Segments(
        _unpacked(told["map"]),
        found,
        kind=told["kind"],
        masks=masks if told["kind"] == "instance" else None,  # only these overlap
        image=photo.pixels,
        icc_profile=photo.icc_profile,
    )
