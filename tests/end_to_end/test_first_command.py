"""The README's first command, in a clean environment and without a network, makes a good picture."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.slow

README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
SHIPPED = ["src", "examples", "README.md", "LICENSE", "CHANGELOG.md", "constraints.txt", "pyproject.toml"]


@pytest.fixture(scope="module")
def picture(tmp_path_factory, repository):
    """The path of the picture that the command makes in a copy of the checkout."""
    first = next(line for line in README.splitlines() if line.startswith("python -m pip install"))
    install, cut_out = first.split(" && ")
    checkout = tmp_path_factory.mktemp("checkout")
    for name in SHIPPED:
        source = repository / name
        if source.is_dir():
            shutil.copytree(source, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, checkout / name)

    environment = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    variables = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    variables["PATH"] = f"{environment / 'bin'}{os.pathsep}{variables['PATH']}"
    subprocess.run(install, shell=True, cwd=checkout, env=variables, check=True)

    shutil.rmtree(checkout / "src")  # what runs is what was installed
    variables["HF_HUB_OFFLINE"] = "1"
    variables["HF_HOME"] = str(tmp_path_factory.mktemp("empty_cache"))
    run = subprocess.run(
        [*without_network(), "bash", "-c", cut_out],
        cwd=checkout,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )
    shutil.rmtree(environment)  # a gigabyte that pytest would keep
    assert run.returncode == 0, run.stderr
    assert run.stderr == ""
    return checkout / re.search(r"-o (\S+)", cut_out).group(1)


def without_network() -> list[str]:
    """The words before a command that take its network away, where the system allows that."""
    words = ["unshare", "--map-root-user", "--net"]
    try:
        subprocess.run([*words, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return []
    return words


def test_the_picture_is_a_sane_cutout(picture, examples):
    photo = np.asarray(Image.open(examples / "portrait.jpg"))
    with Image.open(picture) as opened:
        assert opened.format == "PNG"
        assert opened.mode == "RGBA"
        pixels = np.asarray(opened)
    assert pixels.shape[:2] == photo.shape[:2]
    alpha = pixels[..., 3] / 255

    assert 0.3 < alpha[10:, 20:335].mean() < 0.8, "the subject fills about half of the box"
    assert alpha[:200, :15].max() == 0, "well outside the box is background"
    for corner in (alpha[:8, :8], alpha[:8, -8:]):
        assert corner.max() == 0
    assert alpha[60:130, 205:250].min() > 0.98, "no hole in the face"
    assert alpha[300:335, 120:220].min() > 0.98, "no hole in the suit"
    assert alpha[20:115, 20:120].max() < 0.02, "no background beside the head"

    hair = alpha[10:135, 148:305]
    soft = (hair > 0.05) & (hair < 0.95)
    assert soft.mean() > 0.02, "the hair's edge is soft"

    inside = alpha > 0.999
    assert np.abs(pixels[inside][:, :3].astype(int) - photo[inside]).max() <= 3, "inside, the photo's own colours"
