"""Measures binary convolutions on every Cortex-M core and writes ``results.json`` and ``results.md`` beside this file.

    python tflm_ops/bench/bench.py        # or: make bench; with CMSIS-NN's int8 beside: make bench CMSIS_NN_DIR=...

A plug-in of QEMU counts what is executed, exactly; `cycles` estimates from that what it takes on the core with memory
that answers at once, as a range. Both depend on the compiler, whose version the results state. The code of operators
and kernels is measured too, in bytes.
"""

import argparse
import functools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import cycles
import fit
import tables

from bcnet_keras.runtime import native
from bcnet_keras.utils import atomic_files as files

HERE = Path(__file__).resolve().parent
CYCLES = HERE.parents[1] / "bcnet_keras" / "device" / "cycles.json"
COSTS = HERE.parents[1] / "bcnet_keras" / "device" / "cost_bconv2d.json"
# QEMU has no board with a Cortex-M0+: its code, a part of what a Cortex-M3 understands, runs on one of those.
BOARDS = {
    "cortex-m0plus": "mps2-an385",
    "cortex-m3": "mps2-an385",
    "cortex-m4": "mps2-an386",
    "cortex-m7": "mps2-an500",
    "cortex-m33": "mps2-an505",
    "cortex-m55": "mps3-an547",
}
MARKERS = ("_ZN5board5StartEv", "_ZN5board4StopEv")
FIELDS = ("layer", "shape", "output", "kernel", "scratch_bytes", "budgets", "macs", "checksum")
CMSIS_NN = "CMSIS-NN int8"


def _run(*command, cwd=None):
    """Standard output of a command; RuntimeError with the first lines of its error output when it fails."""
    try:
        run = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True)
    except FileNotFoundError:
        raise FileNotFoundError(f"{command[0]} is not installed") from None
    if run.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))} failed: {(run.stderr or run.stdout).strip()[:2000]}")
    return run.stdout


def compiler_version():
    return _run("arm-none-eabi-gcc", "--version").splitlines()[0]


def clang_version():
    return _run("clang++", "--version").splitlines()[0]


@functools.cache
def qemu_version():
    """(text, major version) of qemu-system-arm."""
    text = _run("qemu-system-arm", "--version").splitlines()[0]
    found = re.search(r"version (\d+)\.\d+", text)
    if not found or int(found[1]) < 7:
        raise RuntimeError(f"counting instructions needs QEMU 7 or later, found: {text}")
    return text, int(found[1])


def counter():
    """Path of the plug-in that counts, compiled for the installed QEMU on first use."""
    # Version 2 of the interface came with QEMU 9, which refuses version 1.
    api = 1 if qemu_version()[1] < 9 else 2
    return native.build("block_count", ["tflm_ops/emulator/block_count.cc"], [f"-DBCNET_PLUGIN_API={api}"])


def count(elf, board, arguments=(), markers=MARKERS, plugin=None, caches=()):
    """Runs a program under QEMU and counts what it executes between two marker symbols.

    Arguments:
      caches: further arguments of the plug-in, such as "code=64:16"; see `block_count.cc`.

    Returns:
      (what the program wrote, list of `cycles.Trace`): a trace for each way from behind the first instruction at the
      first marker to the next one at the second.

    Raises:
      RuntimeError: QEMU cannot load the plug-in, or the program failed.
    """
    symbols = dict(line.split()[::2][::-1] for line in _run("arm-none-eabi-nm", "--defined-only", elf).splitlines())
    start, stop = (f"0x{symbols[marker]}" for marker in markers)
    words = ["bench", *arguments]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "counts"
        command = ["qemu-system-arm", "-M", board, "-nographic", "-monitor", "none", "-serial", "null"]
        command += [
            "-plugin",
            f"{plugin or counter()},start={start},stop={stop},out={out}" + "".join(f",{cache}" for cache in caches),
        ]
        command += ["-semihosting-config", "enable=on,target=native," + ",".join(f"arg={word}" for word in words)]
        run = subprocess.run([*command, "-kernel", str(elf)], capture_output=True, text=True)
        output = run.stdout + run.stderr  # QEMU writes what the core says to its standard error
        if not out.exists():
            raise RuntimeError(
                f"{qemu_version()[0]} does not load the plug-in that counts instructions: {output.strip()[:500]}; "
                "it is known to work with QEMU 7.2 of Debian 12"
            )
        traces = cycles.read_traces(out.read_text())
    if run.returncode != 0:
        raise RuntimeError(f"{elf} failed on {board}: {output.strip()[-500:]}")
    return output, traces


