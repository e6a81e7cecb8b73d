"""Where the tensors of a flatbuffer lie in the arena, planned before the interpreter starts.

    >>> model = flatbuffer.read(flatbuffer.load("pair.tflite"))
    >>> core, before, after = plan_memory(model)
    >>> after.bytes <= before.bytes
    True

TensorFlow Lite Micro's own planner places the largest buffer first, in the order of the tensors' numbers, and never
takes back a decision. An offline plan in the metadata (`flatbuffer.OFFLINE_PLAN`) gives each tensor an offset instead.
The plan that is written here needs less for four reasons:

* it tries many orders and keeps the best;
* the tensors that an IF hands to a branch, and takes from it, lie in the same place on both sides. The interpreter then
  does not copy them either (kernel_util.cc: CopyOpInputsToSubgraphInputs);
* a subgraph that runs twice needs its memory during each call only, not from the first to the last;
* tensors that nothing uses lie below others, while the interpreter keeps them apart.

Scratch memory stays with the interpreter, which places it around the tensors: how much there is depends on the core.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from bcnet_keras.device import cost_bconv2d
from bcnet_keras.device.arena import REFERENCE, Arena, Request, arena, place, requests_of
from bcnet_keras.device.cost import CORES
from bcnet_keras.errors import FlatbufferError
from bcnet_keras.tflite import flatbuffer
from bcnet_keras.tflite.flatbuffer import OFFLINE_PLAN, ONLINE, schema

_VERSION = 1
_PATIENCE = 150  # orders that are tried without success before the search ends
_SEED = 0  # the same file gets the same plan


def plan_memory(
    model: schema.ModelT,
    core: str | None = None,
    scratch_budget: int = cost_bconv2d.SCRATCH_BUDGET,
) -> tuple[str, Arena, Arena]:
    """Writes an offline memory plan into a parsed flatbuffer, in the place of one that it has and that takes more.

    It stays without a plan where the interpreter's own planner does as well, and as it is where an operator's scratch
    memory is not known (`Arena.incomplete`): a plan could cost more then. A plan that cannot be is replaced.

    Arguments:
      core: whose scratch memory counts; None for all cores, with CMSIS-NN and with the reference kernels. With none
        of these may the plan take more than before.
      scratch_budget: bytes of the arena that a binary convolution may use.

    Returns:
      `core`, or the name of the core that takes most, and the `Arena`s before and now on that core.

    Raises ValueError for tensors of a type that TensorFlow Lite Micro does not plan.
    """
    cores = CORES if core is None else (core,)
    try:
        before = {each: arena(model, each, scratch_budget) for each in cores}
    except FlatbufferError:  # perhaps for its plan
        remove_plan(model)
        before = {each: arena(model, each, scratch_budget) for each in cores}
    kernels = cores if core is not None else (*CORES, REFERENCE)
    on_cores = {each: requests_of(model, each, scratch_budget) for each in kernels}
    layout = None if any(each.incomplete for each in before.values()) else _Search(model, on_cores).best()
    if layout is not None:
        remove_plan(model)
    if layout:
        count = sum(len(graph.tensors) for graph in model.subgraphs)
        offsets = np.full(count, ONLINE, "<i4")
        for tensor, offset in layout.items():
            offsets[tensor] = offset
        header = np.array([_VERSION, 0, count], "<i4")
        flatbuffer.Builder.extending(model).metadata(OFFLINE_PLAN, np.concatenate([header, offsets]).tobytes())
    hungriest = max(cores, key=lambda each: before[each].bytes)
    after = before[hungriest] if layout is None else arena(model, hungriest, scratch_budget)
    return hungriest, before[hungriest], after


def remove_plan(model: schema.ModelT) -> None:
    """Takes an offline memory plan out of a parsed flatbuffer, which must not have one when its tensors change."""
    flatbuffer.remove_metadata(model, OFFLINE_PLAN)


def live_bytes(model: schema.ModelT, core: str, scratch_budget: int = cost_bconv2d.SCRATCH_BUDGET) -> int:
    """The largest sum of the bytes that are in use at one time on a core: no plan written here can take less.

    What an IF hands to a branch, and takes from it, counts once.
    """
    requests = requests_of(model, core, scratch_budget)
    tensors = {each.tensor: each for each in requests if each.tensor is not None and each.first >= 0}
    scratch = [each for each in requests if each.tensor is None]
    return _live([*_bundles(model, tensors), *scratch])


def _live(requests: Sequence[Item]) -> int:
    steps = sorted({first for each in requests for first, _ in each.spans})
    return max((sum(each.bytes for each in requests if _in_use(each, step)) for step in steps), default=0)


def _in_use(request: Item, step: int) -> bool:
    return any(first <= step <= last for first, last in request.spans)


class _Search:
    """Looks for offsets of the tensors that keep the arena small on each core."""

    def __init__(self, model: schema.ModelT, on_cores: dict[str, list[Request]]) -> None:
        requests = next(iter(on_cores.values()))
        self.tensors = {each.tensor: each for each in requests if each.tensor is not None and each.first >= 0}
        self.unused = {each.tensor: each for each in requests if each.tensor is not None and each.first < 0}
        # Scratch memory is left to the interpreter. Many cores want the same of it.
        given = {
            tuple(each for each in requests if each.tensor is None): _peak(place(requests), requests)
            for requests in on_cores.values()
        }
        self.online, self.given = list(given), list(given.values())
        self.bundles = _bundles(model, self.tensors)
        self.random = random.Random(_SEED)

    def best(self) -> dict[int, int] | None:
        """Dict of tensor number -> offset, empty for the interpreter's own planner; None where nothing is better."""
        least = [_live([*self.bundles, *online]) for online in self.online]
        best, peaks = None, self.given
        layouts = (self._layouts([*self.bundles, *online]) for online in self.online)
        for layout, found in itertools.chain([({}, self._peaks({}))], *layouts):
            better = sum(found) < sum(peaks) and all(map(int.__le__, found, self.given))
            if better:
                best, peaks = layout, found
            if all(map(int.__le__, peaks, least)):
                break
        return best

    def _layouts(self, items: Sequence[Item]) -> Iterator[tuple[dict[int, int], list[int]]]:
        """Yields layouts of the tensors with their peaks on each core, as an order of `items` gives them."""
        clashes = [[_clash(one, other) for other in items] for one in items]

        def measured(order: list[int]) -> tuple[dict[int, int], list[int], list[int]]:
            offsets = _first_fit(items, clashes, order)
            layout = dict.fromkeys(self.unused, 0) | {
                number: offset
                for bundle, offset in zip(items, offsets, strict=True)
                if isinstance(bundle, _Bundle)
                for number in bundle.tensors
            }
            return layout, self._peaks(layout), offsets

        orders = [
            sorted(range(len(items)), key=key)
            for key in (
                lambda i: (-items[i].bytes, items[i].first),
                lambda i: (-items[i].bytes, -items[i].last),
                lambda i: -items[i].bytes * sum(last - first + 1 for first, last in items[i].spans),
                lambda i: -sum(items[j].bytes for j, clash in enumerate(clashes[i]) if clash),
                lambda i: (items[i].first, -items[i].bytes),
            )
        ]
        tried = []
        for order in orders:
            layout, peaks, offsets = measured(order)
            tried.append((sum(peaks), order, offsets))
            yield layout, peaks
        total, order, offsets = min(tried, key=lambda each: each[0])
        failures = 0
        while failures < _PATIENCE and len(order) > 1:
            # What reaches highest takes a place earlier in the order.
            ends = [offset + item.bytes for item, offset in zip(items, offsets, strict=True)]
            moved = order.copy()
            if self.random.random() < 0.7:
                place_of = order.index(max(range(len(items)), key=ends.__getitem__))
            else:
                place_of = self.random.randrange(len(order))
            moved.insert(self.random.randrange(place_of + 1), moved.pop(place_of))
            layout, peaks, found = measured(moved)
            failures = 0 if sum(peaks) < total else failures + 1
            if sum(peaks) <= total:
                total, order, offsets = sum(peaks), moved, found
            yield layout, peaks

    def _peaks(self, layout: dict[int, int]) -> list[int]:
        """Bytes of activations and scratch memory with these offsets, on each kind of core; the rest is not planned."""
        every = (self.tensors | self.unused).items()
        tensors = [replace(each, offset=layout.get(number, ONLINE)) for number, each in every]
        return [_peak(place([*tensors, *online]), [*tensors, *online]) for online in self.online]


