"""From the fields of a form to the stages of a task; what is equal enough for one batch has an equal key."""

from __future__ import annotations

import json
import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ValidationError

from perpixel.errors import InputError
from perpixel.images.files import identify, open_source, unrecognised
from perpixel.images.read import Photo, read_mask, read_photo, read_trimap
from perpixel.ops.tiling import memory_bytes
from perpixel.serve.effort import GROWTH
from perpixel.serve.models import Models, Served
from perpixel.serve.problems import Refusal
from perpixel.serve.schemas import CutoutOptions, DepthOptions, MatteOptions, Options, SegmentOptions, Size
from perpixel.serve.settings import MAX_REFINE_PIXELS, Settings

Route = Literal["cutout", "matte", "segment", "depth"]

# What `max_memory` is where the server was started without, on a CPU.
MEMORY = "4GB"
# The share of a request's time that a model may work on its picture, so that those behind it get their turn.
EFFORT = 0.5
# The largest input that a segmentation model is given, in pixels.
MAX_SEEN = 2048 * 4096

OPTIONS: Mapping[Route, type[Options]] = {
    "cutout": CutoutOptions,
    "matte": MatteOptions,
    "segment": SegmentOptions,
    "depth": DepthOptions,
}
# The fields of each form, and whether they are needed.
FIELDS: Mapping[Route, Mapping[str, bool]] = {
    "cutout": {"image": True, "options": False, "trimap": False, "mask": False},
    "matte": {"image": True, "trimap": True, "options": False},
    "segment": {"image": True, "options": False},
    "depth": {"image": True, "options": False},
}


@dataclass(frozen=True, eq=False)
class Prepared:
    """A request before its model.

    Attributes:
        key: equal where `stages.run` may be given both.
        model: that it goes through.
        stages: of `perpixel.tasks.stages`.
        ready: what `stages.run` takes.
    """

    key: Hashable
    model: Served
    stages: Any
    ready: Any

    @property
    def pixels(self) -> int:
        """Those of the picture."""
        photo: Photo = self.ready.photo
        return photo.width * photo.height

    def check_finish(self, seconds: float, settings: Settings) -> None:
        """Refuse a picture whose result would take too long to make after the model.

        Args:
            seconds: that it would take.
            settings: the limit of its time.

        Raises:
            Refusal: 413.
        """
        most = (1 - EFFORT) * settings.timeout
        if seconds > most:
            photo: Photo = self.ready.photo
            raise Refusal(
                413,
                "too_large",
                f"the answer about the picture of {photo.width}×{photo.height} (width×height) would take about "
                f"{seconds:.0f} seconds to make, and here it may for {most:g}: send a smaller one",
            )

    def finish(self, found: Any) -> Any:
        """The result: a `Matte`, `Segments` or a `DepthMap`."""
        return self.stages.finish(self.ready, found)


def read_options(route: Route, data: bytes) -> Options:
    """The options of a request.

    Args:
        route: whose.
        data: JSON, or nothing.

    Raises:
        Refusal: 422, with the name of the option that is wrong.
    """
    kind = OPTIONS[route]
    try:
        values = json.loads(data or b"{}", parse_constant=_no_constant, object_pairs_hook=_once)
        return kind.model_validate(values)
    except ValidationError as error:
        raise Refusal(422, "options", _told(error, kind)) from None
    except (ValueError, RecursionError) as error:
        reason = str(error)[:80] if isinstance(error, json.JSONDecodeError) else "a number or nesting beyond all bounds"
        raise Refusal(422, "options", f"the field options is no JSON ({reason}): give an object such as {{}}") from None


def prepare(fields: Mapping[str, bytes], options: Options, models: Models, settings: Settings) -> Prepared:
    """Decode the pictures of a request, and make the input of its model.

    Raises:
        Refusal: 413 or 415 for pictures, 422 or 404 for models.
        InputError: whatever else cannot be used.
    """
    photo = read_upload("image", fields["image"], settings)
    if isinstance(options, MatteOptions):
        return _matting(photo, fields, options, models, settings)
    if isinstance(options, SegmentOptions):
        return _segmentation(photo, options, models, settings)
    assert isinstance(options, DepthOptions)
    return _depth(photo, options, models, settings)


