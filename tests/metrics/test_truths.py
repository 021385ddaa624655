"""Every metric on representations with known scores, and on data that it must refuse.

The factors are a complete grid, repeated twenty times, so they are exactly independent.
"""

import json
from typing import Any

import numpy as np
import pytest

from cdis.metrics import METRICS
from cdis.metrics.arrays import UnsuitableData
from cdis.metrics.correlation import mcc
from cdis.metrics.dci import PRESETS as DCI_PRESETS
from cdis.metrics.dci import dci
from cdis.metrics.fixed_factor import beta_vae, factor_vae
from cdis.metrics.infomec import infomec
from cdis.metrics.information_gap import dcimig, mig, rmig
from cdis.metrics.irs import irs
from cdis.metrics.mic import mic
from cdis.metrics.modularity import explicitness, modularity
from cdis.metrics.r2 import r2
from cdis.metrics.sap import sap

SIZES = (3, 4, 5)
GRID = np.stack(np.unravel_index(np.arange(60), SIZES), 1)
FACTORS = np.tile(GRID, (20, 1))
RANDOM = np.random.default_rng(0)
IDENTITY = (FACTORS - FACTORS.mean(0)) / FACTORS.std(0)
NOISE = RANDOM.normal(size=IDENTITY.shape)
ROTATION = np.array([[2, -1, 2], [2, 2, -1], [-1, 2, 2]]) / 3
ROTATED = IDENTITY @ ROTATION
DUPLICATED = np.concatenate([IDENTITY, IDENTITY], 1)
DEAD = np.concatenate([IDENTITY, np.full((len(IDENTITY), 1), 3.0)], 1)
COLLAPSED = np.ones_like(IDENTITY)

FEW: dict[str, Any] = {"num_train": 1000, "num_test": 500}


def _dci(z, y, **settings):
    return dci(z, y, preset="logistic", **settings)


#: metric -> (how it is called here, the numbers that are tested)
SCORES = {
    "dci": (_dci, ("disentanglement", "completeness", "informativeness")),
    "mig": (mig, ("score",)),
    "rmig": (rmig, ("score",)),
    "dcimig": (dcimig, ("score",)),
    "modularity": (modularity, ("score",)),
    "explicitness": (explicitness, ("score",)),
    "sap": (sap, ("score",)),
    "beta_vae": (lambda z, y, **s: beta_vae(z, y, **FEW, **s), ("score",)),
    "factor_vae": (lambda z, y, **s: factor_vae(z, y, **FEW, **s), ("score",)),
    "irs": (irs, ("score",)),
    "infomec": (infomec, ("modularity", "compactness", "explicitness")),
    "mcc": (mcc, ("score",)),
    "r2": (r2, ("linear", "linear_matched", "nonlinear_matched")),
    "mic": (lambda z, y, **s: mic(z, y, num_samples=300, **s), ("mic", "tic")),
}
#: Scores of perfect codes, and the tolerance.
PERFECT = {
    "dci": ((1, 1, 1), 0.1),
    "mig": ((1,), 1e-9),
    "rmig": ((1,), 1e-9),
    "dcimig": ((1,), 1e-9),
    "modularity": ((1,), 1e-9),
    "explicitness": ((1,), 0.01),
    "beta_vae": ((1,), 1e-9),
    "factor_vae": ((1,), 1e-9),
    "irs": ((1,), 1e-9),
    "infomec": ((1, 1, 1), 0.06),
    "mcc": ((1,), 1e-9),
    "r2": ((1, 1, 1), 1e-9),
}


def headlines(name, z, y=FACTORS, **settings):
    score, names = SCORES[name]
    result = score(z, y, **settings)
    json.dumps(result, allow_nan=False)
    return np.array([result[each] for each in names])


@pytest.mark.parametrize("name", PERFECT)
def test_perfect_and_permuted_codes(name):
    expected, tolerance = PERFECT[name]
    identity = headlines(name, IDENTITY)
    np.testing.assert_allclose(identity, expected, atol=tolerance)
    np.testing.assert_allclose(headlines(name, IDENTITY[:, [2, 0, 1]]), identity, atol=1e-9)


