"""Files that cannot be used: one clear line, an exit code, no traceback, and nothing left behind."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from perpixel.cli import main


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory):
    """A checkpoint of random weights: what is wrong here is wrong before the weights matter."""
    from perpixel import VitDetConfig, VitMatteConfig, VitMatteForImageMatting

    backbone = VitDetConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_channels=4,
        image_size=64,
        out_features=["stage1"],
    )
    config = VitMatteConfig(
        backbone_config=backbone, hidden_size=16, convstream_hidden_sizes=[4, 4, 4], fusion_hidden_sizes=[4, 4, 4, 4]
    )
    folder = tmp_path_factory.mktemp("tiny")
    VitMatteForImageMatting(config).save_pretrained(folder)
    return folder


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows, columns = np.mgrid[:48, :64]
    subject = (rows - 24) ** 2 + (columns - 32) ** 2 < 200
    photo = np.where(subject[..., None], (200, 60, 20), (20, 60, 120)).astype(np.uint8)
    Image.fromarray(photo).save("photo.png")
    Image.fromarray(photo).save("photo.jpg", quality=95)
    trimap = np.where(subject, 255, 0).astype(np.uint8)
    trimap[(rows - 24) ** 2 + (columns - 32) ** 2 < 250] = 128
    trimap[(rows - 24) ** 2 + (columns - 32) ** 2 < 150] = 255
    Image.fromarray(trimap).save("trimap.png")
    return tmp_path


def refused(folder, capsys, arguments, words, code=(1, 2)):
    """Run a command that must fail properly; returns its error."""
    before = {path: path.stat().st_size for path in folder.rglob("*")}
    assert main(arguments) in code
    out, err = capsys.readouterr()
    assert err.startswith("perpixel: ")
    assert err.count("\n") == 1, err
    assert "Traceback" not in err
    assert "unexpected" not in err, "a known fault has its own message"
    assert out == ""
    assert {path: path.stat().st_size for path in folder.rglob("*")} == before, "nothing is left behind"
    for word in words:
        assert word in err, err
    return err


def test_the_good_file_works(folder, tiny_model, capsys):
    assert main(["cutout", "photo.png", "--trimap", "trimap.png", "--model", str(tiny_model)]) == 0, capsys.readouterr()
    with Image.open("photo-cutout.png") as written:
        assert (written.mode, written.size) == ("RGBA", (64, 48))


def truncated_jpeg(path):
    path.write_bytes(path.with_name("photo.jpg").read_bytes()[:600])


def text(path):
    path.write_text("These are words, not pixels.\n" * 20)


def empty(path):
    path.touch()


def bomb(path):
    """A PNG of 30,000 × 30,000 pixels in a file of 100 kB, made row by row."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    side = 30_000
    packer = zlib.compressobj(9)
    row = b"\0" * (1 + side // 8)
    data = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b""))


def directory(path):
    path.mkdir()


def nothing(path):
    pass


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("broken.jpg", truncated_jpeg),
        ("broken.png", text),
        ("broken.png", empty),
        ("broken.png", bomb),
        ("broken.png", directory),
        ("broken.png", nothing),
    ],
    ids=["truncated", "text", "empty", "bomb", "folder", "missing"],
)
@pytest.mark.parametrize("role", ["image", "trimap", "mask"])
def test_a_broken_file_is_named_in_one_line(folder, tiny_model, capsys, name, make, role):
    make(folder / name)
    model = ["--model", str(tiny_model)]
    arguments = {
        "image": ["cutout", name, "--box", "10,5,54,43", *model],
        "trimap": ["matte", "photo.png", "--trimap", name, *model],
        "mask": ["cutout", "photo.png", "--mask", name, *model],
    }[role]
    refused(folder, capsys, arguments, [name])


def test_a_broken_mask_for_a_trimap(folder, capsys):
    text(folder / "broken.png")
    refused(folder, capsys, ["trimap", "broken.png", "--band", "3"], ["broken.png"])


def test_a_trimap_of_another_size(folder, tiny_model, capsys):
    Image.new("L", (60, 40), 128).save("other.png")
    arguments = ["matte", "photo.png", "--trimap", "other.png", "--model", str(tiny_model)]
    refused(folder, capsys, arguments, ["60×40", "64×48"])


@pytest.mark.parametrize(
    "output", ["nowhere/x.png", "photo.jpg/x.png", "photo.jpg/out/", "x.xyz", "x.jpg", "photo.png", "trimap.png"]
)
def test_a_place_that_cannot_be_written(folder, tiny_model, capsys, output):
    arguments = ["cutout", "photo.png", "--trimap", "trimap.png", "--model", str(tiny_model), "-o", output]
    refused(folder, capsys, arguments, [output.rstrip("/").removesuffix("/x.png")])


@pytest.mark.parametrize("fault", ["missing", "shape", "cut off", "no config"])
def test_a_checkpoint_that_does_not_fit(folder, tiny_model, tmp_path_factory, capsys, fault):
    import shutil

    from safetensors.numpy import load_file, save_file

    broken = tmp_path_factory.mktemp("models") / "broken"
    shutil.copytree(tiny_model, broken)
    weights = broken / "model.safetensors"
    tensors = load_file(weights)
    name = sorted(tensors)[0]
    if fault == "missing":
        del tensors[name]
        save_file(tensors, weights)
    elif fault == "shape":
        tensors[name] = np.zeros((1, 2, 3), np.float32)
        save_file(tensors, weights)
    elif fault == "cut off":
        weights.write_bytes(weights.read_bytes()[:-100])
    else:
        (broken / "config.json").unlink()
    arguments = ["cutout", "photo.png", "--trimap", "trimap.png", "--model", str(broken)]
    words = [name] if fault in ("missing", "shape") else ["broken"]
    refused(folder, capsys, arguments, words, code=(1,))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--box", "30,5,10,43"),
        ("--box", "100,100,200,200"),
        ("--point", "640,480"),
        ("--max-memory", "much"),
        ("--max-memory", "1KB"),
        ("--device", "abacus"),
        ("--background", "no-such-colour"),
    ],
)
def test_an_option_that_makes_no_sense(folder, tiny_model, capsys, option, value):
    hint = [] if option in ("--box", "--point") else ["--trimap", "trimap.png"]
    refused(folder, capsys, ["cutout", "photo.png", *hint, option, value, "--model", str(tiny_model)], [])


def test_a_model_that_is_not_here_and_cannot_be_fetched(folder, capsys, monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    arguments = ["cutout", "photo.png", "--trimap", "trimap.png", "--model", "nobody/no-such-model"]
    refused(folder, capsys, arguments, ["nobody/no-such-model"], code=(1,))


def test_a_batch_goes_on_past_a_broken_file(folder, tiny_model, capsys):
    text(folder / "broken.png")
    Image.open("photo.png").save("second.png")
    arguments = ["cutout", "photo.png", "broken.png", "second.png", "--box", "12,4,52,44", "-o", "out"]
    assert main([*arguments, "--model", str(tiny_model)]) == 1
    assert sorted(path.name for path in (folder / "out").iterdir()) == ["photo.png", "second.png"]
    err = capsys.readouterr().err.splitlines()
    assert len(err) == 2
    assert "broken.png" in err[0]
    assert err[1] == "perpixel: 1 of 3 files failed, 2 done"
