"""What a pair of Keras nets costs on a core: its two paths, over its int8 net alone."""

from __future__ import annotations

from bcnet_keras.convert.pair import Pair, convert, convert_parts
from bcnet_keras.device.cost import CORES, cost
from bcnet_keras.errors import ModelError


def pair_cost(pair: Pair, core: str = "cortex-m4", parts: tuple[bytes, bytes] | None = None) -> tuple[float, float]:
    """(accepted, escalated): instructions of a pair's two paths over those of its int8 net alone, on `core`.

    The pair needs no threshold yet. `parts` is what `convert_parts(pair)` gave, when it is at hand.
    """
    if core not in CORES:
        raise ModelError(f"unknown core {core!r}: expected one of {', '.join(CORES)}")
    parts = convert_parts(pair) if parts is None else parts
    whole, int8 = cost(convert(pair, parts=parts, threshold=0.5)), cost(parts[1])
    accepted, escalated = (whole.expected(rate)[core] / int8.instructions[core] for rate in (0, 1))
    return accepted, escalated


def int8_share(pair: Pair, core: str = "cortex-m4") -> float:
    """The int8 net's part of the instructions that both nets of `pair` take on `core`, in (0, 1)."""
    accepted, escalated = pair_cost(pair, core)
    return 1 - accepted / escalated
