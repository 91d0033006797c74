"""A photograph in, its segments out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from perpixel.errors import CheckpointError, InputError
from perpixel.images.read import ImageLike, Photo, read_photo
from perpixel.results import Segments
from perpixel.results.labels import near_labels, same_label
from perpixel.results.segments import KINDS, Kind
from perpixel.tasks.dense import dense_processor, family_of
from perpixel.tasks.precision import Engine, Precision, Quantize, by_openvino, check_device, check_engine, ready
from perpixel.tasks.things import known_things

if TYPE_CHECKING:
    import torch

    from perpixel.models.dpt.model import DPTForSemanticSegmentation
    from perpixel.models.dpt.processor import DPTImageProcessor
    from perpixel.models.mask2former.model import Mask2FormerForUniversalSegmentation
    from perpixel.models.mask2former.processor import Mask2FormerImageProcessor

    Network = Mask2FormerForUniversalSegmentation | DPTForSemanticSegmentation

DEFAULT_MODEL = "facebook/mask2former-swin-tiny-coco-panoptic"
# The paper's way to bring an image to the model: its aspect stays, and zeros fill it up to multiples of 32.
PAPER = {"size_divisor": 0, "pad_divisor": 32}
FAMILIES = ("mask2former", "dpt")


@dataclass(frozen=True)
class Segmenter:
    """A loaded model with the settings that its images are prepared with; `segment` takes it as `model`."""

    network: Network
    processor: Mask2FormerImageProcessor | DPTImageProcessor

    @property
    def labels(self) -> dict[int, str]:
        """The names of the labels."""
        return {int(number): str(name) for number, name in (self.network.config.id2label or {}).items()}

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The kinds of segments that the model finds, the one taken by itself first."""
        if self.network.config.model_type == "dpt":
            return ("semantic",)
        return ("panoptic", "instance", "semantic")

    def kind(self, wanted: Kind | None = None) -> Kind:
        """The kind to find: the wanted one, or by default the model's first.

        Raises:
            InputError: the model does not find this kind, or there is none of this name.
        """
        if wanted is not None and wanted not in KINDS:
            raise InputError(f"kind={wanted!r} is not known: use one of {', '.join(KINDS)}")
        if wanted is not None and wanted not in self.kinds:
            raise InputError(
                f"kind={wanted!r} is asked for, but a {type(self.network).__name__} tells the label of each pixel and "
                f"not one thing from another: use kind={self.kinds[0]!r}, or a Mask2Former"
            )
        return wanted or self.kinds[0]


def segment(
    image: ImageLike | Photo,
    *,
    model: str | os.PathLike[str] | Network | Segmenter | None = None,
    kind: Kind | None = None,
    threshold: float = 0.5,
    mask_threshold: float = 0.5,
    overlap_threshold: float = 0.8,
    labels: str | Iterable[str] | None = None,
    things: Iterable[int] | None = None,
    size: int | Mapping[str, int] | None = None,
    device: str | torch.device | None = None,
    dtype: Precision | torch.dtype | None = None,
    engine: Engine | None = None,
    quantize: Quantize | None = None,
) -> Segments:
    """Tell what is in a photograph, and where, to the pixel.

    Args:
        image: a photograph: a path, bytes, a PIL image, an array or a tensor.
        model: a Hub id or a folder of a Mask2Former or a DPT, or a loaded one; `load_segmenter` loads a model once
            for many images. If not given, Mask2Former of the smallest size, trained on COCO, from the Hub.
        kind: "panoptic", every pixel to at most one segment, each person on its own but one sky; "instance", the
            countable things, which may overlap; or "semantic", one segment a label. If not given, "panoptic", and
            "semantic" with DPT, which finds no other.
        threshold: the score that a segment must reach (not for "semantic").
        mask_threshold: the probability from which a pixel belongs to a segment's mask (not for "semantic").
        overlap_threshold: with "panoptic", a segment of whose mask a smaller share is left by the others is dropped.
        labels: only the segments with these names.
        things: the labels that are countable; those of COCO, ADE20K, Cityscapes and Mapillary Vistas are known. With
            "panoptic" the others are joined into one segment a label, with "instance" left out.
        size: how large the model sees the image, as its image processor takes it, such as 800 for the short side;
            if not given, as the model's authors evaluated it, or as its own files say.
        device: where to compute, such as "cuda"; the CPU if not given, or where a loaded model is.
        dtype: "bf16" computes in half precision, which is faster on processors and GPUs that have it, with somewhat
            other numbers; "fp16" is for GPUs. Full precision if not given, or a loaded model's own.
        engine: "openvino" computes with OpenVINO on the CPU (the `export` extra): faster, with numbers within 1e-3 of
            their deviation in float32. The first call with a model converts it, which takes a minute or more.
        quantize: "int8" computes with weights and activations of 8 bits by OpenVINO, with a small loss. What the model
            is shown first decides how its numbers are rounded: this image, or the `calibration` it was loaded with.

    Returns:
        `Segments` of the image's size, the largest segment first.

    Raises:
        InputError: for an image that cannot be used, a threshold outside 0 to 1, a name that is no label, or a kind
            that the model does not find.
        CheckpointError: for a model that cannot be loaded, such as one from the Hub without a network.

    Example:
        >>> segments = segment("street.jpg", kind="panoptic")  # doctest: +SKIP
        >>> segments.overlay()  # doctest: +SKIP
    """
    if kind is not None and kind not in KINDS:
        raise InputError(f"kind={kind!r} is not known: use one of {', '.join(KINDS)}")
    check_thresholds(threshold, mask_threshold, overlap_threshold)
    photo = image if isinstance(image, Photo) else read_photo(image)
    segmenter = load_segmenter(model, device, dtype, engine, quantize, [photo])
    kind = segmenter.kind(kind)
    wanted = None if labels is None else labels_meant(labels, segmenter.labels)
    outputs = run_segmenter(segmenter, *segmenter_input(segmenter, photo, size))
    return segments_from(
        outputs,
        photo,
        segmenter,
        kind,
        thresholds=(threshold, mask_threshold, overlap_threshold),
        labels=wanted,
        things=things,
    )


