"""The published CT-VAE in NumPy, written out from its equations: its slow, literal twin.

Weights have the published parametrisation, which is that of PyTorch: convolutions
`[out, in, kh, kw]`, transposed convolutions `[in, out, kh, kw]`, linear maps `[out, in]`, images
`[C, H, W]`. Every function takes one image; loops run over places, pairs, heads and actions.

Sources: Gendron, Witbrock and Dobbie, arXiv 2302.00869, sections 3 and 4; Brody, Alon and Yahav,
"How attentive are graph attention networks?" (2022). Where the authors' code contradicts the paper,
or makes a choice that the paper does not mention, `Form` has a switch.

    python tests/published_twin.py    # writes the fixture anew: random weights, inputs and outputs
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

Arrays = dict[str, np.ndarray]

FIXTURE = Path(__file__).parent / "networks" / "published_weights.npz"

# Sizes of the fixture: images, their shape, widths of the convolutions, residual blocks, codebooks,
# codes, channels, actions, hidden widths of the edge networks and of the message-passing layers.
B, SHAPE, WIDTHS, BLOCKS, C, K, D, A = 2, (3, 8, 12), (4, 6), 2, 2, 6, 8, 4
EDGE_HIDDEN, MESSAGE_HIDDEN = 7, (5, 3)
GRID = (SHAPE[1] // 2 ** len(WIDTHS), SHAPE[2] // 2 ** len(WIDTHS))
N = C * GRID[0] * GRID[1]
ACTION = (1, 3)  # of the interventions, one for each image


class Form(NamedTuple):
    """What the authors' code does, with its slips corrected."""

    # Slips: there the code contradicts the paper.
    overlapping_chunks: bool = False  #: codebook c quantises channels `c : c + D/C`
    reversed_edges: bool = False  #: a node receives messages from its children
    # Choices that the paper does not mention.
    activated_latent: bool = True  #: LeakyReLU between encoder and quantiser
    mean_self_loops: bool = True  #: a self-loop weighs the mean of its node's other edges
    floor: float = 1e-4  #: predicted probabilities below it count as it in retrieval


#: The corrected form, with each slip alone, and without each choice alone.
FORMS = {
    "corrected": Form(),
    "overlapping_chunks": Form(overlapping_chunks=True),
    "reversed_edges": Form(reversed_edges=True),
    "plain_latent": Form(activated_latent=False),
    "own_self_loops": Form(mean_self_loops=False),
    "no_floor": Form(floor=0.0),
}


def part(weights: Arrays, name: str) -> Arrays:
    """The weights of one part, by their names inside it."""
    return {
        key.removeprefix(f"{name}."): w for key, w in weights.items() if key.startswith(f"{name}.")
    }


def leaky(x: np.ndarray, slope: float = 0.01) -> np.ndarray:
    """LeakyReLU, with PyTorch's default slope."""
    return np.where(x > 0, x, slope * x)


def sigmoid(x: np.ndarray) -> np.ndarray:
    """The logistic function."""
    return 1 / (1 + np.exp(-x))


def softmax(x: np.ndarray) -> np.ndarray:
    """Over the last axis."""
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


# Autoencoder


