"""The sheet about a data set."""

import numpy as np
import pytest
from PIL import Image
from tiny_store import tiny_store

from cdis import data
from cdis.data import show
from cdis.data.pendulum import Pendulum
from cdis.errors import UserError


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> data.Dataset:
    return tiny_store(tmp_path_factory.mktemp("data")).load()


@pytest.fixture
def loaded(dataset, monkeypatch) -> data.Dataset:
    monkeypatch.setattr(data, "load", lambda name, data_dir: dataset)
    monkeypatch.setattr(data, "mechanism", lambda name: None)
    return dataset


def _words(dataset: data.Dataset, mechanism: data.Mechanism | None = None) -> str:
    figure = show._sheet(dataset, mechanism)
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    return "\n".join(texts + titles)


def test_sheet_holds_tables_and_traversals(loaded):
    words = _words(loaded)
    for line in (
        "shape: 3 of 3 values",
        "shape                 3  no        no",
        "x                     4  no        yes",
        "validation             14",
    ):
        assert line in words
    for name in loaded.info.action_names:
        assert name in words
    assert "Licence: Apache-2.0" in words


def test_a_traversal_moves_one_factor(loaded):
    row = show._traversal(loaded, 2, np.arange(4))
    wanted = [
        np.flatnonzero((loaded.factors == np.array([1, 1, value, 2])).all(axis=1))[0]
        for value in range(4)
    ]
    cells = row.reshape(34, 4, 34, 1)[:32, :, :32]
    np.testing.assert_array_equal(cells.transpose(1, 0, 2, 3), loaded.images[wanted])


def test_causal_sheet_shows_interventions_ranges_and_causes():
    mechanism = data.mechanism("pendulum/clean")
    assert mechanism is not None
    builder, variant = Pendulum, Pendulum.BUILDER_CONFIGS[0]
    rows = np.arange(7, 7392, 29)
    images, factors, values = builder.examples(variant, rows[:255])
    splits = {
        "train": np.arange(200),
        "validation": np.arange(200, 220),
        "test": np.arange(220, 255),
    }
    dataset = data.Dataset(builder.facts(variant), images, factors, splits, values)
    words = _words(dataset, mechanism)
    for name, column in zip(dataset.info.factor_names, values[:200].T, strict=True):
        assert f"do({name} = {column.min():.3g} ... {column.max():.3g})" in words
    assert f"{'shadow_length':18}{3:9.3f}{values[:, 2].max():9.3f}" in words
    assert "shadow_position\ncaused by pendulum_angle, light_position" in words
    assert "transitions" not in words

    row, _ = show._interventions(dataset, mechanism, 1)
    cells = row.reshape(66, 20, 66, 3)[:64, :, :64].transpose(1, 0, 2, 3)
    read = np.asarray(mechanism.referee(cells))
    lights = np.linspace(values[:200, 1].min(), values[:200, 1].max(), 20)
    np.testing.assert_allclose(read[:, 1], lights, atol=0.02)
    assert np.ptp(read[:, 0]) < 0.01  # the angle is not an effect of the light
    assert (np.diff(read[:, 3]) < 0).all()  # the shadow's position is one


def test_sheet_is_a_png(loaded, tmp_path):
    path = tmp_path / "sheet.png"
    path.write_bytes(b"old")
    show.write_sheet(loaded.info.name, None, str(path))
    with Image.open(path) as sheet:
        assert sheet.format == "PNG"
        assert min(sheet.size) > 600
        assert np.asarray(sheet).std() > 10
    assert list(tmp_path.iterdir()) == [path]


def test_a_sheet_that_cannot_be_written_is_reported(loaded, tmp_path):
    with pytest.raises(UserError, match=r"could not be written to .*a folder that exists"):
        show.write_sheet(loaded.info.name, None, str(tmp_path / "missing" / "sheet.png"))