class _Bundle:
    """Tensors that hold the same values and so lie in one place; otherwise like a `Request`."""

    def __init__(self, tensors: dict[int, Request]) -> None:
        self.tensors = tuple(tensors)
        self.bytes = next(iter(tensors.values())).bytes
        self.spans = tuple(sorted({span for each in tensors.values() for span in each.spans}))
        self.first, self.last = self.spans[0][0], max(last for _, last in self.spans)


Item = Request | _Bundle


def _bundles(model: schema.ModelT, tensors: dict[int, Request]) -> list[_Bundle]:
    """The `_Bundle`s of all tensors: what an IF hands to its branches and takes from them belongs together."""
    starts = np.cumsum([0, *(len(graph.tensors) for graph in model.subgraphs)])
    calls = [called for graph in model.subgraphs for o in graph.operators for called in flatbuffer.called_subgraphs(o)]
    parent = {number: number for number in tensors}

    def root(number: int) -> int:
        while parent[number] != number:
            number = parent[number]
        return number

    def join(one: int, other: int) -> None:
        if one in tensors and other in tensors and tensors[one].bytes == tensors[other].bytes:
            parent[root(one)] = root(other)

    for start, graph in zip(starts, model.subgraphs, strict=False):
        for operator in graph.operators:
            if flatbuffer.op_name(model, operator) != "IF":
                continue
            for called in flatbuffer.called_subgraphs(operator):
                branch = model.subgraphs[called]
                # A branch that others run too, or that hands an input on, would tie together what differs.
                if calls.count(called) > 1 or {*branch.inputs} & {*branch.outputs}:
                    continue
                inside = [*branch.inputs, *branch.outputs]
                for outer, inner in zip([*operator.inputs[1:], *operator.outputs], inside, strict=True):
                    if inside.count(inner) == 1:  # two results that are one here may differ in the other branch
                        join(start + outer, starts[called] + inner)
    members: dict[int, dict[int, Request]] = {}
    for number, request in tensors.items():
        members.setdefault(root(number), {})[number] = request
    return [_Bundle(each) for each in members.values()]


def _clash(one: Item, other: Item) -> bool:
    return any(a <= d and c <= b for a, b in one.spans for c, d in other.spans)


def _first_fit(items: Sequence[Item], clashes: list[list[bool]], order: Sequence[int]) -> list[int]:
    """Offsets of `items`, each in the lowest gap between those before it in `order` that are in use with it."""
    offsets = [0] * len(items)
    placed: list[int] = []
    for index in order:
        candidate = 0
        for offset, other in sorted((offsets[other], other) for other in placed if clashes[index][other]):
            if offset - candidate >= items[index].bytes:
                break
            candidate = max(candidate, offset + items[other].bytes)
        offsets[index] = candidate
        placed.append(index)
    return offsets


def _peak(offsets: Sequence[int], requests: Sequence[Request]) -> int:
    return max((offset + each.bytes for offset, each in zip(offsets, requests, strict=True)), default=0)