def check_thresholds(threshold: float, mask_threshold: float, overlap_threshold: float) -> None:
    """Refuse thresholds of `segment` outside 0 to 1.

    Raises:
        InputError: one is outside.
    """
    for name, value in (
        ("threshold", threshold),
        ("mask_threshold", mask_threshold),
        ("overlap_threshold", overlap_threshold),
    ):
        if not 0 <= value <= 1:
            raise InputError(f"{name} is {value}, but a number from 0 to 1 is needed: give one such as 0.5")


def segments_from(
    outputs: Any,
    photo: Photo,
    segmenter: Segmenter,
    kind: Kind,
    *,
    thresholds: tuple[float, float, float],
    labels: Sequence[str] | None,
    things: Iterable[int] | None,
) -> Segments:
    """Make the segments of one photograph from the network's output for it.

    Args:
        outputs: of `run_segmenter`, for a batch of one.
        photo: the photograph.
        segmenter: what made them.
        kind: one of the segmenter's kinds.
        thresholds: `threshold`, `mask_threshold` and `overlap_threshold` of `segment`.
        labels: names of labels, as the model has them, or None for all.
        things: as in `segment`.
    """
    threshold, mask_threshold, overlap_threshold = thresholds
    countable = known_things(segmenter.labels) if things is None else frozenset(things)
    target = [(photo.height, photo.width)]
    parts: dict[str, Any] = {"image": photo.pixels, "icc_profile": photo.icc_profile}
    processor: Any = segmenter.processor
    if kind == "semantic":
        classes = processor.post_process_semantic_segmentation(outputs, target_sizes=target)[0]
        found = Segments.from_classes(classes.cpu().numpy(), segmenter.labels, **parts)
    elif kind == "instance":
        result = processor.post_process_instance_segmentation(
            outputs, threshold, mask_threshold, target_sizes=target, return_coco_annotation=True
        )[0]
        pairs = zip(result["segmentation"], result["segments_info"], strict=True)
        pairs_kept = [(rle, info) for rle, info in pairs if countable is None or info["label_id"] in countable]
        masks, infos = [rle for rle, _ in pairs_kept], [info for _, info in pairs_kept]
        found = Segments.from_masks(masks, infos, segmenter.labels, target[0], **parts)
    else:
        fused = set() if countable is None else set(segmenter.labels) - countable
        result = processor.post_process_panoptic_segmentation(
            outputs, threshold, mask_threshold, overlap_threshold, label_ids_to_fuse=fused, target_sizes=target
        )[0]
        segmentation, infos = result["segmentation"].cpu().numpy(), result["segments_info"]
        found = Segments.from_map(segmentation, infos, segmenter.labels, things=countable, **parts)
    return found if labels is None else found.filter(label=labels)


