"""Maps over actions or images, in one pass or in chunks: the same results, different memory.

Whether to chunk depends on how much work there is and on the device that does it.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import jax

Results = TypeVar("Results")
_MUCH = 2**18  # numbers to compute that keep any device busy


def each_action(function: Callable[..., Results], *arrays: Any, images: int, work: int) -> Results:
    """`function(*arrays)`, in one pass or one action at a time.

    If a single action keeps any device busy, walking through the actions takes no longer, and only
    the pairs of nodes of one action need memory. One pass compiles faster: published
    retrieval on 16 nodes, with its gradient, by a third.

    Args:
      function: its results have the axis of actions second.
      arrays: pytrees of weights and of what else depends on the action, with the axis of actions
        second.
      images: how many.
      work: how many numbers to compute for one action and image.
    """
    large = _is_large(work) or images * work >= _MUCH
    if not large or jax.tree.leaves(arrays)[0].shape[1] == 1:
        return function(*arrays)

    def swapped(tree: Any) -> Any:
        return jax.tree.map(lambda x: x.swapaxes(0, 1), tree)

    def one(of_action: Any) -> Any:
        results = function(*jax.tree.map(lambda x: x[:, None], of_action))
        return jax.tree.map(lambda x: x[:, 0], results)

    return swapped(jax.lax.map(one, swapped(arrays)))


def each_image(function: Callable[..., Results], *arrays: Any, work: int) -> Results:
    """`function(*arrays)`, all with images first; on a CPU two large images at a time.

    One large image fills a core's cache; one pass over all of them would read and write main memory
    at every step instead. With two at a time, cores wait for each other less often than with one.

    Args:
      function: its results have the axis of images first.
      arrays: pytrees.
      work: how many numbers to compute for one image.
    """
    if jax.default_backend() != "cpu" or not _is_large(work):
        return function(*arrays)

    def one(of_image: Any) -> Any:
        of_image = jax.tree.map(lambda x: x[None], of_image)
        return jax.tree.map(lambda x: x[0], function(*of_image))

    return jax.lax.map(jax.checkpoint(one), arrays, batch_size=2)


def _is_large(work: int) -> bool:
    """Whether computing so many numbers keeps a device busy; a CPU's caches hold a few 2**15."""
    return work >= (2**15 if jax.default_backend() == "cpu" else _MUCH)
