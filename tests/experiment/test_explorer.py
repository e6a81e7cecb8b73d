"""The slider over the threshold, in Chromium, against NumPy's count of the same answers."""

import html
import json
import re
import shutil
import subprocess

import numpy as np
import pytest

from bcnet_keras.calibration import Answers, curve, operating_point
from bcnet_keras.experiment.explorer import threshold_explorer
from bcnet_keras.utils.pages import html_page

PAIR_COST, INT8_COST = (0.25, 1.25), 3_000_000

# Moves the slider as a user does, and writes down what the page then shows.
_DRIVER = """<script>
const seen = [], slider = document.getElementById("threshold-slider");
const read = () => [...["threshold", "accuracy", "escalated", "cost", "ratio"].map(
    (name) => document.getElementById("threshold-" + name).textContent),
    ...["cx", "cy"].map((name) => document.getElementById("threshold-dot").getAttribute(name))];
seen.push(read());
for (let value = Number(slider.min); value <= Number(slider.max); ++value) {
  slider.value = value;
  slider.dispatchEvent(new Event("input"));
  seen.push(read());
}
document.getElementById("threshold-reset").click();
seen.push(read());
document.body.append(Object.assign(document.createElement("pre"), {id: "seen", textContent: JSON.stringify(seen)}));
</script>"""


@pytest.fixture(scope="module")
def answers():
    """600 made-up answers: the surer the binary net, the more often it is right."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 10, 600)
    confidence = random.random(600).astype(np.float32)
    binary = np.where(random.random(600) < confidence, labels, (labels + 1) % 10)
    combined = np.where(random.random(600) < 0.9, labels, (labels + 1) % 10)
    return Answers(labels, binary, combined, combined, confidence, np.zeros((600, 10), np.float32))


@pytest.fixture(scope="module")
def page(answers):
    points = curve(answers, PAIR_COST).points
    picked = operating_point(answers, 0.4, PAIR_COST)
    return html_page("test", threshold_explorer(points, picked, 0.91, INT8_COST, "estimated cortex-m4 cycles"))


def test_slider_shows_what_each_threshold_gives(page, answers, tmp_path):
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("the slider is tested in a browser: apt-get install chromium")
    path = tmp_path / "page.html"
    path.write_text(page.replace("</body>", f"{_DRIVER}</body>"))
    command = [chromium, "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    command += ["--virtual-time-budget=2000", "--dump-dom", path.as_uri()]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120).stdout
    seen = json.loads(html.unescape(re.search(r'<pre id="seen">(.*?)</pre>', shown, re.DOTALL)[1]))
    first, *every, reset = seen
    assert first == reset and len(every) > 100
    right, places = answers.combined == answers.labels, []
    for threshold, accuracy, escalated, cost, ratio, x, y in every:
        asked = answers.confidence < float(threshold)
        rate = np.mean(asked)
        assert float(escalated.removesuffix(" %")) == pytest.approx(100 * rate, abs=0.051)
        expected = np.mean(np.where(asked, right, answers.binary == answers.labels))
        assert float(accuracy.removesuffix(" %")) == pytest.approx(100 * expected, abs=0.0051)
        whole = PAIR_COST[0] + (PAIR_COST[1] - PAIR_COST[0]) * rate
        assert float(ratio) == pytest.approx(whole, abs=5.1e-4)
        assert float(cost.removesuffix(" M")) == pytest.approx(INT8_COST * whole / 1e6, abs=5.1e-4)
        places.append((float(x), float(y)))
    assert every[0][2] == "0.0 %" and every[-1][2] == "100.0 %"
    # The line that is drawn goes through the dot's places, and the ring is where the slider begins.
    line = re.search(r'<polyline points="([^"]+)"', page)[1]
    assert places == [tuple(map(float, point.split(","))) for point in line.split()]
    assert f'id="threshold-picked" cx="{float(first[5]):g}" cy="{float(first[6]):g}"' in page


def test_page_without_javascript_shows_the_picked_threshold(page, answers):
    asked = answers.confidence < np.float32(0.4)
    assert f'id="threshold-escalated">{100 * np.mean(asked):.1f} %<' in page and "<noscript>" in page
    assert re.search(r'<input id="threshold-slider"[^>]* hidden', page)


def test_page_loads_nothing():
    points = [operating_point_of(cost) for cost in (0.2, 1.2)]
    body = threshold_explorer(points, points[0], 0.9, 1e6, "a <unit>")
    assert "http" not in body and "a &lt;unit&gt;" in body and "<unit>" not in body


def operating_point_of(cost):
    from bcnet_keras.calibration import OperatingPoint

    return OperatingPoint((0.1, 0.25), 0.5 + cost / 4, cost - 0.2, cost)
