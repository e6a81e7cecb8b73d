"""Measures the operators' code for a Cortex-M core and writes it to ``code_size_<core>.md`` beside this file.

    python tflm_ops/bench/code_size.py [cortex-m4]

The libraries are built by the CMake preset of the core: kernels that loop over tensors with -O3, all else with -Os.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
OPERATORS = {
    "LceQuantize": ["lce_quantize.cc", "quantize.cc"],
    "LceDequantize": ["lce_dequantize.cc", "quantize.cc"],
    "LceBMaxPool2d": ["lce_bmaxpool2d.cc", "bmaxpool2d.cc", "window.cc", "options.cc", "flexbuffer.cc"],
    "LceBconv2d": [
        "lce_bconv2d.cc",
        "bconv2d.cc",
        "bconv2d_prepare.cc",
        "window.cc",
        "options.cc",
        "flexbuffer.cc",
    ],
    "BcnetGate": ["bcnet_gate.cc", "gate.cc", "options.cc", "flexbuffer.cc"],
}
SHARED = ["tensors.cc"]


def run(*command, cwd=HERE.parent):
    return subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True).stdout


def sizes(core):
    """Bytes of code and constants of each source file, and those of the kernels' loops."""
    with tempfile.TemporaryDirectory() as folder:
        run("cmake", "--preset", core, "-B", folder, "-DBCNET_TESTS=OFF")
        run("cmake", "--build", folder, "--parallel", "2")
        library = Path(folder) / "libbcnet_ops.a"
        if not library.exists():
            sys.exit("error: no tree of TensorFlow Lite Micro to build bcnet_ops against; set TFLM_DIR")
        table = run("arm-none-eabi-size", str(library))
    rows = [line.split() for line in table.splitlines()[1:]]
    data = sum(int(row[1]) + int(row[2]) for row in rows)
    return {re.sub(r"\.obj$|\.o$", "", row[5]): int(row[0]) for row in rows}, data


def report(core):
    files, data = sizes(core)
    fast = {"bconv2d.cc", "bmaxpool2d.cc", "quantize.cc"}
    lines = [
        f"# Code of the operators on {core}, in bytes",
        "",
        "| operator | built with -Os | kernel loops, -O3 | both |",
        "|---|---:|---:|---:|",
    ]

    def row(name, sources):
        small = sum(files[source] for source in sources if source not in fast)
        large = sum(files[source] for source in sources if source in fast)
        lines.append(f"| {name} | {small:,} | {large:,} | {small + large:,} |")

    for name, sources in OPERATORS.items():
        row(name, sources + SHARED)
    row("all five", sorted(files))
    compiler = run("arm-none-eabi-gcc", "--version").splitlines()[0]
    lines += [
        "",
        f"Code and constants (`text` of `arm-none-eabi-size`) of each operator alone, shared files included; {data}",
        "bytes of data. Functions of the C library come on top where the application does not have them already.",
        "Unused sections, such as a transform that the core does not use, fall away with `--gc-sections`.",
        "",
        f"Measured by `make bench` (`tflm_ops/bench/code_size.py {core}`) with {compiler}.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    core = sys.argv[1] if len(sys.argv) > 1 else "cortex-m4"
    text = report(core)
    (HERE / f"code_size_{core}.md").write_text(text)
    print(text)
