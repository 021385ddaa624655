"""Pictures of factors that cause one another: what setting them does, and the edges found."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from cdis.data.info import Info
from cdis.report.figures import LINE, ORANGE, image_grid, new_figure, show


def slider(name: str, factor: int, arrays: dict[str, np.ndarray]) -> Figure:
    """Rows are held-out images, columns the image itself and a factor set to rising values."""
    images, results = arrays["do_images"], arrays["do_results"][factor]
    values = arrays["do_values"][factor]
    columns = 1 + len(values)
    figure = image_grid(len(images), columns)
    for row, image in enumerate(images):
        for column, shown in enumerate((image, *results[row])):
            axes = figure.add_subplot(len(images), columns, row * columns + column + 1)
            show(axes, shown, edge=LINE if column else ORANGE)
            if row == 0:
                axes.set_title(f"{values[column - 1]:.3g}" if column else "image", fontsize=11)
    figure.suptitle(f"do({name} = ...)", y=1.06, fontsize=12)
    return figure


def edge_strength(info: Info, strength: np.ndarray) -> Figure:
    """Row i holds what moves factor i; frames mark the edges of the true graph, where known."""
    size = 0.7 * info.num_factors
    figure = new_figure(size + 3.4, size + 2.0)
    axes = figure.add_subplot()
    limit = max(float(strength.max()), 1e-3)
    picture = axes.imshow(strength, cmap="Blues", vmin=0, vmax=limit)
    names = list(info.factor_names)
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("from")
    axes.set_ylabel("into")
    for i, j in np.ndindex(*strength.shape):
        if strength[i, j] > 0:
            colour = "white" if strength[i, j] > 0.55 * limit else "#24292f"
            axes.text(j, i, f"{strength[i, j]:.2f}", ha="center", va="center", color=colour)
    for i, j in np.argwhere(np.array(info.graph)) if info.graph is not None else ():
        axes.add_patch(Rectangle((j - 0.47, i - 0.47), 0.94, 0.94, fill=False, ec=ORANGE, lw=2))
    figure.colorbar(picture, ax=axes, shrink=0.8, label="edge strength")
    return figure
