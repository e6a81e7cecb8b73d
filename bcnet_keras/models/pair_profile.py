"""What both nets of a pair cost and take, told before any training: neither depends on the weights.

print(PairProfile.of_nets(binary, int8, board_name="nucleo-f446re").text())
"""

from __future__ import annotations

from dataclasses import dataclass

import tensorflow as tf

from bcnet_keras.convert.cooperative import merge
from bcnet_keras.convert.lce import lower_binary, lower_int8
from bcnet_keras.convert.pair import lower
from bcnet_keras.convert.passes.add_gate import Gate
from bcnet_keras.convert.passes.fuse_stem import fuse_front
from bcnet_keras.device.profile import Profile
from bcnet_keras.layers import INPUT_RANGE
from bcnet_keras.tflite import flatbuffer
from bcnet_keras.utils.pages import text_table

LIGHT = 0.5  # of the int8 net's cycles; a binary net that costs more can hardly pay


@dataclass(frozen=True)
class PairProfile:
    """Profiles of a pair and of its two nets.

    Attributes:
      int8, binary, pair: `bcnet_keras.device.profile.Profile` of each net alone and of the pair; that of the pair has
        cycles of an accepted and of an escalated sample.
      parameters: dict of "int8", "binary" and "pair" to the number of weights of the Keras nets; empty without them.
    """

    int8: Profile
    binary: Profile
    pair: Profile
    parameters: dict

    @classmethod
    def of_nets(
        cls, binary: tf.keras.Model, int8: tf.keras.Model, core: str | None = None, board_name: str | None = None
    ) -> PairProfile:
        """The profiles of two Keras nets, trained or not.

        Arguments:
          core, board_name: as for `Profile.of`.

        Raises ValueError for an unknown core or board, or for nets that do not convert.
        """
        nets = {"binary": binary, "int8": int8}
        data = {name: flatbuffer_of(name, net) for name, net in nets.items()}
        gate = Gate.create(int(int8.output_shape[-1]), "score_margin", 0.5)
        data["pair"] = merge(data["binary"], data["int8"], gate)
        profiles = {name: Profile.of(each, core, board_name) for name, each in data.items()}
        parameters = {name: net.count_params() for name, net in nets.items()}
        return cls(**profiles, parameters={**parameters, "pair": sum(parameters.values())})

    @property
    def cost(self) -> tuple[float, float]:
        """(accepted, escalated): estimated cycles of the pair's two paths over those of the int8 net alone."""
        whole = self.int8.expected_cycles.middle
        return self.pair.accepted_cycles.middle / whole, self.pair.escalated_cycles.middle / whole

    @property
    def is_light(self) -> bool:
        """Whether an accepted sample costs at most `LIGHT` of the int8 net."""
        return self.cost[0] <= LIGHT

    def shortage(self) -> str | None:
        """Why the board cannot hold the pair, in one line; None where it can, or without a board."""
        reason = self.pair.shortage()
        return reason and reason.replace(self.pair.name, "the pair", 1)

    def table(self) -> list[list[str]]:
        """Nets and pair as cells: a list of lists of str, headings first.

        Cycles and milliseconds are estimates, from low to high; "of int8" is the ratio of the middles of cycles.
        """
        board = self.pair.board
        counted = ["parameters"] if self.parameters else []
        rows = [["", *counted, f"{self.pair.core} cycles", *(["milliseconds"] if board else [])]]
        rows[0] += ["of int8", "instructions", "arena", "flash with code"]
        rows[0] += [f"fits {board[0]}"] if board else []
        lines = [
            ("int8 net alone", self.int8, self.int8.expected_cycles, self.int8.expected, "int8"),
            ("binary net alone", self.binary, self.binary.expected_cycles, self.binary.expected, "binary"),
            ("pair, accepted sample", self.pair, self.pair.accepted_cycles, self.pair.accepted, "pair"),
            ("pair, escalated sample", self.pair, self.pair.escalated_cycles, self.pair.escalated, "pair"),
        ]
        for title, profile, cycles, instructions, name in lines:
            counted = [f"{self.parameters[name]:,}"] if self.parameters else []
            time = [] if board is None else [board[1].milliseconds(cycles).short_text()]
            numbers = [*counted, cycles.range_text(), *time]
            numbers += [f"{cycles.middle / self.int8.expected_cycles.middle:.3f}", f"{instructions:,}"]
            memory = [f"{size / 1024:.1f} KiB" for size in (profile.arena.bytes, profile.flash_bytes)]
            fits = [] if board is None else ["no" if profile.shortage() else "yes"]
            rows.append([title, *numbers, *memory, *fits])
        return rows

    def text(self) -> str:
        """The table as plain text."""
        return text_table(self.table())


def flatbuffer_of(name: str, net: tf.keras.Model) -> bytes:
    """The flatbuffer, bytes, of the net named "binary" or "int8", trained or not."""
    if name == "int8":
        return flatbuffer.write(lower(net, lambda net: lower_int8(net, INPUT_RANGE)))
    model = lower(net, lower_binary)
    fuse_front(model)
    return flatbuffer.rewrite(model)
