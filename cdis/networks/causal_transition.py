"""The causal transition layer of CT-VAE: parameters and shapes; the mathematics is in `cdis.ops`.

Axis names: b images, s actions considered for an image, g heads, n receiving and m sending nodes, k
codes.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, TypeVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from cdis.networks.start import within
from cdis.ops import graph
from cdis.ops.chunked_map import each_action, each_image
from cdis.ops.pair_scores import LEAKY_SLOPE, pair_scores

#: The actions to consider: one for each image (s = 1), all on every image (s = A), none (s = 1).
Action = Int[Array, " b"] | Literal["all", "none"]


class Transition(NamedTuple):
    """The layer's prediction for each image and action considered."""

    logits: Float[Array, "b s n k"]  #: of each node's code after the action
    mask: Float[Array, "b s n"]  #: 1 where the action hits the node
    edges: Float[Array, "b s n n"]  #: probability of the edge into i from j
    graph: Float[Array, "b s n n"]  #: the gates: edges present (1) or not (0)


class CausalTransition(nn.Module):
    """Predicts the codes after an action by message passing on a graph that the action rewires.

    The defaults are the published form (arXiv 2302.00869, section 4). Other values of `embedding`,
    `mask`, `mask_start`, `edge_start`, `message_heads`, `mechanism`, `copy` and `published` are
    departures; `cdis.methods.joint_ct_vae` explains them.

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
      mechanism: "shared": the last message-passing layer gives 1 + A blocks of K logits, and the
        node's mask selects the block to read (published); "per_node": each (action, node) has its
        own small mechanism, a table over the node's own code plus a readout of the messages.
      mask_start, edge_start: initial logits of the hits of a mask table, and of edges.
      copy: a node that is not hit and has no hit parent keeps its code, with a learned confidence.
      noise: "off", "exo" (Gaussian noise on every node) or "endo" (a noise node, parent of all).
      position_dropout: probability at which, in training, each entry of a node's features is
        dropped, and each entry of the position that an additive mask reads.
      published: details as in the authors' code. Initial values are PyTorch's; LeakyReLU has slope
        .01 outside attention; both maps of a message layer and the action's embedding have biases;
        the edges of an action are sampled from their probability under that action; their gates
        have a gradient as weights alone, not as parents in the attention; a node's edge to itself
        weighs as much as the other edges into it do on average. False: normal initial values, slope
        .2, no biases; gates of the edges without action are sampled once for all actions, and the
        mask chooses between them and the action's; a gate is a weight and makes a parent, with
        both gradients; a node's edge to itself has its own weight.
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
    position_dropout: float = 0.1
    published: bool = True

    @nn.compact
    def __call__(
        self,
        one_hot: Float[Array, "b n k"],
        action: Action,
        *,
        key: PRNGKeyArray | None = None,
        dropout_key: PRNGKeyArray | None = None,
        identity_graph: bool = False,
    ) -> Transition:
        """Codes after `action`, for one-hot codes that may carry a straight-through gradient.

        Args:
          one_hot: codes of the nodes.
          action: one action for each image (s = 1), "all" (s = A) or "none" (s = 1).
          key: for gates and noise; None: deterministic gates (an edge or hit exists where its
            probability is above one half) and no noise.
          dropout_key: for dropout, the same for all actions considered; None: nothing is dropped.
          identity_graph: every node is its own only parent, with weight 1, regardless of the edge
            networks. With mechanisms per node, no messages are passed then.
        """
        chosen = _chosen(action, self.num_actions)
        keys = dict.fromkeys(("mask", "graph", "noise"))
        if key is not None:
            keys = dict(zip(keys, jax.random.split(key, 3), strict=True))
        drop_position = drop_node = None
        if dropout_key is not None:
            drop_position, drop_node = jax.random.split(dropout_key)
        mask = self._mask(one_hot, chosen, keys["mask"], drop_position)
        identity = jnp.broadcast_to(jnp.eye(self.num_nodes), (*mask.shape, self.num_nodes))
        if identity_graph and self.mechanism == "per_node":
            # A message could only carry the node's own code, which its table reads anyway.
            idle, acted = self._node_mechanisms(one_hot, None, chosen)
            logits = self._after(one_hot, idle, acted, mask, identity)
            return Transition(logits, mask, identity, identity)
        nodes = self._node_features(one_hot, keys["noise"], drop_node)
        edges, gates = self._edges(nodes, chosen, mask, keys["graph"])
        gates, parents = (identity, None) if identity_graph else (gates, (edges * gates, gates))
        idle, acted = self._mechanisms(one_hot, nodes, chosen, parents, keys["noise"])
        return Transition(self._after(one_hot, idle, acted, mask, gates), mask, edges, gates)

    def _start(self, fan_in: int, otherwise: Callable[..., Any]) -> Callable[..., Any]:
        """Initial values of a linear map: PyTorch's or, if the form is not published, others."""
        return within(fan_in**-0.5) if self.published else otherwise

    def _dropped(self, key: PRNGKeyArray | None, x: Float[Array, "..."]) -> Float[Array, "..."]:
        if key is None or not self.position_dropout:
            return x
        kept = 1 - self.position_dropout
        return jnp.where(jax.random.bernoulli(key, kept, x.shape), x / kept, 0.0)

    def _node_features(
        self,
        one_hot: Float[Array, "b n k"],
        key: PRNGKeyArray | None,
        dropout_key: PRNGKeyArray | None,
    ) -> Float[Array, "b n d"]:
        if self.embedding:
            table = self.param(
                "node_embedding",
                nn.initializers.normal(1.0),
                (self.num_nodes, self.num_codes, self.embedding),
            )
            nodes = jnp.einsum("bnk,nkd->bnd", one_hot, table)
        else:
            nodes = one_hot + graph.sinusoidal_positions(self.num_nodes, self.num_codes)
        nodes = self._dropped(dropout_key, nodes)
        if self.noise == "exo" and key is not None:
            nodes += jax.random.normal(key, nodes.shape)
        return nodes

    def _mask(
        self,
        one_hot: Float[Array, "b n k"],
        chosen: "_Chosen",
        key: PRNGKeyArray | None,
        dropout_key: PRNGKeyArray | None,
    ) -> Float[Array, "b s n"]:
        a, n, k = self.num_actions, self.num_nodes, self.num_codes
        if self.mask == "table":
            # The part common to all codes of a node is learned from all of them.
            shared = self.param("mask_node", nn.initializers.normal(0.5), (a, n, 1))
            table = self.param("mask_table", nn.initializers.zeros, (a, n, k))
            table += shared + self.mask_start
        else:
            positions = graph.sinusoidal_positions(n, k)
            if dropout_key is not None:
                positions = jnp.broadcast_to(positions, (len(one_hot), n, k))
                positions = self._dropped(dropout_key, positions)
            normal = nn.initializers.lecun_normal()
            table = graph.additive_mask_logits(
                self.param("mask_action", self._start(a + k, normal), (a, k)),
                self.param("mask_position", self._start(a + k, normal), (k, k)),
                self.param("mask_bias", self._start(a + k, nn.initializers.zeros), (k,)),
                positions,
            )
        if chosen.index is None:
            return jnp.zeros((one_hot.shape[0], 1, n))
        if chosen.shared:
            return graph.intervention_mask(key, one_hot, table, None)
        return graph.intervention_mask(key, one_hot, table, chosen.index[:, 0])[:, None]

    def _edges(
        self,
        nodes: Float[Array, "b n d"],
        chosen: "_Chosen",
        mask: Float[Array, "b s n"],
        key: PRNGKeyArray | None,
    ) -> tuple[Float[Array, "b s n n"], Float[Array, "b s n n"]]:
        """Edge probabilities and gates; network 0 is for no action, 1 + a for action a."""
        networks = self._edge_networks(nodes.shape[-1])
        logits = functools.partial(_edge_logits, self.edge_start, self._slope)
        work = self.num_nodes * self.edge_hidden
        idle = _all_rows(jax.tree.map(lambda w: w[:1], networks))
        if chosen.index is None:
            base = logits((), nodes, idle)
            return jax.nn.sigmoid(base), graph.straight_through_bernoulli(key, base)
        if chosen.shared:
            of_actions = functools.partial(logits, (), nodes)
            both = each_action(of_actions, _all_rows(networks), images=len(nodes), work=work)
        else:
            acting = _rows(networks, 1 + chosen.index)
            both = each_image(functools.partial(logits, (idle,)), nodes, acting, work=work)
        edges = jax.nn.sigmoid(both)
        edges = graph.intervened_edges(edges[:, :1], edges[:, 1:], mask)
        if self.published:
            return edges, graph.straight_through_bernoulli(key, graph.bounded_logits(edges))
        gates = graph.straight_through_bernoulli(key, both)
        return edges, graph.intervened_edges(gates[:, :1], gates[:, 1:], mask)

    @property
    def _slope(self) -> float:
        """Of LeakyReLU outside attention."""
        return 0.01 if self.published else LEAKY_SLOPE

    def _edge_networks(self, width: int) -> "_EdgeNetworks":
        hidden, nets = self.edge_hidden, 1 + self.num_actions
        zeros, small = nn.initializers.zeros, nn.initializers.normal(hidden**-0.5)
        # A pair's input has twice the width of one node's: half the variance for each side.
        pair = nn.initializers.variance_scaling(0.5, "fan_in", "normal", batch_axis=0)
        pair = self._start(2 * width, pair)
        return _EdgeNetworks(
            self.param("edge_target", pair, (nets, width, hidden)),
            self.param("edge_source", pair, (nets, width, hidden)),
            self.param("edge_bias", self._start(2 * width, zeros), (nets, hidden)),
            self.param("edge_readout", self._start(hidden, small), (nets, hidden)),
            self.param("edge_offset", self._start(hidden, zeros), (nets,)),
        )

    def _mechanisms(
        self,
        one_hot: Float[Array, "b n k"],
        nodes: Float[Array, "b n d"],
        chosen: "_Chosen",
        parents: tuple[Float[Array, "b s n n"], Float[Array, "b s n n"]] | None,
        key: PRNGKeyArray | None,
    ) -> tuple[Array, Array | float]:
        """Message passing, then logits of the codes by idle mechanisms and by the action's.

        `parents` are edge weights and gates; None: each node is its own only parent.
        """
        hidden, last = self._message_weights(nodes.shape[-1])
        extra = self._extra_parents(nodes, chosen, key)
        extra = jnp.broadcast_to(extra, (len(nodes), *extra.shape[1:]))
        pairs = (self.message_heads or 1 + self.num_actions) * self.num_nodes
        weight = connected = None
        if parents is not None:
            pairs *= self.num_nodes
            weight, gates = parents
            # A node is always among its own parents.
            connected = jnp.maximum(gates, jnp.eye(self.num_nodes))
            if self.published:
                connected = jax.lax.stop_gradient(connected)
                weight = graph.mean_self_weights(weight, connected, others=extra.shape[2])
        graphs = (nodes[:, None], weight, connected, extra)
        received = functools.partial(_received, hidden, last, self._slope, pairs)
        if last is None or chosen.index is None:
            results = each_image(functools.partial(received, None), *graphs, work=pairs)
        elif chosen.shared:
            acting = _all_rows(jax.tree.map(lambda w: w[1:], last))
            results = each_image(functools.partial(received, acting), *graphs, work=pairs)
        else:
            acting = _rows(last, 1 + chosen.index)
            results = each_image(received, acting, *graphs, work=pairs)
        return results if last else self._node_mechanisms(one_hot, results, chosen)

    def _message_weights(self, width: int) -> tuple[list["_Message"], "_Message | None"]:
        """Weights of the hidden layers, and of the last one that shared mechanisms read."""
        heads, hidden = self.message_heads or 1 + self.num_actions, []
        for i, features in enumerate(self.message_hidden):
            sizes = (heads, width, features, self.published)
            hidden.append(_MessageWeights(*sizes, name=f"message_{i}")())
            width = heads * features
        if self.mechanism != "shared":
            return hidden, None
        sizes = (1 + self.num_actions, width, self.num_codes, self.published)
        return hidden, _MessageWeights(*sizes, name="message_out")()

    def _after(
        self,
        one_hot: Float[Array, "b n k"],
        idle: Float[Array, "b s n k"],
        acted: Float[Array, "b s n k"] | float,
        mask: Float[Array, "b s n"],
        gates: Float[Array, "b s n n"],
    ) -> Float[Array, "b s n k"]:
        """Each node reads the mechanism that its mask selects, or keeps its code."""
        if self.copy:
            confidence = self.param("copy", nn.initializers.constant(6.0), (self.num_nodes, 1))
            disturbed = jnp.max(gates * mask[:, :, None, :], axis=-1)
            kept = confidence * one_hot[:, None]
            idle = kept + disturbed[..., None] * (idle - kept)
        return idle + mask[..., None] * (acted - idle)

    def _extra_parents(
        self, nodes: Float[Array, "b n d"], chosen: "_Chosen", key: PRNGKeyArray | None
    ) -> Float[Array, "#b s x d"]:
        """Features of the action node and, with endogenous noise, of the noise node."""
        width, actions = nodes.shape[-1], self.num_actions
        start = self._start(actions, nn.initializers.normal(1.0))
        embedding = self.param("action_node", start, (actions, width))
        if chosen.index is None:
            extra = jnp.zeros((1, 1, 1, width))
        else:
            extra = _with_batch(embedding[chosen.index], chosen.index)[:, :, None]
        if self.published:
            extra += self.param("action_bias", start, (width,))
        if self.noise == "endo":
            shape = (nodes.shape[0], extra.shape[1], 1, nodes.shape[-1])
            noise = jnp.zeros(shape) if key is None else jax.random.normal(key, shape)
            extra = jnp.concatenate([jnp.broadcast_to(extra, shape), noise], axis=2)
        return extra

    def _node_mechanisms(
        self,
        one_hot: Float[Array, "b n k"],
        messages: Float[Array, "b s n d"] | None,
        chosen: "_Chosen",
    ) -> tuple[Array, Array | float]:
        """A mechanism for each (action, node): a table over its own code, a readout of messages."""
        blocks, n, k = 1 + self.num_actions, self.num_nodes, self.num_codes
        own = self.param("mechanism_own", nn.initializers.normal(0.1), (blocks, n, k, k))
        idle, acted = jnp.einsum("bnk,nkl->bnl", one_hot, own[0])[:, None], 0.0
        if chosen.shared:
            acted = jnp.einsum("bnk,ankl->banl", one_hot, own[1:])
        elif chosen.index is not None:
            acted = jnp.einsum("bnk,bnkl->bnl", one_hot, own[1 + chosen.index[:, 0]])[:, None]
        if messages is not None:
            # Initially messages change nothing: each node starts on its own.
            width = messages.shape[-1]
            read = self.param("mechanism_read", nn.initializers.zeros, (blocks, n, width, k))
            idle += jnp.einsum("bsnd,ndk->bsnk", messages, read[0])
            if chosen.shared:
                acted += jnp.einsum("band,andk->bank", messages, read[1:])
            elif chosen.index is not None:
                of_image = read[1 + chosen.index[:, 0]]
                acted += jnp.einsum("bnd,bndk->bnk", messages[:, 0], of_image)[:, None]
        return idle, acted


