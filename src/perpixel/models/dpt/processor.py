"""DPT's input and output: images to one batch, and predictions back to maps of the images' own sizes.

Source: Vision Transformers for Dense Prediction, 2021, arXiv 2103.13413, section 4: images are resized so that one side
is 384 pixels and the other keeps the aspect, both multiples of 32. Depth Anything, arXiv 2401.10891, does the same
with 518 pixels and multiples of 14.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Never

import numpy as np
from PIL import Image

from perpixel.errors import ConfigError, InputError
from perpixel.images.transforms import resample_filter, resize, resize_labels, size_rule
from perpixel.models.dpt.sizes import check_one_size, covered_part, margins, resized_size
from perpixel.models.labelled_images import LabelledImage, read_labelled, warn_of_small_values
from perpixel.models.planes import Array, ChannelDimension, as_member, colour_planes, write_planes
from perpixel.models.processing import (
    BatchFeature,
    ImageProcessor,
    TensorType,
    check_channels,
    check_flag,
    check_number,
    refuse_unknown,
)

if TYPE_CHECKING:
    import torch

    from perpixel.images.read import ImageLike
    from perpixel.models.dpt.postprocess import Part
    from perpixel.models.outputs import DepthEstimatorOutput, SemanticSegmenterOutput

    Images = ImageLike | Sequence[ImageLike]
    SizeLike = int | Sequence[int] | Mapping[str, int]
    Sizes = Sequence[tuple[int, int]] | torch.Tensor

SIDE = 384
MEAN = STD = (0.5, 0.5, 0.5)
# The label of pixels without a class, `semantic_loss_ignore_index` of the config.
IGNORED = 255


class DPTImageProcessor(ImageProcessor):
    """Make the input of DPT and of Depth Anything from images, and depth or classes from the output.

    Args:
        do_resize: resize images, with `resample`, and label maps, by nearest neighbour.
        size: `{"height": …, "width": …}`, a pair of them, or a number for both; None is 384 × 384.
        resample: Pillow's number of the filter, 3 is bicubic; pixels equal Pillow's own.
        keep_aspect_ratio: only one side becomes that of `size`, the one that needs the smaller change, and the other
            follows. A model reads one size a batch, so images of different aspects then need a call for each.
        ensure_multiple_of: the resized sides go to the nearest multiple of it, but not below one.
        do_rescale: multiply by `rescale_factor`.
        rescale_factor: what values in 0…255 are multiplied by.
        do_normalize: subtract `image_mean` and divide by `image_std`.
        image_mean: one number or three, in the scale after rescaling; None is 0.5.
        image_std: one number or three, in the scale after rescaling; None is 0.5.
        do_pad: fill the sides up to multiples of `size_divisor`, half on each side, images with 0 (after
            normalising) and label maps with 255. Post-processing leaves the margins out again.
        size_divisor: see `do_pad`; without it nothing is filled up.
        do_reduce_labels: 0 in label maps becomes 255, which the loss leaves out, and class n becomes n - 1.

    Raises:
        ConfigError: a setting of the wrong type, or an unknown one.

    Example:
        >>> processor = DPTImageProcessor(keep_aspect_ratio=True, ensure_multiple_of=32)
        >>> processor(np.zeros((480, 640, 3), np.uint8), return_tensors="np").pixel_values.shape
        (1, 3, 384, 512)
    """

    def __init__(
        self,
        do_resize: bool = True,
        size: SizeLike | None = None,
        resample: int = Image.Resampling.BICUBIC,
        keep_aspect_ratio: bool = False,
        ensure_multiple_of: int = 1,
        do_rescale: bool = True,
        rescale_factor: float = 1 / 255,
        do_normalize: bool = True,
        image_mean: float | Sequence[float] | None = None,
        image_std: float | Sequence[float] | None = None,
        do_pad: bool = False,
        size_divisor: int | None = None,
        do_reduce_labels: bool = False,
        **unknown: Never,
    ) -> None:
        refuse_unknown(type(self).__name__, unknown, self.setting_names())
        self.do_resize = check_flag("do_resize", do_resize)
        self.size = _checked_size(SIDE if size is None else size)
        self.resample = resample_filter(resample)
        self.keep_aspect_ratio = check_flag("keep_aspect_ratio", keep_aspect_ratio)
        self.ensure_multiple_of = int(check_number("ensure_multiple_of", ensure_multiple_of, whole=True))
        self.do_rescale = check_flag("do_rescale", do_rescale)
        self.rescale_factor = check_number("rescale_factor", rescale_factor)
        self.do_normalize = check_flag("do_normalize", do_normalize)
        self.image_mean = check_channels("image_mean", MEAN if image_mean is None else image_mean)
        self.image_std = check_channels("image_std", STD if image_std is None else image_std, positive=True)
        self.do_pad = check_flag("do_pad", do_pad)
        self.size_divisor = (
            None if size_divisor is None else int(check_number("size_divisor", size_divisor, whole=True))
        )
        self.do_reduce_labels = check_flag("do_reduce_labels", do_reduce_labels)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings and the class's name, as they go into `preprocessor_config.json`."""
        values = {name: value for name, value in super().to_dict().items() if value is not None}
        return {**values, "image_processor_type": DPTImageProcessor.__name__}

    def preprocess(
        self,
        images: Images,
        segmentation_maps: Images | None = None,
        do_resize: bool | None = None,
        size: SizeLike | None = None,
        keep_aspect_ratio: bool | None = None,
        ensure_multiple_of: int | None = None,
        resample: int | None = None,
        do_rescale: bool | None = None,
        rescale_factor: float | None = None,
        do_normalize: bool | None = None,
        image_mean: float | Sequence[float] | None = None,
        image_std: float | Sequence[float] | None = None,
        do_pad: bool | None = None,
        size_divisor: int | None = None,
        do_reduce_labels: bool | None = None,
        return_tensors: str | TensorType | None = None,
        data_format: str | ChannelDimension | None = ChannelDimension.FIRST,
        input_data_format: str | ChannelDimension | None = None,
        **unknown: Never,
    ) -> BatchFeature:
        """Return the model's input for one image or many. Calling the processor does the same.

        Args:
            images: paths, bytes, PIL images, NumPy arrays or tensors, one, a list, or (b, h, w, c) or (b, c, h, w).
                Arrays are (h, w, 3), (3, h, w), grey (h, w), or have a fourth channel, which is left out. Their values
                are in 0…255; uint16 ones in 0…65535 are divided by 257 first, boolean ones are 0 and 255. For values
                in 0…1 pass `do_rescale=False`.
            segmentation_maps: one for each image, of its size, in the same forms: (h, w) whole numbers, each a class.
                Palette files give their indices and 16-bit files their numbers.
            do_resize: as in the constructor, None takes that one's; so do the settings that follow.
            size: see the constructor.
            keep_aspect_ratio: see the constructor.
            ensure_multiple_of: see the constructor.
            resample: see the constructor.
            do_rescale: see the constructor.
            rescale_factor: see the constructor.
            do_normalize: see the constructor.
            image_mean: see the constructor.
            image_std: see the constructor.
            do_pad: see the constructor.
            size_divisor: see the constructor.
            do_reduce_labels: see the constructor.
            return_tensors: "pt", "np", "tf" or "jax"; None for lists of NumPy arrays, which may differ in size.
            data_format: "channels_first" for pixel values (b, 3, h, w), "channels_last" for (b, h, w, 3), None for
                that of the first image.
            input_data_format: where the images' channels lie, "none" for (h, w); None finds it from the shapes.

        Returns:
            A dict with `pixel_values`, float32, (b, 3, h, w); with maps also `labels`, int64, (b, h, w).

        Raises:
            InputError: something is no image, a map does not fit its image, or the images come to different sizes.
            ConfigError: an argument is unknown or has the wrong type.
            MissingDependencyError: the library of `return_tensors` is not installed.
        """
        settings = self._for_call(locals())
        kind = None if return_tensors is None else as_member(TensorType, return_tensors, "return_tensors")
        layout = None if data_format is None else as_member(ChannelDimension, data_format, "data_format")
        read = read_labelled(images, segmentation_maps, input_data_format, "images")
        if settings.do_rescale:
            warn_of_small_values(read)
        pixels = [settings._prepared(item) for item in read]
        if kind is not None:
            check_one_size([(item.image.name, planes.shape[1:]) for item, planes in zip(read, pixels, strict=True)])
        if (layout or read[0].layout) is ChannelDimension.LAST:
            pixels = [np.ascontiguousarray(np.moveaxis(planes, 0, -1)) for planes in pixels]  # (h, w, 3)
        data = {"pixel_values": pixels}
        if segmentation_maps is not None:
            data["labels"] = [settings._prepared_labels(item) for item in read]
        return BatchFeature(data, kind)

    __call__ = preprocess

    def _prepared(self, item: LabelledImage) -> Array:
        """Return an image resized, rescaled, normalised and filled up, (3, h, w) float32."""
        planes = item.image.planes(item.layout)[:3]
        kind = planes.dtype
        if kind.kind in "iu" and kind != np.uint16 and planes.min() >= 0 and planes.max() <= 255:
            planes = planes.astype(np.uint8, copy=False)  # bytes in a wider type are still bytes to Pillow
        if self.do_resize:
            planes = _resized(planes, self._content_size(item.size), self.resample, item.image.unit)
        height, width = planes.shape[1:]
        rows, columns = self._margins(height, width)
        ready = np.zeros((3, height + sum(rows), width + sum(columns)), np.float32)
        inside = ready[:, rows[0] : rows[0] + height, columns[0] : columns[0] + width]
        factor = (self.rescale_factor if self.do_rescale else 1.0) * item.image.unit
        mean, std = (self.image_mean, self.image_std) if self.do_normalize else (None, None)
        write_planes(colour_planes(planes), inside, factor=factor, mean=mean, std=std)
        return ready

    def _prepared_labels(self, item: LabelledImage) -> Array:
        """Return a label map resized, reduced and filled up, (h, w) int64."""
        assert item.labels is not None
        if item.labels.max() > 0xFFFF:
            raise InputError(
                f"{item.labels_name} holds the class {item.labels.max()}, as a map in colours does: pass one channel "
                "with the number of the class"
            )
        labels = resize_labels(item.labels, self._content_size(item.size)) if self.do_resize else item.labels
        labels = labels.astype(np.int64)
        if self.do_reduce_labels:
            labels = np.where((labels == 0) | (labels == IGNORED), IGNORED, labels - 1)
        return np.pad(labels, self._margins(*labels.shape), constant_values=IGNORED)

    def _content_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the size of an image after the resize, before it is filled up."""
        if not self.do_resize:
            return size
        return resized_size(
            *size,
            (self.size["height"], self.size["width"]),
            keep_aspect_ratio=self.keep_aspect_ratio,
            multiple=self.ensure_multiple_of,
        )

    def _margins(self, height: int, width: int) -> tuple[tuple[int, int], tuple[int, int]]:
        divisor = self.size_divisor if self.do_pad and self.size_divisor else 1
        return margins(height, divisor), margins(width, divisor)

    # From the model's output

    def post_process_depth_estimation(
        self,
        outputs: DepthEstimatorOutput,
        target_sizes: Sizes | None = None,
        *,
        source_sizes: Sizes | None = None,
    ) -> list[dict[str, torch.Tensor]]:
        """Return each image's depth, of its own size.

        The resize is bilinear: every value lies between those that were predicted around it, with sides of one pixel
        and constant depth too. Relative models give inverse depth without a unit, metric ones metres.

        Args:
            outputs: of a model, `predicted_depth` (b, h, w).
            target_sizes: (height, width) of each result, or a tensor (b, 2); None leaves the predicted size, with the
                margins of `do_pad`.
            source_sizes: (height, width) of the images that the processor was given, where these are not the target
                sizes. Only `do_pad` needs them, to find the margins; they are found by this processor's settings,
                not by those that a single call was given.

        Returns:
            For each image a dict with `predicted_depth`, (height, width), of the output's type.

        Raises:
            InputError: sizes that do not fit the output.

        Example:
            >>> import torch
            >>> from perpixel.models.outputs import DepthEstimatorOutput
            >>> outputs = DepthEstimatorOutput(predicted_depth=torch.tensor([[[1.0, 3.0]]]))
            >>> DPTImageProcessor().post_process_depth_estimation(outputs, [(1, 4)])[0]["predicted_depth"]
            tensor([[1.0000, 1.5000, 2.5000, 3.0000]])
        """
        from perpixel.models.dpt.postprocess import depth_map

        depths = outputs.predicted_depth
        if depths is None or depths.ndim != 3:
            raise InputError("the output's predicted_depth is not (b, h, w): pass what the depth model returned")
        places = self._places(depths, target_sizes, source_sizes)
        return [
            {"predicted_depth": depth_map(depth, size, part)}
            for depth, (size, part) in zip(depths, places, strict=True)
        ]

    def post_process_semantic_segmentation(
        self,
        outputs: SemanticSegmenterOutput,
        target_sizes: Sizes | None = None,
        return_segmentation_scores: bool = False,
        *,
        source_sizes: Sizes | None = None,
    ) -> list[Any]:
        """Return the class of each pixel.

        Args:
            outputs: of `DPTForSemanticSegmentation`, `logits` (b, k, h, w).
            target_sizes: (height, width) of each image's result; None keeps the size of the logits.
            return_segmentation_scores: give the resized logits too, classes × height × width floats: an object with
                the attributes `segmentation` and `segmentation_scores` for each image.
            source_sizes: see `post_process_depth_estimation`.

        Returns:
            For each image (height, width), int64, the number of the class.

        Raises:
            InputError: sizes that do not fit the output.
        """
        from perpixel.models.dpt.postprocess import class_map, class_scores, highest
        from perpixel.models.mask2former.postprocess import SemanticSegmentationPostProcessorOutput

        logits = outputs.logits
        if logits is None or logits.ndim != 4:
            raise InputError("the output's logits are not (b, k, h, w): pass what the segmentation model returned")
        places = self._places(logits, target_sizes, source_sizes)
        if not return_segmentation_scores:
            return [class_map(scores, size, part) for scores, (size, part) in zip(logits, places, strict=True)]
        results = []
        for scores, (size, part) in zip(logits, places, strict=True):
            scores = class_scores(scores, size, part)
            results.append(SemanticSegmentationPostProcessorOutput(highest(scores), scores))
        return results

    def _places(
        self, maps: torch.Tensor, target_sizes: Sizes | None, source_sizes: Sizes | None
    ) -> list[tuple[tuple[int, int] | None, Part | None]]:
        """Return for each image the size of its result and the part of its map that it covers."""
        from perpixel.models.dpt.postprocess import read_sizes

        sources = read_sizes(source_sizes, len(maps), "source_sizes")
        targets = sources if target_sizes is None else read_sizes(target_sizes, len(maps), "target_sizes")
        height, width = maps.shape[-2:]
        places: list[tuple[tuple[int, int] | None, Part | None]] = []
        for target, source in zip(targets, sources, strict=True):
            source = source or target
            part = None
            if self.do_pad and self.size_divisor and source is not None:
                part = covered_part((height, width), self._content_size(source), self.size_divisor)
            places.append((target, part))
        return places


class DPTFeatureExtractor(DPTImageProcessor):
    """The older name of `DPTImageProcessor`; files written by it name the newer one."""


def _checked_size(size: Any) -> dict[str, int]:
    rule = size_rule(size, square=True)
    if "height" not in rule:
        raise ConfigError(f"size is {size!r}: it takes a height and a width, of which keep_aspect_ratio=True uses one")
    return rule


def _resized(planes: Array, size: tuple[int, int], resample: int, unit: float) -> Array:
    """Resize; what shoots over the range of 16-bit and boolean images is cut off, as Pillow does it with bytes."""
    resized = resize(planes, size, resample)
    return resized.clip(0, 255 / unit) if unit != 1 else resized
