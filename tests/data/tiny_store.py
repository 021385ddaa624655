"""A data set of 96 images, for tests and for the processes they start."""

from pathlib import Path

from cdis.data.sprites2d import Factor, Grid, Sprites2d, Variant
from cdis.data.store import Store

TINY = Variant(
    name="tiny",
    grid=Grid(
        (
            Factor("shape", (0.0, 1.0, 2.0), ordered=False),
            Factor("scale", (5.0, 7.0)),
            Factor("x", (9.0, 13.0, 18.0, 23.0)),
            Factor("y", (9.0, 13.0, 18.0, 23.0)),
        ),
        (32, 32, 1),
    ),
)


def tiny_store(data_dir: Path) -> Store:
    return Store(Sprites2d, TINY, data_dir)
