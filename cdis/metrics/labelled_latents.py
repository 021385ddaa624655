"""How well latents that each stand for a named factor agree with it."""

from typing import Any

import numpy as np
from jaxtyping import Float


def labelled_latents(
    latents: Float[np.ndarray, "n f"], values: Float[np.ndarray, "n f"]
) -> dict[str, Any]:
    """Latent i against factor i; none of it tells whether interventions work.

    Perfect latents score 1, 1 and 0; rescaling of latents changes nothing.

    Returns:
      ``r2``: list, share of each factor's variance that its own latent explains linearly;
      ``r2_worst``: the least of them; ``mcc``: mean absolute correlation of factor and latent, each
      factor keeping its own; ``correlation`` ``[f][f]``, of latents (rows) with factors (columns);
      ``off_diagonal``: the largest difference, at two different factors, between that correlation
      and the factors' own. Causes and effects are correlated, so that zero would be wrong.
    """
    of_latents, of_values = (_standardised(x) for x in (latents, values))
    n, f = of_values.shape
    correlation, own = of_latents.T @ of_values / n, of_values.T @ of_values / n
    # A latent of the opposite sign is the factor as well.
    turned = np.where(np.diag(correlation) < 0, -1.0, 1.0)[:, None] * correlation
    r2 = np.diag(correlation) ** 2
    apart = np.abs(turned - own)[~np.eye(f, dtype=bool)]
    return {
        "r2": r2.tolist(),
        "r2_worst": float(r2.min()),
        "mcc": float(np.sqrt(r2).mean()),
        "off_diagonal": float(apart.max()) if f > 1 else 0.0,
        "correlation": correlation.tolist(),
    }


def _standardised(x: np.ndarray) -> np.ndarray:
    """Columns of mean 0 and variance 1; a constant one is 0, and correlates with nothing."""
    x = np.asarray(x, np.float64)
    spread = x.std(0)
    return (x - x.mean(0)) / np.where(spread > 0, spread, 1.0)
