"""Which nets suit a user's images, a budget and a board: chosen by rule, before anything is trained.

    >>> nets = choose(input_shape=(32, 32, 3), classes=10, max_cost=0.5, board="nucleo-f446re")
    >>> float_net, binary_net = nets.build((32, 32, 3), 10)

Candidates are sketched (`planning.sketch`), so that cost, arena and flash of the converted pair are known without
training. The float net is a ResNet-8 whose first convolution is strided so that its stages work on maps of 20 to 40
pixels a side, as in MLPerf Tiny; with fewer filters or larger strides where the board is too small for that. The binary
net is the costliest of a family of binary convolutions that takes at most half of the budget: the rest is for samples
that escalate. It begins with the float net's first convolution where one of the family does so within that half: after
long training, pairs on CIFAR-10 and Fashion-MNIST are more accurate that way than with stems of their own
(`experiments/README.md`); on other sets this has not been tried.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence

from bcnet_keras.device.arena import arena
from bcnet_keras.device.boards import BOARDS
from bcnet_keras.device.cost import DEFAULT_CORE, cost
from bcnet_keras.device.profile import Profile
from bcnet_keras.errors import BcnetError
from bcnet_keras.models.networks import Blocks, Nets, parse_blocks, widened
from bcnet_keras.models.pair_profile import LIGHT, PairProfile
from bcnet_keras.planning.sketch import sketch, sketch_binary, sketch_int8
from bcnet_keras.utils.arguments import check_number

SMALLEST, LARGEST = 4, 256  # pixels of a side
SHARE = 0.5  # of the budget, for the binary net
_FULL_MAP = 40  # pixels of a side of the largest map on which the stages of the float net begin
_SMALLEST_MAP = 8  # the same of the smallest, where a board asks for it
_LAST_MAP = 5  # pixels of a side of the largest map that a binary net averages
# Strides of the first convolution and of the first stage.
_REDUCTIONS = ((1, 1), (2, 1), (3, 1), (4, 1), (4, 2))
_KERNELS = {1: 3, 2: 3, 3: 4, 4: 5}  # of a first convolution of these strides, so that windows overlap
_SMALLER = (192, 160, 128, 96, 80, 64, 48, 40, 32, 28, 24, 16)  # sides of images that are tried for advice


def choose(
    input_shape: Sequence[int],
    classes: int,
    max_cost: float | None = 0.5,
    core: str = DEFAULT_CORE,
    board: str | None = None,
    shared_stem: bool | None = None,
    binary_width: float = 1.0,
    binary_blocks: str | None = None,
) -> Nets:
    """The `networks.Nets` for images of `input_shape` [h, w, c].

    Arguments:
      max_cost: budget of the pair, as a part of the int8 net's cost; None for no budget.
      core, board: whose cost counts, and whose memories the pair must fit; see `boards.BOARDS`. None: any.
      shared_stem: whether the binary net begins with the float net's first convolution; None to have it chosen.
      binary_width: multiplies the filters of the binary net's convolutions.
      binary_blocks: text of other convolutions for it, see `networks.parse_blocks`; None to have them chosen.

    Raises:
      ValueError: images too small or too large; or no candidate fits the board, with what would help.
    """
    if max_cost is not None:
        check_number("max_cost", max_cost, above=0)
    height, width = input_shape[:2]
    if min(height, width) < SMALLEST or max(height, width) > LARGEST:
        raise BcnetError(
            f"there are no nets for images of {height}x{width} pixels: each side must have {SMALLEST} to {LARGEST}; "
            "bring them to another size, such as by --resize=64x64."
        )
    smallest: tuple[Profile, Nets] | None = None
    for float_part in float_nets(input_shape, classes):
        candidates = _pairs(float_part, input_shape, shared_stem, binary_width, binary_blocks)
        nets = _within(candidates, input_shape, classes, core, board, share_of(max_cost))
        profile = profile_of(nets, input_shape, classes, core, board)
        if profile.shortage() is None:
            return nets
        if smallest is None or profile.ram_bytes < smallest[0].ram_bytes:
            smallest = profile, nets
        if profile.board and profile.code_bytes > profile.board[1].flash_bytes:
            break  # no net is small enough
    assert smallest is not None, "float_nets gives at least one net"
    profile, nets = smallest
    smaller = _fitting_size(nets, input_shape, classes, profile)
    advice = [f"smaller images (--resize={smaller[0]}x{smaller[1]} fits)"] if smaller else []
    raise BcnetError(misfit(profile, fitting_boards(profile, sketch(nets, input_shape, classes)), advice))


@dataclasses.dataclass(frozen=True)
class Plan(PairProfile):
    """What the pair of `nets` will cost and take, before its Keras nets are there; `fitting`: boards that hold it."""

    nets: Nets
    fitting: tuple

    @classmethod
    def of(
        cls, nets: Nets, input_shape: Sequence[int], classes: int, core: str = DEFAULT_CORE, board: str | None = None
    ) -> Plan:
        """The plan of `nets` for images [h, w, c] on a core, and on a board if there is one."""
        draws = sketch_int8, sketch_binary
        int8, binary = (Profile.of(draw(nets, input_shape, classes), core, board) for draw in draws)
        pair = profile_of(nets, input_shape, classes, core, board)
        return cls(int8, binary, pair, {}, nets, fitting_boards(pair, sketch(nets, input_shape, classes)))

    def table(self) -> list[list[str]]:
        """Nets and pair as cells: a list of lists of str, headings first."""
        cells = super().table()
        if self.pair.board is None:
            fits = f"{len(self.fitting)} of {len(BOARDS)} boards"
            cells = [[*row, end] for row, end in zip(cells, ("fits", "", "", fits, fits), strict=True)]
        return cells

    def problem(self, max_cost: float | None = None) -> str | None:
        """Why training would be useless, in one line with what would help; None where it would not."""
        if self.pair.shortage():
            return misfit(self.pair, self.fitting)
        if max_cost is not None and self.cost[0] > max_cost:
            return (
                f"the pair takes {self.cost[0]:.3f} of the int8 net's cycles even where no image escalates, and "
                f"the budget is {max_cost:g}; raise max_cost, or lighten the binary net: {self._lighter()}."
            )
        return None

    def warnings(self) -> list[str]:
        """Lines that say what will hardly pay, with what would help."""
        if self.is_light:
            return []
        return [
            f"the binary net is not light: an image that does not escalate takes {self.cost[0]:.3f} of the int8 net's "
            f"cycles, more than {LIGHT:g}; what helps: {self._lighter()}."
        ]

    def _lighter(self):
        stem = ["a stem of its own (--noshared_stem)"] if self.nets.shared_stem else []
        fewer = "fewer filters (--binary_width=0.5)", "fewer convolutions or larger strides (--binary_blocks)"
        return ", or ".join([*stem, *fewer])


def share_of(max_cost: float | None) -> float:
    """The most that the binary net may take of the int8 net's cost, for a budget of the pair."""
    return SHARE * min(1.0, 1.0 if max_cost is None else max_cost)


