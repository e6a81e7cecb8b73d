"""What a pair of Keras nets costs on a core or a board, in estimated cycles: its two paths, over its int8 net alone."""

from __future__ import annotations

from bcnet_keras.convert.pair import Pair, convert, convert_parts
from bcnet_keras.device.cost import cost
from bcnet_keras.device.profile import core_of


def pair_cost(
    pair: Pair, core: str | None = None, parts: tuple[bytes, bytes] | None = None, board: str | None = None
) -> tuple[float, float]:
    """(accepted, escalated): estimated cycles of a pair's two paths over those of its int8 net alone.

    They are ratios of the middles of the estimated ranges. The pair needs no threshold yet.

    Arguments:
      core, board: as for `bcnet_keras.device.profile.Profile.of`; on a board, code and weights are in its flash.
      parts: what `convert_parts(pair)` gave, when it is at hand.
    """
    core = core_of(core, board)
    parts = convert_parts(pair) if parts is None else parts
    whole, int8 = (cost(data, board_name=board) for data in (convert(pair, parts=parts, threshold=0.5), parts[1]))
    accepted, escalated = (whole.expected_cycles(rate)[core].middle / int8.cycles[core].middle for rate in (0, 1))
    return accepted, escalated


def int8_share(pair: Pair, core: str | None = None, board: str | None = None) -> float:
    """The int8 net's part of the estimated cycles that both nets of `pair` take, in (0, 1); see `pair_cost`."""
    accepted, escalated = pair_cost(pair, core, board=board)
    return 1 - accepted / escalated
