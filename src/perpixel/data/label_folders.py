"""Photographs with label pictures in plain folders: what people make themselves."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from perpixel.data.coco import draw_classes
from perpixel.data.folders import PICTURES, WHOLE, Found, Part, Reader, find_parts, list_files, read_lines, read_pixels
from perpixel.data.samples import VOID, Categories, LabelKind, LabelledObject, SegmentationSample
from perpixel.data.segmentation import (
    AnyArray,
    SegmentationKind,
    choose_kind,
    class_numbers,
    listed,
    semantic_sample,
)
from perpixel.errors import ConfigError, InputError
from perpixel.images.labels import read_labels
from perpixel.ops.rle import encode_rle

__all__ = ["LabelFolder"]

_EXPECTED = "images/NAME.jpg with labels/NAME.png (class numbers), or with masks/NAME/….png or masks/NAME.png"
_VOID = "void"
_BACKGROUND = "background"
_ONLY_CLASS = "object"
_NAME_FILES = ("names.txt", "classes.txt", "names.json", "classes.json")
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")
# An object's file is called after its class: cat.png, cat_2.png, cat-02.png.
_COUNTED = re.compile(r"[-_. ]*\d*$")
_LOOKED_AT = 5


class LabelFolder(Reader[SegmentationSample]):
    """Photographs in `images/`, and beside them a label picture each, or masks.

    Read are `images/NAME.jpg` (or another picture, also in subfolders) and one of

    - `labels/NAME.png`: semantic. A grey or palette picture of 8 or 16 bits whose values are class numbers;
    - `masks/NAME/CLASS_1.png, …`: instance, or semantic with the small objects on top. One picture for each object,
      0 or black outside of it; they may overlap. With a single class their names are free. A photograph without a
      folder has no objects;
    - `masks/NAME.png`: semantic with the two classes background and object, or one instance.

    Splits are folders (`images/train`, `labels/train`, or `train/images`, `train/labels`) or lists of names
    (`train.txt`). Without either everything is "train".

    Args:
        root: the folder.
        split: "train", "validation", "test", the name of a folder or of a list; or "all".
        kind: "semantic" or "instance"; what fits the folders by default.
        names: of the classes, in the order of their numbers; or a file with one on each line, or a JSON list.
            By default what `mapping` names, or what is in `names.txt` or `classes.txt` in the root. For masks the
            background needs no name.
        mapping: for each value of the label pictures its class, by name or number, or "void". A value may also be a
            colour, "#ff8000", for label pictures in colour. By default the values are the class numbers.
        ignore: values of the label pictures that are void.
        images: the folder of the photographs.
        labels: the folder of the label pictures.
        masks: the folder of the masks.
        files: a list of the names that belong to the split, one on each line, instead of folders.

    Raises:
        ConfigError: names, mapping or kind do not fit together.
        InputError: a folder is absent, a photograph has no label picture; or, when it is read, a label picture holds
            a value that no class has.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        split: str = "train",
        kind: LabelKind | None = None,
        names: str | Path | Sequence[str] | None = None,
        mapping: Mapping[int | str, int | str] | None = None,
        ignore: int | Sequence[int] = (255,),
        images: str = "images",
        labels: str = "labels",
        masks: str = "masks",
        files: str | Path | None = None,
    ) -> None:
        root = Path(root)
        wanted = None if kind is None else choose_kind(kind, ("semantic", "instance"), "label-folder")
        with_labels = _holds(root, labels) and wanted != "instance"
        if not with_labels and not _holds(root, masks):
            other = f"; {labels} holds classes, not objects" if wanted == "instance" and _holds(root, labels) else ""
            raise InputError(f"{root} has no folder {masks if other else labels}{other}: expected is {_EXPECTED}")
        if not with_labels and mapping is not None:
            raise ConfigError("mapping is for label pictures: name the classes of masks with names")
        parts = [Part("image", (images,)), *([Part("label", (labels,))] if with_labels else [])]
        found, known = _find(root, parts, split, files)
        self._images = found.paths["image"]
        self._labels: tuple[Path, ...] = found.paths.get("label", ())
        self._masks: tuple[tuple[Path, ...], ...] = ()
        class_names = _read_names(root, names)
        chosen: SegmentationKind = "semantic"
        if with_labels:
            class_names, self._values = _values_of(class_names, mapping, ignore, self._labels)
        else:
            self._masks, whole = _find_masks(root, images, masks, found, known)
            chosen = wanted or ("semantic" if whole else "instance")
            class_names = class_names or (_ONLY_CLASS,)
            self._objects = class_names[1:] if class_names[0] == _BACKGROUND and len(class_names) > 1 else class_names
            class_names = (_BACKGROUND, *self._objects) if chosen == "semantic" else self._objects
        super().__init__(chosen, found.names, Categories(class_names))

    def read(self, place: int) -> SegmentationSample:
        """Read the sample at a place from 0."""
        name, image_path = self.names[place], self._images[place]
        if self._labels:
            path = self._labels[place]
            labels = self._values.read(path)
            return semantic_sample(name, image_path, labels, path)
        image = read_pixels(image_path)
        size = (image.shape[0], image.shape[1])
        objects = tuple(self._object(path, size, image_path) for path in self._masks[place])
        if self.kind == "instance":
            return SegmentationSample(name, image, "instance", None, objects)
        # The background is class 0, which moves all others up by one.
        return SegmentationSample(name, image, "semantic", draw_classes(objects, size) - VOID)

    def _object(self, path: Path, size: tuple[int, int], image_path: Path) -> LabelledObject:
        mask = _read_mask(path)
        if mask.shape != size:
            raise InputError(
                f"{path} is {mask.shape[1]}×{mask.shape[0]} but {image_path} is {size[1]}×{size[0]} (width×height): "
                "a mask must have the size of its photograph as a viewer shows it (EXIF turns it)"
            )
        names = self._objects
        stems = (path.stem, _COUNTED.sub("", path.stem))
        category = 0 if len(names) == 1 else next((names.index(stem) for stem in stems if stem in names), -1)
        if category < 0:
            raise InputError(
                f"{path} is named after no class: call it {names[0]}_1.png, or after {listed(names[1:])}; or "
                "correct names"
            )
        return LabelledObject(category, rle=encode_rle(mask))


