"""The causal transition layer of CT-VAE: parameters and shapes; the mathematics is in `cdis.ops`.

Axis names: b images, s actions looked at together, g heads, n receiving and m sending nodes, k
codes.
"""

import functools
from typing import Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from cdis.ops import graph

#: Which action is looked at: one for each image, or each action in turn on every image, or none.
Action = Int[Array, " b"] | Literal["all", "none"]


class Transition(NamedTuple):
    """What the layer says of each image and action (s = 1, or A for all actions)."""

    logits: Float[Array, "b s n k"]  #: of each node's code after the action
    mask: Float[Array, "b s n"]  #: 1 where the action hits the node
    edges: Float[Array, "b s n n"]  #: probability of the edge into i from j
    graph: Float[Array, "b s n n"]  #: the gates: edges present (1) or not (0)


class CausalTransition(nn.Module):
    """Predicts the codes after an action by message passing on a graph the action rewires.

    Published form (arXiv 2302.00869, section 4): `embedding=0, mask="additive",
    mechanism="shared", copy=False`, heads and widths as in the paper. The other values are
    departures; `cdis.methods.ct_vae` lists them with their effect.

    Attributes:
      num_nodes: N.
      num_codes: K.
      num_actions: A.
      embedding: width of a learned vector for each (node, code); 0: one-hot plus sinusoidal
        position, as published.
      mask: "additive" (published) or "table", one free logit for each (action, node, code).
      edge_hidden: hidden width of the edge networks, one without action and one for each action.
      message_heads: heads of the hidden message-passing layers; 0: 1 + A, as published.
      message_hidden: width per head of each hidden layer.
      mechanism: "shared": the last message-passing layer gives 1 + A blocks of K logits and a node
        reads the one its state selects (published); "per_node": each (action, node) has a small
        mechanism of its own, a table over the node's own code plus a readout of the messages.
      mask_start, edge_start: logits of a fresh table's hits and of fresh edges.
      copy: a node that is not hit and has no hit parent keeps its code, with a learned confidence.
      noise: "off", "exo" (Gaussian noise on every node) or "endo" (a noise node, parent of all).
    """

    num_nodes: int
    num_codes: int
    num_actions: int
    embedding: int = 0
    mask: str = "additive"
    mask_start: float = 0.0
    edge_start: float = 0.0
    edge_hidden: int = 800
    message_heads: int = 0
    message_hidden: tuple[int, ...] = (100,)
    mechanism: str = "shared"
    copy: bool = False
    noise: str = "off"

    @nn.compact
    def __call__(
        self,
        one_hot: Float[Array, "b n k"],
        action: Action,
        *,
        key: PRNGKeyArray | None = None,
        identity_graph: bool = False,
    ) -> Transition:
        """Codes after `action`, for one-hot codes that may carry a straight-through gradient.

        Args:
          one_hot: codes of the nodes.
          action: one action for each image (s = 1), "all" (s = A) or "none" (s = 1).
          key: of gates and noise; None: deterministic gates (edge or hit where its probability is
            above one half) and no noise.
          identity_graph: every node is its own only parent, whatever the edge networks say. With
            mechanisms per node no message is passed then.
        """
        keys = dict.fromkeys(("mask", "graph", "noise"))
        if key is not None:
            keys = dict(zip(keys, jax.random.split(key, 3), strict=True))
        mask = self._mask(one_hot, action, keys["mask"])
        identity = jnp.broadcast_to(jnp.eye(self.num_nodes), (*mask.shape, self.num_nodes))
        if identity_graph and self.mechanism == "per_node":
            # A node would tell itself its own code, which its mechanism's table reads anyway.
            idle, acted = self._node_mechanisms(one_hot, None, action)
            logits = self._after(one_hot, idle, acted, mask, identity)
            return Transition(logits, mask, identity, identity)
        nodes = self._node_features(one_hot, keys["noise"])
        edges, gates = self._edges(nodes, action, mask, keys["graph"])
        if identity_graph:
            gates = identity
        idle, acted = self._mechanisms(one_hot, nodes, action, edges, gates, keys["noise"])
        return Transition(self._after(one_hot, idle, acted, mask, gates), mask, edges, gates)

    def _node_features(self, one_hot, key):
        if self.embedding:
            table = self.param(
                "node_embedding",
                nn.initializers.normal(1.0),
                (self.num_nodes, self.num_codes, self.embedding),
            )
            nodes = jnp.einsum("bnk,nkd->bnd", one_hot, table)
        else:
            nodes = one_hot + graph.sinusoidal_positions(self.num_nodes, self.num_codes)
        if self.noise == "exo" and key is not None:
            nodes += jax.random.normal(key, nodes.shape)
        return nodes

    def _mask(self, one_hot, action, key):
        a, n, k = self.num_actions, self.num_nodes, self.num_codes
        if self.mask == "table":
            # What all codes of a node have in common is learned from all of them.
            shared = self.param("mask_node", nn.initializers.normal(0.5), (a, n, 1))
            table = self.param("mask_table", nn.initializers.zeros, (a, n, k))
            table += shared + self.mask_start
        else:
            table = graph.additive_mask_logits(
                self.param("mask_action", nn.initializers.lecun_normal(), (a, k)),
                self.param("mask_position", nn.initializers.lecun_normal(), (k, k)),
                self.param("mask_bias", nn.initializers.zeros, (k,)),
                graph.sinusoidal_positions(n, k),
            )
        if isinstance(action, str) and action == "none":
            return jnp.zeros((one_hot.shape[0], 1, n))
        if isinstance(action, str):
            return graph.intervention_mask(key, one_hot, table, None)
        return graph.intervention_mask(key, one_hot, table, action)[:, None]

    def _edges(self, nodes, action, mask, key):
        """Edge probabilities and gates; network 0 is for no action, 1 + a for action a."""
        width, hidden, nets = nodes.shape[-1], self.edge_hidden, 1 + self.num_actions
        # A pair's input has twice the width of one node's: half the variance for each side.
        init = nn.initializers.variance_scaling(0.5, "fan_in", "normal", batch_axis=0)
        to_target = self.param("edge_target", init, (nets, width, hidden))
        to_source = self.param("edge_source", init, (nets, width, hidden))
        bias = self.param("edge_bias", nn.initializers.zeros, (nets, hidden))
        readout = self.param("edge_readout", nn.initializers.normal(hidden**-0.5), (nets, hidden))
        offset = self.param("edge_offset", nn.initializers.zeros, (nets,))

        def logits(select, nodes):
            """`[B, S, N, N]` of the networks in `select`: `[S]` for all images or `[B, S]`."""
            target = _project(nodes[:, None], to_target[select]) + bias[select][..., None, :]
            source = _project(nodes[:, None], to_source[select])
            target, source = target[:, :, None], source[:, :, None]
            head = _with_batch(readout[select], select)[:, :, None]
            scores = graph.pair_scores(target, source, head)[:, :, 0]
            start = _with_batch(offset[select], select)[..., None, None] + self.edge_start
            return scores + start

        if _is(action, "none"):
            base = logits(jnp.zeros((1,), jnp.int32), nodes)
            return jax.nn.sigmoid(base), graph.straight_through_bernoulli(key, base)
        select = 1 + _selected(action, self.num_actions)
        select = jnp.concatenate([jnp.zeros_like(select[..., :1]), select], axis=-1)
        if _is(action, "all"):
            of_actions = functools.partial(logits, nodes=nodes)
            both = _each_action(of_actions, select, work=nodes[..., 0].size * hidden)
        else:
            both = _each_image(logits, select, nodes, work=self.num_nodes * hidden)
        edges, gates = jax.nn.sigmoid(both), graph.straight_through_bernoulli(key, both)
        return (
            graph.intervened_edges(edges[:, :1], edges[:, 1:], mask),
            graph.intervened_edges(gates[:, :1], gates[:, 1:], mask),
        )

    def _mechanisms(self, one_hot, nodes, action, edges, gates, key):
        """Message passing, then logits of the codes by idle mechanisms and by the action's."""
        heads, width, hidden = self.message_heads or 1 + self.num_actions, nodes.shape[-1], []
        for i, features in enumerate(self.message_hidden):
            hidden.append(_MessageWeights(heads, width, features, name=f"message_{i}")())
            width = heads * features
        last = None
        if self.mechanism == "shared":
            blocks = 1 + self.num_actions
            last = _MessageWeights(blocks, width, self.num_codes, name="message_out")()
        extra = self._extra_parents(nodes, action, key)
        extra = jnp.broadcast_to(extra, (len(nodes), *extra.shape[1:]))
        weight = edges * gates
        # A node is always among its own parents.
        connected = jnp.maximum(gates, jnp.eye(self.num_nodes))
        graphs, pairs = (weight, connected, extra), heads * self.num_nodes**2

        def received(select, nodes, *graphs):
            # What the first layer makes of the nodes is the same for all actions.
            first = _sides(hidden[0], nodes) if hidden else None

            def passed(select, weight, connected, extra):
                x = nodes
                for i, layer in enumerate(hidden):
                    sides = first if i == 0 else _sides(layer, x)
                    x, extra = _message_layer(layer, sides, extra, weight, connected)
                return _read_blocks(last, x, extra, select, weight, connected) if last else x

            if select is None or select.ndim == 2:
                return passed(select, *graphs)
            return _each_action(passed, select, *graphs, work=len(nodes) * pairs)

        if isinstance(action, str):
            every = 1 + jnp.arange(self.num_actions) if action == "all" else None
            of_images = functools.partial(received, every)
            results = _each_image(of_images, nodes[:, None], *graphs, work=pairs)
        else:
            select = 1 + action[:, None]
            results = _each_image(received, select, nodes[:, None], *graphs, work=pairs)
        return results if last else self._node_mechanisms(one_hot, results, action)

    def _after(self, one_hot, idle, acted, mask, gates):
        """Each node reads the mechanism that its mask selects, or keeps its code."""
        if self.copy:
            confidence = self.param("copy", nn.initializers.constant(6.0), (self.num_nodes, 1))
            disturbed = jnp.max(gates * mask[:, :, None, :], axis=-1)
            kept = confidence * one_hot[:, None]
            idle = kept + disturbed[..., None] * (idle - kept)
        return idle + mask[..., None] * (acted - idle)

    def _extra_parents(self, nodes, action, key):
        """Features of the action node and, with endogenous noise, of the noise node."""
        embedding = self.param(
            "action_node", nn.initializers.normal(1.0), (self.num_actions, nodes.shape[-1])
        )
        if _is(action, "none"):
            extra = jnp.zeros((1, 1, 1, nodes.shape[-1]))
        else:
            select = _selected(action, self.num_actions)
            extra = _with_batch(embedding[select], select)[:, :, None]
        if self.noise == "endo":
            shape = (nodes.shape[0], extra.shape[1], 1, nodes.shape[-1])
            noise = jnp.zeros(shape) if key is None else jax.random.normal(key, shape)
            extra = jnp.concatenate([jnp.broadcast_to(extra, shape), noise], axis=2)
        return extra

    def _node_mechanisms(self, one_hot, messages, action):
        """A mechanism for each (action, node): a table over its own code, a readout of messages."""
        blocks, n, k = 1 + self.num_actions, self.num_nodes, self.num_codes
        own = self.param("mechanism_own", nn.initializers.normal(0.1), (blocks, n, k, k))
        idle, acted = jnp.einsum("bnk,nkl->bnl", one_hot, own[0])[:, None], 0.0
        every = _is(action, "all")
        if every:
            acted = jnp.einsum("bnk,ankl->banl", one_hot, own[1:])
        elif not isinstance(action, str):
            acted = jnp.einsum("bnk,bnkl->bnl", one_hot, own[1 + action])[:, None]
        if messages is not None:
            # At first what neighbours say changes nothing: nodes start on their own.
            width = messages.shape[-1]
            read = self.param("mechanism_read", nn.initializers.zeros, (blocks, n, width, k))
            idle += jnp.einsum("bsnd,ndk->bsnk", messages, read[0])
            if every:
                acted += jnp.einsum("band,andk->bank", messages, read[1:])
            elif not isinstance(action, str):
                acted += jnp.einsum("bnd,bndk->bnk", messages[:, 0], read[1 + action])[:, None]
        return idle, acted


