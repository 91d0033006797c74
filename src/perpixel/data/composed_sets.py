"""Composition-1k and Distinctions-646: foregrounds with alphas, composed onto listed backgrounds.

Both data sets come as foregrounds and lists of names, to be composed onto COCO (training) and PASCAL VOC (testing)
by code that comes with them. Here a composite is made when it is read, to the same pixels. Folders that were composed
before are read too.

Ning Xu, Brian Price, Scott Cohen, Thomas Huang, "Deep Image Matting", 2017 (arXiv 1703.03872), section 3;
Yu Qiao et al., "Attention-Guided Hierarchical Structure Aggregation for Image Matting", 2020.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from perpixel.data.folders import Part, Reader, find_parts, list_files, one_kind, read_lines, read_pixels, same_size
from perpixel.data.matting_sets import COPY, composite, cover, fitting_trimap, read_matting
from perpixel.data.samples import LabelKind, MattingSample
from perpixel.errors import ConfigError, InputError
from perpixel.images.read import read_mask

__all__ = ["Composition1k", "Distinctions646"]


@dataclass(frozen=True)
class _Composite:
    """The files of one sample; without a background the image is composed already."""

    image: Path
    alpha: Path
    background: Path | None
    trimap: Path | None = None


class _Composed(Reader[MattingSample]):
    """Samples that are composed when they are read."""

    def __init__(self, samples: Mapping[str, _Composite]) -> None:
        super().__init__("matting", samples)
        self._samples = tuple(samples.values())

    def read(self, place: int) -> MattingSample:
        """Read the files of a sample and compose them."""
        files, name = self._samples[place], self.names[place]
        if files.background is None:
            paths = {"image": files.image, "alpha": files.alpha}
            return read_matting(name, paths | ({"trimap": files.trimap} if files.trimap else {}))
        foreground = read_pixels(files.image)
        alpha = read_mask(files.alpha)
        same_size(foreground, alpha.shape, files.image, "alpha", files.alpha)
        background = cover(read_pixels(files.background), (alpha.shape[0], alpha.shape[1]))
        trimap = None
        if files.trimap is not None:
            trimap = fitting_trimap(files.trimap, foreground, files.image)
        return MattingSample(
            name=name,
            image=composite(foreground, background, alpha),
            alpha=alpha,
            trimap=trimap,
            foreground=foreground,
        )


class Composition1k(_Composed):
    """Adobe's Deep Image Matting data set: 431 foregrounds for training, and the test set Composition-1k.

    Read are, below `root` (the folder Combined_Dataset or the one around it):

    - "train": `Training_set/Adobe-licensed images/fg|alpha/NAME` and `Training_set/Other/fg|alpha/NAME`, in the
      order of `training_fg_names.txt`, each over 100 backgrounds of COCO train2014 as `training_bg_names.txt` lists
      them: 43,100 samples, called NAME@0 to NAME@99.
    - "test": `Test_set/Adobe-licensed images/fg|alpha/NAME` in the order of `test_fg_names.txt`, each over 20
      backgrounds of PASCAL VOC as `test_bg_names.txt` lists them, and `trimaps/NAME_K.png` beside: 1,000 samples,
      called NAME_0 to NAME_19 like the official files.
    - "test" of the composed set on which ViTMatte's authors evaluate: `merged/NAME_K.png`, `alpha_copy/NAME_K.png`
      and `trimaps/NAME_K.png`, in `root` or in `Test_set`.

    The data are to be asked for from the paper's authors (https://sites.google.com/view/deepimagematting), for
    research only; the test set must not be trained on.

    Args:
        root: the folder.
        split: "train" or "test".
        kind: "matting" or None.
        backgrounds: the folder of COCO's train2014 (or train2017) or of PASCAL VOC's JPEGImages; `bg` in the split's
            folder, or `train2014` or `VOCdevkit/VOC2012/JPEGImages` in `root`, by default.

    Raises:
        InputError: files or lists are missing, or, when it is read, an unreadable file.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        split: str = "train",
        kind: LabelKind | None = None,
        backgrounds: str | Path | None = None,
    ) -> None:
        one_kind(kind, "matting", "composition-1k")
        training = _is_training(split)
        top = _inside(Path(root), ("Combined_Dataset", "Adobe_Deep_Matting_Dataset/Combined_Dataset"))
        base = top / ("Training_set" if training else "Test_set")
        composed = None if training else _already_composed([base, top], "merged", ("alpha_copy", "alpha"))
        if composed is not None:
            super().__init__(composed)
            return
        if not base.is_dir():
            raise InputError(f"{top} has no folder {base.name}: give the folder Combined_Dataset, or merged/ composed")
        sources = [base / "Adobe-licensed images", base / "Other", base]
        files = _foregrounds([folder for folder in sources if (folder / "fg").is_dir()], "fg", "alpha", base)
        prefix = "training" if training else "test"
        order = read_lines(_list_file(base, f"{prefix}_fg_names.txt"))
        names = read_lines(_list_file(base, f"{prefix}_bg_names.txt"))
        usual = ["train2014", "train2017"] if training else ["VOCdevkit/VOC2012/JPEGImages"]
        folder = _background_folder(backgrounds, [base / "bg", *(top / name for name in usual)], usual[0])
        pairs = _pairs(files, order, names, _Backgrounds(folder), 100 if training else 20, base)
        trimaps = {} if training else _listed_trimaps(sources)
        samples = {}
        for image, alpha, background, number, _ in pairs:
            name = image.stem + (COPY if training else "_") + str(number)
            samples[name] = _Composite(image, alpha, background, trimaps.get(name))
        if trimaps and (lacking := [name for name in samples if name not in trimaps]):
            raise InputError(f"{len(lacking)} of {len(samples)} trimaps are missing, such as {lacking[0]}.png")
        super().__init__(samples)


