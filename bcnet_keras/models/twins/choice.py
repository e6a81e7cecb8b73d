"""Chooses the binary twin by its cycles relative to the int8 twin's on a core, before either is trained."""

from __future__ import annotations

import logging

import tensorflow as tf

from bcnet_keras.device.cost import cost
from bcnet_keras.device.profile import core_of
from bcnet_keras.models.pair_profile import PairProfile, flatbuffer_of
from bcnet_keras.models.twins.binary import BinaryTwin, compact_model
from bcnet_keras.models.twins.graph import Graph
from bcnet_keras.models.twins.reader import read
from bcnet_keras.utils.types import Range

WIDTHS = (2.0, 1.5, 1.0, 0.75, 0.5)
COMPACT_FILTERS = (128, 96, 64, 32)
log = logging.getLogger(__name__)


def light_binary_twin(
    graph: Graph,
    int8: tf.keras.Model,
    max_cost: float,
    input_range: Range | None,
    stem: str,
    planes: int | None,
    core: str | None = None,
    board_name: str | None = None,
) -> tuple[tf.keras.Model, str]:
    """Returns the binary twin closest to the float model that costs at most `max_cost` of `int8` on a core.

    It tries three topologies in this order: the whole one; its main path, without shortcuts and branches beside the
    deepest one; and a compact net of strided convolutions, whatever the float model looks like. Of each it takes the
    widest that is light enough and with which the pair fits the board. If there is none, it takes the cheapest of all.

    Arguments:
      graph: that of the float model.
      int8: its int8 twin.
      max_cost: largest cost of the binary net alone, relative to the int8 net's.
      input_range, stem, planes: as for `bcnet_keras.binary_twin`.
      core, board_name: as for `bcnet_keras.device.profile.Profile.of`.

    Returns:
      (Keras model, its description in words).
    """
    core = core_of(core, board_name)
    whole = _cycles("int8", int8, core, board_name)
    tried = {}  # what the binary net computes -> candidate

    def candidate(topology, width):
        """Returns (share of the int8 net's cycles, Keras model, description)."""
        source, factor = (graph, width) if topology != "compact" else (_compact(graph, width), 1.0)
        plan = BinaryTwin(source, input_range, factor, stem, planes, topology)
        key = topology if topology == "compact" else "", plan.layout()
        if key not in tried:
            twin = plan.build("binary")
            share = _cycles("binary", twin, core, board_name) / whole
            what = f"{topology}, width {width:g}" if topology != "compact" else f"compact, {width} filters and more"
            log.debug("binary net, %s: %.3f of the int8 net", what, share)
            tried[key] = share, twin, what
        return tried[key]

    def good(each):
        share, twin, _ = each
        return share <= max_cost and not (
            board_name and PairProfile.of_nets(twin, int8, core, board_name).shortage() is not None
        )

    def chosen():
        for topology in ("whole", "main path"):
            middle = candidate(topology, 1.0)
            if good(middle):
                wider = (candidate(topology, width) for width in WIDTHS if width > 1.0)
                return next(filter(good, wider), middle)
            narrower = [width for width in WIDTHS if width < 1.0]
            if good(candidate(topology, narrower[-1])):
                return next(filter(good, (candidate(topology, width) for width in narrower)))
        if stem != "shared" and good(candidate("compact", COMPACT_FILTERS[-1])):
            return next(filter(good, (candidate("compact", filters) for filters in COMPACT_FILTERS)))
        return min(tried.values(), key=lambda each: each[0])

    _, twin, what = chosen()
    return twin, what


def _cycles(name: str, net: tf.keras.Model, core: str, board_name: str | None) -> float:
    return cost(flatbuffer_of(name, net), board_name=board_name).cycles[core].middle


def _compact(graph, filters):
    compact = read(compact_model(graph, filters))
    front = graph.front, graph.input_shape, graph.name, graph.affine, graph.takes_raw
    return Graph(compact.nodes, compact.output, *front)


def advice(profile: PairProfile, width: float | None) -> str | None:
    """Returns one line of advice if the binary net is not light or the pair does not fit the board; otherwise None."""
    sentences = []
    if not profile.is_light:
        sentences.append(
            f"the binary net costs {profile.cost[0]:.2f} of the int8 net on {profile.pair.core}, so the pair can "
            "hardly pay: "
            + (
                "the int8 net is small already; use it alone, or start from a larger float model"
                if width is None
                else "leave width out, so that a lighter binary net is chosen, or lower it"
            )
        )
    shortage = profile.shortage()
    if shortage:
        alone = profile.int8.shortage() is None
        help_ = "the int8 net alone fits" if alone else "make the float model or its images smaller, or stride earlier"
        sentences.append(f"{shortage}; {help_}")
    return "; ".join(sentences) or None
