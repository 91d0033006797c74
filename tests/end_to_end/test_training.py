"""Training as a program: killed and started again, stopped by Ctrl-C, on a full disk, in two processes."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from perpixel.train.recipe import recipe_text
from perpixel.train.tasks import training_task
from train.families import FAMILIES, small_recipe
from train.toy_task import measured, toy_recipe

PROGRAM = str(Path(__file__).with_name("toy_training.py"))


@pytest.fixture
def environment(program_environment, repository):
    paths = os.pathsep.join([program_environment["PYTHONPATH"], str(repository / "tests")])
    return {**program_environment, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}


@pytest.fixture
def start(tmp_path, environment):
    """Starts the program with a toy recipe."""

    def start(output, *changes, launcher=(sys.executable,), **options):
        recipe = tmp_path / "recipe.yaml"
        recipe.write_text(recipe_text(toy_recipe("nowhere")))
        return subprocess.Popen(
            [*launcher, PROGRAM, str(recipe), f"output={output}", *changes],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **{"env": environment} | options,
        )

    return start


# `accelerate launch` itself starts several processes on CPUs only through MPI, but through torchrun for GPUs; the
# environment says that there are none. The port is a free one.
TWO = (sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes=2", "--main_process_port=0")


def done(process):
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return output


def log(output):
    lines = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "images_per_second"} for line in lines]


def wait_for(process, found, seconds=120):
    deadline = time.monotonic() + seconds
    while not found():
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()[1]
        time.sleep(0.02)


def validations(output):
    return {line["step"]: line["validation"] for line in log(output) if "validation" in line}


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_digits(start, tmp_path):
    changes = ("steps=40", "save_every=4", "data.options={pause: 0.02}", "validate_every=10")
    assert done(start(tmp_path / "whole", *changes)) == f"{tmp_path / 'whole' / 'best'}\n"
    process = start(tmp_path / "killed", *changes)
    wait_for(process, lambda: (tmp_path / "killed" / "state.pt").exists() and len(log(tmp_path / "killed")) > 3)
    process.kill()
    process.communicate()
    assert torch.load(tmp_path / "killed" / "state.pt", weights_only=True)["position"]["step"] < 40
    # What a write that was cut off leaves behind.
    with (tmp_path / "killed" / "log.jsonl").open("a") as file:
        file.write('{"step": 39, "loss": 1.0}\n{"step": 4')
    if (tmp_path / "killed" / "best").exists():
        (tmp_path / "killed" / "best").rename(tmp_path / "killed" / ".best.old")
    done(start(tmp_path / "killed", *changes))
    assert log(tmp_path / "killed") == log(tmp_path / "whole")
    for name in ("best", "last"):
        weights = [load_file(tmp_path / run / name / "model.safetensors") for run in ("killed", "whole")]
        assert all(torch.equal(weights[0][key], tensor) for key, tensor in weights[1].items())


@pytest.mark.slow
def test_ctrl_c_saves_and_says_so(start, tmp_path):
    process = start(tmp_path / "run", "steps=1000", "save_every=1000", "data.options={pause: 0.02}", "workers=1")
    wait_for(process, lambda: (tmp_path / "run" / "log.jsonl").exists() and len(log(tmp_path / "run")) > 1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.strip().splitlines()[-1] == "perpixel: stopped"
    assert "Traceback" not in errors
    assert torch.load(tmp_path / "run" / "state.pt", weights_only=True)["position"]["step"] >= 3


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="groups of processes are POSIX's")
def test_ctrl_c_saves_with_two_processes_too(start, tmp_path):
    changes = ("steps=1000", "save_every=1000", "data.options={pause: 0.02}")
    process = start(tmp_path / "run", *changes, launcher=TWO, start_new_session=True)
    wait_for(process, lambda: (tmp_path / "run" / "log.jsonl").exists() and len(log(tmp_path / "run")) > 1)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    process.communicate(timeout=60)
    assert process.returncode != 0
    assert torch.load(tmp_path / "run" / "state.pt", weights_only=True)["position"]["step"] >= 3


@pytest.mark.slow
def test_two_processes_measure_what_one_measures(start, tmp_path):
    changes = ("steps=4", "validate_every=2", "save_every=2", "data.options={validation: 7}")
    done(start(tmp_path / "two", *changes, launcher=TWO))
    recipe = toy_recipe(tmp_path, data=toy_recipe(tmp_path).data)
    recipe.data.options = {"validation": 7}
    # The same numbers to the last digit as one process finds in the same weights.
    expected = measured(tmp_path / "two" / "last", recipe)
    found = validations(tmp_path / "two")
    assert found[4]["pictures"] == 7
    assert found[4]["error"] == expected["error"]
    assert set(found) == {0, 2, 4}


@pytest.mark.slow
def test_two_processes_learn_what_one_learns_in_two_parts(start, tmp_path):
    changes = ("steps=6", "validate_every=3", "model={plain: true}", "clip=0.5")
    done(start(tmp_path / "one", *changes, "accumulate=2"))
    done(start(tmp_path / "two", *changes, launcher=TWO))
    one, two = validations(tmp_path / "one"), validations(tmp_path / "two")
    assert one.keys() == two.keys() == {0, 3, 6}
    for step in one:
        assert two[step]["error"] == pytest.approx(one[step]["error"], rel=1e-5)
    losses = [[line["loss"] for line in log(tmp_path / run) if "loss" in line] for run in ("one", "two")]
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


@pytest.mark.slow
def test_two_processes_go_on_exactly_and_one_may_take_over(start, tmp_path):
    changes = ("save_every=2", "validate_every=2", "schedule=constant")
    done(start(tmp_path / "whole", *changes, "steps=6", launcher=TWO))
    done(start(tmp_path / "parts", *changes, "steps=4", launcher=TWO))
    done(start(tmp_path / "parts", *changes, "steps=6", launcher=TWO))
    assert log(tmp_path / "parts") == log(tmp_path / "whole")
    done(start(tmp_path / "parts", *changes, "steps=8"))
    assert torch.load(tmp_path / "parts" / "state.pt", weights_only=True)["position"]["items"] == 6 * 4 + 2 * 2


@pytest.mark.slow
def test_an_error_in_one_process_ends_both(start, tmp_path):
    changes = ("steps=6", "data.options={broken: 10}")  # in the second process
    process = start(tmp_path / "run", *changes, launcher=TWO)
    _, errors = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "perpixel: the loss is nan in step 3, with the samples picture 10, picture 11" in errors
    assert torch.load(tmp_path / "run" / "state.pt", weights_only=True)["position"]["step"] == 2


@pytest.mark.slow
def test_a_sharded_model_learns_the_same_and_goes_on_anywhere(start, tmp_path, environment):
    changes = ("save_every=2", "validate_every=2", "schedule=constant", "model={plain: true}")
    sharded = {"launcher": TWO, "env": environment | {"SHARDED": "1"}}
    done(start(tmp_path / "copied", *changes, "steps=4", launcher=TWO))
    done(start(tmp_path / "sharded", *changes, "steps=2", **sharded))
    done(start(tmp_path / "sharded", *changes, "steps=4", **sharded))
    copied, other = validations(tmp_path / "copied"), validations(tmp_path / "sharded")
    for step in (2, 4):
        assert other[step]["error"] == pytest.approx(copied[step]["error"], rel=1e-5)
    states = [torch.load(tmp_path / run / "state.pt", weights_only=True) for run in ("copied", "sharded")]
    for part in ("model", "average"):
        for name, tensor in states[0][part].items():
            assert torch.allclose(states[1][part][name], tensor, atol=1e-5), (part, name)
    recipe = toy_recipe(tmp_path, model={"plain": True})
    assert measured(tmp_path / "sharded" / "last", recipe)["error"] == pytest.approx(other[4]["error"], rel=1e-5)
    # One process goes on from what two sharded ones left, and they from what one left.
    done(start(tmp_path / "sharded", *changes, "steps=6"))
    done(start(tmp_path / "sharded", *changes, "steps=8", **sharded))
    assert (
        torch.load(tmp_path / "sharded" / "state.pt", weights_only=True)["position"]["items"] == 4 * 4 + 2 * 2 + 2 * 4
    )


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="limits of the size of files are POSIX's")
@pytest.mark.parametrize(("limit", "written"), [(4000, "state.pt"), (1000, "best")])
def test_a_file_that_cannot_be_finished_leaves_the_one_before(start, tmp_path, limit, written):
    import resource

    done(start(tmp_path / "run", "steps=2"))
    before = (tmp_path / "run" / "state.pt").read_bytes()
    limited = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))}
    process = start(tmp_path / "run", "steps=4", "validate_every=9", **limited)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    (line,) = [line for line in errors.splitlines() if line.startswith("perpixel: ")]
    assert f"cannot save step 4 to {tmp_path / 'run' / written} (File too large" in line
    assert line.endswith("the state of step 2 is whole")
    assert (tmp_path / "run" / "state.pt").read_bytes() == before
    done(start(tmp_path / "run", "steps=4"))


@pytest.mark.slow
@pytest.mark.parametrize("sharded", [False, True], ids=["copied", "sharded"])
def test_every_family_trains_in_two_processes(environment, tmp_path, sharded):
    adapted = ["vitmatte+lora", "mask2former-panoptic+lora"]
    for name in [*FAMILIES, *adapted]:
        small_recipe(name.partition("+")[0], tmp_path / name)  # makes its data, which two processes must not do at once
    program = str(Path(__file__).with_name("family_training.py"))
    environment = environment | ({"SHARDED": "1"} if sharded else {})
    run = subprocess.run(
        [*TWO, program, str(tmp_path), *FAMILIES, *adapted], env=environment, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    for name in adapted:
        assert list(validations(tmp_path / name / "run")) == [0, 2]
    for name in FAMILIES:
        output = tmp_path / name / "run"
        recipe = small_recipe(name, tmp_path / name, start=str(output / "last"), model={})
        task = training_task(recipe)
        model, meter, data = task.model().eval(), task.meter(), task.validation_data()
        with torch.no_grad():
            for start in range(0, len(data), recipe.batch_size):
                items = [data[i] for i in range(start, min(start + recipe.batch_size, len(data)))]
                task.measure(model, task.collate(items), meter)
        found = validations(output)[2]
        expected = {key: None if math.isnan(value) else value for key, value in meter.compute().items()}
        assert found == pytest.approx(expected), name
