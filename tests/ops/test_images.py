"""Number formats of images, and resolution for channels and back."""

import jax.numpy as jnp
import numpy as np
import pytest

from cdis.ops import images as image_ops


def test_from_uint8():
    images = np.array([0, 51, 204, 255], np.uint8).reshape(1, 2, 2, 1)
    found = image_ops.from_uint8(jnp.asarray(images))
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found.ravel(), [-1, -0.6, 0.6, 1], atol=1e-6)


@pytest.mark.parametrize("block", [1, 2])
def test_space_to_depth_by_loops(block):
    x = np.arange(2 * 4 * 6 * 3).reshape(2, 4, 6, 3)
    deep = image_ops.space_to_depth(jnp.asarray(x), block)
    assert deep.shape == (2, 4 // block, 6 // block, 3 * block**2)
    for b, i, j, c in np.ndindex(*x.shape):
        channel = ((i % block) * block + j % block) * 3 + c
        assert deep[b, i // block, j // block, channel] == x[b, i, j, c]
    np.testing.assert_array_equal(image_ops.depth_to_space(deep, block), x)


def test_depth_to_space_and_back():
    x = np.arange(2 * 2 * 3 * 8).reshape(2, 2, 3, 8)
    wide = image_ops.depth_to_space(jnp.asarray(x), 2)
    assert wide.shape == (2, 4, 6, 2)
    np.testing.assert_array_equal(image_ops.space_to_depth(wide, 2), x)


@pytest.mark.parametrize("f", [image_ops.space_to_depth, image_ops.depth_to_space])
def test_wrong_shapes_raise(f):
    with pytest.raises(AssertionError):
        f(jnp.zeros((4, 4, 4)), 2)
    with pytest.raises(TypeError):  # neither sides of 3 nor 3 channels divide
        f(jnp.zeros((1, 3, 3, 3)), 2)


def test_tinted():
    images = np.array([[[[200, 200, 200]]], [[[200, 100, 0]]]], np.uint8)
    found = image_ops.tinted(jnp.asarray(images), jnp.array([False, True]))
    assert found.dtype == jnp.uint8
    np.testing.assert_array_equal(found, [[[[200, 200, 200]]], [[[150, 88, 0]]]])
    grey = image_ops.tinted(jnp.full((1, 1, 1, 1), 200, jnp.uint8), jnp.array([True]))
    np.testing.assert_array_equal(grey, [[[[150]]]])
