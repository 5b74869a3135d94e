"""The figure of every picture. It imports matplotlib, so it is itself imported where a picture is begun."""

from __future__ import annotations

import io

from matplotlib.figure import Figure

from voxray.views.canvas import Style, drawing


class SheetFigure(Figure):
    """A matplotlib figure that notebooks show by themselves, at its own ``dpi`` (100; ``set_dpi`` changes it).

    matplotlib teaches notebooks to show figures when ``pyplot`` is imported, which Voxray never does.
    """

    def _repr_png_(self) -> bytes:
        """Return the picture as IPython asks for it."""
        stream = io.BytesIO()
        with drawing(Style()):
            self.savefig(stream, format="png", dpi=self.dpi, facecolor=self.get_facecolor())
        return stream.getvalue()
