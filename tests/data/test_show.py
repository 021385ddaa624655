"""The sheet about a data set."""

import numpy as np
import pytest
from PIL import Image
from tiny_store import tiny_store

from cdis import data
from cdis.data import show
from cdis.errors import UserError


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> data.Dataset:
    return tiny_store(tmp_path_factory.mktemp("data")).load()


@pytest.fixture
def loaded(dataset, monkeypatch) -> data.Dataset:
    monkeypatch.setattr(data, "load", lambda name, data_dir: dataset)
    monkeypatch.setattr(data, "mechanism", lambda name: None)
    return dataset


def _words(dataset: data.Dataset) -> str:
    figure = show._sheet(dataset, None)
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    return "\n".join(texts + titles)


def test_sheet_holds_tables_and_traversals(loaded):
    words = _words(loaded)
    for line in ("shape: 3 of 3 values", "x                   4  no", "validation           14"):
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


def test_sheet_is_a_png(loaded, tmp_path):
    path = tmp_path / "sheet.png"
    path.write_bytes(b"old")
    show.write_sheet(loaded.info.name, None, str(path))
    with Image.open(path) as sheet:
        assert sheet.format == "PNG"
        assert min(sheet.size) > 600
        assert np.asarray(sheet).std() > 10
    assert list(tmp_path.iterdir()) == [path]


def test_a_sheet_that_cannot_be_written_is_told(loaded, tmp_path):
    with pytest.raises(UserError, match=r"could not be written to .*a folder that exists"):
        show.write_sheet(loaded.info.name, None, str(tmp_path / "missing" / "sheet.png"))
