"""Mattes in plain folders: RGBA cut-outs, and photographs with their alphas beside them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from perpixel.data.folders import Part, Reader, find_parts, list_files, one_kind, plain_folder, read_pixels, same_size
from perpixel.data.light import studio
from perpixel.data.photos import find_images
from perpixel.data.samples import LabelKind, MattingSample
from perpixel.errors import ConfigError, InputError
from perpixel.images.read import read_mask, read_photo, read_trimap
from perpixel.ops.trimap import snap_trimap

__all__ = ["MatteFolder", "RgbaCutouts", "composite", "cover"]

Pixels = npt.NDArray[np.uint8]

# Parts a name and the number of the background it lies on: `cat@0`, `cat@1`. Composites of one subject share what
# stands before it, so that a share held out for validation can be cut between subjects.
COPY = "@"


class RgbaCutouts(Reader[MattingSample]):
    """A folder of cut-outs with transparency, laid over backgrounds.

    Read is every RGBA picture in `root` (or `root/SPLIT`, if there is one) and in the folders in it. The cut-out's
    colours are the sample's foreground, its transparency is the alpha. Which background a cut-out gets depends on
    its name only.

    Args:
        root: the folder.
        split: "train", "validation", "test", "all", or the name of a folder in `root`.
        kind: "matting" or None.
        backgrounds: folders or files of photographs; a drawn studio backdrop if there are none.
        copies: how many backgrounds each cut-out is laid over; the samples are then called NAME@0, NAME@1, …

    Raises:
        InputError: no pictures, or, when it is read, a picture without transparency.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        split: str = "train",
        kind: LabelKind | None = None,
        backgrounds: str | Path | Sequence[str | Path] | None = None,
        copies: int = 1,
    ) -> None:
        one_kind(kind, "matting", "rgba")
        if not isinstance(copies, int) or copies < 1:
            raise ConfigError(f"copies is {copies!r}: it must be a whole number from 1")
        files = list_files(plain_folder(Path(root), split))
        names = [f"{name}{COPY}{copy}" if copies > 1 else name for name in files for copy in range(copies)]
        super().__init__("matting", names)
        self._paths = tuple(path for path in files.values() for _ in range(copies))
        self._backgrounds = () if not backgrounds else tuple(find_images(backgrounds))

    def read(self, place: int) -> MattingSample:
        """Read a cut-out and lay it over its background."""
        path, name = self._paths[place], self.names[place]
        photo = read_photo(path)
        if photo.alpha is None:
            raise InputError(f"{path} has no transparency: give cut-outs as RGBA, or the layout 'matte-folder'")
        number = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big")
        size = (photo.height, photo.width)
        if self._backgrounds:
            background = cover(read_pixels(self._backgrounds[number % len(self._backgrounds)]), size)
        else:
            backdrop = studio(np.random.default_rng(number), max(size))[: size[0], : size[1]]
            background = np.round(255 * backdrop.clip(0, 1)).astype(np.uint8)
        return MattingSample(
            name=name,
            image=composite(photo.rgb8, background, photo.alpha),
            alpha=photo.alpha,
            foreground=photo.rgb8,
        )