@pytest.mark.parametrize("name", SCORES)
def test_order_of_dimensions_never_matters(name):
    mixed = np.concatenate([ROTATED[:, :2], IDENTITY[:, 2:], NOISE[:, :1]], 1) + 0.3 * NOISE[:, :1]
    before = headlines(name, mixed)
    np.testing.assert_allclose(headlines(name, mixed[:, [3, 1, 0, 2]]), before, atol=1e-9)


#: Metrics that are invariant to positive rescaling of each dimension.
SCALE_INVARIANT = {
    "dci",
    "mig",
    "rmig",
    "dcimig",
    "modularity",
    "explicitness",
    "beta_vae",
    "factor_vae",
    "mcc",
    "r2",
    "mic",
}


@pytest.mark.parametrize("name", sorted(SCALE_INVARIANT))
def test_scale_of_dimensions(name):
    z = ROTATED + 0.3 * NOISE
    scaled = z * np.array([0.25, 8.0, 3.0])  # two powers of two, and a factor that rounds
    np.testing.assert_allclose(headlines(name, scaled), headlines(name, z), atol=2e-3)


def test_irs_depends_on_single_scales_but_not_on_a_common_one():
    z = ROTATED + 0.3 * NOISE
    assert irs(7 * z, FACTORS)["score"] == pytest.approx(irs(z, FACTORS)["score"])
    reweighted = irs(z * [1, 1, 50], FACTORS)["score"]
    assert reweighted != pytest.approx(irs(z, FACTORS)["score"], abs=1e-4)


@pytest.mark.parametrize("name", ["dci", "mig", "rmig", "sap", "infomec", "mcc", "r2", "dcimig"])
def test_rotation_lowers_the_score(name):
    index = 1 if name == "r2" else 0
    assert headlines(name, ROTATED)[index] < 0.8 * headlines(name, IDENTITY)[index]


def test_rotation_keeps_linear_predictability():
    assert r2(ROTATED, FACTORS)["linear"] == pytest.approx(1)
    assert explicitness(ROTATED, FACTORS)["score"] > 0.99


def test_copies():
    for score in (mig, rmig):
        assert score(DUPLICATED, FACTORS)["score"] == pytest.approx(0, abs=1e-12)
    assert sap(DUPLICATED, FACTORS)["score"] == pytest.approx(0, abs=1e-12)
    assert modularity(DUPLICATED, FACTORS)["score"] == pytest.approx(1)
    assert dcimig(DUPLICATED, FACTORS)["score"] == pytest.approx(1)
    assert irs(DUPLICATED, FACTORS)["score"] == pytest.approx(1)
    assert mcc(DUPLICATED, FACTORS)["score"] == pytest.approx(1)
    copies = infomec(DUPLICATED, FACTORS)
    assert copies["modularity"] > 0.9
    # Two of six dimensions share each factor's information: (1 / 2 - 1 / 6) / (1 - 1 / 6).
    assert copies["compactness"] == pytest.approx(0.4, abs=0.05)
    linear = _dci(DUPLICATED, FACTORS)
    assert linear["completeness"] < 0.75 < 0.9 < linear["disentanglement"]


def test_noise():
    for name, chance in {
        "mig": 0.0,
        "rmig": 0.0,
        "dcimig": 0.0,
        "explicitness": 0.5,
        "sap": 0.0,
        "beta_vae": 1 / 3,
        "factor_vae": 1 / 3,
        "mcc": 0.0,
    }.items():
        assert headlines(name, NOISE)[0] == pytest.approx(chance, abs=0.1), name
    assert headlines("mcc", NOISE)[0] < 0.1
    assert max(r2(NOISE, FACTORS)["linear_per_factor"]) < 0.05