class Distinctions646(_Composed):
    """Distinctions-646: 596 foregrounds for training and 50 for testing.

    Read are, below `root`:

    - "train": `Train/FG/NAME` and `Train/GT/NAME` in the order of `Train/fg_train.txt`, each over 100 backgrounds
      of COCO train2014 as `Train/bg_train.txt` lists them: 59,600 samples, called NAME@0 to NAME@99.
    - "test": `Test/FG/NAME` and `Test/GT/NAME` in the order of `Test/fg_test.txt`, each over 20 backgrounds of
      PASCAL VOC as `Test/bg_test.txt` lists them: 1,000 samples, called as its own code does: test_0 to test_999.
      Without a list of foregrounds they are taken by the numbers in their names.
    - "test" as composed by that code: `Test/Image/NAME` and `Test/GT/NAME`, with `Test/Trimap/NAME` if there are
      any, or `merged/`, `alpha_copy/` and `trimaps/`.

    No trimaps come with it. The data are to be asked for at https://github.com/yuhaoliu7456/CVPR2020-HAttMatting,
    for research only.

    Args:
        root: the folder.
        split: "train" or "test".
        kind: "matting" or None.
        backgrounds: the folder of COCO's train2014 (or train2017) or of PASCAL VOC's JPEGImages; `bg` in the split's
            folder, or `train2014` or `VOCdevkit/VOC2012/JPEGImages` in `root`, by default.

    Raises:
        InputError: files or lists are missing, or, when it is read, an unreadable file.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        split: str = "train",
        kind: LabelKind | None = None,
        backgrounds: str | Path | None = None,
    ) -> None:
        one_kind(kind, "matting", "distinctions-646")
        training = _is_training(split)
        top = _inside(Path(root), ("Distinctions-646",))
        base = top / ("Train" if training else "Test")
        if not training:
            composed = _already_composed([base], "Image", ("GT",))
            composed = composed or _already_composed([base, top], "merged", ("alpha_copy", "alpha"))
            if composed is not None:
                super().__init__(composed)
                return
        if not base.is_dir():
            raise InputError(f"{top} has no folder {base.name}: give the folder with Train and Test")
        files = _foregrounds([base], "FG", "GT", base)
        word = "train" if training else "test"
        listed = base / f"fg_{word}.txt"
        order = (
            read_lines(listed) if listed.is_file() else sorted((image.name for image, _ in files.values()), key=_number)
        )
        names = read_lines(_list_file(base, f"bg_{word}.txt"))
        usual = ["train2014", "train2017"] if training else ["VOCdevkit/VOC2012/JPEGImages"]
        folder = _background_folder(backgrounds, [base / "bg", *(top / name for name in usual)], usual[0])
        pairs = _pairs(files, order, names, _Backgrounds(folder), 100 if training else 20, base)
        samples = {}
        for image, alpha, background, number, index in pairs:
            name = f"{image.stem}{COPY}{number}" if training else f"{image.stem.split('_')[0]}_{index}"
            samples[name] = _Composite(image, alpha, background)
        super().__init__(samples)


class _Backgrounds:
    """A folder of backgrounds that finds COCO's pictures under the names of either year."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._there = {path.name for path in folder.iterdir()}

    def __contains__(self, name: str) -> bool:
        return self._name(name) in self._there

    def path(self, name: str) -> Path:
        return self.folder / self._name(name)

    def _name(self, name: str) -> str:
        return name if name in self._there else name.removeprefix("COCO_train2014_")


