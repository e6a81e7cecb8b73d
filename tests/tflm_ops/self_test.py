"""The kernels' self-test that exports carry: a few small cases of every operator, with the outputs of other programs.

`PYTHONPATH=.:tflm_ops/bench python tests/tflm_ops/self_test.py` writes them to tflm_ops/tests/cases.bin.
"""

import golden
from test_cores import SOURCES, gates, operators, stems, thermometers

PATH = SOURCES / "tests" / "cases.bin"
CASES = (48, 2, 8, 8, 6)  # binary convolutions, of each other operator of LCE, gates, thermometers, stems
SIGNS = ((3, 37), (1, 64))  # rows and channels of cases of LceQuantize with special floats
_LARGEST = 2048  # bytes of a case


def cases():
    """(number of cases, bytes of the file)."""
    convolutions, others, *more = CASES
    nodes = [node for node in operators(convolutions, others, seed=21) if len(golden.records([node])) <= _LARGEST]
    data = golden.records(nodes) + gates(more[0], seed=22) + thermometers(more[1], seed=23)
    data += stems(more[2], 24, _LARGEST)
    signs = [golden.signs_record(*size) for size in SIGNS]
    return len(nodes) + sum(more) + len(signs), data + b"".join(signs)


if __name__ == "__main__":
    PATH.write_bytes(cases()[1])
