"""ViTMatte's input and output: image and trimap to four planes, and alphas to mattes of the images' sizes.

Source: Boosting Image Matting with Pretrained Plain Vision Transformers, 2023, arXiv 2305.15272, section 3.3:
the trimap is a fourth channel beside the image.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Never

import numpy as np

from perpixel.errors import InputError
from perpixel.models.planes import (
    Array,
    ChannelDimension,
    as_member,
    colour_planes,
    grey_plane,
    padded_size,
    write_planes,
)
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
from perpixel.models.vitmatte.pairs import Pair, known_alphas, read_pairs, warn_of_small_values

if TYPE_CHECKING:
    import torch

    from perpixel.images.read import ImageLike
    from perpixel.models.outputs import ImageMattingOutput

DEFAULT_DIVISOR = 32


class VitMatteImageProcessor(ImageProcessor):
    """Make ViTMatte's input from images and trimaps, and mattes from its output.

    Args:
        do_rescale: multiply images and trimaps by `rescale_factor`.
        rescale_factor: what values in 0…255 are multiplied by.
        do_normalize: subtract `image_mean` from the image and divide by `image_std`; the trimap stays in 0…1.
        image_mean: one number or three, in the scale after rescaling; None is 0.5.
        image_std: one number or three, in the scale after rescaling; None is 0.5.
        do_pad: fill up with zeros at the bottom and on the right until both sides are multiples of
            `size_divisibility`.
        size_divisibility: the number that both sides become multiples of, in pixels.
        size_divisor: another name of `size_divisibility`; the attributes are equal.

    Raises:
        ConfigError: a setting of the wrong type, an unknown one, or two names with different values.

    Example:
        >>> processor = VitMatteImageProcessor(size_divisor=16)
        >>> image = np.zeros((40, 60, 3), np.uint8)
        >>> inputs = processor(image, trimaps=np.full((40, 60), 128, np.uint8), return_tensors="np")
        >>> inputs.pixel_values.shape
        (1, 4, 48, 64)
    """

    aliases: ClassVar[Mapping[str, str]] = {"size_divisor": "size_divisibility"}

    def __init__(
        self,
        do_rescale: bool = True,
        rescale_factor: float = 1 / 255,
        do_normalize: bool = True,
        image_mean: float | Sequence[float] | None = None,
        image_std: float | Sequence[float] | None = None,
        do_pad: bool = True,
        size_divisibility: int = DEFAULT_DIVISOR,
        *,
        size_divisor: int | None = None,
        **unknown: Never,
    ) -> None:
        refuse_unknown(type(self).__name__, unknown, self.setting_names())
        if size_divisor is not None:
            # The default cannot be told from the same number given: only another one contradicts.
            if size_divisibility not in (DEFAULT_DIVISOR, size_divisor):
                raise two_names("size_divisibility", size_divisibility, "size_divisor", size_divisor)
            size_divisibility = size_divisor
        self.do_rescale = check_flag("do_rescale", do_rescale)
        self.rescale_factor = check_number("rescale_factor", rescale_factor)
        self.do_normalize = check_flag("do_normalize", do_normalize)
        self.image_mean = check_channels("image_mean", [0.5] * 3 if image_mean is None else image_mean)
        self.image_std = check_channels("image_std", [0.5] * 3 if image_std is None else image_std, positive=True)
        self.do_pad = check_flag("do_pad", do_pad)
        self.size_divisibility = int(check_number("size_divisibility", size_divisibility, whole=True))

    @property
    def size_divisor(self) -> int:
        """The newer name of `size_divisibility`."""
        return self.size_divisibility

    @size_divisor.setter
    def size_divisor(self, value: int) -> None:
        self.size_divisibility = value

    def preprocess(
        self,
        images: ImageLike | Sequence[ImageLike],
        trimaps: ImageLike | Sequence[ImageLike],
        do_rescale: bool | None = None,
        rescale_factor: float | None = None,
        do_normalize: bool | None = None,
        image_mean: float | Sequence[float] | None = None,
        image_std: float | Sequence[float] | None = None,
        do_pad: bool | None = None,
        size_divisibility: int | None = None,
        return_tensors: str | TensorType | None = None,
        data_format: str | ChannelDimension | None = ChannelDimension.FIRST,
        input_data_format: str | ChannelDimension | None = None,
        *,
        size_divisor: int | None = None,
        **unknown: Never,
    ) -> BatchFeature:
        """Return the model's input for one image or many. Calling the processor does the same.

        Args:
            images: paths, bytes, PIL images, NumPy arrays or tensors, one, a list, or (b, h, w, c) or (b, c,
                h, w). Arrays are (h, w, 3), (3, h, w), grey (h, w), or have a fourth channel, which is left
                out. Their values are in 0…255; uint16 ones in 0…65535 are divided by 257 first, boolean ones
                are 0 and 255. For values in 0…1 pass `do_rescale=False`.
            trimaps: one for each image, of its size, in the same forms: 0 background, 128 unknown, 255
                foreground. Arrays are (h, w), (1, h, w), (h, w, 1), or have three equal channels.
            do_rescale: as in the constructor, None takes that one's; so do the arguments down to
                `size_divisibility`.
            rescale_factor: see the constructor.
            do_normalize: see the constructor.
            image_mean: see the constructor.
            image_std: see the constructor.
            do_pad: see the constructor.
            size_divisibility: see the constructor.
            return_tensors: "pt", "np", "tf" or "jax" for one array of the whole batch, where smaller images
                are filled up to the largest; None for a list of NumPy arrays, each only as large as it has to
                be.
            data_format: "channels_first" for (b, 4, h, w), "channels_last" for (b, h, w, 4), None for that of
                the first image.
            input_data_format: where the images' channels lie, "none" for (h, w); None finds it from the
                shapes.
            size_divisor: another name of `size_divisibility`.

        Returns:
            A dict with `pixel_values`: float32, red, green, blue and trimap. If one array holds images whose
            padded sizes differ, there is also `image_sizes`: (b, 2) int64, the padded height and width of each
            image alone. With it the model, whose attention is global, computes each as if alone.

        Raises:
            InputError: something is no image, or a trimap does not fit its image.
            ConfigError: an argument is unknown or has the wrong type.
            MissingDependencyError: the library of `return_tensors` is not installed.
        """
        settings = self._for_call(locals())
        tensor_type = None if return_tensors is None else as_member(TensorType, return_tensors, "return_tensors")
        layout = None if data_format is None else as_member(ChannelDimension, data_format, "data_format")
        known = None
        if input_data_format is not None:
            known = as_member(ChannelDimension, input_data_format, "input_data_format")
        pairs = read_pairs(images, trimaps, known)
        if settings.do_rescale:
            warn_of_small_values(pairs)
        canvases = settings._fill(pairs, one_array=tensor_type is not None)
        if (layout or pairs[0].layout) is ChannelDimension.LAST:
            if isinstance(canvases, list):
                canvases = [_channels_last(item) for item in canvases]  # (h, w, 4)
            else:
                canvases = _channels_last(canvases)  # (b, h, w, 4)
        data: dict[str, Any] = {"pixel_values": canvases}
        alone = [settings._canvas_size(*pair.size) for pair in pairs]
        if tensor_type is not None and len(set(alone)) > 1:
            data["image_sizes"] = np.array(alone, np.int64)  # (b, 2)
        return BatchFeature(data, tensor_type)

    __call__ = preprocess

    def _fill(self, pairs: Sequence[Pair], *, one_array: bool) -> Array | list[Array]:
        """Return the pairs' four planes, (b, 4, h, w) or a list of (4, h, w)."""
        sizes = [pair.size for pair in pairs]
        canvases: Array | list[Array]
        if one_array:
            if not self.do_pad and len(set(sizes)) > 1:
                given = ", ".join(f"{width}×{height}" for height, width in sizes)
                raise InputError(
                    f"images of different sizes ({given}, width×height) make no single array with "
                    "do_pad=False: pass do_pad=True, or return_tensors=None for a list"
                )
            largest = max(height for height, _ in sizes), max(width for _, width in sizes)
            canvases = np.zeros((len(pairs), 4, *self._canvas_size(*largest)), np.float32)
        else:
            canvases = [np.zeros((4, *self._canvas_size(*size)), np.float32) for size in sizes]
        factor = self.rescale_factor if self.do_rescale else 1.0
        mean, std = (self.image_mean, self.image_std) if self.do_normalize else (None, None)
        for pair, canvas, (height, width) in zip(pairs, canvases, sizes, strict=True):
            image, trimap = canvas[:3, :height, :width], canvas[3:, :height, :width]
            planes = colour_planes(pair.image.planes(pair.layout))
            write_planes(planes, image, factor=factor * pair.image.unit, mean=mean, std=std)
            plane = grey_plane(pair.trimap.planes(pair.trimap_layout), pair.trimap.name)
            write_planes(plane[None], trimap, factor=factor * pair.trimap.unit)
        return canvases

    def _canvas_size(self, height: int, width: int) -> tuple[int, int]:
        return padded_size(height, width, self.size_divisibility) if self.do_pad else (height, width)

    def post_process_image_matting(
        self,
        outputs: ImageMattingOutput | torch.Tensor,
        target_sizes: Sequence[tuple[int, int]] | torch.Tensor | None = None,
        *,
        trimaps: ImageLike | Sequence[ImageLike] | None = None,
    ) -> list[torch.Tensor]:
        """Cut the padding off the predicted alphas.

        Args:
            outputs: the model's output, or its alphas (b, 1, h, w).
            target_sizes: (height, width) of each image as it went into `preprocess`, as pairs or as a tensor
                (b, 2); None keeps the padded size.
            trimaps: the trimaps of `preprocess`; where they know the alpha, the matte becomes exactly 0 or 1.

        Returns:
            One float32 alpha (height, width) in [0, 1] for each image, on the device of the output.

        Raises:
            InputError: not one size or trimap for each alpha, a size larger than the alpha, or a trimap of
                another size.

        Example:
            >>> import torch
            >>> processor = VitMatteImageProcessor()
            >>> alphas = torch.rand(1, 1, 64, 64)
            >>> processor.post_process_image_matting(alphas, target_sizes=[(40, 60)])[0].shape
            torch.Size([40, 60])
        """
        import torch

        alphas = _alphas(outputs)
        count, _, height, width = alphas.shape
        sizes = [(height, width)] * count if target_sizes is None else _size_pairs(target_sizes)
        if len(sizes) != count:
            raise InputError(
                f"target_sizes has {len(sizes)} sizes for {count} alphas: pass one (height, width) for each"
            )
        for index, (rows, columns) in enumerate(sizes):
            if not (0 < rows <= height and 0 < columns <= width):
                raise InputError(
                    f"target_sizes[{index}] is {columns}×{rows} but the alpha is {width}×{height} "
                    "(width×height): pass the size of the image before padding, as (height, width)"
                )
        mattes = [
            alpha[0, :rows, :columns].to(torch.float32, copy=True, memory_format=torch.contiguous_format)  # (h, w)
            for alpha, (rows, columns) in zip(alphas.detach(), sizes, strict=True)
        ]
        if trimaps is not None:
            for matte, known in zip(mattes, known_alphas(trimaps, sizes), strict=True):
                known_alpha = torch.from_numpy(known).to(matte.device)  # (h, w), 0.5 where unknown
                torch.where(known_alpha == 0.5, matte, known_alpha, out=matte)
        return mattes


def _channels_last(planes: Array) -> Array:
    return np.ascontiguousarray(np.moveaxis(planes, -3, -1))


def _alphas(outputs: Any) -> torch.Tensor:
    """Return (b, 1, h, w) from a model's output or from the tensor itself."""
    import torch

    alphas = outputs if isinstance(outputs, torch.Tensor) else getattr(outputs, "alphas", None)
    if not isinstance(alphas, torch.Tensor) or alphas.ndim != 4 or alphas.shape[1] != 1:
        given = (
            f"a tensor of shape {tuple(alphas.shape)}" if isinstance(alphas, torch.Tensor) else type(outputs).__name__
        )
        raise InputError(f"outputs is {given}: pass the model's output or its alphas, a tensor of shape (b, 1, h, w)")
    return alphas


def _size_pairs(target_sizes: Any) -> list[tuple[int, int]]:
    pairs = target_sizes.tolist() if hasattr(target_sizes, "tolist") else list(target_sizes)
    try:
        return [(operator.index(height), operator.index(width)) for height, width in pairs]
    except (TypeError, ValueError):
        raise InputError(
            f"target_sizes is {pairs!r}: pass one (height, width) of whole numbers for each image"
        ) from None