class _Chosen(NamedTuple):
    """The actions to consider, in one form for all."""

    #: None without an action; `[S]` if the same actions are considered for all images
    index: Int[Array, " s"] | Int[Array, "b 1"] | None

    @property
    def shared(self) -> bool:
        """Are the same actions considered for all images?"""
        return self.index is not None and self.index.ndim == 1


def _chosen(action: Action, num_actions: int) -> _Chosen:
    if not isinstance(action, str):
        return _Chosen(action[:, None])
    return _Chosen(jnp.arange(num_actions) if action == "all" else None)


class _EdgeNetworks(NamedTuple):
    """Weights of two-layer networks on pairs of nodes, one without action and one per action."""

    target: Float[Array, "a d h"]
    source: Float[Array, "a d h"]
    bias: Float[Array, "a h"]
    readout: Float[Array, "a h"]
    offset: Float[Array, " a"]


def _edge_logits(
    start: float,
    slope: float,
    before: tuple[_EdgeNetworks, ...],
    nodes: Float[Array, "b n d"],
    last: _EdgeNetworks,
) -> Float[Array, "b s n n"]:
    """Logits of networks whose weights are `[1, S, ...]` or, for each image, `[B, S, ...]`.

    Those of the networks `before` come first.
    """
    networks, nodes = (*before, last), nodes[:, None]
    target = _joined([_project(nodes, w.target, w.bias) for w in networks], axis=1)
    source = _joined([_project(nodes, w.source) for w in networks], axis=1)
    head = _joined([w.readout for w in networks], axis=1)
    offset = _joined([w.offset for w in networks], axis=1)
    scores = pair_scores(target[:, :, None], source[:, :, None], head[:, :, None], slope=slope)
    return scores[:, :, 0] + (offset[..., None, None] + start)


