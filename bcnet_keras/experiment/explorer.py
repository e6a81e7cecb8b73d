"""A slider over the threshold of a pair, as a part of a self-contained page: what each threshold would give and cost.

Curve, dots and figures are drawn from the same operating points, so that they cannot differ.
"""

from __future__ import annotations

import html
import json
from collections.abc import Sequence

import numpy as np

from bcnet_keras.calibration import OperatingPoint

_MOST = 200  # points on the slider: more than its pixels on a telephone
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 640, 300, 62, 16, 14, 46

_SCRIPT = """
(() => {
  const data = JSON.parse(document.getElementById("operating-points").textContent);
  const slider = document.getElementById("threshold-slider"), dot = document.getElementById("threshold-dot");
  const percent = (part, digits) => (100 * part).toFixed(digits) + " %";
  const show = () => {
    const [threshold, accuracy, rate, cost, x, y] = data.points[slider.value];
    const texts = {
      threshold: threshold.map((value) => value.toPrecision(6)).join(", "),
      accuracy: percent(accuracy, 2),
      escalated: percent(rate, 1),
      cost: (data.int8_cost * cost / 1e6).toFixed(3) + " M",
      ratio: cost.toFixed(3),
    };
    for (const name in texts) document.getElementById("threshold-" + name).textContent = texts[name];
    slider.setAttribute("aria-valuetext", `${texts.accuracy} right, ${texts.ratio} of the int8 net`);
    dot.setAttribute("cx", x);
    dot.setAttribute("cy", y);
  };
  slider.addEventListener("input", show);
  document.getElementById("threshold-reset").addEventListener("click", () => {
    slider.value = data.picked;
    show();
  });
  slider.hidden = false;
  show();
})();
"""


