"""Flags that several commands have on the device: core, board and scratch memory."""

from __future__ import annotations

from absl import flags

from bcnet_keras.device.boards import BOARDS
from bcnet_keras.device.cost import CORES
from bcnet_keras.device.cost_bconv2d import SCRATCH_BUDGET
from bcnet_keras.device.profile import core_of


def define_device(values: flags.FlagValues, core: str, board: str) -> None:
    """Declares --core, --board and --scratch_budget; `core` and `board` say what they are for."""
    flags.DEFINE_enum("core", None, list(CORES), core, flag_values=values)
    flags.DEFINE_string("board", None, f"{board}: {', '.join(BOARDS)}.", flag_values=values)
    flags.DEFINE_integer(
        "scratch_budget",
        SCRATCH_BUDGET,
        "Bytes of the arena that a binary convolution may use to save cycles, as the application sets it.",
        flag_values=values,
        lower_bound=0,
        upper_bound=(1 << 31) - 1,
    )


def chosen_core(values: flags.FlagValues) -> str | None:
    """The core that --core or --board names; None where neither is given."""
    return core_of(values.core, values.board) if values.core or values.board else None
