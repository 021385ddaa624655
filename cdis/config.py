"""Experiment configs: common fields, loading, overriding, JSON and comparison.

An experiment file defines one function, ``get_config(variant="") -> ConfigDict``. It starts from
`common`, describes each training stage with `stage`, and sets every field itself. An experiment
that differs little from another one starts from it (`beside`) and changes a few fields. Loaded
configs are locked: setting a misspelt field fails.
"""

import ast
import importlib.util
import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from ml_collections import ConfigDict

from cdis.errors import UserError, near_miss
from cdis.imports import import_user_module


def common() -> ConfigDict:
    """The fields of every experiment, which sets `method`, `data.name`, `stages` and `model`."""
    return ConfigDict(
        {
            "method": "",  # a module that defines make(config, info) -> Method
            "seed": 0,
            # Two factors, some of whose combinations are only tested (`cdis.data.combinations`).
            "data": {"name": "", "unseen": (), "unseen_share": 0.3},
            "parallel": "auto",  # "auto" | "jit" | "pmap" | "sharding"
            "log_every": 100,  # steps
            "validate_every": 1000,
            "validation_batches": 8,  # always the same ones
            "checkpoint_every": 1000,
            "stages": {},
            "model": {},
        }
    )


def stage(
    *,
    steps: int,
    batch_size: int,
    learning_rate: float,
    schedule: str = "constant",
    warmup_steps: int = 0,
    decay_per_epoch: float = 1.0,
    weight_decay: float = 0.0,
    clip_norm: float = 0.0,
) -> ConfigDict:
    """Settings of one training stage, optimised by AdamW.

    Args:
      steps: number of updates.
      batch_size: examples per step, over all devices.
      learning_rate: its value before the schedule and the warm-up.
      schedule: "constant", "cosine" (decays to zero at the last step) or "exponential" (multiplied
        by `decay_per_epoch` after every epoch).
      warmup_steps: the learning rate rises linearly over so many steps.
      decay_per_epoch: see `schedule`.
      weight_decay: AdamW's, decoupled.
      clip_norm: upper bound on the global norm of the gradient; 0 for none.
    """
    return ConfigDict(
        {
            "steps": steps,
            "batch_size": batch_size,
            "learning_rate": learning_rate,
            "schedule": schedule,
            "warmup_steps": warmup_steps,
            "decay_per_epoch": decay_per_epoch,
            "weight_decay": weight_decay,
            "clip_norm": clip_norm,
        }
    )


def load_config(name: str, overrides: Mapping[str, Any] | None = None) -> ConfigDict:
    """The config of an experiment with `overrides` applied, locked.

    Args:
      name: NAME or NAME:VARIANT. NAME is the path of an experiment file, or the name of one that
        comes with cdis, such as "ct_vae/quickstart". Every experiment has a variant "smoke", which
        trains tiny networks for two steps per stage; "VARIANT+smoke" does so for another variant.
      overrides: dotted field -> value, see `override`.

    Raises:
      UserError: no such file, variant (get_config raises ValueError) or field, or the file defines
        no get_config.
    """
    path, _, variant = name.partition(":")
    file = _find(path)
    variant, smoke = _without_smoke(variant)
    module = _module(str(file))
    if not hasattr(module, "get_config"):
        raise UserError(
            f"{path!r} has no function get_config(variant), so it is not an experiment; "
            "see experiments/ for examples."
        )
    if variant and not inspect.signature(module.get_config).parameters:
        raise UserError(f"{path!r} has no variant {variant!r}: it has none but 'smoke'.")
    try:
        config = module.get_config(variant) if variant else module.get_config()
    except ValueError as error:
        if not variant:
            raise
        raise UserError(f"{path!r} has no variant {variant!r}: {error}.") from error
    if smoke:
        _make_tiny(config)
    override(config, overrides or {})
    return config.lock()


def beside(file: str, name: str) -> Callable[..., ConfigDict]:
    """The get_config of the experiment `name` in the same folder as the experiment `file`.

    Experiments are files, not modules of a package, so they cannot import one another.
    """
    return _module(str(Path(file).with_name(f"{name}.py"))).get_config


