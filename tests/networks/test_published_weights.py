"""Our modules on weights in the published parametrisation, held to `published_twin`.

The fixture has random weights, inputs and the twin's outputs. Here the weights are brought into our
modules' parameters; outputs are then the same to 1e-5.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import published_twin as twin
from helpers import quick_jit

from cdis.data.info import Info
from cdis.methods import ct_vae
from cdis.networks.apply import apply
from cdis.ops import graph, quantize, retrieve

WEIGHTS, INPUTS, FOUND = twin.read()
EXPECTED = FOUND["corrected"]
CODEBOOKS = jnp.asarray(WEIGHTS["codebooks"])


def same(found: Any, expected: np.ndarray) -> None:
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def differs(found: Any, expected: np.ndarray) -> None:
    assert np.abs(np.asarray(found) - expected).max() > 0.1


def last(x: Any) -> Any:
    """Channels first to channels last, as our images are."""
    return np.moveaxis(x, 1, -1)


# The published parametrisation -> our parameters


def conv(weights: twin.Arrays, name: str) -> dict[str, np.ndarray]:
    """`[out, in, kh, kw]` -> `[kh, kw, in, out]`."""
    kernel = weights[f"{name}.weight"].transpose(2, 3, 1, 0)
    return {"kernel": kernel, "bias": weights[f"{name}.bias"]}


def conv_transpose(weights: twin.Arrays, name: str) -> dict[str, np.ndarray]:
    """`[in, out, kh, kw]` -> `[kh, kw, in, out]`, which Flax does not flip."""
    kernel = weights[f"{name}.weight"][:, :, ::-1, ::-1].transpose(2, 3, 0, 1)
    return {"kernel": kernel, "bias": weights[f"{name}.bias"]}


def residual(weights: twin.Arrays) -> dict[str, Any]:
    return {
        f"ResidualBlock_{i}": {
            f"Conv_{j}": {"kernel": weights[f"residual.{i}.{name}"].transpose(2, 3, 1, 0)}
            for j, name in enumerate(("first", "second"))
        }
        for i in range(twin.BLOCKS)
    }


def encoder() -> dict[str, Any]:
    w = twin.part(WEIGHTS, "encoder")
    names = [*(f"down.{i}" for i in range(len(twin.WIDTHS))), "middle", "last"]
    return residual(w) | {f"Conv_{i}": conv(w, name) for i, name in enumerate(names)}


def decoder() -> dict[str, Any]:
    w = twin.part(WEIGHTS, "decoder")
    up = {f"ConvTranspose_{i}": conv_transpose(w, f"up.{i}") for i in range(len(twin.WIDTHS))}
    return residual(w) | {"Conv_0": conv(w, "first")} | up


def message(w: twin.Arrays) -> dict[str, np.ndarray]:
    """Linear maps of all heads, `[G * E, D]` -> `[G, D, E]`."""
    heads, width = w["attention"].shape

    def split(name: str) -> np.ndarray:
        return w[name].reshape(heads, width, -1).swapaxes(1, 2)

    return {
        "target": split("target.weight"),
        "source": split("source.weight"),
        "readout": w["attention"],
        "edge": w["edge.weight"].reshape(heads, width),
        "bias": w["bias"].reshape(heads, width),
        "target_bias": w["target.bias"].reshape(heads, width),
        "source_bias": w["source.bias"].reshape(heads, width),
    }


def transition() -> dict[str, Any]:
    """Maps of concatenated vectors are cut into one map for each of the two."""
    action, position = np.split(WEIGHTS["mask.weight"].T, [twin.A])
    nets = [twin.part(WEIGHTS, f"edges.{k}") for k in range(1 + twin.A)]
    hidden = np.stack([w["hidden.weight"].T for w in nets])
    names = [*(f"message_{i}" for i in range(len(twin.MESSAGE_HIDDEN))), "message_out"]
    return {
        "mask_action": action,
        "mask_position": position,
        "mask_bias": WEIGHTS["mask.bias"],
        "edge_target": hidden[:, : twin.K],
        "edge_source": hidden[:, twin.K :],
        "edge_bias": np.stack([w["hidden.bias"] for w in nets]),
        "edge_readout": np.concatenate([w["out.weight"] for w in nets]),
        "edge_offset": np.concatenate([w["out.bias"] for w in nets]),
        "action_node": WEIGHTS["action.weight"].T,
        "action_bias": WEIGHTS["action.bias"],
    } | {name: message(twin.part(WEIGHTS, f"messages.{i}")) for i, name in enumerate(names)}


@functools.cache
def method() -> tuple[ct_vae.Model, dict[str, Any]]:
    """The model, with deterministic gates, and its variables."""
    info = Info(
        name="fixture",
        factor_names=("first", "second"),
        factor_sizes=(2, 2),
        circular=(False, False),
        image_shape=(*twin.SHAPE[1:], twin.SHAPE[0]),
        licence="",
        citation="",
        description="",
    )
    config = ct_vae.defaults()
    config.model.update_from_flattened_dict(
        {
            "gates": "deterministic",
            "autoencoder.widths": twin.WIDTHS,
            "autoencoder.residual_blocks": twin.BLOCKS,
            "codes.num_codebooks": twin.C,
            "codes.num_codes": twin.K,
            "codes.code_dim": twin.D // twin.C,
            "transition.edge_hidden": twin.EDGE_HIDDEN,
            "transition.message_hidden": twin.MESSAGE_HIDDEN,
        }
    )
    networks = ct_vae.networks(config, info)
    params = {"encoder": encoder(), "decoder": decoder(), "transition": transition()}
    params["codebook"] = {"vectors": CODEBOOKS}
    return ct_vae.Model(config.model, info, networks, jax.random.key(0)), {"params": params}


# The fixture


def test_the_fixture_is_what_the_twin_computes():
    for form, expected in twin.all_outputs(WEIGHTS, INPUTS).items():
        assert FOUND[form].keys() == expected.keys()
        for name, x in expected.items():
            np.testing.assert_allclose(FOUND[form][name], x, atol=1e-6, err_msg=f"{form} {name}")


def test_the_fixture_tells_forms_apart():
    """Gates on both sides of one half, none at it; several codes; every form has its outputs."""
    for name in ("hit", "edges"):
        values = EXPECTED[f"of_actions.{name}"]
        assert 0.1 < (values > 0.5).mean() < 0.9
        assert np.abs(values - 0.5).min() > 1e-4
    assert all(len(np.unique(EXPECTED["codes"][:, c])) > 2 for c in range(twin.C))
    assert all(FOUND.values())


# Our modules


def test_encoder():
    module, images = method()[0].networks.encoder, last(INPUTS["images"] / 255)
    same(apply(module, encoder(), images), last(EXPECTED["encoded"]))
    plain = module.clone(last_activation=False)
    same(apply(plain, encoder(), images), last(FOUND["plain_latent"]["encoded"]))


def test_decoder():
    module = method()[0].networks.decoder
    same(apply(module, decoder(), last(INPUTS["latents"])), last(EXPECTED["decoded"]))


def test_quantiser():
    h = quantize.split_codebooks(jnp.asarray(last(INPUTS["latents"])), num_codebooks=twin.C)
    codes = quantize.nearest_code(h, CODEBOOKS)
    expected = EXPECTED["codes"].reshape(codes.shape)
    np.testing.assert_array_equal(codes, expected)
    assert np.any(codes != FOUND["overlapping_chunks"]["codes"].reshape(codes.shape))
    vectors = quantize.merge_codebooks(quantize.lookup(codes, CODEBOOKS), grid=twin.GRID)
    same(vectors, last(EXPECTED["vectors"]))


def one_hot(side: str) -> Any:
    return jax.nn.one_hot(INPUTS[side], twin.K)


@functools.cache
def predicted(action: str, identity: bool = False) -> Any:
    """The layer's outputs, with an axis for the actions considered."""
    layer = method()[0].networks.transition
    run = quick_jit(lambda p, x: apply(layer, p, x, action, identity_graph=identity))
    return run(transition(), one_hot("x"))


