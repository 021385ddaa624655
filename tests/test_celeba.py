"""CelebA from original files to a report, on a small stand-in for them."""

from pathlib import Path

import celeb_a_files
import numpy as np
import pytest
from PIL import Image

from cdis import data
from cdis.cli import main
from cdis.config import load_config
from cdis.data import celeb_a
from cdis.measure import evaluate, report
from cdis.training.loop import train

ROOT = Path(__file__).parents[1]
# Evaluation of two steps of training needs no better one.
PREDICTOR_STEPS = 3


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder, path = tmp_path_factory.mktemp("originals"), str(tmp_path_factory.mktemp("data"))
    celeb_a_files.write(folder, packed=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(celeb_a, "COUNT", celeb_a_files.COUNT)
        for name in ("IMAGES", "LABELS", "PARTITION"):
            patch.setattr(celeb_a, name, getattr(celeb_a, name)._replace(md5=None))
        arguments = ["--manual_dir", str(folder), "--data_dir", path]
        assert main(["data", "prepare", "celeb_a/64", *arguments]) == 0
        yield path


@pytest.mark.slow
def test_causal_graph_of_attributes(data_dir, tmp_path):
    workdir = tmp_path / "run"
    config = load_config("cauf_vae/celeba_smile:smoke")
    assert train(config, workdir, data_dir).step == 6
    metrics = evaluate(workdir, data_dir, predictor_steps=PREDICTOR_STEPS)
    assert set(metrics["factors"]["r2"]) == set(data.info("celeb_a/smile").factor_names)
    assert np.array(metrics["structure"]["edge_strength"]).shape == (6, 6)
    assert np.isfinite(metrics["elbo"])
    report(workdir, data_dir)
    assert "</html>" in (workdir / "report/index.html").read_text()

    picture = str(tmp_path / "x.png")
    Image.fromarray(data.load("celeb_a/smile", data_dir).images[0]).save(picture)
    given = ["intervene", picture, "--workdir", str(workdir), "--out", str(tmp_path / "out.png")]
    assert main([*given, "--do", "Smiling=1"]) == 0
    assert main([*given, "--do", "Smiling=5", "--overwrite"]) == 2


@pytest.mark.slow
def test_pairs_of_attributes(data_dir, tmp_path):
    workdir = tmp_path / "run"
    overrides = {"data.name": "celeb_a/first_10", "model.autoencoder.widths": (8, 8, 8, 8, 8)}
    config = load_config(str(ROOT / "experiments/ct_vae/celeba.py:smoke"), overrides)
    assert train(config, workdir, data_dir).step == 5
    metrics = evaluate(workdir, data_dir, predictor_steps=PREDICTOR_STEPS)
    retrieval = metrics["action_retrieval"]
    # Results of each action, and how many pairs each of them has: as unequal as attributes are.
    counts = retrieval["per_action_count"]
    assert set(counts) == set(data.info("celeb_a/first_10").action_names)
    assert counts["Bald+1"] == 0 < counts["Attractive+1"] == counts["Attractive-1"]
    assert retrieval["per_action"]["Bald+1"] is None
    assert retrieval["per_action"]["Attractive+1"] is not None
    report(workdir, data_dir)
    assert "</html>" in (workdir / "report/index.html").read_text()