def threshold_explorer(
    points: Sequence[OperatingPoint], picked: OperatingPoint, int8_accuracy: float, int8_cost: float, unit: str
) -> str:
    """Returns the HTML of a slider with the figures of every threshold and their place on the accuracy-cost curve.

    Arguments:
      points: operating points by rising cost, as `AccuracyCostCurve` has them; at most about 200 of them are shown.
      picked: the one that the pair has.
      int8_accuracy: of the int8 net alone on the same data, in [0, 1].
      int8_cost: of the int8 net alone, in `unit`.
      unit: what the cost is, such as "estimated cortex-m4 cycles".
    """
    shown = _thinned(points, picked)
    costs, accuracies = ([getattr(point, name) for point in shown] for name in ("cost", "accuracy"))
    rightmost = 1.05 * max(1.0, *costs)
    low, high = min(*accuracies, int8_accuracy), max(*accuracies, int8_accuracy)
    low, high = low - 0.05 * max(high - low, 0.01), high + 0.05 * max(high - low, 0.01)

    def place(cost: float, accuracy: float) -> tuple[float, float]:
        x = _LEFT + (_WIDTH - _LEFT - _RIGHT) * cost / rightmost
        y = _TOP + (_HEIGHT - _TOP - _BOTTOM) * (high - accuracy) / (high - low)
        return round(x, 1), round(y, 1)

    places = [place(point.cost, point.accuracy) for point in shown]
    picked_index = shown.index(picked)
    data = {
        "picked": picked_index,
        "int8_cost": int8_cost,
        "points": [
            [_numbers(point.threshold), point.accuracy, point.escalation_rate, point.cost, *at]
            for point, at in zip(shown, places, strict=True)
        ],
    }
    axes = [
        *(_tick(place(cost, low), f"{cost:g}", "x") for cost in np.arange(0, rightmost, 0.25)),
        *(_tick(place(0, value), f"{100 * value:.1f} %", "y") for value in np.linspace(low, high, 5)),
    ]
    square, dot = place(1, int8_accuracy), places[picked_index]
    line = " ".join(f"{x},{y}" for x, y in places)
    what, threshold = html.escape(unit), ", ".join(f"{value:.6g}" for value in _numbers(picked.threshold))
    return f"""<h2 id="thresholds">Other thresholds</h2>
<p>Move the slider to see what another threshold gives on the test images. The pair's own was picked on validation
images; one that is picked here has seen the test images. <code>bcnet calibrate</code> picks without them.
The figures are those of the Keras nets, from which the file's own in the tables above may differ by a few images.</p>
<p><label for="threshold-slider">Threshold, from "never asks the int8 net" to "always asks it"</label><br>
<input id="threshold-slider" type="range" min="0" max="{len(shown) - 1}" value="{picked_index}" hidden
 style="width: 100%; max-width: {_WIDTH}px"> <button id="threshold-reset" type="button">the pair's own</button></p>
<noscript><p>The slider needs JavaScript. The figures below are those of the pair's own threshold.</p></noscript>
<table aria-live="polite">
<tr><td>threshold</td><td id="threshold-threshold">{threshold}</td></tr>
<tr><td>accuracy</td><td id="threshold-accuracy">{100 * picked.accuracy:.2f} %</td></tr>
<tr><td>escalated</td><td id="threshold-escalated">{100 * picked.escalation_rate:.1f} %</td></tr>
<tr><td>{what}, mean</td><td id="threshold-cost">{int8_cost * picked.cost / 1e6:.3f} M</td></tr>
<tr><td>of the int8 net alone</td><td id="threshold-ratio">{picked.cost:.3f}</td></tr>
</table>
<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" style="width: 100%; max-width: {_WIDTH}px" role="img" font-size="13"
 font-family="system-ui, sans-serif" fill="currentColor">
<title>Test accuracy over mean cost at every threshold: from {100 * accuracies[0]:.1f} % at {costs[0]:.2f} of the int8
net to {100 * accuracies[-1]:.1f} % at {costs[-1]:.2f}.</title>
{"".join(axes)}
<text x="{(_LEFT + _WIDTH) / 2:g}" y="{_HEIGHT - 4}" text-anchor="middle">mean {what}, of the int8 net alone</text>
<polyline points="{line}" fill="none" stroke="#22935d" stroke-width="2"/>
<rect x="{square[0] - 5:g}" y="{square[1] - 5:g}" width="10" height="10"><title>int8 net alone</title></rect>
<text x="{square[0]:g}" y="{square[1] - 9:g}" text-anchor="middle">int8 net alone</text>
<circle id="threshold-picked" cx="{dot[0]:g}" cy="{dot[1]:g}" r="7" fill="none" stroke="currentColor" stroke-width="2">
<title>the pair's own threshold</title></circle>
<circle id="threshold-dot" cx="{dot[0]:g}" cy="{dot[1]:g}" r="5" fill="#22935d"/>
</svg>
<p>Line: all thresholds. Ring: the pair's own. Dot: the slider's.</p>
<script type="application/json" id="operating-points">{json.dumps(data)}</script>
<script>{_SCRIPT}</script>"""


def _thinned(points: Sequence[OperatingPoint], picked: OperatingPoint) -> list[OperatingPoint]:
    """At most about `_MOST` of the points, both ends and the picked one among them, by rising cost."""
    chosen = [points[i] for i in np.unique(np.linspace(0, len(points) - 1, min(len(points), _MOST)).astype(int))]
    others = [point for point in chosen if point.escalation_rate != picked.escalation_rate]
    return sorted([*others, picked], key=lambda point: point.escalation_rate)


def _numbers(threshold: float | tuple) -> list[float]:
    return [float(value) for value in np.ravel(threshold)]


def _tick(at: tuple[float, float], text: str, axis: str) -> str:
    x, y = at
    if axis == "x":
        return (
            f'<line x1="{x:g}" x2="{x:g}" y1="{_TOP}" y2="{y:g}" stroke="currentColor" opacity="0.2"/>'
            f'<text x="{x:g}" y="{y + 18:g}" text-anchor="middle">{text}</text>'
        )
    return (
        f'<line x1="{x:g}" x2="{_WIDTH - _RIGHT}" y1="{y:g}" y2="{y:g}" stroke="currentColor" opacity="0.2"/>'
        f'<text x="{x - 6:g}" y="{y + 4:g}" text-anchor="end">{text}</text>'
    )
