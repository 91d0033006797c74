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
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "Apache-2.0" in lines["vitmatte-nano"]
    assert "cached" in lines["hustvl/vitmatte-small-composition-1k"]
    assert "103 MB" in lines["hustvl/vitmatte-small-composition-1k"]
    assert "on the Hub" in lines["hustvl/vitmatte-base-composition-1k"]
    assert "see its page" in lines["someone/else"]


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
    }