class _Message(NamedTuple):
    """Weights of one message-passing layer; g heads (or blocks) of width e."""

    target: Float[Array, "g d e"]
    source: Float[Array, "g d e"]
    readout: Float[Array, "g e"]
    edge: Float[Array, "g e"]
    bias: Float[Array, "g e"]


class _MessageWeights(nn.Module):
    """Owns the parameters of one message-passing layer."""

    heads: int
    features: int
    width: int

    @nn.compact
    def __call__(self) -> _Message:
        init = nn.initializers.variance_scaling(1.0, "fan_in", "normal", batch_axis=0)
        matrix, row = (self.heads, self.features, self.width), (self.heads, self.width)
        small = nn.initializers.normal(self.width**-0.5)
        return _Message(
            self.param("target", init, matrix),
            self.param("source", init, matrix),
            self.param("readout", small, row),
            self.param("edge", small, row),
            self.param("bias", nn.initializers.zeros, row),
        )


def _sides(layer: _Message, nodes: Float[Array, "b s n d"]) -> tuple[Array, Array]:
    """Nodes as targets and as sources of messages, for every head: `[B, S, G, N, E]`."""
    target, source = (
        jnp.einsum("bsnd,gde->bsgne", nodes, side) for side in (layer.target, layer.source)
    )
    return target, source