def build(core, folder, targets=("bench",), cmsis_nn=None, tflm="none", options=()):
    """Builds programs or libraries for a core, with more `options` for CMake; returns the folder."""
    sources = native.source_root() / "tflm_ops"
    options = [f"-DTFLM_DIR={tflm}", "-DBCNET_TESTS=OFF", f"-DCMSIS_NN_DIR={cmsis_nn or ''}", *options]
    _run("cmake", "--preset", core, "-B", folder, *options, cwd=sources)
    _run("cmake", "--build", folder, "--parallel", "2", "--target", *targets, cwd=sources)
    return folder


def measure(core, elf, layers):
    """Records of all measurements of the program `elf` on a core; `layers` are names and groups of layers.h.

    Raises RuntimeError when two kernels gave different outputs, or a layer could not be measured.
    """
    output, traces = count(elf, BOARDS[core], layers)
    lines = output.splitlines()
    problems = [line for line in lines if line.startswith("# ") and line != "# end"]
    if "# end" not in lines or problems:
        raise RuntimeError(f"the bench did not measure all layers on {core}: {'; '.join(problems) or output[-500:]}")
    rows = [line.split("\t")[: len(FIELDS)] for line in lines if "\t" in line]
    checksums, records = {}, []
    program = cycles.Program(elf)
    for row, trace in zip(rows, traces, strict=True):
        record = {"core": core} | dict(zip(FIELDS, row, strict=True)) | {"instructions": trace.instructions}
        record["cycles"] = [round(bound) for bound in program.cycles(trace, core)]
        checksum = record.pop("checksum")
        if record["kernel"] != CMSIS_NN and checksums.setdefault((row[0], row[2]), checksum) != checksum:
            raise RuntimeError(f"the kernel {record['kernel']} has another output than the others: {row} on {core}")
        record["budgets"] = [] if record["budgets"] == "forced" else [int(b) for b in record["budgets"].split()]
        for name in ("scratch_bytes", "macs"):
            record[name] = int(record[name])
        records.append(record)
    return records


def measure_operators(core, elf):
    """Records of the program `operators` on a core."""
    output, traces = count(elf, BOARDS[core])
    lines = output.splitlines()
    if "# end" not in lines:
        raise RuntimeError(f"the operators were not measured on {core}: {output[-500:]}")
    program = cycles.Program(elf)
    return [
        {"core": core}
        | dict(zip(("operator", "shape"), line.split("\t"), strict=True))
        | {"instructions": trace.instructions, "cycles": [round(bound) for bound in program.cycles(trace, core)]}
        for line, trace in zip((line for line in lines if "\t" in line), traces, strict=True)
    ]


def code_bytes(folder):
    """{source file: bytes of flash} of the libraries that were built in a folder."""
    library = folder / "libbcnet_ops.a"
    table = _run("arm-none-eabi-size", library if library.exists() else folder / "libbcnet_kernels.a")
    rows = [line.split() for line in table.splitlines()[1:]]
    return {re.sub(r"\.obj$|\.o$", "", row[5]): int(row[0]) + int(row[1]) for row in rows}


def cmsis_nn_version(folder):
    """What tells a tree of CMSIS-NN from others: the date and revision in its public header."""
    header = Path(folder) / "Include" / "arm_nnfunctions.h"
    if not header.is_file():
        raise FileNotFoundError(f"{folder} is no tree of CMSIS-NN: there is no {header}")
    text = header.read_text()
    return ", ".join(re.search(rf"\${key}:\s*([^\n]*)", text)[1].strip() for key in ("Date", "Revision"))


