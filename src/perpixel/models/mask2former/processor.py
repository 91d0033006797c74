"""Mask2Former's input and output: images to one padded batch, label maps to masks, logits to segments.

Source: Masked-attention Mask Transformer for Universal Image Segmentation, 2022, arXiv 2112.01527, section 4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Never, Self

import numpy as np
from PIL import Image

from perpixel.errors import InputError
from perpixel.images.transforms import (
    common_size,
    output_size,
    pixel_mask,
    resample_filter,
    resize,
    resize_labels,
    stack_padded,
)
from perpixel.models.labelled_images import LabelledImage, read_labelled, warn_of_small_values
from perpixel.models.mask2former.annotations import LabelRules, masks_and_classes
from perpixel.models.mask2former.post_processor import SegmentPostProcessor
from perpixel.models.mask2former.settings import checked_divisor, checked_index, checked_pad_size, checked_size
from perpixel.models.planes import Array, ChannelDimension, as_member, colour_planes, write_planes
from perpixel.models.processing import (
    BatchFeature,
    ImageProcessor,
    TensorType,
    check_channels,
    check_flag,
    check_number,
    refuse_unknown,
    two_names,
)

if TYPE_CHECKING:
    from perpixel.images.read import ImageLike

    Images = ImageLike | Sequence[ImageLike]
    SizeLike = int | Sequence[int] | Mapping[str, int]
    Classes = Mapping[int, int] | Sequence[Mapping[int, int] | None]

# Those of ImageNet, with which the backbones were trained.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
DIVISOR = 32

# What files of converted checkpoints hold besides, from the processor that they were converted with.
_PASSED_OVER = frozenset({"num_text"})
_OLDEST = {"size_divisibility": "size_divisor"}


class Mask2FormerImageProcessor(SegmentPostProcessor, ImageProcessor):
    """Make Mask2Former's input from images and label maps, and segments from its output.

    Args:
        do_resize: resize images, with `resample`, and label maps, by nearest neighbour.
        size: `{"height": …, "width": …}` or a pair of them; `{"shortest_edge": …, "longest_edge": …}` with the
            limit or without it; `{"longest_edge": …}` or `{"max_height": …, "max_width": …}` for as large as
            fits; or a number for the short side. None is a short side of 800 and a long side up to 1333.
        size_divisor: the resized sides are raised to multiples of it; 0 leaves them.
        resample: Pillow's number of the filter, 2 is bilinear; pixels equal Pillow's own.
        do_rescale: multiply by `rescale_factor`.
        rescale_factor: what values in 0…255 are multiplied by.
        do_normalize: subtract `image_mean` and divide by `image_std`.
        image_mean: one number or three, in the scale after rescaling; None is ImageNet's.
        image_std: one number or three, in the scale after rescaling; None is ImageNet's.
        ignore_index: the number in label maps that belongs to no object; None for none.
        do_reduce_labels: 0 in label maps becomes `ignore_index`, class n becomes n - 1.
        num_labels: how many classes there are; kept for the file, nothing depends on it.
        pad_size: the height and width of every batch; None takes the largest of its images.
        pad_divisor: where `pad_size` is None, the batch's sides are filled up to multiples of it; 0 for none.
            The paper's evaluation is `size_divisor=0, pad_divisor=32`, which keeps the aspect.
        max_size: the older name of `longest_edge` in `size`; without effect beside a height and a width.
        reduce_labels: the older name of `do_reduce_labels`.

    Raises:
        ConfigError: a setting of the wrong type, an unknown one, or two names with different values.

    Example:
        >>> processor = Mask2FormerImageProcessor(size={"height": 64, "width": 96}, ignore_index=0)
        >>> labels = np.array([[0, 1], [7, 7]], np.uint8)
        >>> inputs = processor(np.zeros((2, 2, 3), np.uint8), labels, return_tensors="np")
        >>> inputs.pixel_values.shape, inputs.mask_labels[0].shape, inputs.class_labels[0].tolist()
        ((1, 3, 64, 96), (2, 64, 96), [1, 7])
    """

    aliases: ClassVar[Mapping[str, str]] = {"reduce_labels": "do_reduce_labels"}

    def __init__(
        self,
        do_resize: bool = True,
        size: SizeLike | None = None,
        size_divisor: int = DIVISOR,
        resample: int = Image.Resampling.BILINEAR,
        do_rescale: bool = True,
        rescale_factor: float = 1 / 255,
        do_normalize: bool = True,
        image_mean: float | Sequence[float] | None = None,
        image_std: float | Sequence[float] | None = None,
        ignore_index: int | None = None,
        do_reduce_labels: bool = False,
        num_labels: int | None = None,
        pad_size: SizeLike | None = None,
        *,
        pad_divisor: int = 0,
        max_size: int | None = None,
        reduce_labels: bool | None = None,
        **unknown: Never,
    ) -> None:
        refuse_unknown(type(self).__name__, unknown, self.setting_names())
        if reduce_labels is not None:
            # The default cannot be told from the same value given: only True contradicts.
            if do_reduce_labels and not reduce_labels:
                raise two_names("do_reduce_labels", do_reduce_labels, "reduce_labels", reduce_labels)
            do_reduce_labels = reduce_labels
        self.do_resize = check_flag("do_resize", do_resize)
        self.size = checked_size(size, max_size)
        self.size_divisor = checked_divisor("size_divisor", size_divisor)
        self.resample = resample_filter(resample)
        self.do_rescale = check_flag("do_rescale", do_rescale)
        self.rescale_factor = check_number("rescale_factor", rescale_factor)
        self.do_normalize = check_flag("do_normalize", do_normalize)
        self.image_mean = check_channels("image_mean", MEAN if image_mean is None else image_mean)
        self.image_std = check_channels("image_std", STD if image_std is None else image_std, positive=True)
        self.ignore_index = checked_index("ignore_index", ignore_index)
        self.do_reduce_labels = check_flag("do_reduce_labels", do_reduce_labels)
        self.num_labels = None if num_labels is None else int(check_number("num_labels", num_labels, whole=True))
        self.pad_size = None if pad_size is None else checked_pad_size(pad_size)
        self.pad_divisor = checked_divisor("pad_divisor", pad_divisor)

    @property
    def max_size(self) -> int | None:
        """The limit of the long side, `size["longest_edge"]`; None where there is none."""
        return self.size.get("longest_edge")

    @property
    def reduce_labels(self) -> bool:
        """The older name of `do_reduce_labels`."""
        return self.do_reduce_labels

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], **overrides: Any) -> Self:
        """Build a processor from a mapping such as `preprocessor_config.json` holds; see `ImageProcessor`."""
        values = {_OLDEST.get(name, name): value for name, value in values.items() if name not in _PASSED_OVER}
        size = values.get("size")
        if overrides.get("size") is not None:
            values = {**values, "max_size": None}
        elif overrides.get("max_size") is not None and isinstance(size, Mapping):
            values = {**values, "size": {key: side for key, side in size.items() if key != "longest_edge"} or None}
        return super().from_dict(values, **overrides)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings and the class's name, as they go into `preprocessor_config.json`."""
        values = super().to_dict()
        del values["max_size"], values["reduce_labels"]  # `size` and `do_reduce_labels` say the same
        return {name: value for name, value in values.items() if value is not None}

    def preprocess(
        self,
        images: Images,
        segmentation_maps: Images | None = None,
        instance_id_to_semantic_id: Classes | None = None,
        do_resize: bool | None = None,
        size: SizeLike | None = None,
        size_divisor: int | None = None,
        resample: int | None = None,
        do_rescale: bool | None = None,
        rescale_factor: float | None = None,
        do_normalize: bool | None = None,
        image_mean: float | Sequence[float] | None = None,
        image_std: float | Sequence[float] | None = None,
        ignore_index: int | None = None,
        do_reduce_labels: bool | None = None,
        return_tensors: str | TensorType | None = None,
        data_format: str | ChannelDimension | None = ChannelDimension.FIRST,
        input_data_format: str | ChannelDimension | None = None,
        pad_size: SizeLike | None = None,
        *,
        num_labels: int | None = None,
        pad_divisor: int | None = None,
        max_size: int | None = None,
        reduce_labels: bool | None = None,
        return_compressed: bool = False,
        **unknown: Never,
    ) -> BatchFeature:
        """Return the model's input for one image or many. Calling the processor does the same.

        Args:
            images: paths, bytes, PIL images, NumPy arrays or tensors, one, a list, or (b, h, w, c) or (b, c,
                h, w). Arrays are (h, w, 3), (3, h, w), grey (h, w), or have a fourth channel, which is left
                out. Their values are in 0…255; uint16 ones in 0…65535 are divided by 257 first, boolean ones
                are 0 and 255. For values in 0…1 pass `do_rescale=False`.
            segmentation_maps: one for each image, of its size, in the same forms: (h, w) whole numbers of any
                type, each a class or, with `instance_id_to_semantic_id`, an object. Palette files give their
                indices and 16-bit files their numbers. Three channels are COCO's panoptic colours: red +
                256 · green + 65536 · blue is the id in the annotation's `segments_info`.
            instance_id_to_semantic_id: the class of each number in the maps, one mapping for all maps or a
                list with one for each. With `do_reduce_labels` its classes are reduced, its keys are not.
            do_resize: as in the constructor, None takes that one's; so do the settings that follow.
            size: see the constructor.
            size_divisor: see the constructor.
            resample: see the constructor.
            do_rescale: see the constructor.
            rescale_factor: see the constructor.
            do_normalize: see the constructor.
            image_mean: see the constructor.
            image_std: see the constructor.
            ignore_index: see the constructor.
            do_reduce_labels: see the constructor.
            return_tensors: "pt", "np", "tf" or "jax"; None for lists of NumPy arrays.
            data_format: "channels_first" for pixel values (b, 3, h, w), "channels_last" for (b, h, w, 3), None
                for that of the first image.
            input_data_format: where the images' channels lie, "none" for (h, w); None finds it from the
                shapes.
            pad_size: see the constructor.
            num_labels: see the constructor.
            pad_divisor: see the constructor.
            max_size: see the constructor.
            reduce_labels: see the constructor.
            return_compressed: give the masks of each image as `CompressedMasks`, run lengths that the loss
                takes too: kilobytes for what else is 4 bytes a pixel and object.

        Returns:
            A dict with `pixel_values`, float32, (b, 3, h, w), zero where filled up at the bottom and on the
            right; `pixel_mask`, int64, (b, h, w), 1 where the image is. With maps also `mask_labels`, for each
            image float32 (objects, h, w) of 0 and 1, or compressed; and `class_labels`, for each
            image int64 (objects,). An image without objects has 0 of them.

        Raises:
            InputError: something is no image, a map does not fit its image, a number has no class, or an image
                is larger than `pad_size`.
            ConfigError: an argument is unknown or has the wrong type.
            MissingDependencyError: the library of `return_tensors` is not installed.
        """
        settings = self._for_call(locals())
        kind = None if return_tensors is None else as_member(TensorType, return_tensors, "return_tensors")
        layout = None if data_format is None else as_member(ChannelDimension, data_format, "data_format")
        read = read_labelled(images, segmentation_maps, input_data_format, "images")
        if settings.do_rescale:
            warn_of_small_values(read)
        prepared, labels = [], []
        for item in read:
            height, width = item.size
            wanted = (height, width)
            if settings.do_resize:
                wanted = output_size(height, width, settings.size, divisor=settings.size_divisor)
            prepared.append(settings._prepared(item, wanted))
            if item.labels is not None:
                labels.append(resize_labels(item.labels, wanted) if settings.do_resize else item.labels)
        return settings._batch(
            prepared,
            labels if segmentation_maps is not None else None,
            names=[item.labels_name for item in read],
            classes=instance_id_to_semantic_id,
            rules=LabelRules(settings.ignore_index, settings.do_reduce_labels),
            kind=kind,
            channels_last=(layout or read[0].layout) is ChannelDimension.LAST,
            compressed=return_compressed,
        )

    __call__ = preprocess

    def encode_inputs(
        self,
        pixel_values_list: Images,
        segmentation_maps: Images | None = None,
        instance_id_to_semantic_id: Classes | None = None,
        ignore_index: int | None = None,
        do_reduce_labels: bool | None = None,
        return_tensors: str | TensorType | None = None,
        input_data_format: str | ChannelDimension | None = None,
        *,
        return_compressed: bool = False,
    ) -> BatchFeature:
        """Fill up images that are ready for the model to one size, and make masks of their label maps.

        Args:
            pixel_values_list: resized and normalised images, each (3, h, w) or (h, w, 3), or a batch of them.
            segmentation_maps: see `preprocess`; each of its image's size, they are not resized here.
            instance_id_to_semantic_id: see `preprocess`.
            ignore_index: None takes the processor's.
            do_reduce_labels: None takes the processor's.
            return_tensors: see `preprocess`.
            input_data_format: see `preprocess`.
            return_compressed: see `preprocess`.

        Returns:
            As `preprocess`, the pixel values unchanged.

        Raises:
            InputError: as `preprocess`, or images with different numbers of channels.

        Example:
            >>> processor = Mask2FormerImageProcessor()
            >>> images = [np.zeros((3, 20, 30), np.float32), np.zeros((3, 40, 10), np.float32)]
            >>> labels = [np.zeros((20, 30), int), np.full((40, 10), 255)]
            >>> inputs = processor.encode_inputs(images, labels, ignore_index=255, return_tensors="np")
            >>> inputs.pixel_values.shape, [len(masks) for masks in inputs.mask_labels]
            ((2, 3, 40, 30), [1, 0])
        """
        kind = None if return_tensors is None else as_member(TensorType, return_tensors, "return_tensors")
        read = read_labelled(pixel_values_list, segmentation_maps, input_data_format, "pixel_values_list")
        prepared = [item.image.planes(item.layout).astype(np.float32) for item in read]
        if len({len(planes) for planes in prepared}) > 1:
            counts = ", ".join(str(len(planes)) for planes in prepared)
            raise InputError(f"pixel_values_list has images of {counts} channels: give all of them three")
        index = self.ignore_index if ignore_index is None else checked_index("ignore_index", ignore_index)
        reduce = self.do_reduce_labels if do_reduce_labels is None else check_flag("do_reduce_labels", do_reduce_labels)
        return self._batch(
            prepared,
            [item.labels for item in read if item.labels is not None] if segmentation_maps is not None else None,
            names=[item.labels_name for item in read],
            classes=instance_id_to_semantic_id,
            rules=LabelRules(index, reduce),
            kind=kind,
            channels_last=False,
            compressed=return_compressed,
        )

    def _prepared(self, item: LabelledImage, size: tuple[int, int]) -> Array:
        """Return an image resized to `size`, rescaled and normalised, (3, *size) float32."""
        planes = item.image.planes(item.layout)[:3]
        kind = planes.dtype
        if kind.kind in "iu" and kind != np.uint16 and planes.min() >= 0 and planes.max() <= 255:
            planes = planes.astype(np.uint8, copy=False)  # bytes in a wider type are still bytes to Pillow
        if self.do_resize:
            planes = resize(planes, size, self.resample)
        ready = np.empty((3, *size), np.float32)
        factor = (self.rescale_factor if self.do_rescale else 1.0) * item.image.unit
        mean, std = (self.image_mean, self.image_std) if self.do_normalize else (None, None)
        write_planes(colour_planes(planes), ready, factor=factor, mean=mean, std=std)
        return ready

    def _batch(
        self,
        prepared: Sequence[Array],
        labels: Sequence[Array] | None,
        *,
        names: Sequence[str],
        classes: Classes | None,
        rules: LabelRules,
        kind: TensorType | None,
        channels_last: bool,
        compressed: bool,
    ) -> BatchFeature:
        sizes = [(planes.shape[1], planes.shape[2]) for planes in prepared]
        if self.pad_size is None:
            size = common_size(sizes, divisor=self.pad_divisor)
        else:
            size = (self.pad_size["height"], self.pad_size["width"])
        pixels = stack_padded(prepared, size)  # (b, 3, h, w)
        if channels_last:
            pixels = np.ascontiguousarray(np.moveaxis(pixels, 1, -1))  # (b, h, w, 3)
        mask = pixel_mask(sizes, size)  # (b, h, w)
        if kind is None:
            batch = BatchFeature({"pixel_values": list(pixels), "pixel_mask": list(mask)})
        else:
            batch = BatchFeature({"pixel_values": pixels, "pixel_mask": mask}, kind)
        if labels is None:
            if classes is not None:
                raise InputError("instance_id_to_semantic_id was given without segmentation_maps: pass these too")
            return batch
        # Lists, as each image has its own number of objects.
        batch["mask_labels"], batch["class_labels"] = [], []
        for masks, its_classes in masks_and_classes(labels, names, classes, rules, size, compressed=compressed):
            batch["mask_labels"].append(_converted(masks, kind) if isinstance(masks, np.ndarray) else masks)
            batch["class_labels"].append(_converted(its_classes, kind))
        return batch


def _converted(array: Array, kind: TensorType | None) -> Any:
    return BatchFeature({"labels": array}, kind).labels
