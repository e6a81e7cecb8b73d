"""Estimated cycles of what a program executed under QEMU.

    said, traces = bench.count(elf, board)
    program = cycles.Program(elf)
    program.cycles(traces[0], "cortex-m4")                       # Range(low=..., high=...), zero wait states
    program.cycles(traces[0], "cortex-m4", board("nucleo-f446re").flash)

QEMU's plug-in writes which runs of instructions were executed, how often, and how often they were left by a taken
branch. A model of the core gives each run its cycles: `additive` those of Cortex-M0+, M3 and M4, which work on one
instruction after the other; `pipelined` those of M33, M7 and M55, where a scoreboard follows them. Every rule names
its source. What the sources leave open, or where they differ, is a range: the low bound takes the fewest cycles of
each, the high bound the most, so that the truth should lie between. A run is priced as if it followed itself, as it
does in a loop. Memories answer at once, unless a flash is given (`flash`).
"""

from dataclasses import dataclass
from typing import NamedTuple

from .additive import M3, M4, M0plus
from .decode import disassemble
from .flash import CacheUse, Range, stalls
from .pipelined import M7, M33, M55

MODELS = {
    "cortex-m0plus": M0plus,
    "cortex-m3": M3,
    "cortex-m4": M4,
    "cortex-m33": M33,
    "cortex-m7": M7,
    "cortex-m55": M55,
}


class Run(NamedTuple):
    """Instructions that follow each other, from `address` on."""

    address: int
    instructions: int
    entries: int
    taken: int


@dataclass(frozen=True)
class Trace:
    """What was executed between two markers.

    Attributes:
      runs: tuple of `Run`.
      code, data: tuples of `CacheUse` of the caches of instructions and of data that the plug-in was asked for.
    """

    runs: tuple
    code: tuple = ()
    data: tuple = ()

    @property
    def instructions(self):
        """Instructions executed, exactly."""
        return sum(run.instructions * run.entries for run in self.runs)


def read_traces(text):
    """The list of `Trace` in what the plug-in wrote."""
    traces, runs, caches = [], [], {"code": [], "data": []}
    for line in text.splitlines():
        word, *numbers = line.split()
        if word == "block":
            runs.append(Run(int(numbers[0], 16), *map(int, numbers[1:])))
        elif word in caches:
            caches[word].append(CacheUse(*map(int, numbers)))
        else:
            traces.append(Trace(tuple(runs), tuple(caches["code"]), tuple(caches["data"])))
            runs, caches = [], {"code": [], "data": []}
    return traces


class Program:
    """A linked program, whose instructions are decoded once."""

    def __init__(self, elf):
        self._instructions = disassemble(elf)
        self._models = {}
        self._runs = {}

    def _run(self, run):
        key = run.address, run.instructions
        if key not in self._runs:
            address, found = run.address, []
            for _ in range(run.instructions):
                if address not in self._instructions:
                    raise ValueError(f"there is no instruction at {address:#x}: the trace is of another program")
                found.append(self._instructions[address])
                address += found[-1].bytes
            self._runs[key] = found
        return self._runs[key]

    def cycles(self, trace, core, flash=None, number=0):
        """`Range` of cycles of a `Trace` on a core, with memory that answers at once, or in a flash.

        Arguments:
          flash: a `bcnet_keras.device.boards.Flash`, whose caches the plug-in simulated.
          number: which of the plug-in's caches are its own.
        """
        bounds = []
        for bound in Range._fields:
            if (core, bound) not in self._models:
                self._models[core, bound] = MODELS[core](bound)
            model, total = self._models[core, bound], 0
            for run in trace.runs:
                block = self._run(run)
                total += model.cycles(block) * run.entries
                if run.taken and block[-1].jumps:
                    total += model.taken(block, run.entries, run.taken)
            if flash is not None:
                data = trace.data[number] if trace.data else CacheUse(0, 0, 0)
                total += getattr(stalls(flash, trace.code[number], data, total), bound)
            bounds.append(total)
        return Range(*bounds)
