import json

import pytest

from perpixel.cli import main
from perpixel.hub import catalog


@pytest.fixture
def cache(monkeypatch, tmp_path):
    models = [
        catalog.CachedModel("hustvl/vitmatte-small-composition-1k", 103_000_000, tmp_path, "vitmatte", "Apache-2.0"),
        catalog.CachedModel("someone/else", 5_000_000, tmp_path),
    ]
    monkeypatch.setattr(catalog, "cached_models", lambda: models)


def test_the_table_tells_what_is_here_and_its_licence(cache, capsys):
    assert main(["models"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line}
    assert "Apache-2.0" in lines["vitmatte-nano"]
    assert "cached" in lines["hustvl/vitmatte-small-composition-1k"]
    assert "103 MB" in lines["hustvl/vitmatte-small-composition-1k"]
    assert "on the Hub" in lines["hustvl/vitmatte-base-composition-1k"]
    assert "see its page" in lines["someone/else"]
    segmenter = lines["facebook/mask2former-swin-tiny-coco-panoptic"]
    assert "CC-BY-NC-4.0" in segmenter
    assert "its authors' PQ 53.2" in segmenter
    assert "not for commercial use" in lines["CC-BY-NC-4.0:"]


def test_families_stand_together_under_their_titles(cache, capsys):
    assert main(["models"]) == 0
    blocks = capsys.readouterr().out.split("\n\n")
    titles = [block.split()[0] for block in blocks]
    assert titles == ["vitmatte:", "mask2former:", "depth_anything:", "dpt:", "unknown", "CC-BY-NC-4.0:"]
    for block in blocks[:2]:
        title, *rows = block.splitlines()
        assert not title.startswith(" ")
        assert all(row.startswith("  ") for row in rows)
        assert all(title.split(":")[0] in row for row in rows)


def test_another_cached_model_joins_its_family(monkeypatch, capsys, tmp_path):
    mine = catalog.CachedModel("me/my-matting", 5_000_000, tmp_path, "vitmatte")
    monkeypatch.setattr(catalog, "cached_models", lambda: [mine])
    assert main(["models"]) == 0
    blocks = capsys.readouterr().out.split("\n\n")
    assert "me/my-matting" in blocks[0]
    assert len(blocks) == 5


def test_json_has_the_same_rows(cache, capsys):
    assert main(["models", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert rows[0]["model"] == "vitmatte-nano"
    assert rows[-1] == {
        "model": "someone/else",
        "family": None,
        "licence": None,
        "where": "cached",
        "bytes": 5_000_000,
        "summary": None,
        "published": {},
    }
    panoptic = next(row for row in rows if row["model"] == "facebook/mask2former-swin-large-coco-panoptic")
    assert panoptic["published"] == {"PQ": 57.8, "AP": 48.6, "mIoU": 67.4}
