"""The light tunnel: simulated, and photographed (on a stand-in in the original format)."""

import csv
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cdis import data
from cdis.cli import main
from cdis.data import light_tunnel
from cdis.data.light_tunnel import GRAPH, LightTunnel
from cdis.data.rendering import render_all
from cdis.errors import UserError

COUNT = 40
# The columns of the published tables, as its variables.csv lists them, that this test gives values.
COLUMNS = ("timestamp", "config", "intervention", "red", "green", "blue", "pol_1", "pol_2", "vis_3")


@pytest.fixture(scope="module")
def mechanism() -> data.Mechanism:
    pytest.importorskip("causalchamber", reason="the extra chamber is not installed")
    found = data.mechanism("light_tunnel/default")
    assert found is not None and found.render is not None
    return found


def _r_squared(read: np.ndarray, values: np.ndarray) -> np.ndarray:
    return 1 - np.square(read - values).sum(0) / np.square(values - values.mean(0)).sum(0)


# Simulated


def test_the_published_model_is_kept():
    """Raw samples of the published model, whose table has a row per cause, not per effect."""
    causes = {"red": (), "green": (0.71943922, 0, 0, 0, 0.67726298)}
    causes |= {"blue": (0, 0.89303215, 0, 0, 0.98534901), "pol_1": (0.84868401, 0, 0, 0, 0)}
    variances = dict(
        zip(
            ("red", "green", "blue", "pol_1", "pol_2"),
            (1.3855493, 1.16426732, 1.00502177, 1.95646855, 1.27482347),
            strict=True,
        )
    )
    names, rng = list(variances), np.random.default_rng(0)
    raw = {name: rng.normal(0, variances[name] ** 0.5, 200_000) for name in names}
    for name in ("blue", "pol_1", "green", "red", "pol_2"):  # causes come before effects
        for effect, weight in zip(names, causes.get(name, ()) or (0,) * 5, strict=True):
            raw[effect] = raw[effect] + weight * raw[name]
    expected = np.corrcoef([raw[name] for name in ("blue", "green", "pol_2")])
    values = light_tunnel._table().astype(float)
    np.testing.assert_allclose(np.corrcoef(values.T), expected, atol=0.02)
    np.testing.assert_allclose(values.mean(0), [127.5, 127.5, 0], atol=0.3)
    np.testing.assert_allclose(values.std(0), [25.5, 25.5, 9], rtol=0.02)
    assert {(a, b) for a, row in causes.items() for b, w in zip(names, row, strict=False) if w} == {
        (light_tunnel.NAMES[j], light_tunnel.NAMES[i]) for i, j in np.argwhere(GRAPH)
    }


def test_in_the_packages_graph_all_factors_are_roots_that_cause_the_image(mechanism, capsys):
    from causalchamber import ground_truth

    capsys.readouterr()
    graph = ground_truth.graph("lt", "camera")
    assert graph.loc[list(light_tunnel.NAMES), "im"].all()
    assert not graph[list(light_tunnel.NAMES)].to_numpy().any()


def test_simulated_images_are_read_and_so_are_counterfactuals(mechanism):
    index = np.arange(0, 10_000, 40)
    images, factors, values = LightTunnel.examples(None, index)
    assert images.shape == (250, 64, 64, 3) and images.dtype == np.uint8 and not factors.any()
    again = LightTunnel.examples(None, index[::-1][:3])[0]
    np.testing.assert_array_equal(again, images[::-1][:3])
    assert np.asarray(mechanism.inside(light_tunnel._table())).all()
    assert _r_squared(np.asarray(mechanism.referee(images)), values).min() > 0.99
    rng = np.random.default_rng(0)
    for factor in range(3):
        asked = rng.permutation(values[:, factor])
        changed = np.asarray(mechanism.counterfactual(values, factor, asked))
        kept = np.asarray(mechanism.inside(changed))
        assert kept.mean() > 0.95
        read = np.asarray(mechanism.referee(render_all(mechanism.render, changed)))
        assert _r_squared(read[kept], changed[kept]).min() > 0.99
    blurred = np.clip(images / 127.5 - 1 + rng.normal(0, 0.01, images.shape), -1, 1)
    read = np.asarray(mechanism.referee(blurred.astype(np.float32)))
    assert _r_squared(read, values).min() > 0.99
    assert np.isfinite(np.asarray(mechanism.referee(np.zeros_like(images)))).all()