@dataclass(frozen=True)
class _Values:
    """What the values of label pictures mean.

    Attributes:
        numbers: the class number of each value, or VOID.
        colours: whether the values are colours, 65536 · red + 256 · green + blue.
        mend: what to do about other values.
    """

    numbers: Mapping[int, int]
    colours: bool
    mend: str

    def read(self, path: Path) -> npt.NDArray[np.int32]:
        """Read a label picture as class numbers; other values are an InputError that names them."""
        values = _stored_values(path, self.colours)
        return class_numbers(values, self.numbers, path, self.mend, "#{:06x}".format if self.colours else str)


def _stored_values(path: Path, colours: bool) -> AnyArray:
    values = read_labels(path)
    if colours:
        if values.ndim == 2:
            raise InputError(f"{path} is not in colour but mapping has colours: name its values as whole numbers")
        wide = values.astype(np.int32)
        return np.asarray(65536 * wide[..., 0] + 256 * wide[..., 1] + wide[..., 2])  # (h, w)
    if values.ndim == 3:
        if (values != values[..., :1]).any():
            raise InputError(
                f'{path} is in colour: say what the colours mean with mapping={{"#ff8000": "cat", …}}, or save class '
                "numbers as a grey or palette PNG"
            )
        return np.asarray(values[..., 0])
    if values.dtype.kind == "f" and (values % 1 != 0).any():
        raise InputError(f"{path} holds fractions: labels are whole numbers, save it as an 8- or 16-bit PNG")
    return values.astype(np.int64) if values.dtype.kind == "f" else values


def _values_of(
    names: tuple[str, ...] | None,
    mapping: Mapping[int | str, int | str] | None,
    ignore: int | Sequence[int],
    labels: Sequence[Path],
) -> tuple[tuple[str, ...], _Values]:
    """The names of the classes, and what the values of the label pictures mean."""
    ignored = [ignore] if isinstance(ignore, int) else list(ignore)
    if mapping is None:
        if names is None:
            raise ConfigError(
                f"what the values of the label pictures mean is not known: give names=[…] for 0, 1, 2 … or a mapping; "
                f"the first ones hold {_first_values(labels)}"
            )
        numbers = {number: number for number in range(len(names))}
        mend = f"the {len(names)} classes are 0…{len(names) - 1}; add a name, say it in mapping, or add it to ignore"
        return names, _Values({**numbers, **dict.fromkeys(ignored, VOID)}, False, mend)
    if not isinstance(mapping, Mapping) or not mapping:
        raise ConfigError(f"mapping is {mapping!r}: it needs values and their classes, such as {{1: 'cat', 2: 'void'}}")
    if names is None:
        named = [value for value in mapping.values() if isinstance(value, str) and value != _VOID]
        if any(isinstance(value, int) for value in mapping.values()) or not named:
            raise ConfigError("mapping gives class numbers, not names: name the classes with names=[…] too")
        names = tuple(dict.fromkeys(named))
    colours = any(_COLOUR.fullmatch(str(value)) for value in mapping)
    numbers = {_key(value, colours): _class_number(meaning, names) for value, meaning in mapping.items()}
    void = {} if colours else {value: VOID for value in ignored if value not in numbers}
    return names, _Values({**numbers, **void}, colours, "add it to mapping, with its class or 'void'")


def _key(value: int | str, colours: bool) -> int:
    text = str(value)
    if colours and _COLOUR.fullmatch(text):
        return int(text[1:], 16)
    if colours or not text.isdecimal():
        raise ConfigError(f"mapping has the value {value!r}: use whole numbers, or colours such as '#ff8000' for all")
    return int(text)


