"""Interactive twins of the library's pictures: the same arrays, drawn by plotly so that they can be hovered over and zoomed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import voxray

INK = {"light": "#3c4350", "dark": "#c6cdd6"}
RULE = {"light": "#dfe3e8", "dark": "#2b313a"}
WEIGHTS = {
    "light": [
        [0, "#ffffff"],
        [0.15, "#fec6a8"],
        [0.3, "#fc966a"],
        [0.5, "#ea5c61"],
        [0.7, "#c13c74"],
        [0.85, "#872781"],
        [1, "#140e36"],
    ],
    "dark": [[0, "#0e1116"], [0.2, "#3b0f70"], [0.45, "#8c2981"], [0.65, "#de4968"], [0.85, "#fe9f6d"], [1, "#fcfdbf"]],
}
SIGNED = {
    "light": [[0, "#1f5f9e"], [0.25, "#79b1dd"], [0.5, "#ffffff"], [0.75, "#f3a37c"], [1, "#b23410"]],
    "dark": [[0, "#9fdcff"], [0.25, "#2f7fc4"], [0.5, "#161a21"], [0.75, "#c8562b"], [1, "#ffd2a1"]],
}
ROW = 22  # pixels
MOST_COLUMNS = 1000
Words = Callable[[str], str]


def heat_map(scores: Any, theme: str, say: Words) -> Any:
    """Return tokens down, seconds across: one picture's worth of attention.

    Args:
        scores: what ``voxray.attention_map`` gives.
        theme: light or dark.
        say: the words of the page by their keys.
    """
    labels = _rows(scores["label"].values.tolist())
    spans = list(zip(scores["start"].values.tolist(), scores["end"].values.tolist(), strict=True))
    hover = f"<b>%{{y}}</b><br>%{{x:.2f}} s<br>{say('weight')} %{{z:.4f}}<extra></extra>"
    trace = _heat(scores.values, labels, scores["time"].values, hover)
    trace |= {
        "colorscale": WEIGHTS[theme],
        "colorbar": _bar(say("weight"), theme),
        "zmin": min(0.0, float(scores.values.min(initial=0))),
    }
    boxes = [
        {"type": "rect", "x0": start, "x1": end, "y0": row - 0.5, "y1": row + 0.5, "line": {"color": "#2f8fdd", "width": 1.2}}
        for row, ((start, end), kind) in enumerate(zip(spans, scores["kind"].values.tolist(), strict=True))
        if kind == "token"
    ]
    return _figure([trace], theme, len(labels), shapes=boxes, name=say("heatmap"))


def label_map(found: Sequence[voxray.Relevance], theme: str, say: Words) -> Any:
    """Return labels down, seconds across: which moments spoke for which label, signed."""
    labels = _rows([one.target.label for one in found])
    values = np.stack([one.over_time for one in found]).astype(np.float64)
    reach = float(np.abs(values).max(initial=0.0)) or 1.0
    hover = f"<b>%{{y}}</b><br>%{{x:.2f}} s<br>%{{z:+.4f}} {found[0].unit}<extra></extra>"
    trace = _heat(values, labels, found[0].grid.centres, hover)
    trace |= {"colorscale": SIGNED[theme], "zmin": -reach, "zmax": reach, "colorbar": _bar(found[0].unit, theme)}
    return _figure([trace], theme, len(labels), name=say("labelmap"))


def _heat(values: Any, labels: Sequence[str], times: Any, hover: str) -> dict[str, Any]:
    return {
        "type": "heatmap",
        "z": np.round(np.nan_to_num(values.astype(np.float64)), 6).tolist(),
        "x": np.round(times, 4).tolist(),
        "y": list(labels),
        "hovertemplate": hover,
    }


def _rows(labels: Sequence[str]) -> list[str]:
    """Return labels as text that no two rows share and that no markup hides in; plotly takes equal ones for one row."""
    seen: dict[str, int] = {}
    rows = []
    for label in labels:
        text = label.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").strip() or "␣"
        seen[text] = seen.get(text, 0) + 1
        rows.append(text + "\u200b" * (seen[text] - 1))
    return rows


def _bar(title: str, theme: str) -> dict[str, Any]:
    return {"title": {"text": title, "side": "right"}, "thickness": 10, "outlinewidth": 0, "tickfont": {"color": INK[theme]}}


def _figure(traces: list[dict[str, Any]], theme: str, rows: int, *, name: str, shapes: Sequence[dict[str, Any]] = ()) -> Any:
    import plotly.graph_objects as go

    ink, rule = INK[theme], RULE[theme]
    axis = {"gridcolor": rule, "zeroline": False, "automargin": True, "fixedrange": False}
    layout = {
        "title": {"text": name, "font": {"size": 14}, "x": 0, "xanchor": "left", "pad": {"l": 8}},
        "height": max(200, 110 + ROW * rows),
        "margin": {"l": 8, "r": 8, "t": 38, "b": 40},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"color": ink, "family": "system-ui, 'Noto Sans CJK SC', 'PingFang SC', 'Microsoft YaHei', sans-serif", "size": 12},
        "xaxis": axis | {"title": {"text": "s"}},
        "yaxis": axis | {"autorange": "reversed", "type": "category", "tickmode": "array", "tickvals": traces[0]["y"]},
        "shapes": list(shapes),
        "autosize": True,
    }
    return go.Figure(data=traces, layout=layout)
