"""The options of each request and the JSON of each answer; names and meanings are those of the Python functions."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool

# Positions far outside every picture are refused before they are computed with.
Position = Annotated[int, Field(ge=-1_000_000, le=1_000_000)]
Point = Annotated[list[Position], Field(min_length=2, max_length=2)]
Points = Annotated[list[Point], Field(max_length=100)]
Box = Annotated[list[Position], Field(min_length=4, max_length=4, description="x0, y0, x1, y1 in pixels.")]
Index = Annotated[int, Field(ge=1, le=100_000, description="Which one with that label, the largest first.")]
Share = Annotated[float, Field(ge=0, le=1)]
Side = Annotated[int, Field(ge=32, le=2048)]
Name = Annotated[str, Field(min_length=1, max_length=200)]
Memory = Annotated[
    int | str, Field(description='Working memory such as "2GB"; at most what the server was started with.')
]
Model = Annotated[Name, Field(description="One of the names in /v1/models; the task's first model if not given.")]
Refine = Annotated[
    Literal["closed-form"], Field(description="Sharpen the edges after the model; up to 2 megapixels, takes seconds.")
]


class Options(BaseModel):
    """What all options have in common: no name that is not known."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, str_max_length=200)

    model: Model | None = None


class MatteOptions(Options):
    """The options of `perpixel.matte`; the trimap comes as the field `trimap`."""

    model_config = ConfigDict(json_schema_extra={"examples": [{}, {"max_memory": "2GB"}]})

    max_memory: Memory | None = None
    refine: Refine | None = None


class CutoutOptions(MatteOptions):
    """The options of `perpixel.cutout`; a trimap or a mask comes as a field of that name."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"box": [60, 20, 440, 512]},
                {"points": [[250, 200]], "background_points": [[20, 20]]},
                {"label": "person", "index": 1},
            ]
        }
    )

    box: Box | None = None
    points: Annotated[Points, Field(description="[x, y] on the subject.")] | None = None
    background_points: Annotated[Points, Field(description="[x, y] beside the subject.")] | None = None
    label: Annotated[Name, Field(description="What the subject is; needs a segmentation model.")] | None = None
    index: Index | None = None
    subject: Literal["largest"] | None = None
    segmentation_model: Model | None = None


class Size(BaseModel):
    """The size that a segmentation model sees, as its image processor takes it."""

    model_config = ConfigDict(extra="forbid")

    height: Side | None = None
    width: Side | None = None
    shortest_edge: Side | None = None
    longest_edge: Side | None = None


class SegmentOptions(Options):
    """The options of `perpixel.segment`."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"kind": "panoptic"}, {"labels": ["person"]}]})

    kind: Literal["panoptic", "instance", "semantic"] | None = None
    threshold: Share = 0.5
    mask_threshold: Share = 0.5
    overlap_threshold: Share = 0.8
    labels: Name | Annotated[list[Name], Field(min_length=1, max_length=200)] | None = None
    things: Annotated[list[Annotated[int, Field(ge=0, le=100_000)]], Field(max_length=10_000)] | None = None
    size: Side | Size | None = None


class DepthOptions(Options):
    """The options of `perpixel.depth`."""

    model_config = ConfigDict(json_schema_extra={"examples": [{}, {"detail": "tiled"}]})

    max_memory: Memory | None = None
    detail: Literal["whole", "tiled"] = "whole"
    size: Side | None = None
    kind: Literal["inverse", "metric"] | None = None


class Plane(BaseModel):
    """Exact numbers: `data` is the base64 of zlib's compression of the values, row by row, little-endian."""

    dtype: Literal["float32", "int32", "uint8"]
    shape: list[int] = Field(description="Rows and columns.", examples=[[512, 512]])
    data: str


class MatteAnswer(BaseModel):
    """A matte: the alpha, and the trimap that it was made with."""

    width: int
    height: int
    model: str
    alpha: Plane
    trimap: Plane | None


class SegmentAnswer(BaseModel):
    """One segment; `segmentation` is its whole mask as COCO's compressed RLE."""

    id: int
    label_id: int
    label: str
    score: float | None
    area: int
    box: list[int] = Field(description="x0, y0, x1, y1; x1 and y1 are just outside.")
    is_thing: StrictBool | None
    was_fused: StrictBool
    segmentation: dict[str, list[int] | str]


class SegmentsAnswer(BaseModel):
    """Segments, the largest first, and the id of the segment at each pixel, 0 for none."""

    width: int
    height: int
    model: str
    kind: Literal["panoptic", "instance", "semantic"]
    segments: list[SegmentAnswer]
    map: Plane


class DepthAnswer(BaseModel):
    """Depth; `valid` is 0 at unknown pixels, and null where there is none."""

    width: int
    height: int
    model: str
    kind: Literal["inverse", "metric"]
    unit: Literal["m"] | None
    values: Plane
    valid: Plane | None


class ModelAnswer(BaseModel):
    """A model that requests may name."""

    name: str = Field(examples=["vitmatte-nano"])
    task: Literal["matting", "segmentation", "depth"]
    default: bool = Field(description="Whether a request that names no model gets it.")
    licence: str | None = Field(description="The SPDX name of the weights' licence, where it is known.")
    labels: list[str] = Field(description="What a segmentation model knows by name.")


class ModelsAnswer(BaseModel):
    """The models that the server was started with."""

    models: list[ModelAnswer]


class ErrorDetails(BaseModel):
    """What went wrong."""

    kind: str = Field(examples=["input"])
    message: str = Field(examples=["box 40,40,20,60 is empty: give the left, top, right and bottom edge"])
    request_id: str = Field(examples=["6f1c2a"])


class ErrorAnswer(BaseModel):
    """Every answer that is no result."""

    error: ErrorDetails


class Health(BaseModel):
    """Whether the server is up, or ready."""

    status: str = Field(examples=["ok"])
