"""Images decoded from true labels, pixels of counterfactuals, MIC; and why there may be none."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from oracles import (
    SHADE,
    SHADE_MECHANISM,
    shade,
    shade_dataset,
    shade_oracle,
    silent,
    without_labels,
)

from cdis.measure import (
    Subject,
    do_interventions,
    headlines,
    labelled_factors,
    labels_decoded,
    measure,
)
from cdis.methods.base import Factors, Method
from cdis.trained import Trained

MEASUREMENTS = (labels_decoded.MEASUREMENT, do_interventions.MEASUREMENT)
MEAN, STD = jnp.array(SHADE.value_mean), jnp.array(SHADE.value_std)
#: Squared error of a picture whose 13 pixels that should be black are a grey level too bright.
LEVEL = 13 / 16 / 255**2


def reads_offsets() -> Method:
    """Its latents are a quarter of a grey level too large, and its decoder counts on that.

    From such latents it draws the background 2 grey levels too bright, under do() of a cause 6,
    under do() of the effect 20; and from other latents 20, with a "right" that never varies.
    """

    def encode(variables, images, values=None):
        return {"vectors": (images[:, 0, :3, 0].astype(jnp.float32) + 0.25 - MEAN) / STD}

    def drawn(pixels, brightness):
        shown = jnp.broadcast_to(brightness[:, None, None, None], (len(pixels), 4, 4, 1))
        return shown.at[:, 0, :3, 0].set(pixels) / 127.5 - 1

    def decode(variables, representation):
        pixels = representation["vectors"] * STD + MEAN
        offset = jnp.abs(pixels[:, 0] - jnp.round(pixels[:, 0])) > 0.1
        pixels = jnp.round(pixels - 0.25).at[:, 1].set(jnp.where(offset, pixels[:, 1] - 0.25, 50))
        return drawn(pixels, jnp.where(offset, 2.0, 20.0))

    def do(variables, images, fixed, values, own_values=None):
        pixels = images[:, 0, :3, 0].astype(jnp.float32)
        new, is_cause = jnp.where(fixed, values, pixels), ~fixed[2]
        new = new.at[:, 2].add((new - pixels)[:, :2].sum(1) * is_cause)
        return drawn(new, jnp.full(len(images), jnp.where(is_cause, 6.0, 20.0)))

    return Method(lambda key, batch: {"params": {}}, (), encode, decode, factors=Factors(3, do))


def measured(method, dataset, measurements=MEASUREMENTS, **options):
    """Some measurements of a method on a data set, and their arrays."""
    subject = Subject(
        Trained(method, {"params": {}}, dataset.info), dataset, progress=silent, **options
    )
    return measure(subject, measurements)


def test_a_decoder_that_reads_hidden_offsets():
    dataset = shade_dataset()
    metrics, arrays = measured(reads_offsets(), dataset, mechanism=SHADE_MECHANISM)
    found = metrics["labels_decoded"]
    assert found["reconstruction_mse"] == pytest.approx(2**2 * LEVEL, rel=1e-4)
    right = dataset.values[dataset.splits["test"], 1]
    error = 20**2 * LEVEL + ((right - 50) ** 2).mean() / 16 / 255**2
    assert found["mse"] == pytest.approx(error, rel=1e-4)
    assert found["ratio"] == pytest.approx(error / (2**2 * LEVEL), rel=1e-4)
    assert found["redrawn"] < 1e-9 and found["num_images"] == 100 and found["latents_kept"] == []
    # "right" is read as 50 everywhere, which is near its mean.
    assert found["read"] == pytest.approx({"left": 1, "right": 0, "sum": 1}, abs=0.05)
    assert found["reconstruction_read"] == pytest.approx(dict.fromkeys(SHADE.factor_names, 1))
    assert found["read_worst"] == found["read"]["right"] < found["reconstruction_read_worst"]
    # The figure's rows are of the same images.
    truth, reconstructed, decoded = (
        arrays[f"labels_decoded_{kind}"].astype(int)
        for kind in ("true", "reconstruction_images", "images")
    )
    assert len(truth) == 12 and set(np.unique(decoded[:, 1:])) == {20}
    np.testing.assert_array_equal(reconstructed[:, 0, :3], truth[:, 0, :3])
    np.testing.assert_array_equal(decoded[:, 0, ::2], np.where(truth, truth, 20)[:, 0, ::2])

    pixels = metrics["counterfactual_pixels"]
    of_cause, of_effect = 6**2 * LEVEL, 20**2 * LEVEL
    assert pixels["error"] == pytest.approx({"left": of_cause, "right": of_cause, "sum": of_effect})
    assert pixels["ratio"] == pytest.approx({"left": 9, "right": 9, "sum": 100}, rel=1e-3)
    assert pixels["visibly_wrong"] == {"left": 0, "right": 0, "sum": 1}
    assert pixels["error_worst_cause"] == pytest.approx(of_cause)
    assert metrics["interventions"]["redrawn"] < 1e-9
    # What `compare` looks for is there.
    for name in [name for one in MEASUREMENTS for name in one.scores]:
        section, score = name.split(".")
        assert isinstance(metrics[section][score], float)
    lines = "\n".join(headlines(metrics, MEASUREMENTS))
    assert "times the reconstruction's, worst factor read " in lines
    assert "9.00 times the reconstruction's, 0.0% visibly wrong" in lines


@pytest.mark.parametrize(
    ("mechanism", "redrawn", "why"),
    [
        (SHADE_MECHANISM._replace(render=None), None, "Nothing draws these images"),
        (
            SHADE_MECHANISM._replace(render=lambda values: shade(np.asarray(values)) + np.uint8(2)),
            pytest.approx((2 / 255) ** 2),
            "by a mean squared error of 6.2e-05",
        ),
    ],
)
def test_no_pixels_to_compare_with(mechanism, redrawn, why):
    dataset = shade_dataset()
    metrics, _ = measured(shade_oracle(True), dataset, mechanism=mechanism)
    assert metrics["interventions"]["redrawn"] == redrawn
    assert metrics["labels_decoded"]["redrawn"] == redrawn
    assert why in metrics["counterfactual_pixels"]["reason"]
    assert metrics["interventions"]["do_left"]["propagation"] > 0.999
    assert "pixel error under do()" not in "\n".join(headlines(metrics, MEASUREMENTS))


def test_latents_that_labels_do_not_give_are_the_encoders():
    """That of "right" is a logit, and the last one is the grey level of an unlabelled pixel."""
    whole = shade_dataset()
    right = np.random.default_rng(0).integers(0, 2, len(whole.images))
    mean, std = (50.0, float(right.mean()), 110.0), (28.0, float(right.std()), 41.0)
    info = dataclasses.replace(SHADE, factor_sizes=(0, 2, 0), value_mean=mean, value_std=std)
    images, values = whole.images.copy(), whole.values.copy()
    images[:, 0, 1, 0], values[:, 1] = 80 * right, right
    images[:, 0, 3, 0] = np.arange(len(images)) % 250
    dataset = dataclasses.replace(whole, info=info, images=images, values=values)
    centre, scale = jnp.array([mean[0], 0, mean[2], 0]), jnp.array([std[0], 16, std[2], 1])

    def encode(variables, images, values=None):
        return {"vectors": (images[:, 0, :, 0] - centre) / scale}

    def decode(variables, representation):
        pixels = representation["vectors"] * scale + centre
        return jnp.full((len(pixels), 4, 4, 1), -1.0).at[:, 0, :, 0].set(pixels / 127.5 - 1)

    method = Method(lambda key, batch: {}, (), encode, decode, factors=Factors(3))
    found = measured(method, dataset, MEASUREMENTS[:1])[0]["labels_decoded"]
    assert found["mse"] == pytest.approx(0, abs=1e-9)
    assert found["latents_kept"] == ["right"] and found["redrawn"] is None and "read" not in found
    # Labels that are off shift what is drawn, but not by way of the latents that are kept.
    values = values + np.array([4, 0, 0], np.float32)
    moved = measured(method, dataclasses.replace(dataset, values=values), MEASUREMENTS[:1])[0]
    assert moved["labels_decoded"]["mse"] == pytest.approx((4 / 255) ** 2 / 16, rel=1e-3)


def test_too_few_images_for_mic():
    whole = shade_dataset()
    few = dataclasses.replace(whole, splits=whole.splits | {"test": whole.splits["test"][:15]})
    found = measured(shade_oracle(True), few, (labelled_factors.MEASUREMENT,))[0]["factors"]
    assert found["mic"] is None and "20" in found["mic_reason"] and found["r2_worst"] > 0.999
    assert len(headlines({"factors": found})) == 1


def test_no_label_that_could_be_decoded():
    dataset = shade_dataset()
    info = dataset.info
    names = dataclasses.replace(
        info, factor_sizes=(2, 2, 2), value_mean=(0.5,) * 3, value_std=(0.5,) * 3
    )
    for other, why in (
        (dataclasses.replace(dataset, info=names), "All labelled factors are binary"),
        (
            dataclasses.replace(
                dataset, info=dataclasses.replace(info, value_mean=None, value_std=None)
            ),
            "cannot be standardised",
        ),
        (without_labels(dataset, dataset.splits["test"][49:], 0), "Only 49 of 100"),
    ):
        found = measured(shade_oracle(True), other, MEASUREMENTS[:1])[0]["labels_decoded"]
        assert set(found) == {"reason"} and why in found["reason"]
    unlabelled = shade_oracle(True)._replace(factors=Factors())
    assert not measured(unlabelled, dataset, MEASUREMENTS[:1])[0]
