"""How well latents that each represent a named factor agree with it."""

from typing import Any

import numpy as np
from jaxtyping import Float

from cdis.metrics.arrays import standardised


def labelled_latents(
    latents: Float[np.ndarray, "n f"], values: Float[np.ndarray, "n f"]
) -> dict[str, Any]:
    """Latent i against factor i. These scores do not show whether interventions work.

    Perfect latents score 1, 1 and 0 in the first three; rescaling latents changes nothing.

    Args:
      latents: ``[n, F]``.
      values: ``[n, F]``, the true factors.

    Returns:
      ``r2_worst``, the smallest of ``r2``, the proportion of each factor's variance explained
      linearly by its own latent; ``mcc``, the mean absolute correlation of each factor with its own
      latent; ``off_diagonal``, the largest difference, over pairs of different factors, between
      latent-factor correlation and factor-factor correlation (not the largest correlation, since
      causes and effects are correlated); ``correlation`` ``[F][F]``, of latents (rows) with factors
      (columns).
    """
    of_latents, of_values = (
        standardised(np.asarray(array, np.float64)) for array in (latents, values)
    )
    n, f = of_values.shape
    correlation, own = of_latents.T @ of_values / n, of_values.T @ of_values / n
    # A latent with the opposite sign represents its factor just as well.
    aligned = np.where(np.diag(correlation) < 0, -1.0, 1.0)[:, None] * correlation
    r2 = np.diag(correlation) ** 2
    difference = np.abs(aligned - own)[~np.eye(f, dtype=bool)]
    return {
        "r2": r2.tolist(),
        "r2_worst": float(r2.min()),
        "mcc": float(np.sqrt(r2).mean()),
        "off_diagonal": float(difference.max()) if f > 1 else 0.0,
        "correlation": correlation.tolist(),
    }
