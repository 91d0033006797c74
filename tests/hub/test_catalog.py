"""The models that are known by name, and those in the cache."""

import json

import pytest
from safetensors.torch import save_file
from torch import ones

from perpixel.errors import CheckpointError
from perpixel.hub import catalog
from perpixel.hub.catalog import (
    CATALOG,
    LICENCE_NOTES,
    Entry,
    cached_models,
    embedded_folder,
    find_entry,
    preset,
)
from perpixel.hub.load import find_file


@pytest.mark.parametrize("entry", CATALOG, ids=lambda entry: entry.name)
def test_every_row_is_complete(entry):
    assert entry.summary
    assert entry.source
    assert (
        entry.licence
        in {
            "vitmatte": ["Apache-2.0"],
            "mask2former": ["CC-BY-NC-4.0"],
            "dpt": ["Apache-2.0", "MIT"],
            "depth_anything": ["Apache-2.0", "CC-BY-NC-4.0"],
        }[entry.family]
    )
    assert find_entry(entry.name) is entry
    assert (entry.folder is None) == ("/" in entry.name)  # either embedded or on the Hub


def test_names_are_unique():
    assert len({entry.name for entry in CATALOG}) == len(CATALOG)
    assert find_entry("nobody/nothing") is None
    assert embedded_folder("nobody/nothing") is None


SEGMENTERS = [entry for entry in CATALOG if entry.family == "mask2former"]


def test_the_mask2former_zoo():
    """Figures and sizes as the authors give them, a few of each data set."""
    assert len(SEGMENTERS) == 28
    assert LICENCE_NOTES.keys() == {"CC-BY-NC-4.0"}
    for entry in SEGMENTERS:
        kind = entry.name.rsplit("-", 1)[1]
        assert {"panoptic": "PQ", "instance": "AP", "semantic": "mIoU"}[kind] == next(iter(entry.published))
        assert all(30 < value < 90 for value in entry.published.values())
        assert "its authors'" in entry.summary
    best = find_entry("facebook/mask2former-swin-large-coco-panoptic")
    assert best.published == {"PQ": 57.8, "AP": 48.6, "mIoU": 67.4}  # the paper's headline
    assert find_entry("facebook/mask2former-swin-large-coco-instance").published == {"AP": 50.1}
    assert find_entry("facebook/mask2former-swin-tiny-cityscapes-semantic").published == {"mIoU": 82.1}
    assert find_entry("facebook/mask2former-swin-large-mapillary-vistas-panoptic").published == {
        "PQ": 45.5,
        "mIoU": 60.8,
    }


def test_the_depth_models():
    """Ids and licences as the Hub has them, one by one where they differ; figures of the authors' tables."""
    names = {entry.name for entry in CATALOG if entry.family in ("dpt", "depth_anything")}
    assert len(names) == 9 + 3 + 8 + 8 + 1
    licences = {entry.name.split("/")[1]: entry.licence for entry in CATALOG if entry.name in names}
    assert [licences[f"Depth-Anything-V2-{size}-hf"] for size in ("Small", "Base", "Large")] == [
        "Apache-2.0",
        "CC-BY-NC-4.0",
        "CC-BY-NC-4.0",
    ]
    for place in ("Indoor", "Outdoor"):
        for size in ("Small", "Base", "Large"):
            entry = find_entry(f"depth-anything/Depth-Anything-V2-Metric-{place}-{size}-hf")
            assert entry.licence == "Apache-2.0"
            assert ("CC-BY-NC-4.0" in entry.summary) == (size != "Small")  # what it was made from
            assert f"{20 if place == 'Indoor' else 80} m" in entry.summary
    assert {licence for name, licence in licences.items() if "beit" in name or "swinv2" in name} == {"MIT"}
    assert licences["dpt-large"] == licences["dpt-hybrid-midas"] == licences["dpt-dinov2-giant-kitti"] == "Apache-2.0"
    best = find_entry("Intel/dpt-beit-large-512")
    assert best.published == {"ETH3D AbsRel": 0.0659, "Sintel AbsRel": 0.2366, "TUM bad": 6.13}
    assert "its authors' ETH3D AbsRel 0.0659" in best.summary
    assert find_entry("LiheYoung/depth-anything-small-hf").published["KITTI δ1"] == 93.6
    assert "authors" not in find_entry("facebook/dpt-dinov2-base-nyu").summary  # they gave none
    assert "segmentation" in find_entry("Intel/dpt-large-ade").summary


def test_the_default_of_depth_is_known_and_free():
    from perpixel.tasks.depth import DEFAULT_MODEL

    assert find_entry(DEFAULT_MODEL).licence == "Apache-2.0"