def test_intervention_mask():
    w, positions = transition(), graph.sinusoidal_positions(twin.N, twin.K)
    table = graph.additive_mask_logits(
        w["mask_action"], w["mask_position"], w["mask_bias"], positions
    )
    hit = jax.nn.sigmoid(jnp.einsum("bnk,ank->ban", one_hot("x"), table))
    same(hit, EXPECTED["of_actions.hit"])
    np.testing.assert_array_equal(predicted("all").mask, EXPECTED["of_actions.mask"])


def test_edge_probabilities():
    for of, action in (("of_actions", "all"), ("of_none", "none")):
        seen = predicted(action)
        same(seen.edges, EXPECTED[f"{of}.edges"])
        np.testing.assert_array_equal(seen.graph, EXPECTED[f"{of}.graph"])


def test_messages():
    w = twin.part(WEIGHTS, "messages.0")
    heads, width = w["attention"].shape

    def side(name: str, nodes: Any) -> Any:
        """`[b, s, v, D]` -> `[b, s, G, v, E]`."""
        x = nodes @ w[f"{name}.weight"].T + w[f"{name}.bias"]
        return jnp.moveaxis(x.reshape(*x.shape[:-1], heads, width), -2, 2)

    nodes = (one_hot("x") + graph.sinusoidal_positions(twin.N, twin.K))[:, None]
    actions = (WEIGHTS["action.weight"].T + WEIGHTS["action.bias"])[None, :, None]
    gates = EXPECTED["of_actions.graph"]
    connected = jnp.maximum(gates, jnp.eye(twin.N))
    own = jnp.asarray(EXPECTED["of_actions.edges"] * gates)
    mean = graph.mean_self_weights(own, connected, others=1)
    passed = quick_jit(graph.message_passing)
    for form, weight in (("corrected", mean), ("own_self_loops", own)):
        received = passed(
            side("target", nodes),
            side("source", nodes),
            side("source", actions),
            jnp.asarray(w["attention"])[None, None],
            jnp.asarray(w["edge.weight"]).reshape(1, 1, heads, width),
            weight,
            connected,
        )
        found = jnp.moveaxis(received, 2, 3) + w["bias"].reshape(heads, width)
        same(found, FOUND[form]["of_actions.received"])
        differs(found, FOUND["reversed_edges"]["of_actions.received"])


