"""Settings that fit a data set where the config leaves them open."""

import dataclasses
from typing import Any

import pytest

from cdis import data, methods
from cdis.config import load_config, names, to_json
from cdis.errors import UserError
from cdis.methods import fitting
from tests import spots
from tests.methods import bars

SIZES = ("autoencoder.patch", "codes.num_codebooks", "codes.num_codes")
#: What each experiment on our own data sets was measured with.
MEASURED = {
    "baselines/beta_vae_pendulum_cpu": {"autoencoder.patch": 4},
    "cauf_vae/bars": {"autoencoder.patch": 4},
    "cauf_vae/celeba_attractive": {"autoencoder.patch": 4},
    "cauf_vae/celeba_smile": {"autoencoder.patch": 4},
    "cauf_vae/flow": {"autoencoder.patch": 4},
    "cauf_vae/pendulum": {"autoencoder.patch": 4},
    "cauf_vae/pendulum_cpu": {"autoencoder.patch": 4},
    "cauf_vae/pendulum_literal": {"autoencoder.patch": 4},
    "cauf_vae/pendulum_mixed": {"autoencoder.patch": 4},
    "cauf_vae/pendulum_noisy": {"autoencoder.patch": 4},
    "cauf_vae/structure_pendulum": {"autoencoder.patch": 4},
    "ct_vae/published": {"codes.num_codebooks": 1, "codes.num_codes": 64},
    "ct_vae/quickstart": dict(zip(SIZES, (2, 8, 16), strict=True)),
    "ct_vae/quickstart:oriented": dict(zip(SIZES, (2, 8, 16), strict=True)),
    "ct_vae/rooms3d_cpu": dict(zip(SIZES, (4, 8, 10), strict=True)),
}


def _sizes(model: Any) -> dict[str, Any]:
    found = {}
    for name in SIZES:
        group, field = name.split(".")
        if field in model.get(group, {}):
            found[name] = model[group][field]
    return found


@pytest.mark.parametrize("name", MEASURED)
def test_experiments_have_the_sizes_that_they_were_measured_with(name):
    config = load_config(name)
    before = to_json(config)
    fitted = methods.fitted(config, data.info(config.data.name))
    assert _sizes(fitted.model) == MEASURED[name]
    assert to_json(config) == before and fitted.is_locked
    # Once fitted, nothing is left open.
    assert methods.fitted(fitted, data.info("rooms3d/small")) == fitted


@pytest.mark.parametrize("name", ["ct_vae/quickstart:oriented", "ct_vae/rooms3d_cpu"])
def test_one_recipe_serves_several_data_sets(name):
    recipe, other = load_config("ct_vae/quickstart"), load_config(name)
    assert other.model == recipe.model and other.data.name != recipe.data.name


@pytest.mark.parametrize("name", [name for name in names() if name != "cauf_vae/own"])
def test_every_experiment_fits_its_own_data_without_a_warning(name):
    config = load_config(name)
    info = data.info(config.data.name)
    config = methods.fitted(config, info)
    method = methods.module(config.method).make(config, info)
    # Published: 64 codes on each of 64 places, for 183 types of cars.
    assert len(method.warnings) == (name == "ct_vae/cars3d")


def test_binary_factors_with_edges_ask_for_a_flow_of_latents():
    info = dataclasses.replace(bars.INFO, **bars.BINARY)
    for variant, expected in (("", ["right"]), (":binary", [])):
        _, method = bars.make(f"own{variant}", info=info)
        assert [text.split("(")[1].split(")")[0] for text in method.warnings] == expected


@pytest.mark.parametrize(
    ("shape", "patch"),
    [((28, 28), 2), ((24, 90), 1), ((32, 32), 2), ((64, 78), 4), ((96, 96), 4), ((128, 128), 8)],
)
def test_patches_fit_the_images(shape, patch):
    info = dataclasses.replace(spots.INFO, image_shape=(*shape, 3))
    config = methods.fitted(load_config("ct_vae/quickstart"), info)
    assert config.model.autoencoder.patch == patch
    assert 12 < min(shape) / patch <= 24 or patch == 1


def test_codes_and_nodes_fit_the_factors():
    factors = tuple(f"f{i}" for i in range(9))
    info = dataclasses.replace(
        spots.INFO, factor_names=factors, factor_sizes=(2,) * 8 + (13,), circular=(False,) * 9
    )
    config = methods.fitted(load_config("ct_vae/quickstart"), info)
    assert (config.model.codes.num_codes, config.model.codes.num_codebooks) == (26, 11)
    assert fitting.too_small(info, num_codes=13, num_nodes=9) == ()

    explicit = {"model.codes.num_codes": 12, "model.codes.num_codebooks": 8}
    config = load_config("ct_vae/quickstart", explicit)
    assert _sizes(methods.fitted(config, info).model)["codes.num_codes"] == 12
    codes, nodes = methods.module(config.method).make(config, info).warnings
    assert "num_codes is 12, but f8 has 13 values" in codes and "8 nodes" in nodes


def test_a_config_that_lacks_fields_of_the_method_is_refused():
    config = load_config("cauf_vae/pendulum_cpu").copy_and_resolve_references().unlock()
    del config.model.decoder, config.model.weights.drawing
    with pytest.raises(UserError, match=r"has no config\.model\.\S+, config\.model\.\S+, which"):
        methods.make(config.lock(), data.info("pendulum/clean"))
