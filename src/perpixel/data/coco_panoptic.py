"""COCO's panoptic format: a PNG of segment numbers for each photograph, and a JSON file that tells their classes."""

from __future__ import annotations

from pathlib import Path

from perpixel.data.coco_files import PanopticIndex, sample_names
from perpixel.data.folders import Reader
from perpixel.data.samples import Categories, LabelKind, SegmentationSample
from perpixel.data.segmentation import (
    SegmentationKind,
    as_instance,
    as_semantic,
    choose_kind,
    official_split,
    panoptic_sample,
    read_ids,
    things_of,
)
from perpixel.errors import ConfigError, InputError

__all__ = ["CocoPanoptic", "PanopticReader"]


class PanopticReader(Reader[SegmentationSample]):
    """Samples from a COCO panoptic file; what data sets in this format share.

    Args:
        index: the file.
        images: the photograph of each annotation.
        pictures: the folder of the PNGs.
        kind: "panoptic", or what is made from it: "semantic", "instance".
        names: one for each annotation.
    """

    def __init__(
        self,
        index: PanopticIndex,
        images: list[Path],
        pictures: Path,
        kind: SegmentationKind,
        names: tuple[str, ...],
    ) -> None:
        if not names:
            raise InputError(f"{index.path} has no annotation: fill it")
        super().__init__(kind, names, things_of(index.categories) if kind == "instance" else index.categories)
        self._index, self._images, self._pictures = index, images, pictures

    @property
    def image_ids(self) -> tuple[int | str, ...]:
        """The JSON's id of each sample."""
        return tuple(image.identifier for image in self._index.images)

    def read(self, place: int) -> SegmentationSample:
        """Read the sample at a place from 0."""
        picture = self._pictures / self._index.pictures[place]
        segments = self._index.segments(place)
        sample = panoptic_sample(self.names[place], self._images[place], read_ids(picture), segments, picture)
        return of_kind(sample, self.kind, self._index.categories)


def of_kind(sample: SegmentationSample, kind: LabelKind, categories: Categories) -> SegmentationSample:
    """Make a panoptic sample one of another kind."""
    if kind == "semantic":
        return as_semantic(sample)
    return as_instance(sample, categories) if kind == "instance" else sample


class CocoPanoptic(PanopticReader):
    """Segments for every pixel, in COCO's panoptic format: COCO itself, or any data set exported that way.

    Read are `annotations/panoptic_{split}2017.json`, the PNGs in `panoptic_{split}2017/` (also below `annotations/`)
    and the photographs in `{split}2017/`, or what `annotations`, `segments` and `images` name. A photograph has the
    suffix that the JSON's list of images gives it.

    COCO 2017 (cocodataset.org; "Panoptic Segmentation", Kirillov et al., 2019, arXiv 1801.00868): annotations under
    CC BY 4.0, the photographs under Flickr's terms of use.

    Args:
        root: the data set's folder.
        split: "train" or "val"; with `annotations` it only fills `{split}` in the three paths.
        kind: "panoptic"; "semantic" for the class of each pixel; or "instance" for the things alone.
        annotations: another JSON file, from `root`.
        segments: another folder of PNGs, from `root`.
        images: another folder of photographs, from `root`.
        year: of COCO's own files.

    Attributes:
        image_ids: the JSON's id of each sample.

    Raises:
        InputError: the JSON is absent or wrong, or, when it is read, a picture is.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        split: str = "train",
        kind: LabelKind | None = None,
        annotations: str | Path | None = None,
        segments: str | Path | None = None,
        images: str | Path | None = None,
        year: int = 2017,
    ) -> None:
        chosen = choose_kind(kind, ("panoptic", "semantic", "instance"), "coco-panoptic")
        root = Path(root)
        given = [annotations is not None, segments is not None, images is not None]
        if any(given) and not all(given):
            raise ConfigError("annotations, segments and images belong together: name all three, or none")
        if annotations is None or segments is None or images is None:
            split = official_split(split, "coco-panoptic")
            annotations, images = f"annotations/panoptic_{split}{year}.json", f"{split}{year}"
            segments = f"panoptic_{split}{year}"
            # The official archive puts the folder of PNGs beside the JSON; detectron2 wants it in the root.
            if not (root / segments).is_dir() and (root / "annotations" / segments).is_dir():
                segments = f"annotations/{segments}"
        index = PanopticIndex(root / str(annotations).replace("{split}", split))
        folder = root / str(images).replace("{split}", split)
        files = [image.file_name for image in index.images]
        super().__init__(
            index,
            [folder / name for name in files],
            root / str(segments).replace("{split}", split),
            chosen,
            sample_names(files),
        )
