"""What is written of an evaluation."""

import html.parser
import json
import math
import re

import numpy as np
import pytest

from perpixel.errors import InputError, OutputError
from perpixel.evaluate.measures import described
from perpixel.evaluate.pictures import alpha_panels
from perpixel.evaluate.report import Evaluation, Failure, Row
from perpixel.evaluate.worst import WorstCase

HOSTILE = '<script>alert("x")</script>|`a`'


@pytest.fixture
def evaluation():
    panels = alpha_panels(None, np.zeros((4, 5), np.float32), np.ones((4, 5), np.float32))
    return Evaluation(
        task="matting",
        headline="sad",
        measures={"sad": 2.0125, "mse": 0.00714, "grad": math.nan},
        rows=(Row("plain", {"sad": 1.0, "mse": math.nan}), Row(HOSTILE, {"sad": 3.0, "mse": 0.5})),
        failures=(Failure("gone", "there is <b>no</b> file"),),
        settings={"model": HOSTILE, "dataset": "matte-folder", "options": {"a": 1}},
        seconds=1.25,
        ranked_by="sad",
        worst=(WorstCase(HOSTILE, 3.0, panels),),
        notes=("mind <this>",),
    )


class Page(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.sources, self.text = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.sources += [value for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data):
        self.text.append(data)


def test_json(evaluation, tmp_path):
    found = json.loads(evaluation.save(tmp_path / "r.json").read_text(), parse_constant=pytest.fail)
    assert found["measures"] == {"sad": 2.0125, "mse": 0.00714, "grad": None}
    assert found["rows"] == [{"name": "plain", "sad": 1.0, "mse": None}, {"name": HOSTILE, "sad": 3.0, "mse": 0.5}]
    assert found["complete"] is False and found["failures"] == [{"name": "gone", "error": "there is <b>no</b> file"}]
    assert found["worst"] == [{"name": HOSTILE, "sad": 3.0}] and found["settings"]["options"] == {"a": 1}
    assert "rows" not in evaluation.to_dict(rows=False)


def test_markdown(evaluation, tmp_path):
    text = evaluation.save(tmp_path / "r.md").read_text()
    assert "| SAD / 1000 | 2.01 | lower |" in text and "| MSE × 1000 | 7.14 | lower |" in text
    assert "| gradient error / 1000 | – | lower |" in text
    assert "<script>" not in text and "1 were not measured" in text
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in table} == {3, 4}, "a name broke the table"


def test_the_page_needs_nothing_else_and_names_stay_names(evaluation, tmp_path):
    page = Page()
    page.feed(evaluation.save(tmp_path / "r.html").read_text())
    assert "script" not in page.tags and "b" not in page.tags
    assert page.tags.count("img") == 3
    assert all(source.startswith("data:image/jpeg;base64,") for source in page.sources)
    words = "".join(page.text)
    assert HOSTILE in words and "mind <this>" in words and "there is <b>no</b> file" in words
    # The worst come first in the table of all images.
    assert words.rindex("plain") > words.rindex(HOSTILE)


def test_what_cannot_be_written(evaluation, tmp_path):
    with pytest.raises(InputError, match=r"\.json, \.md or \.html"):
        evaluation.save(tmp_path / "r.pdf")
    with pytest.raises(OutputError, match="does not exist"):
        evaluation.save(tmp_path / "no" / "r.md")


def test_what_it_says_of_itself(evaluation):
    assert repr(evaluation) == "Evaluation(matting, SAD / 1000 2.01, 2 images, 1 not measured)"
    assert evaluation.value == 2.0125 and evaluation.images == 2 and not evaluation.complete


@pytest.mark.parametrize(
    ("name", "title", "printed"),
    [
        ("pq_stuff", "panoptic quality, %, stuff", "12.35"),
        ("ap_small", "AP, %, small", "12.35"),
        ("boundary_ap50", "boundary AP at IoU 0.50, %", "12.35"),
        ("iou/traffic light", "IoU, %: traffic light", "12.35"),
        ("sad_whole", "SAD / 1000, whole image", "0.12"),
        ("delta1", "δ < 1.25, %", "12.35"),
    ],
)
def test_measures_in_the_papers_units(name, title, printed):
    assert described(name).title == title
    assert described(name).printed(0.123456) == printed
