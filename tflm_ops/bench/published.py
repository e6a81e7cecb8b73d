"""Holds predicted latencies against those that others published of real boards, and writes ``published.md`` here.

    python tflm_ops/bench/published.py

The published ones are MLPerf Tiny's: inferences per second in `closed/ORGANISATION/results/SYSTEM/TASK/performance/
results.txt` of github.com/mlcommons/tiny_results_VERSION, of submissions that ran CMSIS-NN's kernels on a board that
`boards` knows. The predicted ones are those of `bcnet profile --board`, of nets with the shapes of the benchmark's.
A factor for what a prediction leaves out is fitted on the other boards' rows: leave one board out.
"""

import math
from typing import NamedTuple

import bench
import numpy as np

from bcnet_keras.device import boards
from bcnet_keras.device.cost import cost
from bcnet_keras.utils import atomic_files as files
from bcnet_keras.utils.pages import text_table

TASKS = ("ic", "kws", "vww", "ad")


class Submission(NamedTuple):
    """Inferences per second that an organisation published for a system, by task."""

    version: str
    organisation: str
    system: str
    engine: str
    board: str
    inferences_a_second: tuple


SUBMISSIONS = (
    Submission("v0.5", "reference", "Nucleo-L4R5ZI", "TFLM, 2021", "nucleo-l4r5zi", (1.42, 5.497, 1.665, 99.487)),
    Submission("v0.7", "renesas", "EK-RA6M4", "TFLM", "ek-ra6m4", (4.062, 19.774, 6.159, 216.772)),
    Submission(
        "v1.1", "Krai", "NRF5340-DK_MICROTVM-CMSIS-NN", "microTVM", "nrf5340-dk", (3.146, 13.074, 4.286, 159.02)
    ),
    Submission(
        "v1.1", "Krai", "NUCLEO-L4R5ZI_MICROTVM-CMSIS-NN", "microTVM", "nucleo-l4r5zi", (2.567, 10.019, 3.324, 116.212)
    ),
    Submission("v1.1", "Skymizer", "NUCLEO_L4R5ZI-zephyr", "ONNC", "nucleo-l4r5zi", (3.372, 10.679, 5.056, 124.906)),
)
RECENT = ("TFLM", "microTVM")  # engines whose kernels are CMSIS-NN's as they are now
NEAR = 0.15  # of the published latency


def nets():
    """{task: flatbuffer} of untrained nets with the shapes of the benchmark's four, in 8 bits."""
    import tensorflow as tf

    from bcnet_keras.models import networks

    layers = tf.keras.layers
    units = (128, 128, 128, 128, 8, 128, 128, 128, 128)
    encoder = [layers.Input((640,))]
    for width in units:
        encoder += [layers.Dense(width), layers.BatchNormalization(), layers.ReLU()]
    models = {
        "ic": networks.resnet8((32, 32, 3), 10),
        "kws": networks.ds_cnn((49, 10, 1), 12),
        "vww": tf.keras.applications.MobileNet((96, 96, 3), alpha=0.25, weights=None, classes=2),
        "ad": tf.keras.Sequential([*encoder, layers.Dense(640)]),
    }
    return {task: _converted(tf, _as_benchmark(tf, model)) for task, model in models.items()}


def _as_benchmark(tf, model):
    """A net that pools and pads as the benchmark's do.

    Where one averages globally the converter would make MEAN, and where one pads before a convolution it makes PAD.
    """
    layers = tf.keras.layers

    def clone(layer):
        config = layer.get_config()
        if isinstance(layer, layers.ZeroPadding2D):
            return layers.Activation("linear")
        if config.get("padding") == "valid" and config.get("strides") == (2, 2):
            config["padding"] = "same"
        if not isinstance(layer, layers.GlobalAveragePooling2D):
            return layer.__class__.from_config(config)
        pool = layers.AveragePooling2D(layer.input_shape[1:3])
        return pool if layer.keepdims else tf.keras.Sequential([pool, layers.Flatten()])

    return tf.keras.models.clone_model(model, clone_function=clone)


