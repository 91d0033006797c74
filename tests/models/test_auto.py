"""The processor that a checkpoint names."""

import json

import pytest

from perpixel.errors import CheckpointError, ConfigError
from perpixel.models import auto
from perpixel.models.auto import AutoImageProcessor
from perpixel.models.vitmatte.processor import VitMatteImageProcessor


def write(folder, **values):
    (folder / "preprocessor_config.json").write_text(json.dumps(values))
    return folder


@pytest.mark.parametrize("key", ["image_processor_type", "feature_extractor_type"])
@pytest.mark.parametrize("suffix", ["ImageProcessor", "ImageProcessorFast", "ImageProcessorPil", "FeatureExtractor"])
def test_every_name_of_the_processor_gives_ours(tmp_path, key, suffix):
    processor = AutoImageProcessor.from_pretrained(
        write(tmp_path, **{key: "VitMatte" + suffix}, size_divisibility=16), do_pad=False
    )
    assert processor == VitMatteImageProcessor(size_divisibility=16, do_pad=False)


@pytest.mark.parametrize("name", list(auto.IMAGE_PROCESSORS))
def test_every_row_of_the_table_saves_and_loads(tmp_path, name):
    module, attribute = auto.IMAGE_PROCESSORS[name]
    processor = getattr(__import__(module, fromlist=[attribute]), attribute)()
    processor.save_pretrained(tmp_path)
    assert AutoImageProcessor.from_pretrained(tmp_path) == processor
    assert type(processor).__name__ == name


def test_a_file_that_names_no_processor_or_another(tmp_path):
    with pytest.raises(ConfigError, match="no image_processor_type: use the class itself"):
        AutoImageProcessor.from_pretrained(write(tmp_path, do_pad=True))
    with pytest.raises(ConfigError, match="CLIPImageProcessor, which perpixel does not have: it has VitMatte"):
        AutoImageProcessor.from_pretrained(write(tmp_path, image_processor_type="CLIPImageProcessor"))
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(CheckpointError, match=r"preprocessor_config\.json"):
        AutoImageProcessor.from_pretrained(tmp_path)


def test_access_arguments_reach_the_hub(monkeypatch):
    seen = {}

    def load_json(source, filename, **access):
        seen.update(access, source=source, filename=filename)
        return {"image_processor_type": "VitMatteImageProcessor"}

    monkeypatch.setattr("perpixel.models.processing.load_json", load_json)
    AutoImageProcessor.from_pretrained("me/mine", revision="r", token="t", cache_dir="c", local_files_only=True)
    assert seen == {
        "source": "me/mine",
        "filename": "preprocessor_config.json",
        "revision": "r",
        "token": "t",
        "cache_dir": "c",
        "local_files_only": True,
    }


def test_it_is_not_made_directly():
    with pytest.raises(ConfigError, match=r"use AutoImageProcessor.from_pretrained"):
        AutoImageProcessor()
