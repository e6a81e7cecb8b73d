"""Measures the binary convolutions as ecosystems of firmware build them, and writes ``flags.json`` and ``flags.md``.

    python tflm_ops/bench/flags.py        # or: make bench, which measures all else too
    python tflm_ops/bench/flags.py --cores cortex-m55    # the others' records stay, if the tools are the same

Exports for Arduino, PlatformIO and Zephyr are built with the flags that their ecosystems set, most of them for size.
What is counted are instructions, as in bench.py, of the layers L1, L2, L3 and P1 of layers.h with bitpacked output and
48 KB of scratch memory; the figures are ratios to the bench's own build by GCC in the same run.
"""

import argparse
import json
import math
import shutil
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import bench
import tables

from bcnet_keras.utils import atomic_files as files

HERE = Path(__file__).resolve().parent
LAYERS = ("L1", "L2", "L3", "P1")
CORES = ("cortex-m0plus", "cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55")
# What no build may exceed; by GCC: none for size.
GCC_LIMITS = dict.fromkeys(CORES, 1.01) | {"cortex-m0plus": 1.05, "cortex-m55": 1.05}
CLANG_LIMIT = 1.10
_SECTIONS = "-ffunction-sections -fdata-sections -fno-rtti -fno-exceptions"


class Build(NamedTuple):
    """Flags of an ecosystem; `where` names the file of its that sets them."""

    name: str
    compiler: str  # gcc or clang
    flags: str
    where: str = ""


REFERENCE = Build("the bench's own", "gcc", "-Os -DNDEBUG", "CMake's MinSizeRel")
BUILDS = (
    REFERENCE,
    Build("-O3", "gcc", "-O3"),
    Build(
        "Arduino, mbed cores",
        "gcc",
        f"-Os -g3 {_SECTIONS} -fmessage-length=0 -fomit-frame-pointer -funsigned-char",
        "ArduinoCore-mbed 4.6.0, variants/*/cxxflags.txt",
    ),
    Build(
        "Arduino and PlatformIO, SAMD and STM32 cores",
        "gcc",
        f"-Os {_SECTIONS} -fno-threadsafe-statics --param max-inline-insns-single=500",
        "ArduinoCore-samd, platform.txt; PlatformIO's ststm32, arduino framework",
    ),
    Build(
        "Zephyr, for size",
        "gcc",
        f"-Os -fno-strict-aliasing -fno-common -fno-pic -fno-pie -fno-asynchronous-unwind-tables {_SECTIONS}"
        " -ftls-model=local-exec -fno-reorder-functions -fno-defer-pop -fcheck-new --param=min-pagesize=0",
        "Zephyr, cmake/compiler/gcc/compiler_flags.cmake",
    ),
    Build(
        "Zephyr, for speed",
        "gcc",
        f"-O2 -fno-strict-aliasing -fno-common -fno-pic -fno-pie -fno-asynchronous-unwind-tables {_SECTIONS}"
        " -ftls-model=local-exec -fno-reorder-functions -fno-defer-pop -fcheck-new --param=min-pagesize=0",
        "the same, CONFIG_SPEED_OPTIMIZATIONS",
    ),
    Build("clang, for size", "clang", f"-Os {_SECTIONS}"),
    Build("clang, for speed", "clang", f"-O2 {_SECTIONS}"),
)


def measure(core, build):
    """A record of a build on a core: instructions by layer, and bytes of the kernels' code."""
    options = [f"-DCMAKE_CXX_FLAGS_MINSIZEREL={build.flags}"]
    options += ["-DBCNET_CLANG=clang++"] if build.compiler == "clang" else []
    with tempfile.TemporaryDirectory() as folder:
        folder = bench.build(core, Path(folder), ("bench", "bcnet_kernels"), options=options)
        records = bench.measure(core, folder / "bench", LAYERS)
        code = sum(bench.code_bytes(folder).values())
    chosen = {
        layer: tables.find(records, layer=layer, output="bitpacked", budget=tables.BUDGETS[0])["instructions"]
        for layer in LAYERS
    }
    return {"core": core, "build": build.name, "code_bytes": code, "instructions": chosen}


