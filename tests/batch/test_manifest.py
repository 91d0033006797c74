"""The manifest: rows that come back, halves of lines, two processes, and the table."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perpixel.batch.job import Job
from perpixel.batch.manifest import Finished, Journal, note_settings, write_parquet
from perpixel.batch.records import Row
from perpixel.batch.shards import Shard
from perpixel.errors import ConfigError, OutputError


def row(key, **changes):
    return Row(**{"key": key, "input": f"{key}.jpg", "status": "done", "settings": "s", "stamp": "1:2", **changes})


def test_the_last_row_of_a_key_counts(tmp_path):
    with Journal(tmp_path, Shard()) as journal:
        for number in range(50):
            journal.add(row(f"k{number % 10}", seconds=float(number)))
    finished = Finished(tmp_path)
    assert len(finished) == 50
    assert [finished.find(f"k{i}").seconds for i in range(10)] == list(range(40, 50))
    assert finished.find("k10") is None
    assert [each.seconds for each in finished.rows()] == list(range(40, 50))
    finished.close()


@settings(max_examples=40, deadline=None)
@given(
    key=st.text(st.characters(blacklist_characters="\0"), min_size=1),
    error=st.none() | st.text(),
    outputs=st.dictionaries(st.text(), st.integers(0, 2**60)),
)
def test_any_row_comes_back(tmp_path_factory, key, error, outputs):
    folder = tmp_path_factory.mktemp("out")
    given_row = row(key, error=error, outputs=outputs)
    with Journal(folder, Shard()) as journal:
        journal.add(given_row)
    finished = Finished(folder)
    assert finished.find(key) == given_row
    finished.close()


def test_half_a_line_is_passed_over_and_closed(tmp_path):
    with Journal(tmp_path, Shard()) as journal:
        journal.add(row("a"))
        journal.add(row("b"))
    whole = journal.path.read_bytes()
    for cut in range(1, len(whole)):
        journal.path.write_bytes(whole[:cut])
        with Journal(tmp_path, Shard()) as again:
            again.add(row("c"))
        finished = Finished(tmp_path)
        assert finished.find("c") == row("c", time=finished.find("c").time)
        lines = whole[:cut].split(b"\n")
        assert (finished.find("a") is not None) == (len(lines[0]) + 1 >= len(whole.split(b"\n")[0]) + 1)
        finished.close()


def test_a_line_after_half_a_line_is_one_of_its_own(tmp_path):
    with Journal(tmp_path, Shard()) as journal:
        stream = journal._stream

        class Full:
            def write(self, line):
                return stream.write(line[:20])

        journal._stream = Full()
        with pytest.raises(OutputError, match="No space left"):
            journal.add(row("a"))
        journal._stream = stream  # there is room again
        journal.add(row("b"))
        journal.add(row("c"))
    finished = Finished(tmp_path)
    assert [each.key for each in finished.rows()] == ["b", "c"]
    finished.close()


def test_one_process_at_a_time(tmp_path):
    refused = pytest.raises(ConfigError, match="another process is at work on part 1 of 2")
    with Journal(tmp_path, Shard(1, 2)), Journal(tmp_path, Shard(2, 2)), refused:
        Journal(tmp_path, Shard(1, 2))
    with Journal(tmp_path, Shard(1, 2)):
        pass


def test_the_manifests_of_all_parts_count(tmp_path):
    for number in (1, 2):
        with Journal(tmp_path, Shard(number, 2)) as journal:
            journal.add(row(f"k{number}"))
    finished = Finished(tmp_path)
    assert {each.key for each in finished.rows()} == {"k1", "k2"}
    finished.close()


def test_a_row_is_there_with_its_files(tmp_path):
    (tmp_path / "a.png").write_bytes(b"1234")
    assert row("a", outputs={"a.png": 4}).is_there(tmp_path)
    assert not row("a", outputs={"a.png": 5}).is_there(tmp_path)
    assert not row("a", outputs={"a.png": 4, "b.png": 4}).is_there(tmp_path)
    assert not row("a", outputs={"a.png": 4}, status="failed").is_there(tmp_path)


def test_settings_are_written_down(tmp_path):
    names = [note_settings(tmp_path, Job("depth", size=size)) for size in (32, 64, 32)]
    told = json.loads((tmp_path / "manifest.settings.json").read_text())
    assert names[0] == names[2] != names[1] and set(told) == set(names)
    assert told[names[1]]["size"] == 64 and told[names[1]]["perpixel"]


def test_the_table(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = [row("a", outputs={"a.png": 4, "a.json": 2}, width=3), row("b\udcff", status="failed", error="no")]
    write_parquet(iter(rows), tmp_path / "m.parquet")
    found = parquet.read_table(tmp_path / "m.parquet").to_pylist()
    assert found[0]["outputs"] == ["a.png", "a.json"] and found[0]["output_bytes"] == [4, 2]
    assert found[0]["width"] == 3 and found[1]["error"] == "no" and found[1]["status"] == "failed"
    assert found[0]["time"].isoformat(timespec="milliseconds") == rows[0].time
    assert [path.name for path in tmp_path.iterdir()] == ["m.parquet"]
