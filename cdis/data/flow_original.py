"""Flow as CausalVAE published it: the authors' own files, read from a folder or a zip file.

A file's name holds the ball's radius in steps of 1/30, the height of the water above y = 5 cut to a
whole number, the jet's reach without its noise in steps of 0.1, also cut, and the height of the
hole in steps of 1/3. The authors' script draws a grid in a fixed order, every fifth image for test,
and a later image replaces one of the same name; so which image of the grid a file shows is known,
and with it the water's height and the reach in full precision.
"""

import dataclasses
import functools
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int64

from cdis.data.causalvae_files import CausalVaeFiles, Variant, centre
from cdis.data.flow_physics import GRAPH, LANDING, NAMES, PUSH, counterfactual, grid, table
from cdis.data.flow_published import MECHANISM
from cdis.data.info import Info
from cdis.data.mechanism import Mechanism
from cdis.errors import UserError


class FlowOriginal(CausalVaeFiles):
    """The authors' images of Flow as tfds data sets.

    flow/original has labels in full precision. flow/original_cut, with the same splits, and
    flow/original_split have the labels of the names: heights of water and reaches are the middles
    of cells 1 and 0.1 wide. Values are in the units of flow/published, and images are rendered and
    read as there. Reaches are without the noise that the images show, by which a jet reaches 0.5 to
    1.5 % farther; so no counterfactual has noise either.
    """

    name = "flow"
    FACTORS: ClassVar = NAMES
    GRAPH: ClassVar = GRAPH
    ORDER: ClassVar = (0, 1, 3, 2)
    FOLDER = "flow_noise"
    ABOUT = (
        "A ball raises the water in a cup, which leaves through a hole in a jet; the authors' own "
        "images. Labels of the reach are without the noise that the images show."
    )
    BUILDER_CONFIGS: ClassVar = [
        Variant(name="original", exact=True),
        Variant(name="original_cut"),
        Variant(name="original_split", published_split=True),
    ]

    @classmethod
    def facts(cls, config: Any) -> Info:
        facts = super().facts(config)
        precision = (
            "Labels are in full precision: those that the script computed before it cut them."
            if config.exact
            else "The labels of water and jet are cut: a height of 2.5 stands for 2 to 3, and a "
            "reach of 3.65 for 3.6 to 3.7."
        )
        return dataclasses.replace(
            facts,
            description=f"{facts.description} {precision}",
            repeats=facts.repeats and not config.exact,
        )

    @classmethod
    def numbers(cls, split: str) -> Int64[np.ndarray, "n 4"]:
        return _drawn(split)[0]

    @classmethod
    def values_of(cls, numbers: Int64[np.ndarray, "n 4"]) -> Float32[np.ndarray, "n 4"]:
        ball, height, hole, reach = numbers.T
        columns = ball / 30, centre(height), hole / 3, centre(reach) / 10
        return np.stack(columns, axis=1).astype(np.float32)

    @classmethod
    def labels(
        cls, config: Any, train: Int64[np.ndarray, "a 4"], test: Int64[np.ndarray, "b 4"]
    ) -> Float32[np.ndarray, "n 4"]:
        if not config.exact:
            return super().labels(config, train, test)
        values = []
        for split, rows in (("train", train), ("test", test)):
            numbers, exact = _drawn(split)
            if not np.array_equal(rows, numbers):
                strange = next(row for row in rows.tolist() if row not in numbers.tolist())
                raise UserError(
                    f"The published script writes no a_{'_'.join(map(str, strange))}.png into "
                    f"{split}, so exact labels are unknown: use its files, or flow/original_cut."
                )
            values.append(exact)
        return np.concatenate(values).astype(np.float32)

    @classmethod
    def mechanism(cls, config: Variant) -> Mechanism:
        if config.exact:
            return MECHANISM
        return MECHANISM._replace(counterfactual=_counterfactual)


@functools.cache
def _drawn(split: str) -> tuple[Int64[np.ndarray, "n 4"], Float[np.ndarray, "n 4"]]:
    """The numbers in the names of a split, sorted by rows, and the exact values of each image."""
    values = table(PUSH)
    _, height, _, reach = values.T
    ball, _, hole = grid()
    rows = np.stack([ball, height, 10 * reach, hole], axis=1).astype(np.int64)
    here = (np.arange(len(rows)) % 5 == 4) == (split == "test")
    # Of images with the same name, the last one drawn: the first one from the end.
    numbers, last = np.unique(rows[here][::-1], axis=0, return_index=True)
    return numbers, values[here][::-1][last]


@functools.partial(jax.jit, static_argnames="factor")
def _counterfactual(
    values: Float[Array, "b 4"], factor: int, value: Float[Array, " b"]
) -> Float[Array, "b 4"]:
    """See `cdis.data.mechanism.Mechanism`; abducts the height of the water from cut labels.

    The reach, the finer label, gives the height within the cell that the label of the height names.
    Factors that are not caused by the one set keep their labels.
    """
    _, label, hole, reach = values.T
    height = reach**2 / (2 * PUSH * (hole - LANDING))
    height = jnp.clip(height, label - 0.5, label + 0.5)
    new = counterfactual(values.at[:, 1].set(height), factor, value)
    return new if factor < 2 else new.at[:, 1].set(label)