def _message_layer(layer: _Message, sides, extra, weight, connected) -> tuple[Array, Array]:
    """All heads of a hidden layer: features of the nodes and of the extra parents after it."""
    target, source = sides
    sent = jnp.einsum("bsnd,gde->bsgne", extra, layer.source)
    received = graph.message_passing(
        target, source, sent, layer.readout[None, None], layer.edge[None, None], weight, connected
    )
    nodes, others = (
        nn.leaky_relu(_merge_heads(x + layer.bias[:, None]), graph.LEAKY_SLOPE)
        for x in (received, sent)
    )
    return nodes, others


def _read_blocks(layer: _Message, nodes, extra, select, weight, connected):
    """The last layer's block for no action and that of the action: of 1 + A, the two read."""

    def block(select):
        parts = (
            _project(nodes, layer.target[select])[:, :, None],
            _project(nodes, layer.source[select])[:, :, None],
            _project(extra, layer.source[select])[:, :, None],
            _with_batch(layer.readout[select], select)[:, :, None],
            _with_batch(layer.edge[select], select)[:, :, None],
        )
        received = graph.message_passing(*parts, weight, connected)[:, :, 0]
        return received + _with_batch(layer.bias[select], select)[:, :, None]

    idle = block(jnp.zeros((1,), jnp.int32))
    return idle, jnp.zeros_like(idle) if select is None else block(select)