class MatteFolder(Reader[MattingSample]):
    """Photographs in one folder, their alphas in another, paired by name.

    Read are `images/NAME.*`, `alphas/NAME.*`, and if they are there `trimaps/NAME.*` and `foregrounds/NAME.*`; the
    folders may also be called as in public data sets (image, original, merged; alpha, matte, mask, alpha_copy;
    trimap; foreground, fg). They lie in `root` or in `root/SPLIT`, or hold a folder for each split.

    Args:
        root: the folder.
        split: "train", "validation", "test", "all", or the name of a folder.
        kind: "matting" or None.
        image_suffix: what the names of photographs end in, such as ".png"; with `alpha_suffix` all files may lie in
            one folder, as `GT02.png`, `GT02_alpha.png` and `GT02_trimap1.png` do.
        alpha_suffix: the same for alphas, such as "_alpha.png".
        trimap_suffix: the same for trimaps, such as "_trimap1.png".
        foreground_suffix: the same for foregrounds.

    Raises:
        InputError: a folder is missing or a file has no partner; when it is read, an unreadable file or a label of
            another size.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        split: str = "train",
        kind: LabelKind | None = None,
        image_suffix: str | None = None,
        alpha_suffix: str | None = None,
        trimap_suffix: str | None = None,
        foreground_suffix: str | None = None,
    ) -> None:
        one_kind(kind, "matting", "matte-folder")
        parts = (
            Part("image", ("images", "image", "original", "merged"), ending=image_suffix),
            Part("alpha", ("alphas", "alpha", "mattes", "matte", "masks", "mask", "alpha_copy"), ending=alpha_suffix),
            Part("trimap", ("trimaps", "trimap"), ending=trimap_suffix, needed=trimap_suffix is not None),
            Part(
                "foreground",
                ("foregrounds", "foreground", "fg"),
                ending=foreground_suffix,
                needed=foreground_suffix is not None,
            ),
        )
        expected = "images/NAME.jpg and alphas/NAME.png, perhaps trimaps/NAME.png and foregrounds/NAME.png"
        found = find_parts(Path(root), parts, split, expected)
        super().__init__("matting", found.names)
        self._paths = found.paths

    def read(self, place: int) -> MattingSample:
        """Read a photograph, its alpha, and its trimap and foreground where there are any."""
        paths = {role: files[place] for role, files in self._paths.items()}
        return read_matting(self.names[place], paths)


def read_matting(name: str, paths: dict[str, Path]) -> MattingSample:
    """Read a sample whose files are given for the roles "image", "alpha", "trimap" and "foreground".

    Raises:
        InputError: an unreadable file, or one of another size.
    """
    image = read_pixels(paths["image"])
    alpha = read_mask(paths["alpha"])
    same_size(image, alpha.shape, paths["image"], "alpha", paths["alpha"])
    trimap = foreground = None
    if "trimap" in paths:
        trimap = fitting_trimap(paths["trimap"], image, paths["image"])
    if "foreground" in paths:
        foreground = read_pixels(paths["foreground"])
        same_size(image, foreground.shape, paths["image"], "foreground", paths["foreground"])
    return MattingSample(name=name, image=image, alpha=alpha, trimap=trimap, foreground=foreground)


def fitting_trimap(path: Path, image: Pixels, image_path: Path) -> Pixels:
    """Read the trimap of a photograph, (h, w) uint8 with the values 0, 128 and 255.

    Raises:
        InputError: it is unreadable, no trimap, or of another size.
    """
    try:
        trimap = snap_trimap(read_trimap(path))
    except InputError as error:
        raise error if str(path) in str(error) else InputError(f"{path}: {error}") from error
    same_size(image, trimap.shape, image_path, "trimap", path)
    return trimap


def cover(background: Pixels, size: tuple[int, int]) -> Pixels:
    """Cut a background's upper left corner at a size, enlarging it first if it is too small.

    As the code that comes with Composition-1k does: bicubic, by the larger of the two ratios, never smaller than
    it is.

    Args:
        background: (h, w, 3) uint8.
        size: height and width.

    Returns:
        (*size, 3) uint8.

    >>> cover(np.zeros((5, 9, 3), np.uint8), (10, 4)).shape
    (10, 4, 3)
    """
    height, width = background.shape[:2]
    ratio = max(size[1] / width, size[0] / height)
    if ratio > 1:
        larger = (math.ceil(width * ratio), math.ceil(height * ratio))
        background = np.asarray(Image.fromarray(background).resize(larger, Image.Resampling.BICUBIC))
    return background[: size[0], : size[1]]


def composite(foreground: Pixels, background: Pixels, alpha: npt.NDArray[np.float32]) -> Pixels:
    """Lay a foreground over a background, with the numbers cut to whole as the code of Composition-1k does.

    Args:
        foreground: (h, w, 3) uint8.
        background: (h, w, 3) uint8.
        alpha: (h, w) float32 in [0, 1].

    Returns:
        (h, w, 3) uint8.

    >>> composite(np.full((1, 2, 3), 255, np.uint8), np.zeros((1, 2, 3), np.uint8), np.array([[0.5, 1]], np.float32))
    array([[[127, 127, 127],
            [255, 255, 255]]], dtype=uint8)
    """
    share: npt.NDArray[np.float64] = alpha.astype(np.float64)
    # An 8-bit alpha is divided by 255 in double precision there, and cutting to whole numbers shows the difference.
    steps = np.round(255.0 * share)
    share = np.where(np.abs(steps - 255.0 * share) < 1e-4, steps / 255.0, share)[..., None]  # (h, w, 1)
    return (share * foreground + (1 - share) * background).astype(np.uint8)
