"""A file gets its name only once it gave the model's numbers. Recording and writing stand in test_formats.py."""

import pytest

from export.test_runtime import opened
from export.zoo import tiny
from perpixel.errors import ConfigError, OutputError
from perpixel.export import write as module
from perpixel.export.about import Sizes
from perpixel.export.write import write_model
from perpixel.tasks.export import describe, export


@pytest.fixture
def model(monkeypatch):
    """A model whose export writes a text instead of a program."""
    model = tiny("dpt")
    monkeypatch.setattr(module, "record", lambda wrapper, sizes: "program")
    monkeypatch.setattr(module, "write_torch_export", lambda program, path, about: [path.write_text(program), about][1])
    return model


def test_the_file_and_what_was_found(model, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "open_exported", lambda path: opened(model))
    done = write_model(model, tmp_path / "dpt.pt2", describe(model)[1], "torch-export")
    assert done.path.read_text() == "program"
    assert [path.name for path in tmp_path.iterdir()] == ["dpt.pt2"] == [path.name for path in done.files]
    assert done.bytes == len("program")
    assert len(done.differences) == 3 and done.largest_difference <= 1e-3


def test_other_numbers_leave_nothing_new(model, tmp_path, monkeypatch):
    wrong = tiny("dpt")
    wrong.head.head[4].bias.data += 0.05
    monkeypatch.setattr(module, "open_exported", lambda path: opened(wrong))
    (tmp_path / "dpt.pt2").write_text("of before")
    with pytest.raises(OutputError, match=r"the exported DPTForDepthEstimation differs .* the file is not kept"):
        write_model(model, tmp_path / "dpt.pt2", describe(model)[1], "torch-export")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("dpt.pt2", "of before")]
    write_model(model, tmp_path / "dpt.pt2", describe(model)[1], "torch-export", tolerance=100.0)
    assert (tmp_path / "dpt.pt2").read_text() == "program"


def test_a_writer_that_fails_leaves_nothing(model, tmp_path, monkeypatch):
    def fail(program, path, about):
        path.write_text("half of it")
        raise OSError("no space left")

    monkeypatch.setattr(module, "write_torch_export", fail)
    with pytest.raises(OSError, match="no space left"):
        write_model(model, tmp_path / "dpt.pt2", describe(model)[1], "torch-export")
    assert not list(tmp_path.iterdir())


def test_paths_that_cannot_be(model, tmp_path):
    about = describe(model)[1]
    with pytest.raises(ConfigError, match=r"let its name end in \.onnx"):
        write_model(model, tmp_path / "dpt.pt2", about, "onnx")
    with pytest.raises(OutputError, match="there is no folder"):
        write_model(model, tmp_path / "lost" / "dpt.pt2", about, "torch-export")


def test_what_the_caller_asks_is_checked_before_the_work(tmp_path):
    model = tiny("dpt")
    for options, message in (
        ({"path": tmp_path / "dpt.bin"}, "the format of .* does not follow from its name"),
        ({"path": tmp_path / "dpt.onnx", "format": "tflite"}, "format='tflite' is not known"),
        ({"path": tmp_path / "dpt.onnx", "size": (64, 64), "dynamic": True}, "exclude each other"),
    ):
        with pytest.raises(ConfigError, match=message):
            export(model, **options)
    with pytest.raises(ConfigError, match="a DPTModel cannot be exported"):
        export(model.dpt, tmp_path / "dpt.onnx")
    with pytest.raises(ConfigError, match="is an exported model already"):
        export("nano.onnx", tmp_path / "again.onnx")


def test_what_a_file_says_of_a_known_model():
    network, about = describe("vitmatte-nano")
    assert type(network).__name__ == about.architecture == "VitMatteForImageMatting"
    assert about.source == "vitmatte-nano" and about.licence == "Apache-2.0"
    assert about.sizes == Sizes(32)
    assert about.processor["image_processor_type"] == "VitMatteImageProcessor"
    assert about.config["model_type"] == "vitmatte"