def profile_of(
    nets: Nets, input_shape: Sequence[int], classes: int, core: str = DEFAULT_CORE, board: str | None = None
) -> Profile:
    """The `Profile` of the pair that `nets` will become; all its images escalate."""
    return _profile(nets, tuple(input_shape), classes, core, board)


@functools.lru_cache(256)
def _profile(nets, input_shape, classes, core, board):
    found = Profile.of(sketch(nets, input_shape, classes), core, board)
    return dataclasses.replace(found, name="the pair")


@functools.lru_cache(256)
def _int8_cycles(nets, input_shape, classes, core, board):
    """Estimated cycles of the int8 net alone."""
    return cost(sketch_int8(nets, input_shape, classes), board_name=board).cycles[core].middle


def _ratio(nets, input_shape, classes, core, board):
    """Cost of an image that does not escalate over that of the int8 net alone.

    It is that of the pair, not of the binary net alone, which computes a shared stem otherwise where both nets read it.
    """
    float_part = dataclasses.replace(nets, blocks=(), planes=None, shared_stem=False)
    accepted = profile_of(nets, input_shape, classes, core, board).accepted_cycles.middle
    return accepted / _int8_cycles(float_part, input_shape, classes, core, board)


def fitting_boards(profile: Profile, data: bytes) -> tuple[str, ...]:
    """Names of the boards whose memories hold the flatbuffer `data` with its code; `profile` is its on any core."""
    arenas = {core: arena(data, core) for core in {board.core for board in BOARDS.values()}}
    profiles = [
        dataclasses.replace(profile, core=board.core, arena=arenas[board.core], board=(name, board))
        for name, board in BOARDS.items()
    ]
    return tuple(name for name, each in zip(BOARDS, profiles, strict=True) if each.shortage() is None)


