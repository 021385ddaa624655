"""Networks in the published form start within PyTorch's bounds, worked out by hand."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from helpers import quick_jit

from cdis.networks.autoencoder import GridDecoder, GridEncoder
from cdis.networks.causal_transition import CausalTransition
from cdis.training.state import by_path

N, K, A, WIDTH, HIDDEN = 3, 16, 4, 8, 50


def _within(params: Any, squares: dict[str, float]) -> None:
    """Each parameter, `1 / bound ** 2`: values reach nearly to the bound and not beyond."""
    found = by_path(params)
    for path, square in squares.items():
        largest, count = np.abs(found[path]).max(), found[path].size
        bound = square**-0.5
        # Of so many values, the largest misses a share e of the bound with probability (1 - e)^n.
        assert (1 - 10 / count) * bound < largest <= bound, path


def test_autoencoder():
    image, latent = jnp.zeros((1, 8, 8, 3)), jnp.zeros((1, 2, 2, 10))
    encoder, decoder = GridEncoder((16, 24), 1, 10), GridDecoder((16, 24), 1, (8, 8, 3))
    seen = quick_jit(encoder.init)(jax.random.key(0), image)["params"]
    _within(
        seen,
        {
            "Conv_0/kernel": 4 * 4 * 3,
            "Conv_0/bias": 4 * 4 * 3,
            "Conv_1/kernel": 4 * 4 * 16,
            "Conv_2/kernel": 3 * 3 * 24,
            "ResidualBlock_0/Conv_0/kernel": 3 * 3 * 24,
            "ResidualBlock_0/Conv_1/kernel": 24,
            "Conv_3/kernel": 24,
            "Conv_3/bias": 24,
        },
    )
    drawn = quick_jit(decoder.init)(jax.random.key(1), latent)["params"]
    # Transposed convolutions: by their outputs.
    _within(
        drawn,
        {
            "Conv_0/kernel": 3 * 3 * 10,
            "ConvTranspose_0/kernel": 4 * 4 * 16,
            "ConvTranspose_0/bias": 4 * 4 * 16,
            "ConvTranspose_1/kernel": 4 * 4 * 3,
        },
    )


def test_transition():
    layer = CausalTransition(
        num_nodes=N, num_codes=K, num_actions=A, edge_hidden=HIDDEN, message_hidden=(WIDTH,)
    )
    one_hot = jnp.zeros((1, N, K))
    params = quick_jit(lambda key: layer.init(key, one_hot, "none"))(jax.random.key(0))["params"]
    heads = 1 + A
    first, last = heads * WIDTH, heads * K
    _within(
        params,
        {
            "mask_action": A + K,
            "mask_position": A + K,
            "mask_bias": A + K,
            "edge_target": 2 * K,
            "edge_source": 2 * K,
            "edge_bias": 2 * K,
            "edge_readout": HIDDEN,
            "action_node": A,
            "action_bias": A,
            "message_0/target": (K + first) / 6,
            "message_0/source": (K + first) / 6,
            "message_0/source_bias": K,
            "message_0/target_bias": K,
            "message_0/readout": (heads + WIDTH) / 6,
            "message_0/edge": (1 + first) / 6,
            "message_out/target": (first + last) / 6,
            "message_out/source_bias": first,
        },
    )
    assert not np.any(params["message_0"]["bias"])