def _converted(tf, model):
    random = np.random.default_rng(0)
    shape = (1, *model.input_shape[1:])
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([random.random(shape, np.float32)] for _ in range(4))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    return converter.convert()


class Row(NamedTuple):
    """One published latency and the prediction, in milliseconds."""

    submission: Submission
    task: str
    published: float
    low: float
    high: float

    @property
    def factor(self):
        """Published over the middle of the prediction."""
        return 2 * self.published / (self.low + self.high)


def rows(flatbuffers):
    """A `Row` of each submission and task."""
    result = []
    for submission in SUBMISSIONS:
        board = boards.board(submission.board)
        for task, rate in zip(TASKS, submission.inferences_a_second, strict=True):
            cycles = cost(flatbuffers[task], partial=True, board_name=submission.board).cycles[board.core]
            time = board.milliseconds(cycles)
            result.append(Row(submission, task, 1000 / rate, time.low, time.high))
    return result


def left_out_factor(all_rows, board_name):
    """Geometric mean of published over predicted of all rows but those of a board."""
    factors = [row.factor for row in all_rows if row.submission.board != board_name]
    return math.exp(np.mean(np.log(factors)))


def _summary(title, all_rows, chosen):
    """A sentence on some of the rows."""
    factors = np.array([row.factor for row in chosen])
    fitted = np.array([left_out_factor(all_rows, row.submission.board) for row in chosen])
    inside = sum(row.low <= row.published <= row.high for row in chosen)
    near, near_fitted = (int(np.sum(np.abs(times / factors - 1) <= NEAR)) for times in (1, fitted))
    return (
        f"- {title}: {inside} of {len(chosen)} published latencies lie within\n  the predicted range, {near} within "
        f"{100 * NEAR:.0f} % of its middle, {near_fitted} with the factor of other boards. They are\n  "
        f"{factors.min():.2f} to {factors.max():.2f} times the middle, {np.exp(np.mean(np.log(factors))):.2f} in the "
        "geometric mean."
    )


def report(all_rows):
    """The text of `published.md`."""
    cells = [["submission", "engine", "board", "task", "published, ms", "predicted, ms", "published / middle"]]
    cells[0] += ["factor of other boards", "error with it"]
    recent = [row for row in all_rows if row.submission.engine in RECENT]
    for row in all_rows:
        factor = left_out_factor(recent, row.submission.board)
        name = f"{row.submission.version} {row.submission.organisation}"
        cells.append([name, row.submission.engine, row.submission.board, row.task, f"{row.published:.1f}"])
        cells[-1] += [f"{row.low:.1f} to {row.high:.1f}", f"{row.factor:.2f}", f"{factor:.2f}"]
        cells[-1] += [f"{100 * (factor / row.factor - 1):+.0f} %"]
    return f"""# Predicted latencies against published ones

Written by `python tflm_ops/bench/published.py`: MLPerf Tiny's results of submissions that ran CMSIS-NN's kernels on a
board that `bcnet_keras.device.boards` knows, beside what `bcnet profile --board` predicts for nets of the same shapes.
Nothing here was measured by this project. {bench.compiler_version()}.

The factor of other boards is the geometric mean of published over predicted of TensorFlow Lite Micro's and microTVM's
rows (from v0.7 on) on all boards but the row's own.

{text_table(cells)}

{_summary("TensorFlow Lite Micro and microTVM, from v0.7 on", recent, recent)}
{_summary("All rows", recent, all_rows)}

What falls short: the reference submission of v0.5 ran TensorFlow Lite Micro and CMSIS-NN of 2021, and ONNC is an engine
of its own; both are far from what is predicted, the one slower and the other faster. Of the other rows the residual net
on the EK-RA6M4 is furthest off, and no submission states its compiler's flags, wait states or caches, or what it
measures beside the kernels. The rows of recent engines were set apart after all rows had been seen: the first run over
all twenty had ten within 15 %. A factor fitted on other boards hardly changes how many are near, so that
`bcnet profile` has none. Nets with binary convolutions are not among the benchmark's.
"""


def main():
    files.write_atomic(bench.HERE / "published.md", report(rows(nets())))


if __name__ == "__main__":
    main()
