"""Both causal data sets: renderers against matplotlib, referees against known values, splits.

Those in the published framing have tests of their own.
"""

from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Patch, Polygon, Rectangle

from cdis import data
from cdis.data import rendering, transitions
from cdis.data.builder import SPLITS, split_of
from cdis.data.flow import Flow
from cdis.data.generated import GeneratedBuilder
from cdis.data.info import Info
from cdis.data.pendulum import Pendulum
from cdis.errors import UserError
from cdis.ops import images as images_op

# The others have tests of their own.
NAMES = [
    name
    for name in data.names()
    if name.startswith(("pendulum/", "flow/"))
    and not name.split("/")[1].startswith(("published", "original"))
]
SMALL = [name for name in NAMES if not name.endswith("_96")]
BATCH = 256


def _mechanism(name: str) -> data.Mechanism:
    mechanism = data.mechanism(name)
    assert mechanism is not None
    return mechanism


def _render(name: str, values: np.ndarray) -> np.ndarray:
    render = _mechanism(name).render
    assert render is not None
    return np.asarray(render(values))


def _variant(name: str) -> tuple[type[GeneratedBuilder], object]:
    builder = {"pendulum": Pendulum, "flow": Flow}[name.split("/")[0]]
    return builder, next(
        c for c in builder.BUILDER_CONFIGS if c.name == data.info(name).name.split("/")[1]
    )


def _all_values(name: str) -> np.ndarray:
    """The values of all images, without rendering them."""
    builder, config = _variant(name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rendering, "in_chunks", lambda *_, **__: np.empty(0))
        return builder.examples(config, np.arange(data.info(name).num_images))[2]


def _sample(name: str, seed: int = 0) -> np.ndarray:
    values = _all_values(name)
    return values[np.random.default_rng(seed).choice(len(values), BATCH, replace=False)]


def _r_squared(read: np.ndarray, values: np.ndarray) -> np.ndarray:
    return 1 - np.square(read - values).sum(0) / np.square(values - values.mean(0)).sum(0)


# Rendering


def _pendulum_patches(angle, light, length, position) -> list[Patch]:
    along, across = (
        np.array([np.sin(angle), -np.cos(angle)]),
        np.array([np.cos(angle), np.sin(angle)]),
    )
    pivot = np.array([10, 10.5])
    ball = pivot + 8 * along
    corners = [pivot - across / 4, pivot + across / 4, ball + across / 4, ball - across / 4]
    return [
        Circle((light, 20.5), 3, color="orange"),
        Circle((10, 10.5), 0.25, color="black"),
        Polygon(corners, color="black"),
        Circle((ball[0], ball[1]), 1.5, color="darkred"),
        Rectangle((position - length / 2, -1), length, 1, color="black"),
    ]


def _flow_patches(radius, height, hole, reach) -> list[Patch]:
    x = np.linspace(0, 12, 400)  # from the wall
    y = hole - (hole - 0.5) * (x / reach) ** 2
    band = np.concatenate([np.stack([8 + x, y + 0.6], 1), np.stack([8 + x, y - 0.6], 1)[::-1]])
    return [
        Rectangle((3, 0), 5, 5 + height, color="lightskyblue"),
        Circle((5.5, 1.225 + radius), radius, color="firebrick"),
        Rectangle((3, 0), 0.625, 19, color="black"),
        Rectangle((7.375, 0), 0.625, hole - 0.6, color="black"),
        Rectangle((7.375, hole + 0.6), 0.625, 19 - hole - 0.6, color="black"),
        Rectangle((3, 0), 5, 0.625, color="black"),
        Polygon(band, color="dodgerblue"),
    ]


def _matplotlib(patches: list[Patch], side: int, left: float, bottom: float, width: float):
    figure = Figure(figsize=(side / 64, side / 64), dpi=64)
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(left, left + width), ylim=(bottom, bottom + width))
    axes.axis("off")
    for patch in patches:
        patch.set_linewidth(0)
        patch.set_snap(False)
        axes.add_patch(patch)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


