"""The report: figures, and one page that needs nothing else."""

import json
from html.parser import HTMLParser

import numpy as np
import pytest
from oracles import (
    INFO,
    SHADE,
    SHADE_MECHANISM,
    SHADE_PREDICTOR,
    fake_workdir,
    oracle,
    shade_dataset,
    shade_oracle,
    silent,
)
from PIL import Image

from cdis.config import common
from cdis.errors import UserError
from cdis.measure import Column, Tables, downstream, page, reconstruction, report, write_pictures
from cdis.measure.figures import png
from cdis.methods.base import Actions, Method

EVERYTHING = {
    "codes", "composite", "confusion", "edges", "interventions", "losses", "masks", "node_factor",
    "reconstructions",
}  # fmt: skip


class Page(HTMLParser):
    """Collects tags, checks that they nest, and what the page would fetch."""

    def __init__(self):
        super().__init__()
        self.open, self.fetched, self.titles, self.text = [], [], [], ""

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "action"):
                self.fetched.append(value)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "h2":
            self.titles.append(data)
        self.text += data


@pytest.fixture
def workdir(monkeypatch, tmp_path):
    def prepare(*options):
        fake_workdir(monkeypatch, *options)
        lines = [
            {"step": 4, "stage": "one", "time": 0, "loss": 2.0, "steps_per_second": 9.0},
            {"step": 4, "stage": "one", "time": 0, "validation/loss": 2.5},
            {"step": 8, "stage": "two", "time": 0, "loss": 1.0, "accuracy": 0.5},
        ]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (tmp_path / "log.jsonl").write_text(text + '{"step": 12, "lo')  # cut short by a kill
        return tmp_path

    return prepare


def test_page_is_whole_and_needs_nothing(workdir):
    directory = workdir()
    path = report(directory, progress=silent)
    assert path == directory / "report" / "index.html"
    assert {p.stem for p in (directory / "pictures").iterdir()} == EVERYTHING
    page = Page()
    page.feed(path.read_text())
    assert not page.open
    assert len(page.fetched) == len(EVERYTHING)
    assert all(source.startswith("data:image/png;base64,") for source in page.fetched)
    assert "url(" not in path.read_text() and "<script" not in path.read_text()
    tables = ["By action", "By factor", "Composite actions"]
    assert page.titles[-4:] == [*tables, "All numbers and the config"]
    assert len(page.titles) == len(EVERYTHING) + 4
    metrics = json.loads((directory / "metrics.json").read_text())
    for number in (metrics["codes"]["perplexity"], metrics["action_retrieval"]["directed"]):
        assert f"{number:.2f}" in page.text
    assert all(f"{name} +1" in page.text for name in INFO.factor_names)


def test_pictures_of_a_method_that_only_retrieves(workdir):
    whole = oracle()
    directory = workdir(Method(whole.init, (), actions=Actions(whole.actions.retrieve)))
    paths = write_pictures(directory, progress=silent)
    assert {path.stem for path in paths} == {"confusion", "losses"}
    for path in paths:
        pixels = np.asarray(Image.open(path).convert("L"))
        assert min(pixels.shape) > 300 and pixels.std() > 5
    assert report(directory, progress=silent).exists()


def test_pictures_of_causal_factors(workdir):
    directory = workdir(shade_oracle(follows=True), shade_dataset, SHADE_MECHANISM)
    path = report(directory, progress=silent)
    drawn = {p.stem for p in (directory / "pictures").iterdir()}
    sliders = {f"do_{name}" for name in SHADE.factor_names}
    assert drawn == {"edge_strength", "labels_decoded", "losses", "reconstructions"} | sliders
    page = Page()
    page.feed(path.read_text())
    assert not page.open and len(page.fetched) == len(drawn)
    assert {f"do({name})" for name in SHADE.factor_names} < set(page.titles)
    assert "SHD to the true graph" in page.text and "R\u00b2 under do(left)" in page.text
    assert "Pixels of counterfactuals" in page.titles and "MIC of its latent" in page.text


