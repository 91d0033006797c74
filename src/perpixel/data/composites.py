"""Photographs with a known matte, made on the fly: a random foreground over a random background."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset

from perpixel.data.alphas import draw_alpha
from perpixel.data.art import place_art
from perpixel.data.canvas import Array, Canvas, Drawing, blob
from perpixel.data.light import camera, cast_shadow, jitter, mix, rim_light, soften, studio
from perpixel.data.photos import Sources, Split, choose_split, find_images, load_art, load_photo
from perpixel.data.trimaps import draw_trimap, edges
from perpixel.errors import InputError

# A matte this close to 0 or 1 counts as exactly that: no eye and no 8-bit photograph tells them apart.
_EXACT = 0.01
_SPLIT_SEED = {"train": 0, "validation": 1}


class CompositeDataset(Dataset[dict[str, torch.Tensor]]):
    """Matting samples of size × size pixels, each a pure function of (seed, split, index).

    Args:
        backgrounds: folders (searched recursively) or image files: the photographs that give the backgrounds
            and the foregrounds' textures.
        foregrounds: folders or files of RGBA art, or None for procedural foregrounds alone.
        size: side of a sample in pixels, at least 32.
        seed: another seed is another endless set of samples.
        split: "train" or "validation"; no photograph and no art is in both.
        length: what len() says, that is, one pass of a loader; any index from 0 up may be asked for.
        include: patterns that a background's path must end in (see `find_images`), or None for all.
        art_share: how many of the foregrounds are art, where there is art.
        longest: photographs are kept in memory with no side over so many pixels (about 3 MB each).

    An item is a dict with `pixel_values`, (4, size, size) float32: RGB in [-1, 1], then the trimap in
    {0, 128/255, 1}, as `VitMatteImageProcessor` prepares them; and `labels`, (1, size, size) float32, the true
    matte in [0, 1], exactly 0 or 1 wherever the trimap is certain.

    Photographs are decoded here, before a loader forks, so that its workers share the memory. OpenCV is held to
    one thread in this process from here on: its thread pool does not survive a fork, and workers would hang.

    Raises:
        InputError: if a path does not exist, there is too little to split, or the size is too small.
    """

    def __init__(
        self,
        backgrounds: Sources,
        foregrounds: Sources | None = None,
        *,
        size: int = 256,
        seed: int = 0,
        split: Split = "train",
        length: int = 1_000_000,
        include: Iterable[str] | None = None,
        art_share: float = 0.15,
        longest: int = 1200,
    ) -> None:
        _one_thread()
        if size < 32:
            raise InputError(f"size is {size} pixels: it must be 32 or more")
        self.size = size
        self.seed = seed
        self.split = split
        self.length = length
        self.art_share = art_share
        self.background_paths = choose_split(find_images(backgrounds, include), split)
        self.foreground_paths = [] if foregrounds is None else choose_split(find_images(foregrounds), split)
        self._photos = [_halvings(load_photo(path, longest), size) for path in self.background_paths]

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        if index < 0:
            raise IndexError(f"index is {index}: it must be 0 or more")
        _one_thread()
        image, trimap, alpha = self.draw(index)
        pixels = np.empty((4, self.size, self.size), np.float32)
        pixels[:3] = image.transpose(2, 0, 1) / np.float32(127.5) - np.float32(1.0)
        pixels[3] = trimap / np.float32(255.0)
        return {"pixel_values": torch.from_numpy(pixels), "labels": torch.from_numpy(alpha[None])}

    def draw(self, index: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8], Array]:
        """Make sample `index` as pictures: image (s, s, 3) uint8, trimap (s, s) uint8, alpha (s, s) float32."""
        rng = np.random.default_rng([self.seed, _SPLIT_SEED[self.split], index])
        for _ in range(8):
            layer = self._layer(rng)
            drawing = _crop(rng, layer, self.size)
            if drawing is None:
                continue
            photo = int(rng.integers(len(self._photos)))
            alpha, colour = drawing.alpha, self._foreground(rng, drawing, photo)
            if rng.random() < 0.12:
                alpha, colour = self._second_object(rng, alpha, colour)
            alpha = _snap(alpha)
            trimap = draw_trimap(rng, alpha)
            if 0.03 <= float((trimap == 128).mean()) <= 0.97:
                break
        else:
            alpha, colour, photo = _fallback(rng, self.size), np.full((self.size, self.size, 3), 0.5, np.float32), 0
            trimap = draw_trimap(rng, alpha)
        background = self._background(rng, photo, colour, alpha)
        if rng.random() < 0.2:
            background = cast_shadow(rng, background, alpha)
        return camera(rng, mix(rng, colour, background, alpha)), trimap, alpha

    def _layer(self, rng: np.random.Generator) -> Drawing:
        size = round(self.size * rng.uniform(1.0, 1.5))
        if self.foreground_paths and rng.random() < self.art_share:
            path = self.foreground_paths[int(rng.integers(len(self.foreground_paths)))]
            return place_art(rng, load_art(path, 512), size)
        return draw_alpha(rng, size)

    def _texture(self, rng: np.random.Generator, photo: int) -> Array:
        """Cut a random square out of a photograph: (size, size, 3) float32 in [0, 1]."""
        levels = self._photos[photo]
        shortest = min(levels[0].shape[:2])
        side = int(np.clip(np.exp(rng.uniform(np.log(0.6), np.log(4.0))) * self.size, min(16, shortest), shortest))
        # From the halving that is nearest from above, linear interpolation does; from the whole photograph it
        # would alias, and averaging takes 20 times longer.
        level = min(max(0, int(np.log2(side / self.size))), len(levels) - 1)
        picture = levels[level]
        side = min(side >> level, *picture.shape[:2])
        top = int(rng.integers(picture.shape[0] - side + 1))
        left = int(rng.integers(picture.shape[1] - side + 1))
        patch = picture[top : top + side, left : left + side]
        way = cv2.INTER_LINEAR if side > self.size else cv2.INTER_CUBIC
        patch = cv2.resize(patch, (self.size, self.size), interpolation=way)
        if rng.random() < 0.5:
            patch = patch[:, ::-1]
        if rng.random() < 0.3:
            patch = np.rot90(patch, int(rng.integers(1, 4)))
        return np.ascontiguousarray(patch, dtype=np.float32) / np.float32(255.0)

    def _foreground(self, rng: np.random.Generator, drawing: Drawing, photo: int) -> Array:
        if drawing.colour is not None:
            return jitter(rng, drawing.colour, 0.5)
        texture = self._texture(rng, photo)
        if rng.random() < (0.6 if drawing.strands else 0.15):
            # Hair takes its colour from few pigments: keep the photograph's large forms only.
            mean = np.array(cv2.mean(texture)[:3], np.float32)
            smooth = soften(texture, self.size * rng.uniform(0.02, 0.2))
            # The fine structure that is left, without its colour, makes wool and skin of a plain surface.
            detail = cv2.transform(texture - smooth, np.full((3, 3), rng.choice([0.0, rng.uniform(0.1, 0.4)])))
            texture = mean + np.float32(rng.uniform(0.3, 1.5)) * (smooth - mean) + detail
        texture = jitter(rng, texture, 1.0)
        if drawing.shade is not None:
            texture = texture * drawing.shade[..., None]
        if rng.random() < 0.2:
            texture = rim_light(rng, texture, drawing.alpha)
        return np.clip(texture, 0.0, 1.0)

    def _second_object(self, rng: np.random.Generator, alpha: Array, colour: Array) -> tuple[Array, Array]:
        """Put another object behind the first."""
        behind = _crop(rng, self._layer(rng), self.size)
        if behind is None:
            return alpha, colour
        other = self._foreground(rng, behind, int(rng.integers(len(self._photos))))
        rest = (1.0 - alpha) * behind.alpha
        both = alpha + rest
        mixed = (alpha[..., None] * colour + rest[..., None] * other) / np.maximum(both, 1e-4)[..., None]
        return both, mixed.astype(np.float32)

    def _background(self, rng: np.random.Generator, photo: int, colour: Array, alpha: Array) -> Array:
        kind = rng.random()
        if kind < 0.1:
            return studio(rng, self.size)
        hard = kind < 0.35
        picture = photo if hard else int(rng.integers(len(self._photos)))
        texture = jitter(rng, self._texture(rng, picture), 0.4 if hard else 0.8)
        if hard and rng.random() < 0.5:
            # Nearly the colours of the foreground: dark fur before dark rock.
            target = np.array(cv2.mean(colour, (alpha > 0.5).astype(np.uint8))[:3], np.float32)
            mean = np.array(cv2.mean(texture)[:3], np.float32)
            texture = texture + np.float32(rng.uniform(0.5, 1.0)) * (target - mean)
        if rng.random() < 0.5:
            texture = soften(texture, float(np.exp(rng.uniform(np.log(0.8), np.log(16.0)))))
        return np.clip(texture, 0.0, 1.0)


def _one_thread() -> None:
    # Setting it again in a forked worker would wait for threads that only the parent has.
    if cv2.getNumThreads() != 1:
        cv2.setNumThreads(1)


def _halvings(photo: npt.NDArray[np.uint8], size: int) -> list[npt.NDArray[np.uint8]]:
    """Halve a photograph again and again while it stays as large as a sample."""
    levels = [photo]
    while min(levels[-1].shape[:2]) >= 2 * size:
        height, width = levels[-1].shape[:2]
        half = cv2.resize(levels[-1], (width // 2, height // 2), interpolation=cv2.INTER_AREA)
        levels.append(np.asarray(half, np.uint8))
    return levels


def _crop(rng: np.random.Generator, layer: Drawing, size: int) -> Drawing | None:
    """Cut a window that holds a part of the edges, or None if there are none."""
    busy = np.flatnonzero(edges(_snap(layer.alpha)))
    if len(busy) == 0:
        return None
    whole = len(layer.alpha)
    row, column = divmod(int(busy[int(rng.integers(len(busy)))]), whole)
    top = int(np.clip(row - rng.integers(size // 8, size - size // 8), 0, whole - size))
    left = int(np.clip(column - rng.integers(size // 8, size - size // 8), 0, whole - size))
    rows, columns = slice(top, top + size), slice(left, left + size)
    return Drawing(
        np.ascontiguousarray(layer.alpha[rows, columns]),
        None if layer.shade is None else layer.shade[rows, columns],
        None if layer.colour is None else layer.colour[rows, columns],
        layer.strands,
    )


def _snap(alpha: Array) -> Array:
    alpha = np.clip(alpha, 0.0, 1.0).astype(np.float32)
    alpha[alpha < _EXACT] = 0.0
    alpha[alpha > 1.0 - _EXACT] = 1.0
    return alpha


def _fallback(rng: np.random.Generator, size: int) -> Array:
    canvas = Canvas(size)
    canvas.polygon(blob(rng, (size / 2, size / 2), size * 0.3)[0])
    return _snap(canvas.resolve()[0])