@pytest.mark.parametrize("name", ["pendulum/mixed", "pendulum/mixed_96", "flow", "flow/default_96"])
def test_renderings_equal_those_of_matplotlib(name):
    values = _sample(name)
    images = _render(name, values)
    side = images.shape[1]
    assert images.shape == (BATCH, side, side, 3) and images.dtype == np.uint8
    common = either = 0
    half = 127 if name.startswith("pendulum") else 60  # of the palest colour
    for image, row in zip(images[:12], values, strict=False):
        if name.startswith("pendulum"):
            other = _matplotlib(_pendulum_patches(*row), side, -5, -4, 32)
        else:
            other = _matplotlib(_flow_patches(*row), side, 0, 0, 20)
        mine, theirs = (255.0 - x for x in (image, other))  # difference from white
        assert np.minimum(mine, theirs).sum() / np.maximum(mine, theirs).sum() >= 0.97
        mine, theirs = (x.max(-1) > half for x in (mine, theirs))
        common, either = common + (mine & theirs).sum(), either + (mine | theirs).sum()
    # Pixels counted as covered or not, over all images: a rod one pixel wide leaves a handful of an
    # image's 170 covered pixels borderline (the worst single image has 0.960).
    assert common / either >= 0.97


@pytest.mark.parametrize("name", SMALL)
def test_nothing_leaves_the_frame(name):
    values = _all_values(name)
    assert np.asarray(_mechanism(name).inside(values)).all()


def test_scenes_that_leave_the_frame_are_reported():
    pendulum, flow = (_mechanism(name).inside for name in ("pendulum/clean", "flow"))
    rows = np.array([[0, 10, 5, 10], [0, 26, 5, 10], [0, 10, 5, 25], [2, 10, 5, 10]], np.float32)
    assert np.asarray(pendulum(rows)).tolist() == [True, False, False, False]
    rows = np.array([[0.5, 2, 3, 4], [2, 2, 3, 4], [0.5, 2, 3, 11], [0.5, 2, 1, 4]], np.float32)
    assert np.asarray(flow(rows)).tolist() == [True, False, False, False]
    # Any length that occurs, at any position that occurs, fits into the image.
    for kind in ("clean", "mixed"):
        length, position = _all_values(f"pendulum/{kind}")[:, 2:].T
        ends = np.stack(np.meshgrid([length.min(), length.max()], [position.min(), position.max()]))
        rows = np.concatenate([np.tile([0.0, 10.0], (4, 1)), ends.reshape(2, 4).T], 1)
        assert np.asarray(pendulum(rows.astype(np.float32))).all()


# Reading


@pytest.mark.parametrize("name", NAMES)
def test_referee_reads_images_and_counterfactuals(name):
    mechanism, values = _mechanism(name), _sample(name)
    images = _render(name, values)
    assert _r_squared(np.asarray(mechanism.referee(images)), values).min() > 0.999
    if name.endswith("_96"):
        return
    everything = _all_values(name)
    for factor in range(4):
        asked = np.random.default_rng(factor).permutation(everything[:, factor])[:BATCH]
        changed = np.asarray(mechanism.counterfactual(values, factor, asked))
        kept = np.asarray(mechanism.inside(changed))
        assert kept.mean() > 0.97
        read = np.asarray(mechanism.referee(_render(name, changed)))
        assert _r_squared(read[kept], changed[kept]).min() > 0.999


@pytest.mark.parametrize("name", ["pendulum/mixed", "flow"])
def test_referee_reads_decoded_images(name):
    """Floats in [-1, 1], blurred by half a pixel, with a little noise."""
    mechanism, values = _mechanism(name), _sample(name)
    images = images_op.from_uint8(_render(name, values))
    kernel = np.exp(-0.5 * (np.arange(-2, 3) / 0.5) ** 2)
    kernel /= kernel.sum()
    for axis in (1, 2):
        padded = np.pad(
            images, [(0, 0)] + [(2 * (axis == a), 2 * (axis == a)) for a in (1, 2, 3)], "edge"
        )
        shifted = [np.take(padded, np.arange(64) + shift, axis) for shift in range(5)]
        images = np.einsum("k,kbhwc->bhwc", kernel, np.stack(shifted))
    assert _r_squared(np.asarray(mechanism.referee(images)), values).min() > 0.998
    noise = np.random.default_rng(0).normal(
        0, 0.01, images.shape
    )  # a mean square of 2.5e-5 in [0, 1]
    noisy = np.clip(images + noise, -1, 1).astype(np.float32)
    assert _r_squared(np.asarray(mechanism.referee(noisy)), values).min() > 0.995


@pytest.mark.parametrize("name", ["pendulum/clean", "flow"])
def test_referee_of_empty_images_is_finite(name):
    referee = _mechanism(name).referee
    for images in (
        np.full((BATCH, 64, 64, 3), 255, np.uint8),
        np.zeros((BATCH, 64, 64, 3), np.uint8),
    ):
        assert np.isfinite(np.asarray(referee(images))).all()


# Labels, splits, samples


