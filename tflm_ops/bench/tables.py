"""Markdown tables of the bench's results."""

from pathlib import PurePath

import fit

from bcnet_keras.tflite import operators

# Operator -> names of the source files that it needs, those shared with others included.
OPERATORS = {
    name: [PurePath(source).name for source in record.sources]
    for name, record in operators.OPERATORS.items()
    if record.sources
}
BUDGETS = (48 * 1024, 24 * 1024)


def core_name(core):
    """cortex-m0plus -> Cortex-M0+"""
    return core.replace("cortex-m", "Cortex-M").replace("plus", "+")


def table(head, rows):
    """A Markdown table; columns but the first are aligned to the right."""
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return ["| " + " | ".join(str(cell) for cell in line) + " |" for line in lines] + [""]


def per_mac(record):
    return f"{record['instructions'] / record['macs']:.4f}" if record else ""


def cycles_per_mac(record):
    """Estimated cycles per MAC, "low to high"; one number where the model of the core leaves nothing open."""
    return _range(*(bound / record["macs"] for bound in record["cycles"]), ".4f") if record else ""


def _range(low, high, form):
    low, high = format(low, form), format(high, form)
    return low if low == high else f"{low} to {high}"


def middle(record):
    """The cycles of a record as one number."""
    return sum(record["cycles"]) / 2


def find(records, **wanted):
    """The first record with these values, where `budget` means one of its budgets; or None."""
    budget = wanted.pop("budget", None)
    for record in records:
        if budget is not None and budget not in record["budgets"]:
            continue
        if all(record[key] == value for key, value in wanted.items()):
            return record
    return None


def layers(records):
    """Rows of the named layers of one core."""
    names = dict.fromkeys(record["layer"] for record in records if record["layer"] != record["shape"])
    for name in names:
        mine = [record for record in records if record["layer"] == name]
        bits = [record for record in mine if record["output"] == "bitpacked"]
        best, less = (find(bits, budget=budget) for budget in BUDGETS)
        others = [find(mine, output=output, budget=BUDGETS[0]) for output in ("int8", "float32")]
        cmsis = find(mine, kernel="CMSIS-NN int8")
        yield [
            name,
            best["shape"],
            f"{best['macs']:,}",
            best["kernel"],
            f"{best['scratch_bytes']:,}",
            cycles_per_mac(best),
            f"{best['instructions']:,}",
            per_mac(best),
            per_mac(less),
            *map(per_mac, others),
            per_mac(find(bits, kernel="carry-save")),
            per_mac(find(bits, kernel="portable")),
            *([per_mac(cmsis), cycles_per_mac(cmsis)] if cmsis else []),
            *([f"{cmsis['instructions'] / best['instructions']:.1f}", _ratio(cmsis, best)] if cmsis else []),
        ]


def _ratio(other, mine):
    """How many times the cycles of `mine` the other takes, and the range of that."""
    low, high = other["cycles"][0] / mine["cycles"][1], other["cycles"][1] / mine["cycles"][0]
    whole = f"{middle(other) / middle(mine):.1f}"
    return whole if whole == _range(low, high, ".1f") else f"{whole} ({_range(low, high, '.1f')})"


def against_carry_save(records):
    """(cycles over those of carry-save, by the middles, record) of every case where carry-save was measured too."""
    saved = {(r["core"], r["layer"], r["output"]): r for r in records if r["kernel"] == "carry-save"}
    for record in records:
        other = saved.get((record["core"], record["layer"], record["output"]))
        if record["budgets"] and other:
            yield middle(record) / middle(other), record


def sweep(records, output):
    """Rows of the sweep of one core: channels, kernel and stride down, size of the map across."""
    chosen = {}
    for record in records:
        if record["layer"] == record["shape"] and record["output"] == output and BUDGETS[0] in record["budgets"]:
            size, rest = record["shape"].split("x", 1)
            chosen.setdefault(rest.split("x", 1)[1], {})[int(size)] = record
    sizes = sorted({size for row in chosen.values() for size in row})
    marks = {"carry-save": " c", "portable": " p", "sliced-5": " 5"}
    rows = [
        [rest, *(per_mac(row.get(n)) + marks.get(row[n]["kernel"], "") if n in row else "" for n in sizes)]
        for rest, row in chosen.items()
    ]
    return table(["channels, kernel, stride", *(f"{n}x{n}" for n in sizes)], rows)


def other_operators(records, cores):
    """Lines on the cycles of an instruction of operators other than the binary convolution; none without records."""
    figures = fit.cycles_of_instruction(records)
    names = dict.fromkeys(record["operator"] for record in records)
    rows = [[name, *(_range(*figures[core][name], ".2f") for core in cores)] for name in names]
    if not rows:
        return []
    lines = ["## Cycles of an instruction of other operators", ""]
    lines += [f"Over {len(records) // len(cores)} measurements on each core: CMSIS-NN's int8 functions, and this"]
    lines += ["project's own kernels.", ""]
    return lines + table(["operator", *map(core_name, cores)], rows)