def conv(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray | float = 0.0, stride: int = 1
) -> np.ndarray:
    """Convolution of `[in, H, W]`: 1 zero on all sides for kernels of 4 and 3, none for 1."""
    k = weight.shape[-1]
    pad = (k - 1) // 2
    x = np.pad(x, ((0, 0), (pad, pad), (pad, pad)))
    rows, columns = ((side - k) // stride + 1 for side in x.shape[1:])
    out = np.zeros((len(weight), rows, columns))
    for i, j in np.ndindex(rows, columns):
        patch = x[:, i * stride : i * stride + k, j * stride : j * stride + k]
        out[:, i, j] = (weight * patch).sum((1, 2, 3)) + bias
    return out


def conv_transpose(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Each place draws its 4x4 patch, at stride 2; the border of 1 is cut off."""
    rows, columns = x.shape[1:]
    out = np.zeros((weight.shape[1], 2 * rows + 2, 2 * columns + 2))
    for i, j in np.ndindex(rows, columns):
        patch = np.einsum("c,cokl->okl", x[:, i, j], weight)
        out[:, 2 * i : 2 * i + 4, 2 * j : 2 * j + 4] += patch
    return out[:, 1:-1, 1:-1] + bias[:, None, None]


def residual(x: np.ndarray, weights: Arrays) -> np.ndarray:
    """3x3 convolution, ReLU, 1x1 convolution, added to the input; no activation before them."""
    for i in range(BLOCKS):
        hidden = np.maximum(conv(x, weights[f"residual.{i}.first"]), 0)
        x = x + conv(hidden, weights[f"residual.{i}.second"])
    return x


def encode(weights: Arrays, image: np.ndarray, form: Form) -> np.ndarray:
    """`[C0, H0, W0]` to `[D, H, W]`."""
    w, x = part(weights, "encoder"), image
    for i in range(len(WIDTHS)):
        x = leaky(conv(x, w[f"down.{i}.weight"], w[f"down.{i}.bias"], stride=2))
    x = leaky(conv(x, w["middle.weight"], w["middle.bias"]))
    x = leaky(residual(x, w))
    x = conv(x, w["last.weight"], w["last.bias"])
    return leaky(x) if form.activated_latent else x


def decode(weights: Arrays, latent: np.ndarray) -> np.ndarray:
    """`[D, H, W]` to `[C0, H0, W0]` in (-1, 1)."""
    w = part(weights, "decoder")
    x = leaky(conv(latent, w["first.weight"], w["first.bias"]))
    x = leaky(residual(x, w))
    for i in range(len(WIDTHS)):
        x = conv_transpose(x, w[f"up.{i}.weight"], w[f"up.{i}.bias"])
        x = leaky(x) if i + 1 < len(WIDTHS) else np.tanh(x)
    return x


def quantise(weights: Arrays, latent: np.ndarray, form: Form) -> tuple[np.ndarray, np.ndarray]:
    """Codes `[C, H, W]` and their vectors, `[D, H, W]`."""
    codebooks = weights["codebooks"]
    size, grid = D // C, latent.shape[1:]
    codes, vectors = np.zeros((C, *grid), int), np.zeros((D, *grid))
    for c, i, j in np.ndindex(C, *grid):
        start = c if form.overlapping_chunks else c * size
        chunk = latent[start : start + size, i, j]
        codes[c, i, j] = np.argmin(((codebooks[c] - chunk) ** 2).sum(-1))
        vectors[c * size : (c + 1) * size, i, j] = codebooks[c, codes[c, i, j]]
    return codes, vectors


# Transition


class Predicted(NamedTuple):
    """What the transition layer computes for one image and one action, or none."""

    hit: np.ndarray  #: `[N]` probability that the action hits the node
    mask: np.ndarray  #: `[N]` 1 where it does
    edges: np.ndarray  #: `[N, N]` probability of the edge into i from j
    graph: np.ndarray  #: `[N, N]` 1 where there is one
    received: np.ndarray  #: `[N, G, E]` output of the first message-passing layer
    logits: np.ndarray  #: `[N, K]` of each node's code after the action


def positions(n: int, width: int) -> np.ndarray:
    """Sines in even columns, cosines in odd ones; both of a pair have the same wavelength."""
    code = np.zeros((n, width))
    for column in range(0, width, 2):
        angle = np.arange(n) / 10_000 ** (column / width)
        code[:, column], code[:, column + 1] = np.sin(angle), np.cos(angle)
    return code


def hit_probabilities(weights: Arrays, one_hot: np.ndarray, action: int | None) -> np.ndarray:
    """`o_n . sigmoid(W_m [a ; p_n] + b_m)`; zeros without an action."""
    n, k = one_hot.shape
    if action is None:
        return np.zeros(n)
    w, position = part(weights, "mask"), positions(n, k)
    rows = [
        one_hot[i] @ sigmoid(w["weight"] @ np.concatenate([np.eye(A)[action], p]) + w["bias"])
        for i, p in enumerate(position)
    ]
    return np.array(rows)


def edge_probabilities(weights: Arrays, nodes: np.ndarray, network: int) -> np.ndarray:
    """`g(v_i, v_j) = sigmoid(w . LeakyReLU(W [v_i ; v_j] + b) + c)` of one network."""
    w, n = part(weights, f"edges.{network}"), len(nodes)
    g = np.zeros((n, n))
    for i, j in np.ndindex(n, n):
        pair = np.concatenate([nodes[i], nodes[j]])
        hidden = leaky(w["hidden.weight"] @ pair + w["hidden.bias"])
        g[i, j] = sigmoid(w["out.weight"] @ hidden + w["out.bias"]).item()
    return g


def with_action_node(weighted: np.ndarray, form: Form) -> tuple[np.ndarray, np.ndarray]:
    """Weights of the edges into i from j and which exist, `[N+1, N+1]`; the action node is last.

    It is a parent of every node with weight 1. Every node has a self-loop.
    """
    n = len(weighted)
    weight = np.zeros((n + 1, n + 1))
    weight[:n, :n], weight[:n, n] = weighted, 1
    if form.reversed_edges:
        weight = weight.T.copy()
    exists = weight > 0
    np.fill_diagonal(exists, False)
    if form.mean_self_loops:
        for i in range(n + 1):
            weight[i, i] = weight[i, exists[i]].mean() if exists[i].any() else 0.0
    np.fill_diagonal(exists, True)
    return weight, exists


def receive(w: Arrays, nodes: np.ndarray, weight: np.ndarray, exists: np.ndarray) -> np.ndarray:
    """One GATv2 layer, `[V, D]` to `[V, G, E]`.

    `s_ij = u . LeakyReLU(W_src x_j + b_src + W_dst x_i + b_dst + W_edge w_ij)` with slope .2, then
    `sum_j softmax_j(s_ij) (W_src x_j + b_src) + b`.
    """
    heads, width = w["attention"].shape
    source = (nodes @ w["source.weight"].T + w["source.bias"]).reshape(-1, heads, width)
    target = (nodes @ w["target.weight"].T + w["target.bias"]).reshape(-1, heads, width)
    edge, bias = w["edge.weight"].reshape(heads, width), w["bias"].reshape(heads, width)
    out = np.zeros(source.shape)
    for i, g in np.ndindex(len(nodes), heads):
        parents = np.flatnonzero(exists[i])
        z = source[parents, g] + target[i, g] + weight[i, parents, None] * edge[g]
        attention = softmax(leaky(z, 0.2) @ w["attention"][g])
        out[i, g] = attention @ source[parents, g] + bias[g]
    return out


def predict(
    weights: Arrays,
    codes: np.ndarray,
    action: int | None,
    form: Form,
    *,
    identity_graph: bool = False,
) -> Predicted:
    """Codes `[N]` after an action, with deterministic gates: present if more likely than not."""
    one_hot = np.eye(K)[codes]
    hit = hit_probabilities(weights, one_hot, action)
    mask = (hit > 0.5).astype(float)
    nodes = one_hot + positions(N, K)
    edges = edge_probabilities(weights, nodes, 0)
    if action is not None:
        acted = edge_probabilities(weights, nodes, 1 + action)
        edges = (1 - mask[:, None]) * edges + mask[:, None] * acted
    graph = np.eye(N) if identity_graph else (edges > 0.5).astype(float)
    # Edges of the identity graph weigh 1, whatever their probabilities are.
    weighted = graph if identity_graph else edges * graph
    weight, exists = with_action_node(weighted, form)
    one_action = np.zeros(A) if action is None else np.eye(A)[action]
    action_node = weights["action.weight"] @ one_action + weights["action.bias"]
    x, received = np.concatenate([nodes, action_node[None]]), []
    for i in range(len(MESSAGE_HIDDEN) + 1):
        received.append(receive(part(weights, f"messages.{i}"), x, weight, exists))
        x = leaky(received[i]).reshape(N + 1, -1)
    # The last layer's heads are blocks of logits: one for no action and one for each action.
    blocks = received[-1][:N]
    idle, acted = blocks[:, 0], blocks[:, 0 if action is None else 1 + action]
    logits = (1 - mask[:, None]) * idle + mask[:, None] * acted
    return Predicted(hit, mask, edges, graph, received[0][:N], logits)


def distances(logits: np.ndarray, target: np.ndarray, form: Form) -> np.ndarray:
    """Mean cross-entropy of predictions `[A, N, K]` against the codes `[N]`: one per action."""
    probabilities = np.maximum(softmax(logits), form.floor)
    probabilities /= probabilities.sum(-1, keepdims=True)
    return np.array([-np.log(p[np.arange(len(target)), target]).mean() for p in probabilities])


# What a trained model does


def codes_of(weights: Arrays, image: np.ndarray, form: Form) -> np.ndarray:
    """The codes of an image, `[N]`."""
    return quantise(weights, encode(weights, image, form), form)[0].ravel()


def retrieve(weights: Arrays, x: np.ndarray, y: np.ndarray, form: Form) -> np.ndarray:
    """The probability of each action between two images: softmin of the distances."""
    before, after = (codes_of(weights, image, form) for image in (x, y))
    logits = np.stack([predict(weights, before, action, form).logits for action in range(A)])
    return softmax(-distances(logits, after, form))


def intervene(weights: Arrays, image: np.ndarray, action: int, form: Form) -> np.ndarray:
    """The image after an action: its most likely codes, decoded."""
    logits = predict(weights, codes_of(weights, image, form), action, form).logits
    codes = logits.argmax(-1).reshape(C, *GRID)
    vectors = [book[of_book] for book, of_book in zip(weights["codebooks"], codes, strict=True)]
    return decode(weights, np.concatenate(vectors, axis=-1).transpose(2, 0, 1))


# Fixture


def random_weights(rng: np.random.Generator) -> Arrays:
    """All weights, large enough that gates and codes vary."""

    def weight(*shape: int) -> np.ndarray:
        gain = 1.5 if len(shape) == 4 else 2.0
        return gain * rng.normal(size=shape) * np.prod(shape[1:]) ** -0.5

    def bias(size: int) -> np.ndarray:
        return 0.5 * rng.normal(size=size)

    found: Arrays = {"codebooks": rng.uniform(size=(C, K, D // C))}

    def layer(name: str, *shape: int, size: int | None = None) -> None:
        found[f"{name}.weight"] = weight(*shape)
        found[f"{name}.bias"] = bias(size or shape[0])

    channels, wide = SHAPE[0], WIDTHS[-1]
    for i, width in enumerate(WIDTHS):
        layer(f"encoder.down.{i}", width, channels, 4, 4)
        channels = width
    layer("encoder.middle", wide, wide, 3, 3)
    layer("encoder.last", D, wide, 1, 1)
    layer("decoder.first", wide, D, 3, 3)
    for side in ("encoder", "decoder"):
        for i in range(BLOCKS):
            found[f"{side}.residual.{i}.first"] = weight(wide, wide, 3, 3)
            found[f"{side}.residual.{i}.second"] = weight(wide, wide, 1, 1)
    for i, width in enumerate((*WIDTHS[-2::-1], SHAPE[0])):
        layer(f"decoder.up.{i}", channels, width, 4, 4, size=width)
        channels = width

    layer("mask", K, A + K)
    layer("action", K, A)
    for k in range(1 + A):
        layer(f"edges.{k}.hidden", EDGE_HIDDEN, 2 * K)
        layer(f"edges.{k}.out", 1, EDGE_HIDDEN)
    features, heads = K, 1 + A
    for i, width in enumerate((*MESSAGE_HIDDEN, K)):
        layer(f"messages.{i}.source", heads * width, features)
        layer(f"messages.{i}.target", heads * width, features)
        found[f"messages.{i}.edge.weight"] = weight(heads * width, 1)
        found[f"messages.{i}.attention"] = weight(heads, width)
        found[f"messages.{i}.bias"] = bias(heads * width)
        features = heads * width
    return {name: array.astype(np.float32) for name, array in found.items()}


def random_inputs(rng: np.random.Generator) -> Arrays:
    """Images of noisy blocks, latents to quantise and decode, codes of both sides of pairs."""
    noise, blocks = rng.integers(0, 32, (B, *SHAPE)), rng.integers(0, 2, (B, SHAPE[0], *GRID))
    side = 2 ** len(WIDTHS)
    return {
        "images": (noise + 224 * blocks.repeat(side, 2).repeat(side, 3)).astype(np.uint8),
        "latents": rng.normal(size=(B, D, *GRID)).astype(np.float32),
        "x": rng.integers(0, K, (B, N)),
        "y": rng.integers(0, K, (B, N)),
    }


def outputs(weights: Arrays, inputs: Arrays, form: Form) -> Arrays:
    """All outputs of one form, `[B, ...]`.

    Those of the transition are `[B, S, ...]`, for all actions (`of_actions.*`), without an action
    (`of_none.*`) and without one on the identity graph (`of_identity.*`).
    """
    images = inputs["images"] / 255
    found = [quantise(weights, h, form) for h in inputs["latents"]]
    codes, vectors = (np.stack(parts) for parts in zip(*found, strict=True))
    results = {
        "encoded": np.stack([encode(weights, image, form) for image in images]),
        "codes": codes,
        "vectors": vectors,
        "decoded": np.stack([decode(weights, z) for z in inputs["latents"]]),
    }
    cases = {"of_actions": range(A), "of_none": [None], "of_identity": [None]}
    for case, actions in cases.items():
        fixed = case == "of_identity"
        seen = [
            [predict(weights, x, action, form, identity_graph=fixed) for action in actions]
            for x in inputs["x"]
        ]
        for name in Predicted._fields:
            results[f"{case}.{name}"] = np.array([[getattr(x, name) for x in row] for row in seen])
    pairs = zip(images, images[::-1], strict=True)
    results["retrieved"] = np.stack([retrieve(weights, x, y, form) for x, y in pairs])
    after = [
        intervene(weights, image, action, form)
        for image, action in zip(images, ACTION, strict=True)
    ]
    results["intervened"] = np.stack(after)
    pairs = zip(results["of_actions.logits"], inputs["y"], strict=True)
    results["distances"] = np.stack([distances(logits, y, form) for logits, y in pairs])
    return {name: x if x.dtype.kind == "i" else x.astype(np.float32) for name, x in results.items()}


def all_outputs(weights: Arrays, inputs: Arrays) -> dict[str, Arrays]:
    """The outputs of the corrected form, and of each other form those that differ."""
    found = {name: outputs(weights, inputs, form) for name, form in FORMS.items()}
    corrected = found.pop("corrected")
    return {"corrected": corrected} | {
        form: {name: x for name, x in of_form.items() if not np.array_equal(x, corrected[name])}
        for form, of_form in found.items()
    }


def read() -> tuple[Arrays, Arrays, dict[str, Arrays]]:
    """The fixture: weights, inputs, and the outputs of every form, as `all_outputs` gives them."""
    with np.load(FIXTURE) as file:
        arrays = dict(file)
    found = {form: part(arrays, form) for form in FORMS}
    return part(arrays, "weights"), part(arrays, "inputs"), found


def write() -> None:
    """Write the fixture anew."""
    rng = np.random.default_rng(0)
    weights, inputs = random_weights(rng), random_inputs(rng)
    parts = {"weights": weights, "inputs": inputs} | all_outputs(weights, inputs)
    arrays = {f"{of}.{name}": x for of, found in parts.items() for name, x in found.items()}
    # pyright takes the arrays for savez's own option.
    np.savez_compressed(FIXTURE, **arrays)  # pyright: ignore[reportArgumentType]


if __name__ == "__main__":
    write()
