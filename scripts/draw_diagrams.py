#!/usr/bin/env python3
"""Draws the diagrams of README.md and docs as SVG files in docs/images.

    python scripts/draw_diagrams.py            # writes what has changed
    python scripts/draw_diagrams.py --check    # writes nothing; exit status 1 where a file is out of date

Each has a light ground of its own, so that it reads the same in light and dark mode.
"""

import html
import pathlib
import sys

FOLDER = pathlib.Path(__file__).parents[1] / "docs" / "images"
INK, FAINT, BINARY, INT8, GATE = "#22302e", "#5f6f6c", "#bfe3d3", "#c9d9ee", "#f6dfb3"


class Drawing:
    """Shapes on a ground of `width` x `height`; `title` says in a sentence what they show, for those who cannot see."""

    def __init__(self, width, height, title):
        self.size, self.title, self.parts = (width, height), title, []

    def box(self, x, y, width, height, lines, fill, radius=8):
        """A box around lines of text, the first of them bold."""
        self.parts.append(
            f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="{radius}" fill="{fill}" stroke="{INK}"/>'
        )
        top = y + height / 2 - 10 * (len(lines) - 1) + 6
        for number, line in enumerate(lines):
            self.text(x + width / 2, top + 20 * number, line, bold=number == 0)

    def text(self, x, y, text, size=16, bold=False, colour=INK, anchor="middle"):
        weight = ' font-weight="600"' if bold else ""
        self.parts.append(
            f'<text x="{x:g}" y="{y:g}" font-size="{size}" text-anchor="{anchor}" fill="{colour}"{weight}>'
            f"{html.escape(text)}</text>"
        )

    def arrow(self, *points):
        """A line through points with a head at its end."""
        path = " ".join(f"{x:g},{y:g}" for x, y in points)
        self.parts.append(
            f'<polyline points="{path}" fill="none" stroke="{INK}" stroke-width="2" marker-end="url(#head)"/>'
        )

    def cell(self, x, y, size, fill, text=""):
        self.parts.append(
            f'<rect x="{x}" y="{y}" width="{size}" height="{size}" fill="{fill}" stroke="{INK}" stroke-width="0.7"/>'
        )
        if text:
            self.text(x + size / 2, y + size / 2 + 5, text, size=14)

    def svg(self):
        width, height = self.size
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" role="img" '
                'font-family="system-ui, sans-serif">',
                f"<title>{html.escape(self.title)}</title>",
                '<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" '
                f'orient="auto"><path d="M0 0L10 5L0 10z" fill="{INK}"/></marker></defs>',
                f'<rect width="{width}" height="{height}" rx="10" fill="#fbfcfb"/>',
                *self.parts,
                "</svg>\n",
            ]
        )


def idea():
    """Image, binary net, gate, int8 net, sum."""
    drawing = Drawing(
        700,
        290,
        "An image goes to the binary net. A gate compares the net's score margin with a threshold. Where the net is "
        "sure, its answer counts. Elsewhere the int8 net runs too, and the weighted sum of both answers counts.",
    )
    drawing.box(15, 40, 80, 60, ["image"], "#ffffff")
    drawing.box(135, 35, 130, 70, ["binary net", "runs always"], BINARY)
    drawing.box(325, 35, 130, 70, ["gate", "margin ≥ t ?"], GATE, radius=30)
    drawing.box(565, 35, 120, 70, ["answer", "b"], "#ffffff")
    drawing.box(135, 185, 130, 70, ["int8 net", "only if unsure"], INT8)
    drawing.box(325, 185, 130, 70, ["sum", "a·b + q"], GATE, radius=30)
    drawing.box(565, 185, 120, 70, ["answer", "a·b + q"], "#ffffff")
    drawing.arrow((95, 70), (133, 70))
    drawing.arrow((265, 70), (323, 70))
    drawing.text(294, 60, "b")
    drawing.arrow((455, 70), (563, 70))
    drawing.text(508, 60, "sure: accept")
    drawing.arrow((390, 105), (390, 145), (55, 145), (55, 220), (133, 220))
    drawing.text(225, 137, "unsure: escalate")
    drawing.arrow((265, 220), (323, 220))
    drawing.text(294, 210, "q")
    drawing.arrow((440, 102), (440, 186))
    drawing.text(452, 150, "b", anchor="start")
    drawing.arrow((455, 220), (563, 220))
    return drawing


