"""Pendulum drawn by matplotlib from the facts of the published script: the original, for tests."""

import math
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Patch, Polygon
from PIL import Image


def draw(
    angle: float, light: float, length: float, position: float, *, points: float = 3.0
) -> UInt8[np.ndarray, "96 96 4"]:
    """The image with these values; `points` is the width of rod and shadow, published as 3."""
    ball = (10 + 8 * math.sin(angle), 10.5 - 8 * math.cos(angle))
    shadow = [(position - length / 2, -0.5), (position + length / 2, -0.5)]
    patches: list[Patch] = [
        Polygon([(10, 10.5), ball], color="black", linewidth=points),
        Circle(ball, 1.5, color="firebrick"),
        Circle((light, 20.5), 3, color="orange"),
        Polygon(shadow, color="black", linewidth=points),
    ]
    figure = Figure(figsize=(1, 1), dpi=96)
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for patch in patches:
        axes.add_artist(patch)
    axes.set_xlim(0, 20)
    axes.set_ylim(-1, 21)
    axes.axis("off")
    canvas.draw()
    return np.array(canvas.buffer_rgba())


def save(folder: Path, angle_step: int, light_step: int) -> Path:
    """Draw and write one file as the published script does, with its name; return its path."""
    angle, slope = angle_step * math.pi / 200, math.tan(light_step * math.pi / 200)
    feet = [10 - 11 / slope]
    feet.append(10 + 9.5 * math.sin(angle) - (11 - 9.5 * math.cos(angle)) / slope)
    length, position = max(3, abs(feet[0] - feet[1])), sum(feet) / 2
    path = folder / f"a_{angle_step}_{light_step}_{int(length)}_{int(position)}.png"
    Image.fromarray(draw(angle, 10 + 10 / slope, length, position)).save(path)
    return path