def _pairs(
    files: Mapping[str, tuple[Path, Path]],
    order: Sequence[str],
    names: Sequence[str],
    backgrounds: _Backgrounds,
    each: int,
    base: Path,
) -> list[tuple[Path, Path, Path, int, int]]:
    """Foreground, alpha, background, the background's number among the foreground's, and the sample's number."""
    absent = [name for name in order if Path(name).stem not in files]
    if absent:
        raise InputError(f"{len(absent)} of {len(order)} listed foregrounds are missing in {base}, such as {absent[0]}")
    if len(names) < each * len(order):
        raise InputError(f"{base} lists {len(names)} backgrounds: {len(order)} foregrounds need {each} each")
    absent = [name for name in names[: each * len(order)] if name not in backgrounds]
    if absent:
        raise InputError(
            f"{len(absent)} of {len(names)} listed backgrounds are missing in {backgrounds.folder}, such as {absent[0]}"
        )
    return [
        (*files[Path(name).stem], backgrounds.path(names[index]), index % each, index)
        for place, name in enumerate(order)
        for index in range(each * place, each * (place + 1))
    ]


def _foregrounds(folders: Sequence[Path], fg: str, alpha: str, base: Path) -> dict[str, tuple[Path, Path]]:
    """The foreground and the alpha for each name."""
    files: dict[str, tuple[Path, Path]] = {}
    for folder in folders:
        if not (folder / alpha).is_dir():
            raise InputError(f"{folder} has no folder {alpha}: alphas are needed beside {fg}")
        images, alphas = list_files(folder / fg), list_files(folder / alpha)
        if lacking := sorted(images.keys() ^ alphas.keys()):
            raise InputError(f"{len(lacking)} foregrounds or alphas in {folder} have no partner, such as {lacking[0]}")
        files |= {name: (path, alphas[name]) for name, path in images.items()}
    if not files:
        raise InputError(f"{base} holds no foregrounds: expected are {fg}/NAME and {alpha}/NAME, perhaps in subfolders")
    return files


def _already_composed(bases: Sequence[Path], images: str, alphas: tuple[str, ...]) -> dict[str, _Composite] | None:
    """The samples of a composed folder in one of the bases; None if none has one."""
    for base in bases:
        if (base / images).is_dir():
            parts = (
                Part("image", (images,)),
                Part("alpha", alphas),
                Part("trimap", ("trimaps", "Trimap"), needed=False),
            )
            found = find_parts(base, parts, "all", f"{images}/NAME.png and {alphas[0]}/NAME.png")
            trimaps = found.paths.get("trimap", (None,) * len(found.names))
            rows = zip(found.names, found.paths["image"], found.paths["alpha"], trimaps, strict=True)
            return {name: _Composite(image, alpha, None, trimap) for name, image, alpha, trimap in rows}
    return None


def _listed_trimaps(sources: Sequence[Path]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for folder in sources:
        if (folder / "trimaps").is_dir():
            found |= list_files(folder / "trimaps")
    return found


def _is_training(split: str) -> bool:
    if split not in ("train", "test"):
        raise ConfigError(f"split is {split!r}: this data set has 'train' and 'test'")
    return split == "train"


def _inside(root: Path, folders: Sequence[str]) -> Path:
    return next((root / name for name in folders if (root / name).is_dir()), root)


def _list_file(base: Path, name: str) -> Path:
    for folder in (base, base.parent):
        if (folder / name).is_file():
            return folder / name
    raise InputError(f"{base} has no {name}: the list comes with the data set, copy it there")


def _background_folder(given: str | Path | None, usual: Sequence[Path], example: str) -> Path:
    if given is not None:
        folder = Path(given)
        if not folder.is_dir():
            raise InputError(f"backgrounds={str(given)!r} is no folder: give that of the listed pictures ({example})")
        return folder
    for folder in usual:
        if folder.is_dir():
            return folder
    raise InputError(f"there is no {usual[0]}: give the folder of {example} as the option backgrounds")


def _number(name: str) -> tuple[int, str]:
    digits = "".join(character for character in Path(name).stem if character.isdigit())
    return (int(digits) if digits else 0, name)
