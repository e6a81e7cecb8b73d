"""Measures what the flash of each board makes operators wait, and writes ``bcnet_keras/device/boards.json``.

    python tflm_ops/bench/flash.py --cmsis-nn=/path/to/cmsis_nn

The programs of the bench run under QEMU while its plug-in simulates the caches of the boards; `cycles` turns misses
into cycles. A factor is cycles with code and weights in flash over those with memory that answers at once. Of the
binary convolution there is a second one, with its innermost functions (`BCNET_FAST_CODE`) in RAM.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

import bench
import cycles
from cycles import flash

from bcnet_keras.device.boards import BOARDS, FAST_CODE
from bcnet_keras.runtime import plugin
from bcnet_keras.utils import atomic_files as files

FACTORS = bench.HERE.parents[1] / "bcnet_keras" / "device" / "boards.json"
LAYERS = ("design", "networks")
MEMORY = "_ZN5board12_GLOBAL__N_15bytesE"
RAM = "data_start"


def symbols(elf):
    """{name: (address, end)}"""
    found = {}
    for line in bench._run("arm-none-eabi-nm", "--defined-only", "--print-size", elf).splitlines():
        address, *size, _, name = line.split()
        found[name] = int(address, 16), int(address, 16) + int(*size or ["0"], 16)
    return found


def constants(elf):
    """(first address, end) of the second half of the programs' memory, where weights lie."""
    first, end = symbols(elf)[MEMORY]
    return (first + end) // 2, end


def measure_fast_code(core, folder):
    """{board: [low, high]} of the binary convolution by the bench in a folder, whose innermost functions are in RAM."""
    elf = folder / "bench"
    ram, _ = symbols(elf)[RAM]
    boards = {name: board for name, board in BOARDS.items() if board.core == core}
    caches = [f"{flash.arguments(board.flash, 0, 0)[0]}:0:{ram}" for board in boards.values()]
    output, traces = bench.count(elf, bench.BOARDS[core], LAYERS, caches=caches)
    decoded = cycles.Program(elf)
    sums = {name: [[0, 0], [0, 0]] for name in boards}
    lines = (line for line in output.splitlines() if "\t" in line)
    for line, trace in zip(lines, traces, strict=True):
        if line.split("\t")[5] == "forced":
            continue
        parts = [tuple(run for run in trace.runs if (run.address >= ram) == in_ram) for in_ram in (False, True)]
        slow, fast = (cycles.Trace(runs, trace.code) for runs in parts)
        at_once, rest = decoded.cycles(fast, core), decoded.cycles(slow, core)
        for number, (name, board) in enumerate(boards.items()):
            waited = decoded.cycles(slow, core, board.flash, number)
            for bound in (0, 1):
                sums[name][bound][0] += at_once[bound] + waited[bound]
                sums[name][bound][1] += at_once[bound] + rest[bound]
    return {name: _factors(bounds) for name, bounds in sums.items()}


def _factors(bounds):
    return [float(f"{waited / answered:.4g}") for waited, answered in bounds]


def measure(core, folder):
    """{board: {operator: [low, high]}} of the boards with a core, by the programs in a folder."""
    boards = {name: board for name, board in BOARDS.items() if board.core == core}
    sums = {name: {} for name in boards}
    for program, layers in (("operators", ()), ("bench", LAYERS)):
        elf = folder / program
        # The binary convolution reads each weight once, to build its tables: caches of data would only take time.
        caches = [
            argument
            for board in boards.values()
            for argument in flash.arguments(board.flash, *constants(elf))[: 1 if program == "bench" else 2]
        ]
        output, traces = bench.count(elf, bench.BOARDS[core], layers, caches=caches)
        if "# end" not in output.splitlines():
            raise RuntimeError(f"{program} did not run to its end on {core}: {output[-500:]}")
        decoded = cycles.Program(elf)
        for line, trace in zip((line for line in output.splitlines() if "\t" in line), traces, strict=True):
            fields = line.split("\t")
            operator = fields[0].partition(" (")[0] if program == "operators" else "LceBconv2d"
            if program == "bench" and fields[5] == "forced":
                continue  # a kernel that is not chosen
            answered = decoded.cycles(trace, core)
            for number, (name, board) in enumerate(boards.items()):
                waited = decoded.cycles(trace, core, board.flash, number)
                known = sums[name].setdefault(operator, [[0, 0], [0, 0]])
                for bound in (0, 1):
                    known[bound][0] += waited[bound]
                    known[bound][1] += answered[bound]
    factors = {name: {operator: _factors(bounds) for operator, bounds in known.items()} for name, known in sums.items()}
    for known in factors.values():
        # The loops of the binary convolution are unrolled further than any other's.
        others = [bounds for operator, bounds in known.items() if operator != "LceBconv2d"]
        known["other"] = [min(low for low, _ in others), max(high for _, high in others)]
    return factors


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cmsis-nn", default=os.environ.get("CMSIS_NN_DIR"), help="a tree of CMSIS-NN")
    parser.add_argument("--build", type=Path, help="folder that keeps the builds; by default a temporary one")
    arguments = parser.parse_args()
    if not arguments.cmsis_nn:
        sys.exit("error: name a tree of CMSIS-NN with --cmsis-nn")
    factors = {}
    with tempfile.TemporaryDirectory() as temporary:
        for core in dict.fromkeys(board.core for board in BOARDS.values()):
            print(core, file=sys.stderr)
            folder = (arguments.build or Path(temporary)) / core
            built = bench.build(core, folder, ("bench", "operators"), arguments.cmsis_nn, plugin.tflm_tree())
            factors |= measure(core, built)
            built = bench.build(core, folder / "fast", options=("-DBCNET_FAST_CODE=.ramfunc",))
            for name, known in measure_fast_code(core, built).items():
                factors[name][FAST_CODE] = known
    head = {"compiler": bench.compiler_version(), "qemu": bench.qemu_version()[0]}
    factors = {"factors": {name: factors[name] for name in BOARDS}}
    files.write_atomic(FACTORS, json.dumps(head | factors, indent=1) + "\n")


if __name__ == "__main__":
    main()