def _class_number(meaning: int | str, names: Sequence[str]) -> int:
    if meaning == _VOID:
        return VOID
    if isinstance(meaning, str):
        if meaning in names:
            return names.index(meaning)
        close = difflib.get_close_matches(meaning, names, n=1)
        raise ConfigError(
            f"mapping has the class {meaning!r}: " + (f"did you mean {close[0]!r}?" if close else "add it to names")
        )
    if not 0 <= meaning < len(names):
        raise ConfigError(f"mapping has the class number {meaning}, but the {len(names)} names are 0…{len(names) - 1}")
    return meaning


def _first_values(labels: Sequence[Path]) -> str:
    found: set[int] = set()
    for path in labels[:_LOOKED_AT]:
        values = read_labels(path)
        if values.ndim == 3:
            return "colours"
        found.update(int(value) for value in np.unique(values))
    return listed(sorted(found))


def _read_names(root: Path, names: str | Path | Sequence[str] | None) -> tuple[str, ...] | None:
    if names is None:
        path = next((root / name for name in _NAME_FILES if (root / name).is_file()), None)
        if path is None:
            return None
    elif isinstance(names, (str, Path)):
        path = root / names
    else:
        return _checked_names(names, "names")
    if path.suffix.lower() != ".json":
        return _checked_names(read_lines(path), str(path))
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as JSON ({error}): give a list of names") from error
    return _checked_names(content if isinstance(content, list) else [], str(path))


def _checked_names(names: Iterable[object], where: str) -> tuple[str, ...]:
    found = tuple(str(name) for name in names)
    if not found or len(set(found)) < len(found) or _VOID in found:
        raise ConfigError(f"{where} gives the classes {listed(found)}: at least one, each once, and none called void")
    return found


def _holds(root: Path, folder: str) -> bool:
    """Whether a folder is in the root, or in one of the folders of splits."""
    if (root / folder).is_dir():
        return True
    return root.is_dir() and any((inner / folder).is_dir() for inner in root.iterdir() if inner.is_dir())


def _find(root: Path, parts: Sequence[Part], split: str, files: str | Path | None) -> tuple[Found, frozenset[str]]:
    """The files of a split, and the names of all that lie beside them."""
    divided = any((folder / split).is_dir() for folder in (root, root / parts[0].folders[0]))
    listing = root / files if files is not None else root / f"{split}.txt"
    if files is None and (divided or not listing.is_file()):
        found = find_parts(root, parts, split, _EXPECTED)
        return found, frozenset(found.names)
    found = find_parts(root, parts, WHOLE, _EXPECTED)
    places = {name: place for place, name in enumerate(found.names)}
    names = [
        line[: -len(suffix)] if (suffix := Path(line).suffix).lower() in PICTURES else line
        for line in read_lines(listing)
    ]
    if absent := [name for name in names if name not in places]:
        raise InputError(f"{listing} lists {listed(absent)}, but {root} has no such photograph: correct the list")
    if not names:
        raise InputError(f"{listing} is empty: list the photographs of the split in it, one on each line")
    chosen = {role: tuple(paths[places[name]] for name in names) for role, paths in found.paths.items()}
    return Found(tuple(names), chosen), frozenset(places)


def _find_masks(
    root: Path, images: str, masks: str, found: Found, known: frozenset[str]
) -> tuple[tuple[tuple[Path, ...], ...], bool]:
    """The masks of each photograph, and whether they are one picture each rather than a folder."""
    first = found.paths["image"][0].with_suffix("").relative_to(root).as_posix()
    before = first[: -len(found.names[0]) - 1]  # images, images/train or train/images
    inside = masks + before[len(images) :] if before.startswith(images) else before[: -len(images)] + masks
    of: dict[str, list[Path]] = {name: [] for name in known}
    alone: list[str] = []
    whole = False
    for key, path in list_files(root / inside).items():
        whole = whole or key in known
        owner = key if key in known else key.rpartition("/")[0]
        if owner in known:
            of[owner].append(path)
        else:
            alone.append(str(path))
    if alone:
        raise InputError(
            f"{len(alone)} masks belong to no photograph: {listed(alone)}; call their folder as the photograph, or "
            "take them out"
        )
    if not any(of.values()):
        raise InputError(f"{root / inside} holds no masks: expected is {_EXPECTED}")
    return tuple(tuple(of[name]) for name in found.names), whole


def _read_mask(path: Path) -> npt.NDArray[np.bool_]:
    """(h, w) bool: what is not 0 where the values are 0 and 1, else what is brighter than half."""
    values = _stored_values(path, colours=False)
    highest = int(values.max())
    if values.dtype == np.bool_ or highest <= 1:
        return np.asarray(values > 0)
    full = 255 if highest <= 255 else 65535
    if highest <= full // 2:
        raise InputError(f"{path} is a mask whose highest value is {highest}: use 0 and 255, or 0 and 1")
    return np.asarray(values > full // 2)
