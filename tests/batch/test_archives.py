"""Photographs in tar archives and Parquet tables."""

import io
import tarfile
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from perpixel.batch.archives import Columns, table_keys, table_records, tar_records
from perpixel.batch.inputs import Inputs
from perpixel.batch.shards import Shard
from perpixel.errors import InputError


def everything(key):
    return True


def write_tar(path, members, mode="w"):
    with tarfile.open(path, mode) as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


SAMPLES = [
    ("a.jpg", b"A"),
    ("a.json", b"{}"),
    ("a.trimap.png", b"TA"),
    ("./sub/b.cls", b"7"),
    ("sub/b.mask.png", b"MB"),
    ("sub/b.PNG", b"B"),
    ("c.webp", b"C"),
]


@pytest.mark.parametrize(
    ("suffix", "mode"), [(".tar", "w"), (".tar.gz", "w:gz"), (".tgz", "w:gz"), (".tar.xz", "w:xz")]
)
def test_samples_of_an_archive(tmp_path, suffix, mode):
    path = write_tar(tmp_path / f"shard-0{suffix}", SAMPLES, mode)
    inputs = Inputs((str(tmp_path / f"*{suffix}"),), tmp_path / "out")
    assert inputs.survey() is None
    found = list(inputs)
    assert [(each.key, each.image, each.suffix) for each in found] == [
        ("shard-0/a", b"A", ".jpg"),
        ("shard-0/sub/b", b"B", ".PNG"),
        ("shard-0/c", b"C", ".webp"),
    ]
    assert [(each.trimap, each.mask) for each in found] == [(b"TA", None), (None, b"MB"), (None, None)]
    assert found[1].source == f"{path}#sub/b.PNG" and found[0].error is None


def test_what_is_wrong_with_a_sample_is_told_and_passed_over(tmp_path):
    path = write_tar(
        tmp_path / "s.tar",
        [
            ("a.mask.png", b"m"),
            *(("b.jpg", b"1"), ("b.png", b"2")),
            *(("c.jpg", b"3"), ("d.jpg", b"4"), ("c.jpg", b"5")),
            *(("../evil.jpg", b"6"), ("e.jpg", b"7")),
        ],
    )
    found = list(tar_records(path, "s", everything))
    assert len({each.key for each in found}) == len(found) == 7
    assert ["no picture" in found[0].error, "two pictures" in found[1].error, "c twice" in found[4].error] == [True] * 3
    assert "rename it" in found[5].error and ".." not in found[5].key
    assert [each.image for each in found if each.error is None] == [b"3", b"4", b"7"]


def test_an_archive_that_breaks_off_gives_what_came_before(tmp_path):
    path = write_tar(tmp_path / "s.tar", [(f"{i}.jpg", bytes(2000)) for i in range(5)])
    whole = path.read_bytes()
    for cut, count in ((8000, 3), (7680, 3), (7600, 2), (5000, 1), (700, 0)):  # in and between the members
        path.write_bytes(whole[:cut])
        *found, last = tar_records(path, "s", everything)
        assert [each.key for each in found] == [f"s/{i}" for i in range(count)]
        assert last.key == "s" and "cannot be read to its end" in last.error
    path.write_bytes(b"no archive")
    assert [each.key for each in tar_records(path, "s", everything)] == ["s"]


def test_the_memory_does_not_grow_with_an_archive(tmp_path):
    def peak(count):
        path = write_tar(tmp_path / f"{count}.tar", ((f"{i}.jpg", bytes(1000)) for i in range(count)))
        tracemalloc.start()
        assert sum(1 for _ in tar_records(path, "s", everything)) == count
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    assert peak(3000) - peak(300) < 2700 * 200  # a member's own record alone is over 1000 bytes


def write_table(path, **columns):
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pytest.importorskip("pyarrow").table(columns), path)
    return path


def test_rows_of_a_table(tmp_path):
    images = [{"bytes": bytes([65 + i]), "path": f"{i}.jpg"} for i in range(40)]
    path = write_table(
        tmp_path / "t.parquet",
        image=images,
        id=[f"x{i}" for i in range(40)],
        hint=[bytes([i + 1]) for i in range(40)],
        what=["cat"] * 40,
    )
    columns = Columns(key="id", mask="hint", label="what")
    found = list(table_records(path, "t", columns, everything))
    assert [each.key for each in found] == [f"t/x{i}" for i in range(40)] == list(table_keys(path, "t", columns))
    assert found[2].image == b"C" and found[2].mask == b"\3" and found[2].label == "cat"
    assert found[2].source == f"{path}#2"
    inputs = Inputs((str(path),), tmp_path / "out", columns=columns)
    assert inputs.survey() == 40
    parts = [Inputs((str(path),), tmp_path / "out", columns=columns, shard=Shard(i, 3)) for i in (1, 2, 3)]
    assert sorted(each.key for part in parts for each in part) == sorted(f"t/x{i}" for i in range(40))
    assert sum(part.survey() for part in parts) == 40


def test_rows_without_a_key_or_a_picture(tmp_path):
    path = write_table(tmp_path / "t.parquet", jpg=[b"1", None, b"3"])
    found = list(table_records(path, "t", Columns(), everything))
    assert [each.key for each in found] == ["t/0", "t/1", "t/2"]
    assert [each.image for each in found] == [b"1", None, b"3"] and "no picture" in found[1].error


@pytest.mark.parametrize(
    ("columns", "given", "message"),
    [
        ({"image": [b"1"]}, Columns(key="id"), "no column 'id': it has image"),
        ({"image": [b"1"], "jpg": [b"2"]}, Columns(), "which column"),
        ({"image": [b"1", b"2"], "id": [5, 5]}, Columns(key="id"), "two rows with the key 5"),
    ],
)
def test_tables_that_do_not_fit(tmp_path, columns, given, message):
    path = write_table(tmp_path / "t.parquet", **columns)
    with pytest.raises(InputError, match=message):
        Inputs((str(path),), tmp_path / "out", columns=given).survey()


def test_a_damaged_table(tmp_path):
    pytest.importorskip("pyarrow")
    (tmp_path / "t.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(InputError, match="is it Parquet"):
        Inputs((str(tmp_path / "t.parquet"),), tmp_path / "out").survey()


def test_a_picture_that_is_no_bytes(tmp_path):
    path = write_table(tmp_path / "t.parquet", image=["text"], other=np.zeros(1))
    (found,) = table_records(path, "t", Columns(), everything)
    assert "bytes of a file" in found.error


def test_real_pictures_in_an_archive_are_worked_on(tmp_path, matting_model):
    from batch.conftest import picture, trimap
    from perpixel.batch.job import Job
    from perpixel.batch.run import batch

    def png(pixels):
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "PNG")
        return stream.getvalue()

    members = []
    for i in range(4):
        members += [(f"{i}.png", png(picture(i))), (f"{i}.trimap.png", png(trimap()))]
    write_tar(tmp_path / "s.tar", [*members, ("x.jpg", b"broken")])
    job = Job("cutout", model=matting_model)
    summary = batch(job, tmp_path / "s.tar", tmp_path / "out")
    assert (summary.done, summary.failed) == (4, 1)
    assert sorted(path.name for path in (tmp_path / "out" / "s").iterdir()) == [f"{i}.png" for i in range(4)]
    assert batch(job, tmp_path / "s.tar", tmp_path / "out").skipped == 4