def read_upload(name: str, data: bytes, settings: Settings) -> Any:
    """Decode one picture.

    Args:
        name: of its field: "image", "trimap" or "mask".
        data: a file.
        settings: the limit of its pixels.

    Returns:
        a `Photo`, or the array of a mask or a trimap.

    Raises:
        Refusal: 413 for too many pixels, 415 for what is no picture.
        InputError: an empty or damaged one.
    """
    source = open_source(data)
    image = identify(source)
    if image is None and not source.is_tiff:
        raise Refusal(415, "media_type", f"{name}: {unrecognised(source)}")
    if image is not None and image.width * image.height > settings.max_pixels:
        raise Refusal(
            413,
            "too_large",
            f"{name} is {image.width}×{image.height} (width×height), and at most {settings.max_pixels} pixels are "
            "read: make it smaller",
        )
    read: Any = {"image": read_photo, "trimap": read_trimap, "mask": read_mask}[name]
    return read(data, max_pixels=settings.max_pixels)


def _matting(
    photo: Photo, fields: Mapping[str, bytes], options: MatteOptions, models: Models, settings: Settings
) -> Prepared:
    from perpixel.tasks.cutout import Hint
    from perpixel.tasks.stages import Matting

    model = models.find("matting", options.model)
    if options.refine is not None and photo.width * photo.height > MAX_REFINE_PIXELS:
        raise Refusal(
            413,
            "too_large",
            f"the picture is {photo.width}×{photo.height} (width×height), and refine is for up to {MAX_REFINE_PIXELS} "
            "pixels: make it smaller, or leave refine out",
        )
    hints = {name: read_upload(name, fields[name], settings) for name in ("trimap", "mask") if name in fields}
    segmenter = None
    if isinstance(options, CutoutOptions):
        named = options.model_dump(include={"box", "points", "background_points", "label", "index", "subject"})
        hint = Hint(**hints, **named)
        if hint.by_segments:
            segmenter = models.find("segmentation", options.segmentation_model)
            _check_seen(segmenter.loaded, photo, None)
    else:
        hint = Hint(**hints)
    limit = _memory(model, options.max_memory, settings)
    if model.effort is not None:
        seconds = model.effort.of_matting(model.loaded, photo.height, photo.width, limit)
        _check_effort(seconds, photo, "send a smaller one", settings)
    if limit is not None and model.loaded.working_memory(photo.height, photo.width) <= limit:
        limit = None  # the numbers are the same, and equal work can be stacked
    stages = Matting(
        model.loaded,
        segmenter=None if segmenter is None else segmenter.loaded,
        max_memory=limit,
        refine=options.refine,
    )
    key = ("matting", model.name, segmenter.name if segmenter else None, limit, options.refine)
    return Prepared(key, model, stages, stages.prepare(photo, hint))


def _segmentation(photo: Photo, options: SegmentOptions, models: Models, settings: Settings) -> Prepared:
    from perpixel.models.mask2former.processor import Mask2FormerImageProcessor
    from perpixel.tasks.stages import Segmentation

    model = models.find("segmentation", options.model)
    size: Any = options.size.model_dump(exclude_none=True) if isinstance(options.size, Size) else options.size
    _check_seen(model.loaded, photo, size)
    named = options.model_dump(exclude={"model", "size"})
    stages = Segmentation(model.loaded, **named, size=size)
    ready = stages.prepare(photo)
    if model.effort is not None:
        # Mask2Former compares what it asks for with the pixels, and no pixels with each other.
        growth = 1.0 if isinstance(model.loaded.processor, Mask2FormerImageProcessor) else GROWTH
        seconds = model.effort.expected(math.prod(ready.shape[-2:]), growth)
        _check_effort(seconds, photo, "give a smaller size", settings)
    # The network sees nothing but the size; the rest comes after it.
    return Prepared(("segmentation", model.name, json.dumps(size)), model, stages, ready)


