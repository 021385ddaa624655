"""Flow as matplotlib draws it, with the figure and the strokes of CausalVAE's script."""

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Polygon, Rectangle


def draw(radius: float, height: float, hole: float, reach: float) -> np.ndarray:
    """One image, uint8 [96, 96, 4]."""
    figure = Figure(figsize=(1, 1), dpi=96)
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot(xlim=(0, 20), ylim=(0, 20))
    axes.axis("off")
    axes.add_artist(Rectangle((3, 0), 5, 5 + height, color="lightskyblue"))
    for x, low, high in ((3, 0, 19), (8, 0, hole), (8, hole + 0.4, 19)):
        axes.add_artist(Polygon([[x, low], [x, high]], color="black", linewidth=2))
    axes.add_artist(Circle((5.5, radius + 0.5), radius, color="firebrick"))
    y = np.linspace(hole, 0.5)
    x = 8 + reach * np.sqrt((hole - y) / (hole - 0.5))
    axes.plot(x, y, color="lightskyblue", linewidth=2)
    axes.plot([0, 20], [0.2, 0.2], color="black", linewidth=2)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())