class _Message(NamedTuple):
    """Weights of one message-passing layer; g heads (or blocks) of width e."""

    target: Float[Array, "g d e"]
    source: Float[Array, "g d e"]
    readout: Float[Array, "g e"]
    edge: Float[Array, "g e"]
    bias: Float[Array, "g e"]
    #: of the maps `target` and `source`; None: no bias
    target_bias: Float[Array, "g e"] | None = None
    source_bias: Float[Array, "g e"] | None = None


class _MessageWeights(nn.Module):
    """Owns the parameters of one message-passing layer."""

    heads: int
    features: int
    width: int
    published: bool

    @nn.compact
    def __call__(self) -> _Message:
        init = nn.initializers.variance_scaling(1.0, "fan_in", "normal", batch_axis=0)
        readout = edge = nn.initializers.normal(self.width**-0.5)
        if self.published:
            # Glorot and Bengio (2010), as in PyTorch Geometric, where all heads are one matrix.
            outputs = self.heads * self.width
            init = within((6 / (self.features + outputs)) ** 0.5)
            edge = within((6 / (1 + outputs)) ** 0.5)
            readout = within((6 / (self.heads + self.width)) ** 0.5)
        matrix, row = (self.heads, self.features, self.width), (self.heads, self.width)
        layer = _Message(
            self.param("target", init, matrix),
            self.param("source", init, matrix),
            self.param("readout", readout, row),
            self.param("edge", edge, row),
            self.param("bias", nn.initializers.zeros, row),
        )
        if not self.published:
            return layer
        start = within(self.features**-0.5)
        target, source = (self.param(f"{side}_bias", start, row) for side in ("target", "source"))
        return layer._replace(target_bias=target, source_bias=source)