def _module(file: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location("cdis_experiment", file)
    if spec is None or spec.loader is None:
        raise UserError(f"The config file {file!r} is not a Python file; its name must end in .py.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def experiments() -> Path:
    """The folder of the experiments that come with cdis, in a clone or an installed package."""
    package = Path(__file__).parent
    installed = package / "experiments"
    return installed if installed.is_dir() else package.parent / "experiments"


def names() -> tuple[str, ...]:
    """Names of the experiments that come with cdis, such as "ct_vae/quickstart"."""
    folder = experiments()
    files = sorted(folder.glob("*/*.py"))
    return tuple(str(file.relative_to(folder).with_suffix("")) for file in files)


def _find(path: str) -> Path:
    """The file of an experiment, given its path or name."""
    if Path(path).is_file():
        return Path(path)
    name = path.removesuffix(".py").removeprefix("experiments/")
    if name in names():
        return experiments() / f"{name}.py"
    raise UserError(
        f"There is no config file {path!r}{near_miss(name, names())}. Give the path of an "
        f"experiment file, or one of {', '.join(names())}; a variant follows as :VARIANT."
    )


def _without_smoke(variant: str) -> tuple[str, bool]:
    """ "VARIANT+smoke" -> ("VARIANT", True)"""
    if variant == "smoke":
        return "", True
    return variant.removesuffix("+smoke"), variant.endswith("+smoke")


def _make_tiny(config: ConfigDict) -> None:
    """Two steps per stage, small batches, and the method's SMOKE settings."""
    with config.unlocked():
        for settings in config.stages.values():
            settings.update(steps=2, batch_size=8, warmup_steps=min(1, settings.warmup_steps))
        config.validation_batches = 1
    # The method's module imports JAX, which other configs do not need. If it does not exist, the
    # training loop says so.
    override(config, getattr(import_user_module(config.method), "SMOKE", {}))


def override(config: ConfigDict, values: Mapping[str, Any]) -> None:
    """Set fields by dotted name, in place; strings are parsed as the type of the current value.

    A tuple is written (32, 64) or 32,64; one of names also without quotes: shape,hue.

    Raises `UserError` for an unknown field (naming the nearest one) or a value of another type.
    """
    fields = dict(_flatten(config.to_dict()))
    for name, value in values.items():
        if name not in fields:
            raise UserError(
                f"The config has no field {name!r}{near_miss(name, fields)}. Its fields are: "
                f"{', '.join(fields)}."
            )
        value = _read(name, value, fields[name])
        *parents, last = name.split(".")
        node = config
        for parent in parents:
            node = node[parent]
        with node.unlocked():
            node[last] = value


def to_json(config: ConfigDict) -> str:
    """The config as indented JSON; `from_json` inverts it (lists become tuples)."""
    return json.dumps(config.to_dict(), indent=2)


def from_json(text: str) -> ConfigDict:
    """The locked config that `to_json` wrote. Raises ValueError if `text` is not such JSON."""
    values = json.loads(text)
    if not isinstance(values, dict):
        raise ValueError("a config is a JSON object")
    return ConfigDict(_tuples(values)).lock()


def differences(there: ConfigDict, here: ConfigDict) -> list[str]:
    """One line for each field that differs between two configs: ``name: X there, Y here``."""
    first = dict(_flatten(json.loads(to_json(there))))
    second = dict(_flatten(json.loads(to_json(here))))
    lines = []
    for name in first | second:
        old, new = first.get(name, "(no such field)"), second.get(name, "(no such field)")
        if old != new:
            lines.append(f"{name}: {old!r} there, {new!r} here")
    return lines


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def _read(name: str, value: Any, present: Any) -> Any:
    """`value` as the type of `present`; anything goes where `present` is None."""
    kind = type(present)
    if isinstance(value, str) and kind is not str:
        try:
            value = ast.literal_eval(value.capitalize() if kind is bool else value)
        except (SyntaxError, ValueError):
            if kind is tuple and all(isinstance(item, str) for item in present):
                value = tuple(name.strip() for name in value.split(","))
            elif present is not None:
                raise _wrong_type(name, value, present) from None
    if kind is float and type(value) is int:
        return float(value)
    if kind is tuple and isinstance(value, list):
        return tuple(value)
    if present is not None and type(value) is not kind:
        raise _wrong_type(name, value, present)
    return value


def _wrong_type(name: str, value: Any, present: Any) -> UserError:
    return UserError(
        f"The config field {name!r} holds a {type(present).__name__} (such as {present!r}) and "
        f"cannot be set to {value!r}."
    )