def run(cores, cmsis_nn=None):
    """The whole results, as `results.json` holds them."""
    tflm = _tflm_tree()
    if tflm == "none":
        print("no tree of TensorFlow Lite Micro: the operators are left out", file=sys.stderr)
    results = {
        "counted": "instructions executed between the call of a kernel and its return, under QEMU",
        "cycles": "estimated from what was executed, [low, high], with memory that answers at once",
        "command": "make bench" + (" CMSIS_NN_DIR=(a tree of CMSIS-NN)" if cmsis_nn else ""),
        "compiler": compiler_version(),
        "qemu": qemu_version()[0],
        "cmsis_nn": cmsis_nn and cmsis_nn_version(cmsis_nn),
        "boards": {core: BOARDS[core] for core in cores},
        "code_bytes": {},
        "operators": [],
        "records": [],
    }
    for core in cores:
        print(core, file=sys.stderr)
        targets = ("bench", "bcnet_kernels") + (("bcnet_ops",) if tflm != "none" else ())
        targets += ("operators",) if cmsis_nn and tflm != "none" else ()
        with tempfile.TemporaryDirectory() as folder:
            folder = build(core, Path(folder), targets, cmsis_nn, tflm)
            results["code_bytes"][core] = code_bytes(folder)
            layers = ("design", "networks", "sweep" if core == "cortex-m4" else "sample")
            results["records"] += measure(core, folder / "bench", layers)
            if "operators" in targets:
                results["operators"] += measure_operators(core, folder / "operators")
    return results


def _tflm_tree():
    """The tree of TensorFlow Lite Micro, "none" where there is none."""
    from bcnet_keras.runtime import plugin

    try:
        return plugin.tflm_tree()
    except FileNotFoundError:
        return "none"


def operators_anew(results, cmsis_nn):
    """The results with operators other than the binary convolution measured again, in their own order."""
    tflm, measured = _tflm_tree(), []
    if not cmsis_nn or tflm == "none":
        raise FileNotFoundError("operators need a tree of CMSIS-NN, by --cmsis-nn, and one of TensorFlow Lite Micro")
    for core in results["boards"]:
        with tempfile.TemporaryDirectory() as folder:
            folder = build(core, Path(folder), ("operators",), cmsis_nn, tflm)
            measured += measure_operators(core, folder / "operators")
    return results | {"operators": measured}


def as_json(results):
    """A line for each record, so that changes can be read."""
    lists = ("operators", "records")
    text = json.dumps({key: value for key, value in results.items() if key not in lists}, indent=1)[:-2]
    for key in lists:
        if key in results:
            records = ",\n".join("  " + json.dumps(record, separators=(",", ":")) for record in results[key])
            text += f',\n "{key}": [\n{records}\n ]'
    return text + "\n}\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cmsis-nn", default=os.environ.get("CMSIS_NN_DIR"), help="a tree of CMSIS-NN to measure too")
    parser.add_argument("--cores", nargs="+", choices=BOARDS, default=list(BOARDS))
    parser.add_argument("--operators", action="store_true", help="all but the binary convolution, and keep that")
    arguments = parser.parse_args()
    for program in ("cmake", "arm-none-eabi-g++", "qemu-system-arm"):
        if shutil.which(program) is None:
            sys.exit(f"error: {program} is not installed")
    try:
        if arguments.operators:
            results = operators_anew(json.loads((HERE / "results.json").read_text()), arguments.cmsis_nn)
        else:
            results = run(arguments.cores, arguments.cmsis_nn)
    except (FileNotFoundError, RuntimeError) as error:
        sys.exit(f"error: {error}")
    files.write_atomic(HERE / "results.json", as_json(results))
    files.write_atomic(COSTS, json.dumps(fit.fit(results["records"]), indent=1) + "\n")
    if results["operators"]:
        figures = {"cycles of an instruction": fit.cycles_of_instruction(results["operators"])}
        files.write_atomic(CYCLES, json.dumps(figures, indent=1) + "\n")
    files.write_atomic(HERE / "results.md", tables.report(results))


if __name__ == "__main__":
    main()