def _every_head(
    x: Float[Array, "b s n d"], weights: Float[Array, "g d e"], bias: Float[Array, "g e"] | None
) -> Float[Array, "b s g n e"]:
    """Nodes times the matrices of all heads."""
    y = jnp.einsum("bsnd,gde->bsgne", x, weights)
    return y if bias is None else y + bias[:, None]


def _sides(layer: _Message, nodes: Float[Array, "b s n d"]) -> tuple[Array, Array]:
    """Nodes as targets and as sources of messages, for every head: `[B, S, G, N, E]`."""
    return (
        _every_head(nodes, layer.target, layer.target_bias),
        _every_head(nodes, layer.source, layer.source_bias),
    )


def _received(
    hidden: list[_Message],
    last: _Message | None,
    slope: float,
    pairs: int,
    acting: _Message | None,
    nodes: Float[Array, "b 1 n d"],
    *graphs: Array | None,
) -> Any:
    """Messages that the nodes have received after all layers, `[B, S, N, E]`.

    With a `last` layer instead logits `[B, S, N, K]` of two of its blocks: without action, and of
    the actions to whose blocks `acting` holds the weights, `[1, S, ...]` or `[B, 1, ...]`. `graphs`
    are the edge weights, the connections (None for both: each node is its own only parent) and the
    extra parents; `slope` is that of LeakyReLU between layers; `pairs` is how many numbers there
    are to compute for one image and action.
    """
    # The first layer's transformed nodes are the same for all actions.
    first = _sides(hidden[0], nodes) if hidden else None

    def passed(
        acting: _Message | None, weight: Array | None, connected: Array | None, extra: Array
    ) -> Array | tuple[Array, Array]:
        x = nodes
        for i, layer in enumerate(hidden):
            sides = first if first and i == 0 else _sides(layer, x)
            x, extra = _message_layer(layer, slope, sides, extra, weight, connected)
        return _read_blocks(last, acting, x, extra, weight, connected) if last else x

    return each_action(passed, acting, *graphs, images=len(nodes), work=pairs)


