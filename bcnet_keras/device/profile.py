"""What a flatbuffer takes of a microcontroller: cycles of each operator, flash and RAM, and whether it fits.

    >>> profile = Profile.of("pair.tflite", core="cortex-m4", escalation_rate=0.3)
    >>> "arena" in profile.text()
    True

Cycles and instructions are estimates of `bcnet_keras.device.cost`; on a board, cycles are those with code and weights
in its flash, and milliseconds follow (`bcnet_keras.device.boards`). The arena is planned as TensorFlow Lite Micro plans
it (`bcnet_keras.device.arena`), the code of interpreter and operators is counted from sizes measured on a Cortex-M4.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from bcnet_keras.device import cost_bconv2d
from bcnet_keras.device.arena import Arena, arena
from bcnet_keras.device.boards import FAST_CODE_BYTES, Board, board, with_fast_code
from bcnet_keras.device.cost import CORES, DEFAULT_CORE, Cost, OpCost, cost
from bcnet_keras.device.cycles import Cycles, short
from bcnet_keras.errors import BcnetError
from bcnet_keras.tflite import flatbuffer, operators
from bcnet_keras.tflite.flatbuffer import schema
from bcnet_keras.tflite.metadata import metadata
from bcnet_keras.tflite.support import check_micro, remarks
from bcnet_keras.utils.arguments import check_number
from bcnet_keras.utils.pages import text_table
from bcnet_keras.utils.types import StrPath

# Bytes of code on a Cortex-M4, linked with TensorFlow Lite Micro's release library: interpreter, start-up and what most
# operators share. What each operator adds to them is in its record.
_INTERPRETER_CODE = 14596
_CODE_ALLOWANCE = 4096  # of an operator without a figure
_LAYER = 32  # characters of a layer's name in the table
_RATE_SOURCES = {
    "calibration": "of the data on which the threshold was picked",
    "worst case": "the most that the pair can cost; the file does not tell how much escalates",
}
_GAIN = 0.02  # part of the cycles that BCNET_FAST_CODE must save to be told of
STACK_BYTES = 6144  # RAM beside the arena: an allowance for stack and static data


def core_of(core: str | None = None, board_name: str | None = None) -> str:
    """The name of the core: `core`, by default that of the board, or `DEFAULT_CORE`.

    Raises ValueError for an unknown core or board, and for a board that has another core.
    """
    found = None if board_name is None else board(board_name)
    if core is not None and core not in CORES:
        raise BcnetError(f"unknown core {core!r}: expected one of {', '.join(CORES)}")
    if found and core not in (None, found.core):
        raise BcnetError(f"the board {board_name} has a {found.core}, not a {core}; give the board or the core")
    return core or (found.core if found else DEFAULT_CORE)


def code_size(names: Iterable[str]) -> int:
    """Bytes of code of the interpreter and of the operators with these names."""
    sizes = (operators.operator(name).code_bytes for name in names)
    return _INTERPRETER_CODE + sum(_CODE_ALLOWANCE if size is None else size for size in sizes)


@dataclass(frozen=True)
class Profile:
    """A flatbuffer on a core.

    Attributes:
      name: that of the file.
      core, board: name of the core; name of the board and `Board`, or None.
      cost: `bcnet_keras.device.cost.Cost`.
      arena: `bcnet_keras.device.arena.Arena`.
      escalation_rate: of the expected cost, 0 to 1; None for a net that is no pair.
      rate_source: where that comes from: "given", "calibration" (kept in the file) or "worst case"; None likewise.
      remarks: what TensorFlow Lite Micro does otherwise than TensorFlow Lite, a tuple of sentences.
      inputs, outputs: tuples of the names in the file's signature with type and shape, such as "logits int8 [1, 10]",
        in the order of the interpreter's tensors.
    """

    name: str
    core: str
    board: tuple[str, Board] | None
    cost: Cost
    arena: Arena
    escalation_rate: float | None
    rate_source: str | None
    remarks: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @classmethod
    def of(
        cls,
        source: StrPath | bytes,
        core: str | None = None,
        board_name: str | None = None,
        escalation_rate: float | None = None,
        scratch_budget: int = cost_bconv2d.SCRATCH_BUDGET,
    ) -> Profile:
        """The profile of a flatbuffer, given as bytes or as a path.

        Arguments:
          core: one of `bcnet_keras.device.cost.CORES`; by default that of the board, or `DEFAULT_CORE`.
          board_name: one of `bcnet_keras.device.boards.BOARDS`; None for a core alone.
          escalation_rate: part of the inputs that a pair escalates, 0 to 1; by default that of the data on which its
            threshold was picked, which the file keeps, or 1, the most that the pair can cost.
          scratch_budget: bytes of the arena that a binary convolution may use to need fewer cycles.

        Examples:
          >>> profile = bc.Profile.of(converted, board_name="nucleo-f446re")
          >>> profile.core, profile.shortage() or "fits"
          ('cortex-m4', 'fits')

        Raises:
          FileNotFoundError: there is no such file.
          ValueError: no flatbuffer; an operator that TensorFlow Lite Micro lacks; an unknown core or board, or two that
            differ; a rate for a net alone.
        """
        core = core_of(core, board_name)
        data = flatbuffer.load(source)
        model = flatbuffer.read(data)
        check_micro(model)
        costs = cost(data, scratch_budget, partial=True, board_name=board_name)
        if costs.accepted is None and escalation_rate is not None:
            raise BcnetError("an escalation rate is for a pair; this flatbuffer is a net alone")
        source_of_rate = None
        if costs.accepted is not None:
            escalation_rate, source_of_rate = _rate(model, escalation_rate)
            costs.expected(escalation_rate)  # checks it
        name = os.fspath(source) if isinstance(source, str | os.PathLike) else "flatbuffer"
        planned = arena(data, core, scratch_budget)
        where = None if board_name is None else (board_name, board(board_name))
        told = remarks(model), *_interface(model)
        return cls(name, core, where, costs, planned, escalation_rate, source_of_rate, *told)

    @property
    def accepted(self) -> int:
        """Instructions of an inference that the gate accepts; of any, for a net alone."""
        return round((self.cost.accepted or self.cost.instructions)[self.core])

    @property
    def escalated(self) -> int:
        """Instructions of an inference that escalates; of any, for a net alone."""
        return round((self.cost.escalated or self.cost.instructions)[self.core])

    @property
    def expected(self) -> int:
        """Mean instructions of an inference at the escalation rate."""
        rate = self.escalation_rate or 0
        return round((1 - rate) * self.accepted + rate * self.escalated)

    @property
    def accepted_cycles(self) -> Cycles:
        """Estimated `Cycles` of an inference that the gate accepts; of any, for a net alone."""
        return (self.cost.accepted_cycles or self.cost.cycles)[self.core]

    @property
    def escalated_cycles(self) -> Cycles:
        """Estimated `Cycles` of an inference that escalates; of any, for a net alone."""
        return (self.cost.escalated_cycles or self.cost.cycles)[self.core]

    @property
    def expected_cycles(self) -> Cycles:
        """Mean estimated `Cycles` of an inference at the escalation rate."""
        rate = self.escalation_rate or 0
        return self.accepted_cycles * (1 - rate) + self.escalated_cycles * rate

    def with_fast_code(self) -> dict[str, Cycles]:
        """{"accepted", "escalated", "expected": `Cycles` on the board where `BCNET_FAST_CODE` puts code into RAM}.

        It is {} without a board, and where nobody says how often a binary convolution runs.
        """
        if self.board is None or self.cost.incomplete:
            return {}
        fast = {"accepted": self.accepted_cycles, "escalated": self.escalated_cycles}
        for op in self.cost.ops:
            if op.name != "LceBconv2d" or op.cycles is None or op.path in ("never", "once"):
                continue
            paths = {"always": ("accepted", "escalated"), "escalated": ("escalated",), "accepted": ("accepted",)}
            if op.path not in paths:
                return {}
            before, after = op.cycles[self.core], with_fast_code(op.cycles[self.core], self.board[0])
            for path in paths[op.path]:
                fast[path] += after + before * -1
        rate = self.escalation_rate or 0
        return fast | {"expected": fast["accepted"] * (1 - rate) + fast["escalated"] * rate}

    @property
    def code_bytes(self) -> int:
        """Bytes of the interpreter's code, and that of the operators in the flatbuffer."""
        return code_size({op.name for op in self.cost.ops})

    @property
    def flash_bytes(self) -> int:
        """Bytes of flash: flatbuffer and code."""
        return self.cost.flash_bytes + self.code_bytes

    @property
    def ram_bytes(self) -> int:
        """Bytes of RAM: arena, and `STACK_BYTES` for the rest."""
        return self.arena.bytes + STACK_BYTES

    def share(self, op: OpCost) -> float | None:
        """Part of the expected cycles that an operator takes, or None where that is not known.

        It is not where the sum is incomplete, for an operator without a figure, and in branches of which nobody says
        how often they are taken.
        """
        rate = self.escalation_rate or 0
        part = {"always": 1, "escalated": rate, "accepted": 1 - rate, "never": 0, "once": 0}.get(op.path)
        if part is None or op.cycles is None or self.cost.incomplete:
            return None
        whole = self.expected_cycles.middle
        return part * op.cycles[self.core].middle / whole if whole else 0.0

    def shortage(self) -> str | None:
        """Why the board cannot hold the model, in one line; None where it can, or without a board."""
        if self.board is None:
            return None
        name, found = self.board
        short = [
            f"{what} by {_kib(needed - available)} ({_kib(needed)} of {_kib(available)})"
            for what, needed, available in (
                ("flash", self.flash_bytes, found.flash_bytes),
                ("RAM", self.ram_bytes, found.ram_bytes),
            )
            if needed > available
        ]
        return f"{self.name} does not fit {name}: it exceeds its {' and its '.join(short)}" if short else None

    def _paths(self) -> dict[str, Cycles]:
        return {
            "accepted": self.accepted_cycles,
            "escalated": self.escalated_cycles,
            "expected": self.expected_cycles,
            "least": self.cost.least_cycles[self.core],
        }

    def record(self) -> dict[str, Any]:
        """The profile as a dict that JSON can hold; cycles and milliseconds as [low, high]."""
        return {
            "file": self.name,
            "core": self.core,
            "board": self.board and {"name": self.board[0]} | asdict(self.board[1]),
            "fits": None if self.board is None else self.shortage() is None,
            "escalation_rate": self.escalation_rate,
            "escalation_rate_from": self.rate_source,
            "cycles": {what: _pair_of(cycles) for what, cycles in self._paths().items()},
            "milliseconds": self.board
            and {what: _pair_of(self.board[1].milliseconds(cycles), 4) for what, cycles in self._paths().items()},
            "milliseconds_with_fast_code": self.board
            and {what: _pair_of(self.board[1].milliseconds(of), 4) for what, of in self.with_fast_code().items()},
            "instructions": {
                "accepted": self.accepted,
                "escalated": self.escalated,
                "expected": self.expected,
                "least": round(self.cost.least[self.core]),
            },
            "incomplete": list(self.cost.incomplete),
            "remarks": list(self.remarks),
            "inputs": list(self.inputs),
            "outputs": list(self.outputs),
            "flash_bytes": self.flash_bytes,
            "flatbuffer_bytes": self.cost.flash_bytes,
            "code_bytes": self.code_bytes,
            "ram_bytes": self.ram_bytes,
            "arena_bytes": self.arena.bytes,
            "arena": {
                "activation_bytes": self.arena.activation_bytes,
                "record_bytes": self.arena.record_bytes,
                "setup_bytes": self.arena.setup_bytes,
                "incomplete": list(self.arena.incomplete),
            },
            "ops": [
                {
                    "op": op.name,
                    "layer": op.layer,
                    "subgraph": op.subgraph,
                    "runs": op.path,
                    "cycles": None if op.cycles is None else _pair_of(op.cycles[self.core]),
                    "instructions": None if op.instructions is None else round(op.instructions[self.core]),
                    "estimate": op.estimate,
                    "share": self.share(op),
                    "macs": op.macs,
                    "weights_bytes": op.weights_bytes,
                    "activation_bytes": op.activation_bytes,
                }
                for op in self.cost.ops
            ],
        }

    def json(self) -> str:
        """The record as text."""
        return json.dumps(self.record(), indent=1) + "\n"

    def table(self) -> list[list[str]]:
        """The operators as cells: a list of lists of str, headings first."""
        rows = [["operator", "layer", "runs", "cycles", "instructions", "share", "MACs", "weights", "activations"]]
        for op in self.cost.ops:
            share = self.share(op)
            about = "about " if op.estimate else ""
            numbers = (
                "no figure" if op.cycles is None else f"{about}{op.cycles[self.core].range_text()}",
                "no figure" if op.instructions is None else f"{about}{op.instructions[self.core]:,.0f}",
                "" if share is None else f"{100 * share:.1f} %",
                f"{op.macs:,}",
            )
            rows.append(
                [op.name, _layer(op.layer), op.path, *numbers, f"{op.weights_bytes:,} B", f"{op.activation_bytes:,} B"]
            )
        return rows

    def _summed(self) -> list[tuple[str, Cycles, int]]:
        """[(which inference, its `Cycles`, its instructions)], the mean of a pair last."""
        if self.escalation_rate is not None:
            rate = f"{100 * self.escalation_rate:.4g} % escalated"
            return [
                ("accepted", self.accepted_cycles, self.accepted),
                ("escalated, the worst case", self.escalated_cycles, self.escalated),
                (rate, self.expected_cycles, self.expected),
            ]
        least = self.cost.least[self.core]
        if self.expected == round(least):
            return [("", self.expected_cycles, self.expected)]
        return [
            ("dearest branches", self.expected_cycles, self.expected),
            ("cheapest branches", self.cost.least_cycles[self.core], round(least)),
        ]

    def _fast_code_lines(self) -> list[tuple[str, str]]:
        """What `BCNET_FAST_CODE` gains on the board, as lines of the summary; none where that is little."""
        fast = self.with_fast_code()
        if self.board is None or not fast or fast["expected"].middle > (1 - _GAIN) * self.expected_cycles.middle:
            return []
        gain = 1 - fast["expected"].middle / self.expected_cycles.middle
        text = f"{self._time_text(fast['expected'], self.board[1])}: {100 * gain:.0f} % less"
        suffix = "" if self.escalation_rate is None else f", {self._summed()[-1][0]}"
        return [(f"time with BCNET_FAST_CODE{suffix}", f"{text}, for {_kib(FAST_CODE_BYTES)} of RAM")]

    def _time_text(self, cycles: Cycles, found: Board) -> str:
        time = found.milliseconds(cycles)
        slow, fast = (short(1000 / each) if each else "any" for each in (time.high, time.low))
        return f"{short(time.middle)} ms ({time.short_text()}) at {found.mhz} MHz, {slow} to {fast} frames per second"

    def summary(self) -> list[tuple[str, str]]:
        """Pairs of str: what, and how much."""
        lines = [
            (f"{what} {index}" if len(side) > 1 else what, text)
            for what, side in (("input", self.inputs), ("output", self.outputs))
            for index, text in enumerate(side)
        ]
        if self.escalation_rate is not None and self.rate_source in _RATE_SOURCES:
            lines.append(("escalation rate", f"{100 * self.escalation_rate:.4g} %: {_RATE_SOURCES[self.rate_source]}"))
        bound = "at least " if self.cost.incomplete else ""
        for what, cycles, _ in self._summed():
            suffix = f", {what}" if what else ""
            lines.append((f"cycles{suffix}", f"{bound}{cycles.text()}"))
            if self.board is not None:
                lines.append((f"time{suffix}", f"{bound}{self._time_text(cycles, self.board[1])}"))
        lines += self._fast_code_lines()
        for what, _, instructions in self._summed():
            lines.append((f"instructions, {what}" if what else "instructions", f"{bound}{instructions:,}"))
        lines += [("incomplete", reason) for reason in self.cost.incomplete]
        estimated = sorted({op.name for op in self.cost.ops if op.estimate})
        lines += [("remark", sentence) for sentence in self.remarks]
        if estimated:
            lines.append(("estimates, not counts", ", ".join(estimated)))
        flash = f"{_kib(self.flash_bytes)}: flatbuffer {_kib(self.cost.flash_bytes)}, code {_kib(self.code_bytes)}"
        planned = self.arena
        arena_parts = f"activations and scratch {_kib(planned.activation_bytes)}, records {_kib(planned.record_bytes)}"
        if planned.setup_bytes > planned.used_bytes:
            arena_parts += f"; {_kib(planned.setup_bytes)} while tensors are allocated"
        at_least = "at least " if planned.incomplete else ""
        lines.append(("arena", f"{at_least}{planned.bytes:,} B: {arena_parts}"))
        if planned.incomplete:
            lines.append(("arena, incomplete", f"the memory of {', '.join(planned.incomplete)} is not known"))
        if self.board is None:
            lines.append(("flash", flash))
            lines.append(("RAM", f"{_kib(self.ram_bytes)}: arena, and {_kib(STACK_BYTES)} for stack and static data"))
            return lines
        _, found = self.board
        lines.append(("flash", f"{flash}; {_left(self.flash_bytes, found.flash_bytes)}"))
        lines.append(("RAM", f"{_kib(self.ram_bytes)}; {_left(self.ram_bytes, found.ram_bytes)}"))
        return lines

    def text(self) -> str:
        """The profile as plain text."""
        width = max(len(what) for what, _ in self.summary())
        lines = [f"{what.ljust(width)}  {value}" for what, value in self.summary()]
        return "\n".join([f"{self.name} on {self.core}", "", text_table(self.table()), "", *lines])