def test_the_page_says_what_is_estimated(workdir):
    directory = workdir(shade_oracle(follows=True), shade_dataset, None, SHADE_PREDICTOR)
    read = Page()
    read.feed(report(directory, progress=silent).read_text())
    assert not read.open and "do(left)" in read.titles
    assert "is estimated by regression along the graph" in read.text  # below the figures
    assert "(estimated by regression along the graph)" in read.text  # on the cards
    assert "R\u00b2 of the regression on its causes" in read.text


@pytest.mark.parametrize("shape", [(28, 28, 1), (64, 78, 3)])
def test_pictures_have_the_shape_of_images(shape):
    images = np.random.default_rng(0).integers(0, 256, (5, *shape)).astype(np.uint8)
    arrays = {"reconstruction_images": images, "reconstruction_decoded": images}
    (picture,) = reconstruction.MEASUREMENT.figures(SHADE, {}, arrays)
    width, height = picture.figure.get_size_inches()
    assert height / width == pytest.approx(2 / 5 * shape[0] / shape[1])
    assert len(picture.figure.axes) == 10 and png(picture.figure)


def test_the_table_of_downstream_tasks():
    def scores(*names):
        return {name: 0.75 for name in names} | {f"{name}_interval": [0.7, 0.8] for name in names}

    efficiency = scores("accuracy_few", "accuracy_all", "efficiency") | {"few": 100}
    misled = {kind: scores("average", "worst_group") for kind in ("all_labels", "few_labels")}
    tasks = {
        "sample_efficiency": {"all": efficiency, "true_factors": efficiency},
        "robustness": {"all": misled, "true_factors": misled},
    }
    metrics = {"step": 1, "downstream": tasks | {"likelier_label": tasks}}
    read = _page(metrics, downstream.MEASUREMENT.tables(INFO, metrics))
    assert read.titles == ["Downstream tasks", "All numbers and the config"]
    assert read.text.count("0.750[0.700, 0.800]") == 2 * 2 * 7
    for row in ("all, sampled label", "true factors, likelier label"):
        assert row in read.text
    few = downstream.MEASUREMENT.tables(INFO, {"downstream": {"reason": "too few"}})
    assert few == Tables()


def test_columns_of_several_measurements_share_a_table():
    one = Tables(by_factor=(Column("one", {"left": 0.5, "right": None, "turn": 1.0}),))
    two = Tables(by_factor=(Column("<two>", {"left": 3}, "d"),))
    read = _page({"step": 1}, one, two)
    assert read.titles == ["By factor", "All numbers and the config"]
    assert "factorone<two>left0.5003right––turn1.000–" in read.text


def test_the_page_says_whether_the_method_was_given_labels():
    for given, words in (
        (True, "split; the method is given their labels) and"),
        (False, "split) and"),
    ):
        assert words in _page({"step": 1, "labels_at_evaluation": given}).text


def _page(metrics, *tables):
    """The page of some tables, as it is read."""
    read = Page()
    read.feed(
        page.html_page("a run", INFO, common(), metrics, headlines=(), tables=tables, pictures=())
    )
    assert not read.open
    return read


def test_measures_again_only_what_is_stale_or_damaged(workdir):
    whole = oracle()
    directory = workdir(Method(whole.init, (), actions=Actions(whole.actions.retrieve)))
    lines = []
    write_pictures(directory, progress=lines.append)
    assert lines
    lines.clear()
    write_pictures(directory, progress=lines.append)
    assert not lines
    metrics = json.loads((directory / "metrics.json").read_text())
    stale = json.dumps(metrics | {"step": 3}).encode()
    for name, content in (
        ("metrics.json", stale),
        ("metrics.json", stale[:10]),
        ("evaluation.npz", (directory / "evaluation.npz").read_bytes()[:10]),
    ):
        (directory / name).write_bytes(content)
        lines.clear()
        write_pictures(directory, progress=lines.append)
        assert lines
        assert json.loads((directory / "metrics.json").read_text())["step"] == 7


def test_not_a_workdir(tmp_path):
    with pytest.raises(UserError, match="not a workdir"):
        report(tmp_path)
    assert not list(tmp_path.iterdir())