def _message_layer(
    layer: _Message,
    slope: float,
    sides: tuple[Array, Array],
    extra: Float[Array, "b s x d"],
    weight: Float[Array, "b s n n"] | None,
    connected: Float[Array, "b s n n"] | None,
) -> tuple[Array, Array]:
    """All heads of a hidden layer: new features of the nodes and of the extra parents."""
    target, source = sides
    sent = _every_head(extra, layer.source, layer.source_bias)
    received = graph.message_passing(
        target, source, sent, layer.readout[None, None], layer.edge[None, None], weight, connected
    )
    nodes, others = (
        nn.leaky_relu(_merge_heads(x + layer.bias[:, None]), slope) for x in (received, sent)
    )
    return nodes, others


def _read_blocks(
    layer: _Message,
    acting: _Message | None,
    nodes: Float[Array, "b s n d"],
    extra: Float[Array, "b s x d"],
    weight: Float[Array, "b s n n"] | None,
    connected: Float[Array, "b s n n"] | None,
) -> tuple[Float[Array, "b s n k"], Float[Array, "b s n k"]]:
    """The last layer's block for no action and that of the action: of 1 + A, the two read."""
    idle = _all_rows(jax.tree.map(lambda w: w[:1], layer))
    blocks = [idle] if acting is None else [idle, acting]

    def heads(of_block: Callable[[_Message], Array]) -> Float[Array, "b s g ..."]:
        return _joined([of_block(block)[:, :, None] for block in blocks], axis=2)

    received = graph.message_passing(
        heads(lambda block: _project(nodes, block.target, block.target_bias)),
        heads(lambda block: _project(nodes, block.source, block.source_bias)),
        heads(lambda block: _project(extra, block.source, block.source_bias)),
        heads(lambda block: block.readout),
        heads(lambda block: block.edge),
        weight,
        connected,
    )
    received += heads(lambda block: block.bias)[..., None, :]
    return received[:, :, 0], received[:, :, -1]