def test_counterfactuals_keep_the_noise():
    """Against the published model solved by hand, for standardised factors."""
    found = data.mechanism("light_tunnel")
    assert found is not None
    values = light_tunnel._table()[:64]
    stds = np.sqrt([1.00502177, 0.89303215**2 * 1.00502177 + 1.16426732])
    through_green, directly = 0.67726298, 0.98534901
    own = (directly + through_green * 0.89303215) ** 2 * 1.00502177
    stds = np.array([*stds, np.sqrt(own + through_green**2 * 1.16426732 + 1.27482347)])
    units = np.array([25.5, 25.5, 9]) / stds
    raw = (values.astype(float) - [127.5, 127.5, 0]) / units
    noise = raw[:, 2] - directly * raw[:, 0] - through_green * raw[:, 1]
    asked = np.linspace(80, 180, 64, dtype=np.float32)
    changed = np.asarray(found.counterfactual(values, 1, asked))
    expected = directly * raw[:, 0] + through_green * (asked - 127.5) / units[1] + noise
    np.testing.assert_allclose(changed[:, 2], expected * units[2], atol=1e-4)
    np.testing.assert_array_equal(changed[:, :2], np.stack([values[:, 0], asked], 1))
    changed = np.asarray(found.counterfactual(values, 0, values[:, 0] + 10))
    np.testing.assert_allclose(changed[:, 1] - values[:, 1], 8.9303215 * stds[0] / stds[1], 1e-4)
    np.testing.assert_array_equal(found.counterfactual(values, 2, asked)[:, :2], values[:, :2])


def test_what_the_tunnel_cannot_show_is_outside():
    found = data.mechanism("light_tunnel")
    assert found is not None
    rows = [[127, 127, 0], [-1, 127, 0], [127, 256, 0], [127, 127, 46], [250, 250, 44]]
    inside = np.asarray(found.inside(np.array(rows, np.float32)))
    assert inside.tolist() == [True, False, False, False, False]