def _is_enough(numbers: int) -> bool:
    """Whether computing so many keeps a device busy: a CPU's cores hold a few times 2**15."""
    return numbers >= (2**15 if jax.default_backend() == "cpu" else 2**18)


def _each_action(function, select: Int[Array, " s"], *arrays: Float[Array, "#b s ..."], work: int):
    """`function(select, *arrays)`, in one pass or in one for each action.

    Where a single action has enough to do for any device, walking through them costs no time, and
    the pairs of nodes of only one of them need room.

    Args:
      function: its results have the axis of actions second.
      select: indices of weights.
      arrays: what else depends on the action.
      work: how many numbers there are to compute for one action.
    """
    if not _is_enough(work):
        return function(select, *arrays)

    def one(of_action):
        select, arrays = jax.tree.map(lambda x: x[None], of_action)
        return jax.tree.map(
            lambda x: x[:, 0], function(select, *(x.swapaxes(0, 1) for x in arrays))
        )

    results = jax.lax.map(one, (select, [x.swapaxes(0, 1) for x in arrays]))
    return jax.tree.map(lambda x: x.swapaxes(0, 1), results)


def _each_image(function, *arrays, work: int):
    """`function(*arrays)`, all with images first; on a CPU in one pass for each two images.

    If an image fills a core's cache, that is: walking through all of them at every step would mean
    to read and write main memory instead. With two, the cores wait less often for each other.

    Args:
      function: its results have the axis of images first.
      arrays: pytrees.
      work: how many numbers there are to compute for one image.
    """
    if jax.default_backend() != "cpu" or not _is_enough(work):
        return function(*arrays)

    def one(of_image):
        of_image = jax.tree.map(lambda x: x[None], of_image)
        return jax.tree.map(lambda x: x[0], function(*of_image))

    return jax.lax.map(jax.checkpoint(one), arrays, batch_size=2)