def _joined(parts: Sequence[Array], axis: int) -> Array:
    """Arrays one after the other along an axis; along the axes before it they broadcast."""
    if len(parts) == 1:
        return parts[0]
    lead = jnp.broadcast_shapes(*(x.shape[:axis] for x in parts))
    return jnp.concatenate([jnp.broadcast_to(x, (*lead, *x.shape[axis:])) for x in parts], axis)


Weights = TypeVar("Weights", _EdgeNetworks, _Message)


def _rows(weights: Weights, select: Int[Array, "b s"]) -> Weights:
    """The weights of the networks or blocks in `select`: `[B, S, ...]`."""
    return jax.tree.map(lambda w: w[select], weights)


def _all_rows(weights: Weights) -> Weights:
    """The weights of all networks or blocks, the same for all images: `[1, S, ...]`."""
    return jax.tree.map(lambda w: w[None], weights)


def _with_batch(x: Array, select: Array) -> Array:
    """Rows selected by `select`, with a leading image axis: `[1, S, ...]` or `[B, S, ...]`."""
    return x[None] if select.ndim == 1 else x


def _merge_heads(x: Float[Array, "b s g n h"]) -> Float[Array, "b s n g*h"]:
    x = x.swapaxes(2, 3)
    return x.reshape(*x.shape[:3], -1)


def _project(
    x: Float[Array, "b #s n d"],
    weights: Float[Array, "#b s d e"],
    bias: Float[Array, "#b s e"] | None = None,
) -> Float[Array, "b s n e"]:
    """Nodes times one matrix for each action, or image and action."""
    # As matrix products: an einsum over three axes gives a transposed result, which is copied.
    y = x @ weights
    return y if bias is None else y + bias[..., None, :]


class DenseTransition(nn.Module):
    """The baseline without a graph: one dense network on all codes and the action.

    Called like `CausalTransition`. It reports that every action hits every node, on a complete
    graph.
    """

    num_nodes: int
    num_codes: int
    num_actions: int
    hidden: tuple[int, ...] = (256, 256)

    @nn.compact
    def __call__(self, one_hot: Float[Array, "b n k"], action: Action, **_: Any) -> Transition:
        """As `CausalTransition.__call__`, whose options (gates, noise, graph) have no effect."""
        b, n, k = one_hot.shape
        embedding = self.param(
            "action", nn.initializers.normal(1.0), (self.num_actions, self.hidden[0])
        )
        x = nn.Dense(self.hidden[0])(one_hot.reshape(b, 1, n * k))
        index = _chosen(action, self.num_actions).index
        if index is not None:
            x = x + _with_batch(embedding[index], index)
        for width in self.hidden[1:]:
            x = nn.Dense(width)(nn.leaky_relu(x, LEAKY_SLOPE))
        x = nn.Dense(n * k)(nn.leaky_relu(x, LEAKY_SLOPE))
        confidence = self.param("copy", nn.initializers.constant(4.0), ())
        logits = x.reshape(*x.shape[:2], n, k) + confidence * one_hot[:, None]
        mask, edges = jnp.ones(logits.shape[:3]), jnp.ones((*logits.shape[:3], n))
        return Transition(logits, mask, edges, edges)