def test_without_the_package_data_sets_are_listed_and_rendering_says_what_to_install(
    monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr(light_tunnel, "_simulator", light_tunnel._simulator.__wrapped__)
    for name in [name for name in sys.modules if name.startswith("causalchamber")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "causalchamber", None)
    assert main(["data", "list"]) == 0
    listed = capsys.readouterr().out
    assert re.search(
        r"light_tunnel/default +10,000 images, 64 x 64 x 3: blue, green, pol_2", listed
    )
    assert main(["data", "prepare", "light_tunnel", "--data_dir", str(tmp_path)]) == 2
    assert "pip install 'cdis[chamber]'" in capsys.readouterr().err


# Photographed


@pytest.fixture(scope="module")
def originals(tmp_path_factory) -> Path:
    """lt_crl_benchmark_v1, unpacked: two of its experiments, with few images."""
    folder = tmp_path_factory.mktemp("originals") / "lt_crl_benchmark_v1"
    rng = np.random.default_rng(0)
    for experiment in ("buchholz_1_obs", "uniform"):
        images = folder / experiment / "images_64"
        images.mkdir(parents=True)
        with open(folder / experiment / f"{experiment}.csv", "w", newline="") as file:
            table = csv.writer(file)
            table.writerow([*COLUMNS, "image_file"])
            for i in range(COUNT):
                red, green, blue = rng.integers(30, 220, 3).tolist()
                pol_1, pol_2 = rng.normal(0, 18, 2).round(1).tolist()
                row = (1.7e9 + i, "camera", 1, red, green, blue, pol_1, pol_2, 1000)
                table.writerow([*row, f"{i:05}.png"])
                Image.new("RGB", (64, 64), (red, green, blue)).save(images / f"{i:05}.png")
    return folder


@pytest.fixture
def few(monkeypatch):
    """As many photographs as the stand-in has, in an archive of unknown hash."""
    monkeypatch.setattr(light_tunnel, "PHOTOGRAPHS", COUNT)
    monkeypatch.setattr(light_tunnel, "ARCHIVE", light_tunnel.ARCHIVE._replace(md5=None))


@pytest.mark.parametrize("given", ["folder", "the folder around it", "archive", "folder of it"])
def test_photographs(given, originals, few, tmp_path):
    place = {"folder": originals, "the folder around it": originals.parent}.get(given)
    if place is None:
        packed = tmp_path / "packed"
        shutil.make_archive(str(packed / originals.name), "zip", originals.parent)
        place = packed / f"{originals.name}.zip" if given == "archive" else packed
    data.prepare("light_tunnel/real", str(tmp_path / "data"), str(place))
    dataset = data.load("light_tunnel/real", str(tmp_path / "data"))
    assert dataset.info.num_factors == 5 and sum(map(len, dataset.splits.values())) == COUNT
    blue, green, pol_2, _, red = dataset.values.T
    colours = np.stack([red, green, blue], 1)
    np.testing.assert_array_equal(dataset.images[:, 10, 50], colours.astype(np.uint8))
    assert 10 < pol_2.std() < 30


def test_the_archive_is_verified(originals, tmp_path, monkeypatch):
    shutil.make_archive(str(tmp_path / originals.name), "zip", originals.parent)
    for place in (tmp_path, tmp_path / f"{originals.name}.zip"):
        with pytest.raises(
            UserError, match=r"not the published file.*8ec492afffd0142abd70b1fa7082"
        ):
            data.prepare("light_tunnel/real", str(tmp_path / "data"), str(place))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"lacks files.*lt_crl_benchmark_v1.zip"):
        data.prepare("light_tunnel/real", str(tmp_path / "data"), str(tmp_path / "empty"))


def _shorter(folder: Path) -> None:
    table = folder / "buchholz_1_obs.csv"
    table.write_text("".join(table.read_text().splitlines(keepends=True)[:-1]))


def _renamed(folder: Path) -> None:
    table = folder / "buchholz_1_obs.csv"
    table.write_text(table.read_text().replace("pol_2", "angle"))


def _not_a_number(folder: Path) -> None:
    table = folder / "buchholz_1_obs.csv"
    table.write_text(
        table.read_text().replace(",1000,", ",nan,").replace("camera,1,", "camera,1,x")
    )


def _missing(folder: Path) -> None:
    (folder / "images_64" / "00003.png").unlink()


def _larger(folder: Path) -> None:
    Image.new("RGB", (65, 64)).save(folder / "images_64" / "00003.png")


def _cut(folder: Path) -> None:
    path = folder / "images_64" / "00003.png"
    path.write_bytes(path.read_bytes()[:60])


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_shorter, r"must have 40 rows of numbers; it has 39"),
        (_renamed, r"must have the columns .*pol_2.*KeyError"),
        (_not_a_number, r"of numbers but for the last"),
        (_missing, r"00003.png of lt_crl_benchmark_v1.*missing"),
        (_larger, r"00003.png .*it is RGB \(65, 64\), not RGB \(64, 64\)"),
        (_cut, r"00003.png of lt_crl"),
    ],
)
def test_damage_is_reported(damage, said, originals, few, tmp_path):
    folder = Path(shutil.copytree(originals, tmp_path / "lt_crl_benchmark_v1"))
    damage(folder / "buchholz_1_obs")
    with pytest.raises(UserError, match=said):
        data.prepare("light_tunnel/real", str(tmp_path / "data"), str(folder))
