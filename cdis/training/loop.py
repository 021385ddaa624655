"""The training loop: one function for every method."""

import json
import os
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import partial
from itertools import accumulate

import jax
import numpy as np
from jax import Array
from ml_collections import ConfigDict

from cdis import data, methods
from cdis.chunks import in_chunks
from cdis.config import override, to_json
from cdis.data.combinations import as_configured
from cdis.data.info import Dataset
from cdis.data.pipeline import batches
from cdis.errors import UserError
from cdis.methods.base import Batch, Method, Variables
from cdis.training import parallel
from cdis.training.checkpoint import Checkpoints, full_disk_is_the_users, locked, match
from cdis.training.interrupt import Interrupt
from cdis.training.log import Log, Rate, Window, mean
from cdis.training.optimizer import init_optimizers, make_optimizers
from cdis.training.prefetch import prefetch
from cdis.training.state import State
from cdis.training.update import INIT_KEY, make_update, make_validate, seed_key
from cdis.training.watch import Watch
from cdis.training.workdir import claim, extend

_CHUNK = 256  # images per call of `precompute`


def train(
    config: ConfigDict,
    workdir: str | os.PathLike,
    data_dir: str | None = None,
    *,
    feed: str = "auto",
    dataset: Dataset | None = None,
) -> State:
    """Train all stages of ``config.method``, resuming from the newest checkpoint in `workdir`.

    After any interruption the same call resumes and ends with the same state, bit for bit on one
    device, as an uninterrupted run: random numbers and the order of the data depend on the seed and
    the step alone. SIGTERM and SIGINT save a checkpoint and return early (see ``state.step``).

    With more steps in ``config.stages`` the call extends a run in the same workdir. The last stage
    that has begun may grow, and those after it; an earlier one may not, since the next one began
    where it ended. From the resumed step on, the learning rate follows the schedule of the new
    length: a cosine that had fallen to zero starts again from the new curve.

    Args:
      config: from `cdis.config.load_config`.
      workdir: gets config.json, info.json, checkpoints/, log.jsonl and TensorBoard events.
      data_dir: where data sets are kept; see `cdis.data.load`.
      feed: where images are read from; see `cdis.data.load`. Results do not depend on it.
      dataset: data in memory, used in place of the data set that ``config.data.name`` names; the
        config is saved with the name of these data.

    Returns:
      The state after the last step.

    Raises:
      UserError: the config is invalid, the workdir belongs to another config or to other data, a
        checkpoint is damaged or foreign, the disk is full, a metric is not finite, or a stage
        learns nothing (`cdis.training.watch`).
    """
    parallel.initialise()
    layout = parallel.choose(config.parallel)
    if dataset is None:
        dataset = data.load(config.data.name, data_dir, feed)
    else:
        config = config.copy_and_resolve_references()
        override(config, {"data.name": dataset.info.name})
    dataset = as_configured(dataset, config.data)
    config = methods.fitted(config, dataset.info)
    method = methods.make(config, dataset.info)
    _check(config, method, layout)
    notes = method.check(dataset) if method.check is not None else ()
    ends = tuple(accumulate(config.stages[stage.name].steps for stage in method.stages))
    starts = (0, *ends[:-1])
    key = jax.random.fold_in(seed_key(config.seed), INIT_KEY)
    init = partial(_init, method, _example(dataset), key)

    with ExitStack() as stack:
        stack.enter_context(full_disk_is_the_users(workdir))
        claim(workdir, config, dataset.info)
        parallel.barrier("workdir claimed")
        stack.enter_context(locked(workdir))
        checkpoints = stack.enter_context(Checkpoints(workdir, keep=starts))
        interrupt = stack.enter_context(Interrupt())
        step, seconds, window, ended = checkpoints.latest() or 0, 0.0, Window(), []
        suspected = False
        if step:
            saved = checkpoints.load(step)
            names = [stage.name for stage in method.stages]
            ended = names[: names.index(saved.facts["stage"])]
            state = match(saved, _template(config, method, saved.facts["stage"], init))
            seconds, window = saved.facts["train_seconds"], Window(saved.facts["window"])
            suspected = saved.facts.get("suspected", False)  # version 0.2 did not look
        else:
            state = State(init(), None, np.int32(0))
        extended = extend(workdir, config, ended)
        began = time.monotonic() - seconds
        log = stack.enter_context(Log(workdir, step, enabled=parallel.is_primary()))
        for warning in method.warnings:
            log.say(f"Warning: {warning}")
        for name, steps in extended:
            log.say(
                f"{name}: extended from {steps} to {config.stages[name].steps} steps; from here on "
                "the learning rate follows the schedule of the new length."
            )
        if step == ends[-1]:
            log.say(f"Training in {workdir} is finished ({step} steps); there is nothing to do.")
        elif step:
            log.say(f"Resuming from step {step} of {ends[-1]} in {workdir}.")
        if step < ends[-1]:
            log.say(f"Images of {dataset.info.name}: {dataset.feeding}")
            if dataset.unseen is not None:
                log.say(
                    f"Test split: {len(dataset.splits['test'])} images with "
                    f"{dataset.unseen.title} ({len(dataset.unseen.combinations)} of "
                    f"{dataset.unseen.occurring})"
                )
            for note in notes:
                log.say(note)

        for stage, start, end in zip(method.stages, starts, ends, strict=True):
            if step >= end:
                continue
            settings = config.stages[stage.name]
            columns = {
                "image": dataset.images,
                "factors": dataset.factors,
                "values": dataset.values,
            }
            if stage.precompute is not None:
                # With the variables from the start of the stage, even if the run resumes later.
                log.say(f"{stage.name}: preparing {len(dataset.images)} images")
                variables = state.variables if step == start else _at(start, checkpoints, init)
                columns |= _precompute(stage.precompute, variables, dataset.images)
            columns = {name: columns[name] for name in stage.columns}
            examples = stage.rows.find(dataset, dataset.splits["train"])
            batches_of = partial(
                batches,
                columns,
                batch_size=settings.batch_size,
                seed=config.seed,
                process_index=jax.process_index(),
                process_count=jax.process_count(),
            )
            validation = []
            if config.validate_every:
                held_out = stage.rows.find(dataset, dataset.splits["validation"])
                fixed = batches_of(held_out, num_batches=config.validation_batches, workers=0)
                validation = [layout.put_batch(batch) for batch in fixed]

            steps_per_epoch = max(1, examples.count // settings.batch_size)
            optimizers = make_optimizers(stage, settings, steps_per_epoch)
            if step == start:
                variables = jax.device_get(state.variables)
                initial = jax.jit(partial(init_optimizers, stage, optimizers))(variables["params"])
                state = State(variables, initial, np.int32(step))
            state = layout.put_state(state)
            watch = Watch(stage, settings, start, suspected=suspected and step > start)
            options = {"seed": config.seed, "start": start, "axis_name": layout.axis_name}
            update = layout.compile(make_update(stage, optimizers, **options), True)
            validate = layout.compile(make_validate(stage, **options), False)

            log.say(f"{stage.name}: {end - step} steps of {settings.batch_size} {stage.rows.name}")
            log.say(f"{stage.name}: compiling (a minute or so at the first start)")
            training = batches_of(examples, start=step - start, num_batches=end - start)
            rate, compiling = Rate(step), True
            for batch in stack.enter_context(closing(prefetch(training, layout.put_batch))):
                state, metrics = update(state, batch)
                step += 1
                window.add(step, metrics)
                if compiling:
                    jax.block_until_ready(metrics)
                    log.say(f"{stage.name}: compiled in {rate.restart(step):.1f} s")
                    compiling = False

                judged = None
                logging = step == end or _due(step, config.log_every)
                if logging:
                    means, speed = window.means(), rate.measure(step)
                    log.write(step, stage.name, means | {"steps_per_second": speed})
                    log.progress(stage.name, step - start, settings, speed, means)
                    judged = None if validation else means

                if validation and (step == end or _due(step, config.validate_every)):
                    with rate.paused():
                        results = mean([validate(state, batch) for batch in validation])
                        named = {f"validation/{name}": x for name, x in results.items()}
                        log.write(step, stage.name, named)
                        judged = results
                if judged is not None:
                    warning = watch.judge(step, judged, checkpoints.latest())
                    if warning is not None:
                        log.say(f"Warning: {warning}")

                stop = bool(interrupt.received)
                if jax.process_count() > 1:  # all stop at the same step, one at which they wait
                    stop = logging and parallel.any_process(stop)
                if step == end or stop or _due(step, config.checkpoint_every):
                    with rate.paused():
                        facts = {
                            "step": step,
                            "stage": stage.name,
                            "data": {"seed": config.seed, "batch": step - start},
                            "train_seconds": time.monotonic() - began,
                            "window": window.totals(),
                            "suspected": watch.suspected,
                            "config": json.loads(to_json(config)),
                        }
                        checkpoints.save(state, facts)
                if stop and step < ends[-1]:
                    log.say(
                        f"{interrupt.received or 'A signal'} received: saved step {step} in "
                        f"{workdir}. Run the same command again to resume."
                    )
                    return state
    return state


def _check(config: ConfigDict, method: Method, layout: parallel.Layout) -> None:
    """Raise `UserError` if the stages of the config do not fit the method or the devices."""
    names = [stage.name for stage in method.stages]
    if sorted(names) != sorted(config.stages):
        raise UserError(
            f"{config.method} has the stages {names}, but config.stages has "
            f"{list(config.stages)}; give settings for exactly the stages of the method."
        )
    for name in names:
        settings = config.stages[name]
        for field in ("steps", "batch_size"):
            if settings[field] < 1:
                raise UserError(
                    f"config.stages.{name}.{field} is {settings[field]}; it must be at least 1."
                )
        stage = next(stage for stage in method.stages if stage.name == name)
        make_optimizers(stage, settings, 1)  # raises for a bad schedule
        if settings.batch_size % layout.num_devices:
            raise UserError(
                f"config.stages.{name}.batch_size is {settings.batch_size}, which the "
                f"{layout.num_devices} devices cannot share equally; make it a multiple of them."
            )


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


def _example(dataset: Dataset) -> Batch:
    """Up to 64 training images from all over the data set, for `Method.init`."""
    train = dataset.splits["train"]
    rows = train[:: max(1, len(train) // 64)][:64]
    images = {
        "image": np.asarray(dataset.images[rows]),
        "factors": dataset.factors[rows],
        "values": dataset.values[rows],
    }
    return {"x": images}


def _init(method: Method, example: Batch, key: Array) -> Variables:
    return jax.jit(lambda key: method.init(key, example))(key)


def _template(config: ConfigDict, method: Method, name: str, init: Callable) -> State:
    """Shapes of the state in the stage `name`."""
    stage = next(stage for stage in method.stages if stage.name == name)
    variables = jax.eval_shape(init)
    optimizers = make_optimizers(stage, config.stages[name], 1)
    initial = partial(init_optimizers, stage, optimizers)
    return State(variables, jax.eval_shape(initial, variables["params"]), np.int32(0))


def _at(step: int, checkpoints: Checkpoints, init: Callable) -> Variables:
    """The variables after `step`, the end of a stage (0: the initial ones)."""
    return checkpoints.load(step).nested_variables() if step else init()


def _precompute(f: Callable, variables: Variables, images: np.ndarray) -> dict[str, np.ndarray]:
    f, variables = jax.jit(f), jax.device_put(jax.device_get(variables), jax.local_devices()[0])
    return in_chunks(lambda rows: f(variables, images[rows]), len(images), size=_CHUNK)