def operator_bytes(code):
    """{operator: bytes of code} of one core, shared files included; {} where the operators were not built."""
    built = {name: sources for name, sources in OPERATORS.items() if sources[0] in code}
    if not built:
        return {}
    totals = {name: sum(code.get(source, 0) for source in sources) for name, sources in built.items()}
    return totals | {"all": sum(code.values())}


def kernel_bytes(code):
    """Bytes of code of all kernels of the binary convolution, their choice and their preparation, of one core."""
    sources = operators.OPERATORS["LceBconv2d"].sources
    return sum(code.get(PurePath(source).name, 0) for source in sources if source.startswith("kernels/bconv2d/"))


def report(results):
    """The text of `results.md`."""
    records, cores = results["records"], list(results["boards"])
    by_core = {core: [record for record in records if record["core"] == core] for core in cores}
    cmsis = bool(results["cmsis_nn"])
    lines = [
        "# The binary convolutions, measured",
        "",
        f"Counted: {results['counted']}. Cycles are estimated",
        "from what was executed, by models of the cores (`cycles`), with memory that answers at once: what the models'",
        "sources leave open is a range, low to high. Wait states of a flash are not in them.",
        "Packed input and weights as they lie in the flatbuffer go in, the layer's output comes out: transposing",
        "weights, building tables and packing are part of it. Batch 1, padding of +1 that keeps the size. MAC:",
        "multiply-accumulate.",
        "",
        f"- Command: `{results['command']}`",
        f"- Compiler: {results['compiler']}",
        f"- Emulator: {results['qemu']}",
        *([f"- CMSIS-NN: {results['cmsis_nn']}; int8, `arm_convolve_wrapper_s8`, `-Ofast`"] if cmsis else []),
        "",
    ]
    head = ["layer", "shape", "MACs", "kernel", "scratch bytes", "cycles per MAC", "instructions", "per MAC"]
    head += ["with 24 KB", "int8 output", "float output", "carry-save", "portable"]
    head += ["CMSIS-NN", "its cycles per MAC", "ratio", "ratio of cycles"] if cmsis else []
    for core in cores:
        lines += [f"## {core_name(core)}, on QEMU's {results['boards'][core]}", ""]
        lines += table(head, layers(by_core[core]))
    lines += [
        "`cycles per MAC` and the columns from `per MAC` on: bitpacked output with the kernel chosen for 48 KB of",
        "scratch memory, then instructions per MAC for 24 KB, for the other outputs (48 KB), and of other kernels",
        "(bitpacked output).",
        *(
            ["`ratio` is CMSIS-NN's instructions over ours, and `ratio of cycles` its cycles over ours."]
            if cmsis
            else []
        ),
        "",
        "## Choice of the kernel",
        "",
    ]
    for core in cores:
        ratios = sorted(against_carry_save(by_core[core]), key=lambda pair: pair[0])
        if ratios:
            worst, record = ratios[-1]
            lines.append(
                f"- {core_name(core)}: {len(ratios)} choices; {ratios[0][0]:.2f} to {worst:.2f} times the cycles "
                f"of carry-save, most at {record['shape']} with {record['output']} output."
            )
    lines += [""]
    lines += [
        "In the tables, 5 marks the sliced kernel with tables of 5 inputs, c carry-save and p the portable kernel;"
    ]
    lines += ["no mark is the sliced kernel with tables of 3 inputs.", ""]
    for output in ("bitpacked", "int8", "float32"):
        rows = sweep(by_core.get("cortex-m4", []), output)
        lines += [f"Cortex-M4, {output} output, 48 KB, instructions per MAC:", "", *rows]
    lines += other_operators(results["operators"], cores)
    lines += ["## Code in bytes", ""]
    code = results["code_bytes"]
    titles = list(map(core_name, cores))
    names = dict.fromkeys(name for core in cores for name in code[core])
    rows = [[n, *(f"{code[c].get(n, 0):,}" for c in cores)] for n in names]
    rows.append(["all of the binary convolution", *(f"{kernel_bytes(code[c]):,}" for c in cores)])
    lines += table(["source", *titles], rows)
    operators = {core: operator_bytes(code[core]) for core in cores}
    if all(operators.values()):
        rows = [[name, *(f"{operators[core][name]:,}" for core in cores)] for name in operators[cores[0]]]
        lines += ["Of each operator alone, shared files included:", "", *table(["operator", *titles], rows)]
    lines += [
        "Code, constants and variables (`text` and `data` of `arm-none-eabi-size`). Kernels that loop over tensors are",
        "built with `-O3`, all else with `-Os`. Functions of the C library come on top where the application does",
        "not have them already. Sections that are not used, such as a transform that the core does not take, fall away",
        "with `--gc-sections`.",
    ]
    return "\n".join(lines) + "\n"