def _depth(photo: Photo, options: DepthOptions, models: Models, settings: Settings) -> Prepared:
    from dataclasses import replace

    from perpixel.tasks.depth import input_size
    from perpixel.tasks.depth_memory import result_memory, working_memory
    from perpixel.tasks.stages import Depth

    model = models.find("depth", options.model)
    estimator = model.loaded if options.kind is None else replace(model.loaded, kind=options.kind)
    tiled = options.detail == "tiled"
    if model.effort is not None:
        seconds = model.effort.of_depth(estimator, photo.height, photo.width, options.size, tiled)
        mend = "leave detail out, or send a smaller one" if tiled else "give a smaller size"
        _check_effort(seconds, photo, mend, settings)
    limit = _memory(model, options.max_memory, settings)
    if limit is not None and options.detail == "whole":
        seen = input_size(estimator, (photo.height, photo.width), options.size)
        needed = working_memory(estimator.network, *seen)
        needed += result_memory(photo.height, photo.width, photo.pixels.itemsize)
        limit = None if needed <= limit else limit
    stages = Depth(estimator, detail=options.detail, size=options.size, max_memory=limit)
    key = ("depth", model.name, options.detail, options.size, limit)
    return Prepared(key, model, stages, stages.prepare(photo))


def _memory(model: Served, asked: int | str | None, settings: Settings) -> int | None:
    """The bytes that a model may take: the request's wish, up to what the server allows."""
    network = getattr(model.loaded, "network", model.loaded)
    given = settings.max_memory or (MEMORY if network.device.type == "cpu" else None)
    amounts = [memory_bytes(each) for each in (asked, given) if each is not None]
    return min(amounts, default=None)


def _check_effort(seconds: float, photo: Photo, mend: str, settings: Settings) -> None:
    """Refuse a picture that the model would work on so long that all others would wait for too long."""
    most = EFFORT * settings.timeout
    if seconds > most:
        raise Refusal(
            413,
            "too_large",
            f"the model would work about {seconds:.0f} seconds on the picture of {photo.width}×{photo.height} "
            f"(width×height), and here it may for {most:g}: {mend}",
        )


def _check_seen(segmenter: Any, photo: Photo, size: Any) -> None:
    """Refuse a size that blows a long and narrow picture up before it is allocated."""
    from perpixel.images.transforms import output_size
    from perpixel.models.mask2former.processor import Mask2FormerImageProcessor
    from perpixel.models.mask2former.settings import checked_size

    processor = segmenter.processor
    if not isinstance(processor, Mask2FormerImageProcessor) or (size is None and not processor.do_resize):
        return
    wanted = processor.size if size is None else checked_size(size, None)
    height, width = output_size(photo.height, photo.width, wanted, divisor=processor.size_divisor)
    if height * width > MAX_SEEN:
        raise InputError(
            f"the model would see the picture of {photo.width}×{photo.height} as {width}×{height} (width×height), too "
            "large for this server: give a size with a longest_edge"
        )


def _told(error: ValidationError, kind: type[Options]) -> str:
    """The first thing that is wrong, in one line."""
    errors = error.errors(include_url=False, include_context=False, include_input=False)
    # Where there are several forms, such as a number or an object, the one that was meant has the right type.
    first = min(errors, key=lambda each: each["type"].endswith("_type"))
    # Pydantic also names the form.
    places = [part for part in first["loc"][1:] if isinstance(part, int) or part in Size.model_fields]
    where = ".".join(str(part) for part in (*first["loc"][:1], *places))[:80]
    if first["type"] == "extra_forbidden" and len(first["loc"]) == 1:
        return f"the option {where!r} is not known: use {', '.join(kind.model_fields)}"
    if not where:
        return "the options are no object: give one such as {}"
    return f"the option {where!r} cannot be used: {first['msg']}"


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise json.JSONDecodeError("a name is there twice", "", 0)
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")
