"""A job: what it refuses, what its fingerprint depends on, and that it can be sent elsewhere."""

import pickle

import pytest

from perpixel.batch.job import FORMS, Job
from perpixel.errors import ConfigError


@pytest.mark.parametrize("task", FORMS)
def test_every_task_has_a_form_by_itself(task):
    job = Job(task)
    assert set(job.save) <= set(FORMS[task]) and job.save
    assert pickle.loads(pickle.dumps(job)) == job


@pytest.mark.parametrize(
    ("task", "options", "message"),
    [
        ("paint", {}, "no task 'paint': use one of cutout, matte"),
        ("depth", {"save": ("jpg",)}, "not saved as 'jpg': use png16"),
        ("depth", {"save": ("png16", "png8")}, "would become one file"),
        ("depth", {"label": "cat"}, "label is no option of depth"),
        ("matte", {"threshold": 0.5}, "threshold is no option of matte"),
        ("cutout", {"label": "cat", "subject": "largest"}, "label and subject"),
        ("cutout", {"index": 2}, "index=2 is given without a label"),
    ],
)
def test_what_makes_no_sense(task, options, message):
    with pytest.raises(ConfigError, match=message):
        Job(task, **options)


def test_a_misspelt_option_is_refused():
    with pytest.raises(TypeError):
        Job("depth", detial="tiled")


def test_the_fingerprint_is_of_what_changes_results():
    plain = Job("depth").fingerprint()
    assert Job("depth", device="cuda", stack=4).fingerprint() == plain
    others = [Job("depth", detail="tiled"), Job("depth", save=("npy",)), Job("depth", model="Intel/dpt-large")]
    assert len({plain, *(job.fingerprint() for job in others)}) == 4


def test_a_model_in_a_folder_counts_by_its_content(tmp_path):
    (tmp_path / "a").mkdir()
    weights = tmp_path / "a" / "model.safetensors"
    weights.write_bytes(b"one")
    first = Job("matte", model=str(tmp_path / "a")).fingerprint()
    assert Job("matte", model=str(tmp_path / "a")).fingerprint() == first
    weights.write_bytes(b"two")
    assert Job("matte", model=str(tmp_path / "a")).fingerprint() != first
    assert Job("matte", model=str(weights)).fingerprint() != Job("matte").fingerprint()
