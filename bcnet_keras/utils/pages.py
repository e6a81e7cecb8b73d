"""Tables, and self-contained HTML pages with tables and figures."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure


def text_table(cells: Sequence[Sequence[str]]) -> str:
    """Cells as aligned plain text; a Markdown table as well."""
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in cells
    ]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])


def html_page(title: str, body: str) -> str:
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{html.escape(title)}</title>
<style>
:root {{ color-scheme: light dark }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em; color: #222;
  background: #fff; overflow-wrap: anywhere }}
table {{ border-collapse: collapse; display: block; overflow-x: auto; overflow-wrap: normal }}
td, th {{ padding: .3em .8em; border-bottom: 1px solid #8886; text-align: right }}
td:first-child, th:first-child, .facts td {{ text-align: left }} td + td {{ white-space: nowrap }}
.facts td {{ white-space: normal }} img {{ max-width: 100%; background: #fff }}
tr.bold {{ font-weight: bold }}
.gallery {{ display: flex; flex-wrap: wrap; gap: .6em }} figure {{ margin: 0; width: 5.5em }}
figure img {{ width: 100%; image-rendering: pixelated }} figcaption {{ font-size: 80%; line-height: 1.2 }}
figure.wrong figcaption {{ font-weight: bold }} figure.wrong img {{ outline: 3px solid #c0392b }}
@media (prefers-color-scheme: dark) {{
  body {{ color: #ddd; background: #15191a }} img.chart {{ filter: invert(.92) hue-rotate(180deg) }}
}}
@media (max-width: 30em) {{ body {{ font-size: 14px; margin: 1em auto }} td, th {{ padding: .2em .4em }} }}
@media print {{
  body {{ max-width: none; color: #000; background: #fff }} input, button {{ display: none }}
  img.chart {{ filter: none }}
  h1, h2 {{ break-after: avoid }} img, svg, tr {{ break-inside: avoid }}
}}
</style></head><body>
{body}
</body></html>
"""


def html_table(cells: Sequence[Sequence[str]], bold: int | None = None) -> str:
    """Cells as a table, headings first; `bold` is the number of the row that stands out, 0 for the first below them."""
    begins = ["<tr class='bold'>" if number == bold else "<tr>" for number in range(len(cells) - 1)]
    rows = "".join(
        f"{begin}{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>"
        for begin, row in zip(begins, cells[1:], strict=True)
    )
    heading = "".join(f"<th>{html.escape(cell)}</th>" for cell in cells[0])
    return f"<table><tr>{heading}</tr>{rows}</table>"


def new_figure(width: float, height: float, rows: int = 1, columns: int = 1) -> tuple[Figure, np.ndarray]:
    from matplotlib.figure import Figure  # without pyplot, which would look for a display

    figure = Figure((width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


def image(figure: Figure, alt: str) -> str:
    """A figure as an image within a page; `alt` says what it shows, to those who cannot see it."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    encoded = base64.b64encode(buffer.getvalue()).decode()
    return f'<img class="chart" src="data:image/png;base64,{encoded}" alt="{html.escape(alt)}">'


def picture(pixels: np.ndarray) -> str:
    """An image [h, w, c] of any range as a data URL; its own lowest value is black, its highest white."""
    import numpy as np
    from PIL import Image

    values = pixels[..., 0] if pixels.shape[-1] != 3 else pixels
    values = values.astype(np.float32) - float(values.min())
    buffer = io.BytesIO()
    Image.fromarray((255 * values / max(float(values.max()), 1e-9)).astype(np.uint8)).save(buffer, format="png")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