def test_a_dead_dimension_changes_nothing_and_is_listed():
    for name in ("mig", "rmig", "dcimig", "modularity", "explicitness", "irs", "mcc"):
        assert headlines(name, DEAD) == pytest.approx(headlines(name, IDENTITY), abs=1e-9), name
    assert modularity(DEAD, FACTORS)["dead_dimensions"] == [3]
    assert modularity(DEAD, FACTORS)["per_dimension"][3] is None
    assert irs(DEAD, FACTORS)["dead_dimensions"] == [3]
    assert irs(DEAD, FACTORS)["robustness"][3] == [None] * 3
    assert mcc(DEAD, FACTORS)["dead_dimensions"] == [3]
    assert factor_vae(DEAD, FACTORS, **FEW)["pruned_dimensions"] == [3]
    assert infomec(DEAD, FACTORS)["active_dimensions"] == [0, 1, 2]
    linear = _dci(DEAD, FACTORS)
    assert linear["dead_dimensions"] == [3] and linear["per_dimension"][3] is None
    assert r2(DEAD, FACTORS)["dead_dimensions"] == [3]


# Details


@pytest.mark.parametrize("preset", sorted(DCI_PRESETS))
def test_dci_presets_find_perfect_codes(preset):
    if preset == "lightgbm":
        pytest.importorskip("lightgbm", reason="the extra lightgbm is not installed")
    few = slice(None, 600)
    result = dci(IDENTITY[few], FACTORS[few], preset=preset)
    # Each split of a random forest considers only some dimensions.
    least = 0.8 if preset == "random_forest" else 0.9
    assert min(result["disentanglement"], result["completeness"]) > least
    assert result["informativeness"] > 0.95
    np.testing.assert_array_equal(np.argmax(result["importance"], 0), [0, 1, 2])
    assert result["preset"] == preset


def test_informativeness_about_continuous_factors_is_r2():
    values = FACTORS + np.random.default_rng(3).uniform(-0.4, 0.4, FACTORS.shape)
    result = dci(values, values, preset="hist_gradient_boosting")
    assert result["continuous"] == [True] * 3
    assert result["informativeness"] > 0.97


def test_concentration_by_hand():
    from cdis.metrics.dci import concentration

    mean, values, weights = concentration(np.array([[2.0, 0.0], [1.0, 1.0], [0.0, 0.0]]))
    assert values == [1.0, pytest.approx(0), None]
    np.testing.assert_allclose(weights, [0.5, 0.5, 0])
    assert mean == pytest.approx(0.5)


def test_mcc_by_rank_and_by_assignment():
    bent = np.exp(3 * IDENTITY)
    assert mcc(bent, FACTORS, preset="spearman")["score"] == pytest.approx(1)
    assert mcc(bent, FACTORS)["score"] < 0.95
    result = mcc(-IDENTITY[:, [1, 2]], FACTORS)
    assert result["assigned_dimension"] == [None, 0, 1]
    assert result["score"] == pytest.approx(2 / 3)
    np.testing.assert_allclose(result["correlation"][0], [0, -1, 0], atol=1e-9)


def test_infomec_treats_integers_as_symbols():
    renamed = np.random.default_rng(0).permutation(5)[FACTORS]
    result = infomec(renamed, FACTORS)
    for name in ("modularity", "compactness", "explicitness"):
        assert result[name] == pytest.approx(1, abs=0.01)


def test_infomec_presets_prune_differently():
    z = np.concatenate([IDENTITY, 0.08 * NOISE[:, :1]], 1)
    active = {
        preset: infomec(z, FACTORS, preset=preset)["active_dimensions"]
        for preset in ("latent_quantization", "latent_quantization_first", "tripod")
    }
    assert active["latent_quantization"] == [0, 1, 2, 3]  # a range of 0.5 is above 2.8 / 20
    assert active["tripod"] == [0, 1, 2]


# Refusals


