"""Figures of measured shares as points with their 95 % intervals."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from mnist_utils.plots.style import TRAINING_COLOR, VALIDATION_COLOR

_LEVEL = 0.05  # of the tests whose points are filled


def slice_error_rates(table: pd.DataFrame, *, overall: float | None = None, title: str = "", ax: Axes | None = None) -> Axes:
    """Draw the error rate on each slice with its interval, group by group.

    A filled point's rate differs from that of all other images by more than chance.

    Parameters
    ----------
    table : DataFrame
        From `evaluation.slices.slice_errors`.
    overall : float, 0 to 1, optional
        The error rate on all images, for a line.
    """
    groups = list(dict.fromkeys(table["group"]))
    ax = ax or plt.subplots(figsize=(7.5, 1.1 + 0.27 * (len(table) + 1.3 * len(groups))), layout="constrained")[1]
    ticks, place = [], 0.0
    for group in groups:
        own = table[table["group"] == group]
        if [group] != own["slice"].tolist():  # a slice with a name of its own
            ax.annotate(
                group,
                (0, place),
                (-6, 0),
                ("axes fraction", "data"),
                "offset points",
                ha="right",
                va="center",
                weight="bold",
            )
            place += 1
        for row in own.to_dict("records"):
            significant = row["p_value"] < _LEVEL
            ends = [[row["rate"] - row["low"]], [row["high"] - row["rate"]]]
            ax.errorbar(
                [row["rate"]], [place], xerr=ends, fmt="o", capsize=3, markersize=6,
                color=VALIDATION_COLOR if significant else TRAINING_COLOR,
                markerfacecolor=VALIDATION_COLOR if significant else "white",
            )  # fmt: skip
            ticks.append((place, f"{row['slice']}  ({row['errors']:,} of {row['n']:,})"))
            place += 1
        place += 0.6
    ax.set_yticks([at for at, _ in ticks], [text for _, text in ticks])
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(place - 0.9, -0.8)
    if overall is not None:
        ax.axvline(overall, color="grey", linestyle="--", linewidth=1, zorder=0)
        ax.annotate("all images", (overall, 1), (0, 2), ("data", "axes fraction"), "offset points", ha="center", fontsize=9)
    ax.xaxis.set_major_formatter(PercentFormatter(1.0))
    ax.set_xlim(left=0)
    ax.set(xlabel="error rate with 95 % interval (filled: differs from all others, p < 0.05)")
    ax.set_title(title, pad=18 if overall is not None else None)
    ax.grid(alpha=0.3, axis="x")
    sns.despine(ax=ax, left=True)
    return ax
