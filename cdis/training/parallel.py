"""Runs a step on one device, several devices or several hosts. The only file that uses pmap.

The step is written for one device; ``config.parallel`` chooses how it runs:

========== ===================================================================================
jit        one device
pmap       every device runs the step on its share of the batch, inside the axis "data"; the state
           stays one ordinary tree of replicated arrays
sharding   one step on the global batch, laid out over the devices by `NamedSharding`; the compiler
           inserts the same reductions
auto       jit on one device, pmap on several
========== ===================================================================================

With several hosts, run one process on each, all with the same shared workdir. Launchers that JAX
knows (SLURM's srun, Open MPI's mpirun, Cloud TPU pods) need no settings. Otherwise set in every
process ``JAX_COORDINATOR_ADDRESS=HOST:PORT`` (a free port of the first host), ``JAX_NUM_PROCESSES``
and ``JAX_PROCESS_ID``. Each process reads its slice of every batch.
"""

import os
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from cdis.errors import UserError
from cdis.methods.base import Batch

AXIS = "data"


class Layout(NamedTuple):
    """How to compile the step and how to put its arguments on the devices."""

    name: str
    axis_name: str | None  #: for the collectives of the per-device step
    num_devices: int  #: devices that share a batch
    #: takes a per-device function of (state, batch), whose results agree on all devices, and
    #: whether to donate the state; returns the compiled function
    compile: Callable[[Callable[..., Any], bool], Callable[..., Any]]
    put_state: Callable[[Any], Any]
    put_batch: Callable[[Batch], Batch]  #: takes this process's slice of the batch


def choose(name: str) -> Layout:
    """The layout called `name` in ``config.parallel``. Raises `UserError` if it is unknown."""
    if name == "auto":
        name = "jit" if jax.device_count() == 1 else "pmap"
    layouts = {"jit": _jit, "pmap": _pmap, "sharding": _sharding}
    if name not in layouts:
        raise UserError(
            f"config.parallel is {name!r}, which is unknown; "
            'use "auto", "jit", "pmap" or "sharding".'
        )
    return layouts[name]()


def _jit() -> Layout:
    if jax.process_count() > 1:
        raise UserError(
            f'config.parallel is "jit", which runs on one device, but {jax.process_count()} '
            'processes were started; use "auto", "pmap" or "sharding".'
        )
    device = jax.local_devices()[0]
    return Layout(
        name="jit",
        axis_name=None,
        num_devices=1,
        compile=lambda f, donate: jax.jit(f, donate_argnums=(0,) if donate else ()),
        put_state=lambda state: jax.device_put(state, device),
        put_batch=lambda batch: jax.device_put(batch, device),
    )


def _pmap() -> Layout:
    devices = jax.local_devices()
    mesh = Mesh(np.array(devices), (AXIS,))  # local devices: pmap's arguments are local

    def put_batch(batch: Batch) -> Batch:
        shards = jax.tree.map(lambda x: x.reshape(len(devices), -1, *x.shape[1:]), batch)
        return jax.device_put(shards, NamedSharding(mesh, PartitionSpec(AXIS)))

    return Layout(
        name="pmap",
        axis_name=AXIS,
        num_devices=jax.device_count(),
        compile=lambda f, donate: jax.pmap(
            f,
            axis_name=AXIS,
            in_axes=(None, 0),
            out_axes=None,  # type: ignore[arg-type]  # its annotation forgets None
            donate_argnums=(0,) if donate else (),
        ),
        put_state=lambda state: jax.device_put(state, NamedSharding(mesh, PartitionSpec())),
        put_batch=put_batch,
    )


def _sharding() -> Layout:
    mesh = Mesh(np.array(jax.devices()), (AXIS,))
    everywhere = NamedSharding(mesh, PartitionSpec())
    shared = NamedSharding(mesh, PartitionSpec(AXIS))
    return Layout(
        name="sharding",
        axis_name=None,
        num_devices=jax.device_count(),
        compile=lambda f, donate: jax.jit(
            f,
            in_shardings=(everywhere, shared),
            out_shardings=everywhere,
            donate_argnums=(0,) if donate else (),
        ),
        put_state=lambda state: jax.device_put(state, everywhere),
        put_batch=lambda batch: jax.tree.map(
            lambda x: jax.make_array_from_process_local_data(shared, x), batch
        ),
    )


def initialise() -> None:
    """Join the other processes, if the environment says that there are any (see above).

    Call it before the first JAX computation. A second call does nothing. Raises `UserError` if only
    some of the three variables are set, or to something other than numbers.
    """
    if jax.distributed.is_initialized():
        return
    names = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
    address, count, number = (os.environ.get(name) for name in names)
    if count is not None or number is not None:
        if address is None or not (count or "").isdigit() or not (number or "").isdigit():
            raise UserError(
                f"To train with several processes, set {', '.join(names)} (HOST:PORT, their number "
                f"and a number from 0) in each; found {address!r}, {count!r} and {number!r}."
            )
        _gloo()
        jax.distributed.initialize(address, int(count or 0), int(number or 0))
    elif _launched_by_a_cluster():
        _gloo()
        jax.distributed.initialize()


def _launched_by_a_cluster() -> bool:
    """Did a launcher that JAX knows start several processes? (A SLURM shell starts only one.)"""
    step = "SLURM_STEP_NODELIST" in os.environ and os.environ.get("SLURM_STEP_NUM_TASKS", "1")
    tpus = os.environ.get("TPU_WORKER_HOSTNAMES", "").split(",")
    mpi = "OMPI_MCA_orte_hnp_uri" in os.environ and os.environ.get("OMPI_COMM_WORLD_SIZE", "1")
    return int(step or 1) > 1 or int(mpi or 1) > 1 or len(tpus) > 1


def _gloo() -> None:
    jax.config.update("jax_cpu_collectives_implementation", "gloo")  # no effect on accelerators


def is_primary() -> bool:
    """Is this the process that writes to the workdir?"""
    return jax.process_index() == 0


def barrier(name: str) -> None:
    """Wait until all processes are here."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def any_process(flag: bool) -> bool:
    """Is `flag` true in any process? All processes must call it."""
    if jax.process_count() == 1:
        return flag
    return bool(np.any(multihost_utils.process_allgather(np.array(flag))))