def reference(records, core):
    """The instructions of the reference, by layer."""
    return next(r["instructions"] for r in records if (r["core"], r["build"]) == (core, REFERENCE.name))


def ratios(records):
    """Yields (record, {layer: instructions over those of the reference on the same core})."""
    for record in records:
        base = reference(records, record["core"])
        yield record, {layer: count / base[layer] for layer, count in record["instructions"].items()}


def limit(record):
    """What a record's ratios may be at most."""
    build = next(build for build in BUILDS if build.name == record["build"])
    if build.compiler == "clang":
        return CLANG_LIMIT
    return GCC_LIMITS[record["core"]] if "-Os" in build.flags.split() else math.inf


def above_limit(records):
    """Descriptions of the ratios above their limit."""
    return [
        f"{record['build']} on {record['core']}, {layer}: {ratio:.4f} is above {limit(record)}"
        for record, by_layer in ratios(records)
        for layer, ratio in by_layer.items()
        if ratio > limit(record)
    ]


def report(results):
    """The text of `flags.md`."""
    lines = [
        "# The binary convolutions by the flags of ecosystems",
        "",
        "Bitpacked output, 48 KB of scratch memory; instructions over those of the bench's own build in the same run.",
        f"Builds for size by GCC stay within {GCC_LIMITS['cortex-m4']:.2f} on Cortex-M4, M7 and M33 and "
        f"{GCC_LIMITS['cortex-m55']:.2f} on Cortex-M0+ and M55,",
        f"all by clang within {CLANG_LIMIT:.2f}.",
        "",
        f"- Command: `{results['command']}`",
        f"- Compilers: {'; '.join(results['compilers'])}",
        f"- Emulator: {results['qemu']}",
        "",
    ]
    for core in dict.fromkeys(record["core"] for record in results["records"]):
        base = reference(results["records"], core)
        counts = ", ".join(f"{layer} {count:,}" for layer, count in base.items())
        rows = [
            [record["build"], *(f"{ratio:.3f}" for ratio in by_layer.values()), f"{record['code_bytes']:,}"]
            for record, by_layer in ratios(results["records"])
            if record["core"] == core
        ]
        lines += [f"## {tables.core_name(core)}", "", f"1.000 stands for: {counts} instructions.", ""]
        lines += tables.table(["build", *LAYERS, "bytes of the kernels' code"], rows)
    rows = [[build.name, f"`{build.flags}`", build.where] for build in BUILDS]
    lines += ["## Flags", "", "| build | flags | from |", "| --- | --- | --- |"]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def merged(results, before):
    """`results` with the records in `before`, of other cores, if the same compilers and emulator counted those."""
    measured = {record["core"] for record in results["records"]}
    same = all(results[tool] == before.get(tool) for tool in ("compilers", "qemu"))
    kept = [record for record in before["records"] if same and record["core"] not in measured]
    records = sorted(results["records"] + kept, key=lambda record: CORES.index(record["core"]))
    return results | {"records": records}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cores", nargs="+", choices=CORES, default=list(CORES))
    arguments = parser.parse_args()
    for program in ("cmake", "arm-none-eabi-g++", "clang++", "qemu-system-arm"):
        if shutil.which(program) is None:
            sys.exit(f"error: {program} is not installed")
    try:
        results = {
            "command": "python tflm_ops/bench/flags.py",
            "compilers": [bench.compiler_version(), bench.clang_version()],
            "qemu": bench.qemu_version()[0],
            "records": [],
        }
        for core in arguments.cores:
            for build in BUILDS:
                print(f"{core}: {build.name}", file=sys.stderr)
                results["records"].append(measure(core, build))
    except (FileNotFoundError, RuntimeError) as error:
        sys.exit(f"error: {error}")
    results = merged(results, json.loads((HERE / "flags.json").read_text()))
    files.write_atomic(HERE / "flags.json", bench.as_json(results))
    files.write_atomic(HERE / "flags.md", report(results))
    for problem in above_limit(results["records"]):
        print(f"warning: {problem}", file=sys.stderr)


if __name__ == "__main__":
    main()