def misfit(profile: Profile, boards: Sequence[str], advice: Sequence[str] = ()) -> str:
    """The line that says why a board cannot hold the pair of a `Profile`, and what would help.

    `boards` are those that hold it, `advice` words for what else would help.
    """
    help_words = [*advice, *([f"another board ({', '.join(boards)})"] if boards else [])]
    words = f"; what helps: {', or '.join(help_words)}" if help_words else "; no known board holds it"
    return f"{profile.shortage()}{words}."


def _fitting_size(nets, input_shape, classes, profile):
    """Height and width of smaller images of the same form with which nets fit the profile's board; None for none."""
    if profile.flash_bytes > profile.board[1].flash_bytes:
        return None  # which depends little on the images
    longest = max(input_shape[:2])
    for side in _SMALLER:
        form = [max(1, round(pixels * side / longest)) for pixels in input_shape[:2]]
        if side >= longest or min(form) < SMALLEST:
            continue
        shape = (*form, input_shape[2])
        (smallest,) = float_nets(shape, classes)[-1:]
        smaller = dataclasses.replace(smallest, blocks=nets.blocks, planes=nets.planes, shared_stem=nets.shared_stem)
        if profile_of(smaller, shape, classes, profile.core, profile.board[0]).shortage() is None:
            return form
    return None


def float_nets(input_shape: Sequence[int], classes: int) -> list[Nets]:
    """Candidates for the float net, the costliest first: `Nets` without a binary net."""
    least, side = min(input_shape[:2]), math.sqrt(math.prod(input_shape[:2]))
    filters = (16, 12, 8) if classes <= 64 else (24, 16, 12)  # the classifier reads four times as many features
    possible = [each for each in _REDUCTIONS if side / math.prod(each) <= _FULL_MAP] or _REDUCTIONS[-1:]
    possible = [each for each in possible if each == possible[0] or least / math.prod(each) >= _SMALLEST_MAP]
    found = [(filters_ / math.prod(each), filters_, each) for each in possible for filters_ in filters]
    return [
        Nets("resnet8", width, (_KERNELS[first], first), (), None, False, _stage_strides(least / first, begin))
        for _, width, (first, begin) in sorted(found, reverse=True)
    ]


def _stage_strides(side, begin):
    """Strides of ResNet-8's stages on a map of this least side, so that the last has 2x2; `begin`: of the first."""
    strides = []
    for stride in (begin, 2, 2):
        side = math.ceil(side)
        strides.append(stride if side > 2 else 1)
        side /= strides[-1]
    return tuple(strides)


def _pairs(nets, input_shape, shared_stem, width, blocks):
    """`Nets` with the binary nets that may stand beside a float net, the one to prefer first."""
    least = min(input_shape[:2])
    for shared in (True, False) if shared_stem is None else (shared_stem,):
        if blocks is None:
            side = math.ceil(least / nets.stem[1]) if shared else least
            binaries = binary_nets(side, shared, input_shape[-1])
        else:
            binaries = [parse_blocks(blocks)]
        for each, planes in binaries:
            yield dataclasses.replace(nets, blocks=widened(each, width), planes=planes, shared_stem=shared)


def binary_nets(side: int, shared: bool, channels: int) -> list[tuple[tuple, int]]:
    """[(blocks, planes)] of binary nets on maps of this least side, the costliest first."""
    halvings = 0
    while math.ceil(side / 2**halvings) > _LAST_MAP:
        halvings += 1
    first: Blocks = ((32, 2),) * max(0, halvings - 3)  # of a large map that no other convolution has strided
    strided = halvings - len(first)
    found = []
    for width, filters in ((1.5, _FIVE), (1.0, _FIVE), (0.75, _FIVE), (0.5, _FIVE), (0.5, _THREE)):
        places = range(0, len(filters), 2)[:strided] if filters is _FIVE else range(strided)
        blocks = [(each, 2 if place in places else 1) for place, each in enumerate(filters)]
        for planes in (4, 2, 1) if shared else (10 if channels > 1 else 15,):
            found.append((first + widened(blocks, width), planes))
    return found


_FIVE, _THREE = (64, 64, 128, 128, 256), (64, 128, 256)


def _within(candidates, input_shape, classes, core, board, share):
    """The first candidate whose accepted images take at most `share` of the int8 net's cost; else the cheapest."""
    ratios = {}
    for nets in candidates:
        ratios[nets] = _ratio(nets, tuple(input_shape), classes, core, board)
        if ratios[nets] <= share:
            return nets
    return min(ratios, key=ratios.get)