def _rate(model: schema.ModelT, given: float | None) -> tuple[float, str]:
    """The escalation rate of a pair and the name of its source, as `Profile` has them."""
    if given is not None:
        check_number("escalation_rate", given)
        return float(given), "given"
    known = (metadata(model) or {}).get("escalation_rate")
    return (1.0, "worst case") if known is None else (float(known), "calibration")


def _interface(model: schema.ModelT) -> tuple[tuple[str, ...], ...]:
    """(inputs, outputs) of a parsed flatbuffer as `Profile` has them."""
    graph = model.subgraphs[0]

    def told(name: str, tensor: schema.TensorT) -> str:
        return f"{_layer(name)} {flatbuffer.type_name(tensor)} {list(flatbuffer.shape(tensor))}"

    return tuple(
        tuple(told(name, graph.tensors[index]) for index, name in zip(indices, names, strict=True))
        for indices, names in zip((graph.inputs, graph.outputs), flatbuffer.interface_names(model), strict=True)
    )


def _pair_of(cycles: Cycles, digits: int | None = None) -> list[float]:
    """[low, high], rounded to whole cycles or to so many digits behind the point."""
    return [round(cycles.low, digits), round(cycles.high, digits)]


def _layer(name: str) -> str:
    """A layer's name, its end where it is long: that is where names of nested layers differ."""
    name = name.replace("|", "/").replace("\n", " ")
    return name if len(name) <= _LAYER else f"...{name[-_LAYER + 3 :]}"


def _kib(size: int) -> str:
    return f"{size / 1024:.1f} KiB"


def _left(needed: int, available: int) -> str:
    difference = f"{_kib(available - needed)} left" if needed <= available else f"{_kib(needed - available)} too much"
    return f"{_kib(available)} there, {difference}"


def profile(
    source: StrPath | bytes,
    core: str | None = None,
    board: str | None = None,
    escalation_rate: float | None = None,
    scratch_budget: int = cost_bconv2d.SCRATCH_BUDGET,
) -> Profile:
    """Profiles a flatbuffer on a core or a board; arguments and errors are those of `Profile.of`.

    Examples:
      >>> bc.profile(converted, board="nucleo-f446re").core
      'cortex-m4'
    """
    return Profile.of(source, core, board, escalation_rate, scratch_budget)