@pytest.mark.parametrize("kind", ["panoptic", "instance", "semantic"])
def test_a_larger_backbone_has_the_better_figure(kind):
    sizes = ["tiny", "small", "base", "base-IN21k", "large"]
    for data in ("coco", "ade", "cityscapes"):
        entries = [find_entry(f"facebook/mask2former-swin-{size}-{data}-{kind}") for size in sizes]
        figures = [next(iter(entry.published.values())) for entry in entries if entry]
        assert figures == sorted(figures)


@pytest.mark.parametrize(
    ("data", "sides"),
    [
        ("tiny-coco-panoptic", (800, 1333)),
        ("large-coco-instance", (800, 1333)),
        ("tiny-ade-semantic", (512, 2048)),
        ("small-ade-semantic", (512, 2048)),
        ("base-ade-semantic", (640, 2560)),
        ("large-ade-panoptic", (640, 2560)),
        ("small-cityscapes-instance", (1024, 2048)),
        ("large-mapillary-vistas-semantic", (2048, 2048)),
    ],
)
def test_presets(data, sides):
    found = preset(f"facebook/mask2former-swin-{data}")
    assert found["size"] == dict(zip(("shortest_edge", "longest_edge"), sides, strict=True))
    assert (found["size_divisor"], found["pad_divisor"], found["resample"]) == (0, 32, 2)
    found["size"]["shortest_edge"] = 1  # the caller's own
    assert preset(f"facebook/mask2former-swin-{data}")["size"]["shortest_edge"] == sides[0]


def test_a_preset_is_what_the_processor_takes():
    from PIL import Image

    from perpixel.models.mask2former.processor import Mask2FormerImageProcessor

    processor = Mask2FormerImageProcessor(**preset("facebook/mask2former-swin-tiny-coco-panoptic"))
    inputs = processor(Image.new("RGB", (1000, 100)), return_tensors="np")
    # The long side is held to 1333, the short one follows: 133; both filled up to multiples of 32.
    assert inputs.pixel_values.shape == (1, 3, 160, 1344)
    assert inputs.pixel_mask.sum() == 133 * 1333
    for entry in SEGMENTERS:
        Mask2FormerImageProcessor(**preset(entry.name))


def test_no_preset_where_nothing_is_known():
    assert preset("nobody/nothing") is None
    assert preset("vitmatte-nano") is None


@pytest.fixture
def package(tmp_path, monkeypatch):
    monkeypatch.setattr(catalog.resources, "files", lambda name: tmp_path)
    return tmp_path / "weights" / "vitmatte_nano"


def test_an_installation_without_the_weights_says_so(package):
    entry = find_entry("vitmatte-nano")
    assert (entry.embedded, entry.path, entry.measured) == (False, None, {})
    with pytest.raises(CheckpointError, match="lacks the weights of 'vitmatte-nano'"):
        find_file("vitmatte-nano", "config.json")


def test_an_embedded_model_is_found_by_its_name(package):
    package.mkdir(parents=True)
    (package / "config.json").write_text("{}")
    assert not find_entry("vitmatte-nano").embedded  # no weights yet
    save_file({"a": ones(1)}, package / "model.safetensors")
    (package / "metrics.json").write_text('{"sad": 1.5}')
    entry = find_entry("vitmatte-nano")
    assert entry.embedded
    assert entry.measured == {"sad": 1.5}
    assert find_file("vitmatte-nano", "config.json") == package / "config.json"
    (package / "metrics.json").write_text("{")
    assert entry.measured == {}


def test_a_folder_of_the_same_name_comes_first(package, tmp_path, monkeypatch):
    (tmp_path / "vitmatte-nano").mkdir()
    (tmp_path / "vitmatte-nano" / "config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    assert find_file("vitmatte-nano", "config.json").resolve() == tmp_path / "vitmatte-nano" / "config.json"


def test_entries_are_values():
    assert Entry("a", "b", "c", "d", "e") == Entry("a", "b", "c", "d", "e")


def test_the_cache(tmp_path):
    assert cached_models(tmp_path / "none") == []
    for name, config in (("who--b", {"model_type": "dpt"}), ("hustvl--vitmatte-small-composition-1k", {})):
        folder = tmp_path / f"models--{name}"
        snapshot = folder / "snapshots" / ("0" * 40)
        snapshot.mkdir(parents=True)
        (folder / "refs").mkdir()
        (folder / "refs" / "main").write_text("0" * 40)
        blob = folder / "blobs" / "abc"
        blob.parent.mkdir()
        blob.write_text(json.dumps(config))
        (snapshot / "config.json").symlink_to(blob)
    (tmp_path / "datasets--who--data" / "snapshots").mkdir(parents=True)
    known, other = cached_models(tmp_path)
    assert known.name == "hustvl/vitmatte-small-composition-1k"
    assert (known.family, known.licence) == ("vitmatte", "Apache-2.0")
    assert (other.name, other.family, other.licence) == ("who/b", "dpt", None)
    assert other.size == len(json.dumps({"model_type": "dpt"}))
    assert other.revisions == ("0" * 40,)