def test_logits():
    for of, seen in {
        "of_actions": predicted("all"),
        "of_none": predicted("none"),
        "of_identity": predicted("none", identity=True),
    }.items():
        same(seen.logits, EXPECTED[f"{of}.logits"])
        differs(seen.logits, FOUND["reversed_edges"][f"{of}.logits"])


# The whole method


def test_distances():
    model, _ = method()
    logits, target = jnp.asarray(EXPECTED["of_actions.logits"]), one_hot("y")
    for form, x in (("corrected", ct_vae.floored(model, logits)), ("no_floor", logits)):
        found = retrieve.code_distances(x, target, over_nodes="mean")
        same(found, FOUND[form]["distances"])


def test_retrieved_actions():
    model, variables = method()
    x = jnp.asarray(last(INPUTS["images"]))
    retrieved = quick_jit(functools.partial(ct_vae.retrieve_action, model))
    same(retrieved(variables, x, x[::-1]), EXPECTED["retrieved"])


def test_interventions():
    model, variables = method()
    x = jnp.asarray(last(INPUTS["images"]))
    intervened = quick_jit(functools.partial(ct_vae.intervene, model))
    found = intervened(variables, x, jnp.asarray(twin.ACTION))
    # Ours are in [-1, 1]; what tanh draws below 0 is black.
    same(found, np.maximum(2 * last(EXPECTED["intervened"]) - 1, -1))