def _is(action: Action, what: str) -> bool:
    return isinstance(action, str) and action == what


def _selected(action: Action, num_actions: int) -> Int[Array, " a"] | Int[Array, "b 1"]:
    """Indices of the actions looked at: `[A]`, the same for all images, or `[B, 1]`."""
    return jnp.arange(num_actions) if isinstance(action, str) else action[:, None]


def _with_batch(x: Array, select: Array) -> Array:
    """Rows picked by `select` with a leading image axis: `[1, S, ...]` or `[B, S, ...]`."""
    return x[None] if select.ndim == 1 else x


def _merge_heads(x: Float[Array, "b s g n h"]) -> Float[Array, "b s n g*h"]:
    x = x.swapaxes(2, 3)
    return x.reshape(*x.shape[:3], -1)


def _project(x: Float[Array, "b #s n d"], weights: Array) -> Float[Array, "b s n e"]:
    """Nodes times one matrix for each action, `[S, D, E]`, or image and action, `[B, S, D, E]`."""
    # As products of matrices: an einsum over three axes comes out transposed, and is copied.
    return x @ (weights if weights.ndim == 4 else weights[None])


class DenseTransition(nn.Module):
    """The baseline without a graph: one dense network on all codes and the action.

    Same call as `CausalTransition`; the mask is everything, the edges are complete.
    """

    num_nodes: int
    num_codes: int
    num_actions: int
    hidden: tuple[int, ...] = (256, 256)

    @nn.compact
    def __call__(self, one_hot: Float[Array, "b n k"], action: Action, **_) -> Transition:
        """As `CausalTransition.__call__`; gates and noise do not exist here."""
        b, n, k = one_hot.shape
        embedding = self.param(
            "action", nn.initializers.normal(1.0), (self.num_actions, self.hidden[0])
        )
        x = nn.Dense(self.hidden[0])(one_hot.reshape(b, 1, n * k))
        if not _is(action, "none"):
            select = _selected(action, self.num_actions)
            x = x + _with_batch(embedding[select], select)
        for width in self.hidden[1:]:
            x = nn.Dense(width)(nn.leaky_relu(x, graph.LEAKY_SLOPE))
        x = nn.Dense(n * k)(nn.leaky_relu(x, graph.LEAKY_SLOPE))
        confidence = self.param("copy", nn.initializers.constant(4.0), ())
        logits = x.reshape(*x.shape[:2], n, k) + confidence * one_hot[:, None]
        mask, edges = jnp.ones(logits.shape[:3]), jnp.ones((*logits.shape[:3], n))
        return Transition(logits, mask, edges, edges)