@pytest.mark.parametrize("name", NAMES)
def test_facts_and_examples_of_causal_data_sets(name):
    info, values = data.info(name), _all_values(name)
    assert values.dtype == np.float32 and values.shape == (info.num_images, 4)
    assert info.factor_sizes == (0, 0, 0, 0)
    assert info.value_mean is not None and info.value_std is not None
    np.testing.assert_allclose(info.value_mean, values.astype(np.float64).mean(0), rtol=1e-6)
    np.testing.assert_allclose(info.value_std, values.astype(np.float64).std(0), rtol=1e-6)
    side = 96 if name.endswith("_96") else 64
    assert info.image_shape == (side, side, 3)
    if side == 96:
        np.testing.assert_array_equal(values, _all_values(name.removesuffix("_96")))
    builder, config = _variant(name)
    chosen = np.random.default_rng(1).permutation(info.num_images)[:BATCH]
    images, factors, some = builder.examples(config, chosen)
    np.testing.assert_array_equal(some, values[chosen])
    np.testing.assert_array_equal(images, _render(name, values[chosen]))
    assert not factors.any() and factors.dtype == np.int32


@pytest.mark.parametrize("name", SMALL)
def test_splits_share_nothing_and_are_alike(name):
    values = _all_values(name)
    assert len(np.unique(values, axis=0)) == len(values)
    split = split_of(len(values), 0)
    shares = np.bincount(split) / len(values)
    np.testing.assert_allclose(shares, [0.7, 0.15, 0.15], atol=1e-3)
    # If the samples also ordered the splits, a factor's range would differ between splits.
    standard = (values - values.mean(0)) / values.std(0)
    for number in range(len(SPLITS)):
        assert np.abs(standard[split == number].mean(0)).max() < 0.1
        assert np.abs(standard[split == number].std(0) - 1).max() < 0.1


def test_samples_are_permanent_and_have_their_distribution():
    first = [0.8133540609793564, 0.7513314251083365, 0.6716490436969984]
    assert rendering.uniform(0, 3).tolist() == first
    samples, normal = rendering.uniform(3, 100_000), rendering.gaussian(3, 100_000)
    assert samples.min() > 0 and samples.max() < 1
    assert np.abs(np.histogram(samples, 10, (0, 1))[0] - 10_000).max() < 500
    assert abs(normal.mean()) < 0.015 and abs(normal.std() - 1) < 0.01
    assert abs((np.abs(normal) < 1).mean() - 0.6827) < 0.006
    assert abs(np.corrcoef(normal[1:], normal[:-1])[0, 1]) < 0.015
    assert (rendering.uniform(0, 9) != rendering.uniform(1, 9)).all()


# Continuous factors


def test_continuous_factors_have_no_transitions():
    info = data.info("pendulum/clean")
    none = np.zeros((10, 4), np.int32)
    for call in (
        lambda: info.num_actions,
        lambda: info.action_names,
        lambda: info.action_index("light_position+1"),
        lambda: transitions.build(none, info, np.arange(10)),
    ):
        with pytest.raises(
            UserError, match=r"pendulum/clean has no actions.*pendulum_angle, light"
        ):
            call()


def test_facts_are_checked():
    def info(**changes) -> Info:
        shape = {"factor_names": ("a", "b"), "circular": (False,) * 2, "image_shape": (1, 1, 1)}
        words = {"name": "n", "licence": "", "citation": "", "description": ""}
        facts: dict[str, Any] = {**shape, **words, **changes}
        return Info(**facts)

    assert info(factor_sizes=(3, 4)).num_images == 12
    assert info(factor_sizes=(0, 4), count=7, graph=((0, 0), (1, 0))).num_images == 7
    with pytest.raises(ValueError, match="count must be given"):
        info(factor_sizes=(0, 4))
    assert info(factor_sizes=(3, 4), graph=((0, 1), (0, 0))).graph == ((0, 1), (0, 0))
    for graph in (((0, 1), (1, 0)), ((1, 0), (0, 0)), ((0,),)):
        with pytest.raises(ValueError, match="without cycles"):
            info(factor_sizes=(3, 4), graph=graph)


def test_names_of_causal_data_sets():
    kinds = [kind + side for side in ("", "_96") for kind in ("clean", "noisy", "mixed")]
    assert [f"pendulum/{kind}" for kind in kinds] + ["flow/default", "flow/default_96"] == NAMES
    assert data.info("flow").name == "flow/default"
    assert data.mechanism("sprites2d/coloured") is None
    for call in (data.info, data.mechanism):
        with pytest.raises(UserError, match="did you mean 'pendulum/clean'"):
            call("pendulum/claen")
