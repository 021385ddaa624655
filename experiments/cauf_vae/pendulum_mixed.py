"""CauF-VAE on mixed Pendulum, where three shadows of ten have no cause.

    cdis train --config experiments/cauf_vae/pendulum_mixed.py --workdir runs/pendulum_mixed
    cdis evaluate --workdir runs/pendulum_mixed

Effects are seen apart from their causes, so that do(shadow_length) and do(shadow_position) have a
meaning; what is left of the shadow given its causes has two modes, hence the spline. For a GPU,
where it was not run; README has a fifth of the steps on one core.
"""

from ml_collections import ConfigDict

from cdis.config import beside, override

pendulum = beside(__file__, "pendulum")


def get_config(variant: str = "") -> ConfigDict:
    """The experiment, or with "smoke" two steps of each stage with tiny networks."""
    config = pendulum(variant)
    override(
        config,
        {
            "data.name": "pendulum/mixed",
            "model.flow.transform": "spline",
            "stages.flow.learning_rate": 5e-3,
        },
    )
    return config