def bit_slices():
    """Weights as they lie in the flatbuffer, and as the kernel takes them."""
    drawing = Drawing(
        700,
        300,
        "In the flatbuffer a word holds 32 inputs of one output channel. Transposed, a word holds one input of 32 "
        "output channels, so that one operation on words adds a product for 32 channels at once.",
    )
    shown, size = 8, 26
    for left, title, rows, columns in (
        (60, "a word: inputs of one channel", "channel", "input"),
        (420, "a word: channels of one input", "input", "channel"),
    ):
        drawing.text(left + shown * size / 2, 28, title, bold=True)
        drawing.text(left + shown * size / 2, 50, f"{columns} 0 … 31", size=14, colour=FAINT)
        for row in range(shown):
            drawing.text(left - 8, 78 + row * size, str(row), size=13, colour=FAINT, anchor="end")
            for column in range(shown):
                bit = (5 * row + 3 * column + row * column) % 7 < 3
                bit = bit if rows == "channel" else (5 * column + 3 * row + row * column) % 7 < 3
                fill = (GATE if bit else "#ffffff") if row == 2 else (BINARY if bit else "#ffffff")
                drawing.cell(left + column * size, 60 + row * size, size, fill, "−" if bit else "+")
        drawing.text(left + shown * size / 2, 288, f"rows: {rows} 0 … 31", size=14, colour=FAINT)
    drawing.arrow((285, 165), (385, 165))
    drawing.text(335, 155, "transpose", size=14)
    return drawing


def adder_tables():
    """A chain of full adders whose carries are looked up."""
    drawing = Drawing(
        700,
        280,
        "Three words enter a full adder. Its sum goes to the next full adder and is never computed, since it follows "
        "from the weights and a parity of input bits. Its carry, of twice the weight, is read from a table of eight "
        "entries that three parities choose, and added to the counters.",
    )
    for index in range(3):
        left = 150 + 180 * index
        drawing.box(left, 70, 110, 60, ["full adder"], BINARY)
        drawing.arrow((left + 30, 30), (left + 30, 68))
        drawing.arrow((left + 80, 30), (left + 80, 68))
        drawing.text(left + 30, 22, f"x{2 * index + 1}", size=14)
        drawing.text(left + 80, 22, f"x{2 * index + 2}", size=14)
        drawing.arrow((left + 55, 130), (left + 55, 178))
        drawing.text(left + 62, 158, "carry", size=14, anchor="start")
        if index < 2:
            drawing.arrow((left + 110, 100), (left + 178, 100))
            drawing.text(left + 145, 90, "sum", size=14)
    drawing.arrow((70, 100), (148, 100))
    drawing.text(75, 90, "x0", size=14, anchor="start")
    drawing.box(150, 180, 470, 44, ["32 counters: words of weight 1, 2, 4, 8, …"], INT8)
    drawing.text(350, 254, "x = a row of weights, flipped by its input bit. The table of an adder has 8 carries;", 14)
    drawing.text(350, 272, "three parities of input bits choose one. The sums need no instruction.", 14)
    return drawing


DRAWINGS = {"idea": idea, "bit_slices": bit_slices, "adder_tables": adder_tables}


def main():
    status = 0
    for name, draw in DRAWINGS.items():
        path, text = FOLDER / f"{name}.svg", draw().svg()
        if path.exists() and path.read_text() == text:
            continue
        if "--check" in sys.argv:
            print(f"{path} is out of date: run python scripts/draw_diagrams.py", file=sys.stderr)
            status = 1
        else:
            path.write_text(text)
    return status


if __name__ == "__main__":
    sys.exit(main())
