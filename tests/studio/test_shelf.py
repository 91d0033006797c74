"""Which models Studio offers, and how it keeps them."""

import json
import threading

import pytest

from perpixel.errors import CheckpointError, InputError
from perpixel.hub.catalog import CATALOG, CachedModel
from perpixel.studio.settings import StudioSettings
from perpixel.studio.shelf import Offer, Shelf


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """What lies in the Hub's cache, for the tests to change."""
    models = []
    monkeypatch.setattr("perpixel.studio.shelf.cached_models", lambda: models)
    return models


@pytest.fixture
def loads(monkeypatch):
    """The names that are loaded, in their order; the models are their names."""
    names = []

    def load(name, device):
        names.append(name)
        return name

    monkeypatch.setattr("perpixel.studio.shelf.load", load)
    monkeypatch.setattr("perpixel.studio.shelf._task_of_loaded", lambda model: "matting")
    return names


def cached(name, family):
    return CachedModel(name, 5_000_000, path=None, family=family)


def test_offline_offers_what_is_here_and_nano_first(cache):
    shelf = Shelf(StudioSettings(offline=True))
    assert [offer.name for offer in shelf.offers("matting")] == ["vitmatte-nano"]
    assert shelf.offers("segmentation") == shelf.offers("depth") == []
    cache += [cached("someone/vitmatte-hair", "vitmatte"), cached("someone/gpt", "gpt2")]
    assert [offer.name for offer in shelf.offers("matting")] == ["vitmatte-nano", "someone/vitmatte-hair"]


def test_online_offers_the_hubs_after_those_that_are_here(cache):
    cache.append(cached("Intel/dpt-large", "dpt"))
    shelf = Shelf(StudioSettings(offline=False))
    offers = shelf.offers("depth")
    assert (offers[0].name, offers[0].here) == ("Intel/dpt-large", True)
    assert not any(offer.here for offer in offers[1:])
    everything = {offer.name for task in ("matting", "segmentation", "depth") for offer in shelf.offers(task)}
    assert everything == {entry.name for entry in CATALOG}
    ade = next(offer for offer in shelf.offers("segmentation") if offer.name == "Intel/dpt-large-ade")
    assert "to download" in ade.title


def test_the_title_tells_size_licence_and_place(cache):
    cache.append(CachedModel("hustvl/vitmatte-small-composition-1k", 103_000_000, path=None, family="vitmatte"))
    titles = {offer.name: offer.title for offer in Shelf(StudioSettings(offline=False)).offers("matting")}
    expected = "hustvl/vitmatte-small-composition-1k · 103 MB · Apache-2.0 · on this machine"
    assert titles["hustvl/vitmatte-small-composition-1k"] == expected
    assert titles["vitmatte-nano"].startswith("vitmatte-nano · 13 MB · Apache-2.0 ·")


def test_a_model_without_a_known_licence_says_where_to_look():
    assert "see its page" in Offer("someone/model", "depth", None, 1_000_000, True).title


def test_models_that_were_asked_for_come_first(cache, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "mask2former"}))
    shelf = Shelf(StudioSettings(models=(str(folder),), offline=True))
    offers = shelf.offers("segmentation")
    assert [offer.name for offer in offers] == [str(folder)]
    assert offers[0].title.startswith("mine · ")


def test_a_model_is_loaded_once_and_the_last_few_are_kept(cache, loads):
    cache += [cached(f"a/{name}", "vitmatte") for name in "bcd"]
    shelf = Shelf(StudioSettings(offline=True, keep=2))
    for name in ("a/b", "a/b", "a/c", "a/b", "a/d", "a/b", "a/c"):
        assert shelf.load(name, "matting") == name
    assert loads == ["a/b", "a/c", "a/d", "a/c"]  # a/c went when a/d came, a/b was used in between


def test_people_who_ask_at_once_wait_for_one_loading(cache, loads):
    shelf = Shelf(StudioSettings(offline=True))
    people = [threading.Thread(target=shelf.load, args=("vitmatte-nano", "matting")) for _ in range(8)]
    for person in people:
        person.start()
    for person in people:
        person.join()
    assert loads == ["vitmatte-nano"]


@pytest.mark.parametrize("name", ["/etc", "../secret", "someone/else", "", None])
def test_a_page_for_others_names_no_folder_and_no_other_model(cache, loads, name):
    shelf = Shelf(StudioSettings(offline=False, typed_models=False))
    with pytest.raises(InputError, match="choose one"):
        shelf.load(name, "matting")
    assert loads == []


def test_offline_a_name_that_is_not_here_is_not_asked_for(cache, loads):
    shelf = Shelf(StudioSettings(offline=True, typed_models=True))
    with pytest.raises(CheckpointError, match="no network"):
        shelf.load("someone/else", "matting")
    assert loads == []


def test_a_typed_folder_is_loaded_on_a_page_of_ones_own(cache, loads, tmp_path):
    shelf = Shelf(StudioSettings(offline=True, typed_models=True))
    assert shelf.load(f" {tmp_path} ", "matting") == str(tmp_path)


def test_a_model_for_another_task_is_refused():
    with pytest.raises(InputError, match="vitmatte-nano is for matting"):
        Shelf(StudioSettings(offline=True, models=("vitmatte-nano",))).load("vitmatte-nano", "depth")


def test_the_hub_is_not_asked_where_its_setting_forbids_it(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert Shelf(StudioSettings()).offline
    assert not Shelf(StudioSettings(offline=False)).offline


def test_without_a_route_there_is_no_network(monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)

    class NoRoute:
        def __init__(self, *kind):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def connect(self, address):
            raise OSError(101, "Network is unreachable")

    monkeypatch.setattr("perpixel.studio.shelf.socket.socket", NoRoute)
    assert Shelf(StudioSettings()).offline
