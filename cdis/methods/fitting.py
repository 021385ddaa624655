"""Settings that fit a data set, for fields of `config.model` that are 0, and warnings otherwise."""

from collections.abc import Mapping

from ml_collections import ConfigDict

from cdis.config import override
from cdis.data.info import Info
from cdis.errors import UserError

_CODES_PER_VALUE, _MIN_CODES, _MIN_CODEBOOKS, _SPARE_CODEBOOKS = 2, 8, 8, 2
_FEWEST_PATCHES = 12


def filled(config: ConfigDict, sizes: Mapping[str, int]) -> ConfigDict:
    """The config with these sizes in those fields of `config.model` that are 0; itself if none is.

    Raises `UserError` for a negative size.
    """
    values = {}
    for name, size in sizes.items():
        value = config.model
        for part in name.split("."):
            value = value[part]
        if value < 0:
            raise UserError(
                f"config.model.{name} is {value}, but must be positive, or 0 to fit the data."
            )
        if value == 0:
            values[f"model.{name}"] = size
    if not values:
        return config
    copy = config.copy_and_resolve_references()
    override(copy, values)
    return copy.lock()


def fit_patch(config: ConfigDict, info: Info) -> ConfigDict:
    """The config with a patch that fits the images, if `autoencoder.patch` is 0."""
    return filled(config, {"autoencoder.patch": patch(info)})


def patch(info: Info) -> int:
    """The largest power of two that leaves more than 12 patches along the shorter side.

    1 pixel up to sides of 24, then 2 up to 48, 4 up to 96, 8 up to 192.
    """
    side, size = min(info.image_shape[:2]), 1
    while side > 2 * size * _FEWEST_PATCHES:
        size *= 2
    return size


def num_codes(info: Info) -> int:
    """Two codes for each value of the largest factor, and at least 8."""
    return max(_MIN_CODES, _CODES_PER_VALUE * max(info.factor_sizes))


def num_codebooks(info: Info) -> int:
    """Two nodes more than factors, and at least 8."""
    return max(_MIN_CODEBOOKS, info.num_factors + _SPARE_CODEBOOKS)


def too_small(info: Info, *, num_codes: int, num_nodes: int) -> tuple[str, ...]:
    """A warning if a node has fewer codes than a factor has values; another for too few nodes."""
    warnings = []
    size = max(info.factor_sizes)
    if num_codes < size:
        name = info.factor_names[info.factor_sizes.index(size)]
        warnings.append(
            f"config.model.codes.num_codes is {num_codes}, but {name} has {size} values, more than "
            "one node can tell apart."
        )
    if num_nodes < info.num_factors:
        warnings.append(
            f"There are {num_nodes} nodes (config.model.codes.num_codebooks), but "
            f"{info.num_factors} factors, so some have to share a node."
        )
    return tuple(warnings)