def load_segmenter(
    model: str | os.PathLike[str] | Network | Segmenter | None = None,
    device: str | torch.device | None = None,
    dtype: Precision | torch.dtype | None = None,
    engine: Engine | None = None,
    quantize: Quantize | None = None,
    calibration: Sequence[ImageLike | Photo] | None = None,
    *,
    preset: bool = True,
) -> Segmenter:
    """Load a model and the way its images are prepared, once for many images.

    Args:
        model: as in `segment`. The images of a loaded Mask2Former are prepared as in the paper's evaluation on COCO,
            those of a loaded DPT at its own size; make a `Segmenter` of it and a processor for another way.
        device: as in `segment`.
        dtype: as in `segment`.
        engine: as in `segment`.
        quantize: as in `segment`.
        calibration: photographs, such as 16, that the model is shown when it is first quantised; the result is
            kept, and they are not looked at again.
        preset: prepare the images of models that `perpixel models` lists as their authors did for evaluation; False
            takes the checkpoint's own file, which for those of Mask2Former on the Hub distorts every image to 384×384.
            A DPT's images always keep their aspect.

    Returns:
        The model in eval mode on its device, and its processor.

    Raises:
        InputError: there is no such device.
        CheckpointError: the model cannot be loaded.
    """
    from perpixel.export.runtime import ExportedModel, is_exported, open_exported
    from perpixel.models.mask2former.processor import Mask2FormerImageProcessor

    check_device(device)
    if check_engine(engine, quantize):
        shown = None if calibration is None else [_shown(each) for each in calibration]
        model = cast(
            Any, by_openvino(DEFAULT_MODEL if model is None else model, "segmentation", dtype, quantize, shown)
        )
    if is_exported(model):
        opened: Any = open_exported(cast(Any, model), "segmentation").to(device)
        return Segmenter(opened, opened.processor)
    if isinstance(model, Segmenter) and isinstance(model.network, ExportedModel):
        return model
    loaded = model is None or isinstance(model, (str, os.PathLike))
    if isinstance(model, Segmenter):
        segmenter = model
    elif model is None or isinstance(model, (str, os.PathLike)):
        segmenter = _load(DEFAULT_MODEL if model is None else model, preset)
    elif model.config.model_type == "dpt":
        segmenter = Segmenter(model, dense_processor(None, model.config))
    else:
        segmenter = Segmenter(model, Mask2FormerImageProcessor(**cast(Any, PAPER)))
    return Segmenter(ready(segmenter.network, device, dtype, loaded=loaded), segmenter.processor)


def _shown(image: ImageLike | Photo) -> Callable[[Any], torch.Tensor]:
    """What makes the network's input of an image, with its processor."""

    def pixels(processor: Any) -> torch.Tensor:
        photo = image if isinstance(image, Photo) else read_photo(image)
        inputs = processor(photo.pixels, return_tensors="pt", input_data_format="channels_last")
        return cast("torch.Tensor", inputs["pixel_values"])

    return pixels


def labels_meant(given: str | Iterable[str], labels: Mapping[int, str]) -> list[str]:
    """The names of a model's labels that words mean; see `perpixel.results.labels.same_label`.

    Raises:
        InputError: a word that means none; the message has labels with a similar name.
    """
    found = []
    for word in [given] if isinstance(given, str) else given:
        meant = [label for label in labels.values() if same_label(word, label)]
        if not meant:
            near = near_labels(word, labels.values())
            examples = ", ".join(near or list(labels.values())[:8])
            hint = f"did you mean {examples}?" if near else f"use one of its {len(labels)}, such as {examples}"
            raise InputError(f"the model has no label {word!r}: {hint}")
        found += meant
    return found


def _load(source: str | os.PathLike[str], preset: bool) -> Segmenter:
    family = family_of(source, FAMILIES)
    if family == "dpt":
        from perpixel.models.dpt.model import DPTForSemanticSegmentation

        network = DPTForSemanticSegmentation.from_pretrained(source)
        return Segmenter(network, dense_processor(source, network.config))
    if family != "mask2former":
        raise CheckpointError(
            f"{source} is {'a ' + family if family else 'of no known family'}, and segment needs a model of the type "
            f"{' or '.join(FAMILIES)}: name one such as {DEFAULT_MODEL}"
        )
    from perpixel.models.mask2former.model import Mask2FormerForUniversalSegmentation

    return Segmenter(Mask2FormerForUniversalSegmentation.from_pretrained(source), _processor(source, preset))


def _processor(source: str | os.PathLike[str], preset: bool) -> Mask2FormerImageProcessor:
    from perpixel.hub import catalog
    from perpixel.models.mask2former.processor import Mask2FormerImageProcessor

    settings = cast("dict[str, Any] | None", catalog.preset(source)) if preset else None
    try:
        return Mask2FormerImageProcessor.from_pretrained(source, **(settings or {}))
    except CheckpointError:
        # The weights were found, so only this file is missing, as beside the authors' original weights.
        return Mask2FormerImageProcessor(**cast(Any, settings or PAPER))


def segmenter_input(
    segmenter: Segmenter, photo: Photo, size: int | Mapping[str, int] | None = None
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Prepare a photograph for the network.

    Args:
        segmenter: a loaded model.
        photo: the photograph.
        size: as in `segment`.

    Returns:
        the pixels (1, 3, H, W) and, for Mask2Former, the mask (1, H, W) of those that are the image's.
    """
    processor: Any = segmenter.processor
    inputs = processor(photo.pixels, size=size, return_tensors="pt", input_data_format="channels_last")
    mask = None if segmenter.network.config.model_type == "dpt" else inputs["pixel_mask"]
    return inputs["pixel_values"], mask


def run_segmenter(segmenter: Segmenter, pixels: torch.Tensor, mask: torch.Tensor | None) -> Any:
    """Run the network on what `segmenter_input` made, or on a batch of such.

    Args:
        segmenter: a loaded model.
        pixels: (b, 3, H, W).
        mask: (b, H, W), or None for a DPT.

    Returns:
        the network's own output.
    """
    import torch

    network: Any = segmenter.network
    with torch.inference_mode():
        values = pixels.to(device=network.device, dtype=network.dtype)
        if mask is None:
            return network(values, return_dict=True)
        return network(values, pixel_mask=mask.to(network.device))