@pytest.mark.parametrize("name", SCORES)
def test_refuses_arrays_that_suit_no_metric(name):
    def refused(z, y, said):
        with pytest.raises(UnsuitableData, match=said):
            headlines(name, z, y)

    broken = IDENTITY.copy()
    broken[7, 1] = np.nan
    refused(broken, FACTORS, "row 7, column 1")
    refused(IDENTITY, np.where(FACTORS == 1, np.inf, FACTORS), "NaN or infinity")
    refused(IDENTITY[:-1], FACTORS, "1199 rows of representations and 1200")
    refused(IDENTITY[:, 0], FACTORS, "must be a matrix")
    refused(IDENTITY.astype(str), FACTORS, "real numbers")
    refused(COLLAPSED, FACTORS, "All dimensions")
    refused(IDENTITY, FACTORS * [1, 0, 1], "Factor 1 never varies")
    refused(IDENTITY[:0], FACTORS[:0], "must be a matrix")


def test_refuses_a_single_dimension_or_factor_where_the_table_says_so():
    few_dimensions = {"dci", "mig", "rmig", "sap", "infomec"}
    few_factors = {"dci", "dcimig", "modularity", "beta_vae", "factor_vae", "infomec"}
    assert {name for name in METRICS if METRICS[name].min_dimensions == 2} == few_dimensions
    assert {name for name in METRICS if METRICS[name].min_factors == 2} == few_factors
    for name in few_dimensions:
        with pytest.raises(UnsuitableData, match="1 dimension"):
            headlines(name, IDENTITY[:, :1])
    for name in few_factors:
        with pytest.raises(UnsuitableData, match="1 factor"):
            headlines(name, IDENTITY, FACTORS[:, :1])


@pytest.mark.parametrize("name", SCORES)
def test_refuses_too_few_rows(name):
    rows = [0, 13, 26, 39, 52] if name not in ("irs", "mcc") else [0, 59]
    with pytest.raises(UnsuitableData):
        headlines(name, IDENTITY[rows], FACTORS[rows])


def causal_factors():
    """The second factor depends on the first."""
    random = np.random.default_rng(0)
    cause = random.integers(4, size=2000)
    effect = np.where(random.random(2000) < 0.4, cause, random.integers(4, size=2000))
    return np.stack([cause, effect, random.integers(3, size=2000)], 1)


def parity_factors():
    """Any two are independent; the third is a function of them."""
    pair = np.random.default_rng(0).integers(3, size=(2000, 2))
    return np.concatenate([pair, pair.sum(1, keepdims=True) % 3], 1)


CROSSED = ["beta_vae", "factor_vae", "irs"]
DISCRETE = ["explicitness", "beta_vae", "factor_vae"]


def test_the_table_lists_what_metrics_refuse():
    assert [name for name in METRICS if METRICS[name].crossed] == CROSSED
    assert [name for name in METRICS if METRICS[name].discrete] == DISCRETE


@pytest.mark.parametrize("name", CROSSED)
@pytest.mark.parametrize("factors", [causal_factors, parity_factors])
def test_refuses_factors_that_are_not_crossed(name, factors):
    y = factors()
    with pytest.raises(UnsuitableData, match="crossed design"):
        headlines(name, y.astype(float), y)


@pytest.mark.parametrize("name", DISCRETE)
def test_refuses_continuous_factors(name):
    with pytest.raises(UnsuitableData, match="continuous"):
        headlines(name, IDENTITY, IDENTITY + 0.1 * NOISE)


def test_a_random_sample_of_a_grid_is_crossed():
    random = np.random.default_rng(5)
    for seed in range(5):
        y = np.stack([random.integers(size, size=400 + seed) for size in (3, 8, 8)], 1)
        assert irs(y + 0.0, y)["score"] == pytest.approx(1)


def test_factor_vae_refuses_when_it_would_prune_everything():
    with pytest.raises(UnsuitableData, match="standard deviation"):
        factor_vae(0.01 * IDENTITY, FACTORS, **FEW)
    assert factor_vae(0.01 * IDENTITY, FACTORS, prune_below=0, **FEW)["score"] == 1
