"""The causal transition layer, transcribed literally from the published equations: its slow twin.

It forms every pair `[v_i ; v_j]`, computes all 1 + A heads of the last layer before it selects two,
and walks through the actions in a loop, one forward pass for each. Tests hold
`CausalTransition` equal to it; tools/benchmark holds their times side by side.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from cdis.networks.causal_transition import CausalTransition
from cdis.ops import graph, quantize


def _leaky(x, slope=0.2):
    return jax.nn.leaky_relu(x, slope)


def _gate(logits, noise):
    noisy = logits + noise
    return quantize.straight_through((noisy > 0).astype(jnp.float32), jax.nn.sigmoid(noisy))


def sample(layer: CausalTransition, key, action, batch: int, dropout_key=None) -> dict[str, Any]:
    """The layer's random numbers, sampled as it does, with an axis for the actions considered.

    Without a key gates are deterministic and there is no noise: zeros. Without a dropout key
    nothing is dropped: ones.
    """
    n, every = layer.num_nodes, _is(action, "all")
    s = layer.num_actions if every else 1
    width = layer.embedding or layer.num_codes
    entry, feature = jnp.ones((batch, n, layer.num_codes)), jnp.ones((batch, n, width))
    if dropout_key is not None:
        kept, keys = 1 - layer.position_dropout, jax.random.split(dropout_key)
        entry = jax.random.bernoulli(keys[0], kept, entry.shape) / kept
        feature = jax.random.bernoulli(keys[1], kept, feature.shape) / kept
    dropped = dict(entry=entry, feature=feature)
    graphs = 1 if layer.published else 2
    if key is None:
        return dropped | dict(
            mask=jnp.zeros((batch, s, n)),
            graph=jnp.zeros((batch, s, graphs, n, n)),
            exo=jnp.zeros((batch, n, width)),
            endo=jnp.zeros((batch, s, 1, width)),
        )
    mask, edges, noise = jax.random.split(key, 3)
    shape = (batch, s, n) if every else (batch, n)
    if layer.published:
        # One draw for every edge under every action.
        graph_noise = jax.random.logistic(edges, (batch, s, n, n))[:, :, None]
    else:
        # The graph without action has one draw for all actions.
        count = 1 if _is(action, "none") else 1 + s
        drawn = jax.random.logistic(edges, (batch, count, n, n))
        idle = jnp.broadcast_to(drawn[:, :1], (batch, s, n, n))
        graph_noise = jnp.stack([idle, drawn[:, -s:]], axis=2)
    return dropped | dict(
        mask=jax.random.logistic(mask, shape).reshape(batch, s, n),
        graph=graph_noise,
        exo=jax.random.normal(noise, (batch, n, width)),
        endo=jax.random.normal(noise, (batch, s, 1, width)),
    )


def sample_for(noise: dict[str, Any], index: int) -> dict[str, Any]:
    """The random numbers that `of_action` needs for one of the actions considered."""
    return noise | {name: noise[name][:, index] for name in ("mask", "graph", "endo")}


def _gat(layer, nodes, weight, connected):
    """GATv2 (Brody et al. 2022) over all nodes, [B, V, D] -> [B, V, G, E], without last bias."""
    target = jnp.einsum("bnd,gde->bnge", nodes, layer["target"]) + layer.get("target_bias", 0.0)
    source = jnp.einsum("bnd,gde->bnge", nodes, layer["source"]) + layer.get("source_bias", 0.0)
    z = target[:, :, None] + source[:, None] + weight[..., None, None] * layer["edge"]
    scores = jnp.einsum("bijge,ge->bijg", _leaky(z), layer["readout"])
    votes = connected[..., None] * jnp.exp(scores)
    attention = votes / votes.sum(2, keepdims=True)
    return jnp.einsum("bijg,bjge->bige", attention, source)


def of_action(
    layer: CausalTransition, params, one_hot, action, noise: dict[str, Any], identity: bool = False
) -> tuple[Array, Array, Array, Array]:
    """One forward pass for one action of each image, `[B]`, or without one (None).

    Logits `[B, N, K]`, mask `[B, N]`, edges and gates `[B, N, N]`.
    """
    (B, N, K), A = one_hot.shape, layer.num_actions
    positions = graph.sinusoidal_positions(N, K)
    slope = 0.01 if layer.published else 0.2
    if layer.embedding:
        nodes = jnp.einsum("bnk,nkd->bnd", one_hot, params["node_embedding"])
    else:
        nodes = one_hot + positions
    nodes = noise["feature"] * nodes
    if layer.noise == "exo":
        nodes = nodes + noise["exo"]

    # Intervention mask: o_n . logits[a, n].
    if action is None:
        mask = jnp.zeros((B, N))
    else:
        if layer.mask == "table":
            table = params["mask_node"] + params["mask_table"] + layer.mask_start
        else:
            weight = jnp.concatenate([params["mask_action"], params["mask_position"]])
            seen = noise["entry"] * positions
            acting = jnp.eye(A)[action][:, None].repeat(N, 1)
            table = jnp.concatenate([acting, seen], axis=-1) @ weight + params["mask_bias"]
        logits = table if layer.mask == "additive" else table[action]
        mask = _gate(jnp.sum(one_hot * logits, -1), noise["mask"])

    # Edges: the network for no action and that of the action, on concatenated pairs.
    wide = (B, N, N, nodes.shape[-1])
    receiving = jnp.broadcast_to(nodes[:, :, None], wide)
    sending = jnp.broadcast_to(nodes[:, None, :], wide)
    pairs = jnp.concatenate([receiving, sending], axis=-1)
    matrix = jnp.concatenate([params["edge_target"], params["edge_source"]], axis=1)
    hit = mask[:, :, None]

    def edge_logits(net):
        hidden = _leaky(
            jnp.einsum("bijd,bdh->bijh", pairs, matrix[net])
            + params["edge_bias"][net][:, None, None],
            slope,
        )
        logits = jnp.einsum("bijh,bh->bij", hidden, params["edge_readout"][net])
        return logits + params["edge_offset"][net][:, None, None] + layer.edge_start

    logits = edge_logits(jnp.zeros(B, jnp.int32))
    edges, gates = jax.nn.sigmoid(logits), _gate(logits, noise["graph"][:, 0])
    if action is not None:
        logits = edge_logits(1 + action)
        edges = (1 - hit) * edges + hit * jax.nn.sigmoid(logits)
        if not layer.published:
            gates = (1 - hit) * gates + hit * _gate(logits, noise["graph"][:, 1])
    if layer.published:
        p, q = (jnp.log(jnp.maximum(x, 1e-4)) for x in (edges, 1 - edges))
        gates = _gate(p - q, noise["graph"][:, 0])
    weights = edges * gates
    if identity:
        gates = weights = jnp.broadcast_to(jnp.eye(N), gates.shape)
    # A mechanism per node reads the node's code already: no message from it is needed.
    alone = identity and layer.mechanism == "per_node"

    # Transition: the extra parents are nodes whose only parent is themselves.
    embedding = params["action_node"]
    extra = jnp.zeros((B, 1, nodes.shape[-1])) if action is None else embedding[action][:, None]
    extra += params.get("action_bias", 0.0)
    if layer.noise == "endo":
        extra = jnp.concatenate([extra, noise["endo"]], axis=1)
    x = extra.shape[1]
    weight = jnp.zeros((B, N + x, N + x)).at[:, :N, :N].set(weights).at[:, :N, N:].set(1.0)
    connected = jnp.zeros((B, N + x, N + x)).at[:, :N, :N].set(jnp.maximum(gates, jnp.eye(N)))
    connected = connected.at[:, :N, N:].set(1.0).at[:, N:, N:].set(jnp.eye(x))
    if layer.published:
        connected = jax.lax.stop_gradient(connected)
        for n in range(N):
            parents = connected[:, n].at[:, n].set(0.0)
            mean = jnp.sum(parents * weight[:, n], -1) / jnp.sum(parents, -1)
            weight = weight.at[:, n, n].set(mean)
    everyone = jnp.concatenate([nodes, extra], axis=1)
    for i in range(len(layer.message_hidden)):
        message = params[f"message_{i}"]
        everyone = _leaky(_gat(message, everyone, weight, connected) + message["bias"], slope)
        everyone = everyone.reshape(B, N + x, -1)
    if layer.mechanism == "shared":
        last = params["message_out"]
        blocks = (_gat(last, everyone, weight, connected) + last["bias"])[:, :N]
    else:
        blocks = jnp.einsum("bnk,ankl->bnal", one_hot, params["mechanism_own"])
        if not alone:
            blocks += jnp.einsum("bnd,andk->bnak", everyone[:, :N], params["mechanism_read"])
    idle = blocks[:, :, 0]
    if layer.copy:
        disturbed = jnp.max(gates * mask[:, None, :], axis=-1)[..., None]
        idle = (1 - disturbed) * params["copy"] * one_hot + disturbed * idle
    acted = idle if action is None else blocks[jnp.arange(B), :, 1 + action]
    return (1 - hit) * idle + hit * acted, mask, gates if alone else edges, gates


def transition(
    layer: CausalTransition,
    params,
    one_hot,
    action,
    *,
    key=None,
    dropout_key=None,
    identity=False,
):
    """The layer's outputs as a tuple, by one forward pass for each action considered."""
    noise = sample(layer, key, action, len(one_hot), dropout_key)
    if _is(action, "none"):
        actions = [None]
    elif _is(action, "all"):
        actions = [jnp.full((len(one_hot),), a) for a in range(layer.num_actions)]
    else:
        actions = [jnp.asarray(action)]
    outputs = [
        of_action(layer, params, one_hot, each, sample_for(noise, s), identity)
        for s, each in enumerate(actions)
    ]
    return tuple(jnp.stack(parts, axis=1) for parts in zip(*outputs, strict=True))


def _is(action, what: str) -> bool:
    return isinstance(action, str) and action == what
