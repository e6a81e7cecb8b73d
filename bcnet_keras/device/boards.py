"""Real boards: a core, its clock, the memories that a program has, and what its flash makes the core wait.

    board("nucleo-f446re").milliseconds(cycles)

Cycles of `bcnet_keras.device.cost` are those of a memory that answers at once. Code in a board's flash is slower by a
factor, which depends on the flash, on the caches before it and on the operator's code: the unrolled loops of the binary
convolution need more of a cache than others, so that some boards should have them in RAM (`BCNET_FAST_CODE`).
`boards.json` has the factors, a range for each board and operator; `tflm_ops/bench/flash.py` measures them under QEMU
with the caches simulated, and writes it. Caches are as a board's firmware commonly enables them. Boards with a
Cortex-M85, such as EK-RA8M1, are left out: that core has no model here.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bcnet_keras.device.cycles import Cycles
from bcnet_keras.errors import BcnetError

_KB, _MB = 1 << 10, 1 << 20


@dataclass(frozen=True)
class Flash:
    """What lies between a core and its code, as a data sheet or a reference manual describes it.

    Attributes:
      wait_states: cycles of the core that a read waits, at the board's clock.
      width: bytes of a read.
      line: bytes of a line of the caches; the width of a board without a cache, which keeps the last read.
      code_cache, data_cache: bytes of the caches of instructions and of constants; 0 without one. One cache for both
        is given to each by half.
      prefetch: whether the next line of instructions is read ahead.
      source: where these come from.
      sure: False where a part of them is not known from the maker; then the factor's range is widened.
    """

    wait_states: int
    width: int
    line: int
    code_cache: int
    data_cache: int
    prefetch: bool
    source: str
    sure: bool = True


@dataclass(frozen=True)
class Board:
    """A board as its maker's data sheet describes it: core, clock in MHz, bytes of flash and of RAM, and the flash.

    RAM is all that one program can use; where it is in several parts, an arena can be no larger than a part.
    """

    core: str
    mhz: int
    flash_bytes: int
    ram_bytes: int
    flash: Flash

    def milliseconds(self, cycles: Cycles) -> Cycles:
        """The range of milliseconds, a `Cycles`, that so many `Cycles` take at the board's clock."""
        return cycles * (1e-3 / self.mhz)


_ART_F4: dict[str, Any] = {"width": 16, "line": 16, "code_cache": 1 * _KB, "data_cache": 128, "prefetch": True}
_ART_L4: dict[str, Any] = {"width": 8, "line": 32, "code_cache": 1 * _KB, "data_cache": 256, "prefetch": False}
_ICACHE: dict[str, Any] = {"width": 16, "line": 16, "code_cache": 4 * _KB, "data_cache": 4 * _KB, "prefetch": False}
_QSPI: dict[str, Any] = {"width": 8, "line": 8, "code_cache": 8 * _KB, "data_cache": 8 * _KB, "prefetch": False}

BOARDS = {
    "arduino-nano-33-ble": Board(  # nRF52840
        "cortex-m4",
        64,
        1 * _MB,
        256 * _KB,
        Flash(
            2, 16, 16, 2 * _KB, 0, False, "nRF52840 product specification, NVMC: cache as firmware enables it", False
        ),
    ),
    "arduino-uno-r4": Board(  # R7FA4M1
        "cortex-m4",
        48,
        256 * _KB,
        32 * _KB,
        Flash(1, 8, 16, 256, 16, True, "RA4M1 hardware manual, flash cache", False),
    ),
    "bluepill-f103c8": Board(  # STM32F103C8
        "cortex-m3", 72, 64 * _KB, 20 * _KB, Flash(2, 8, 8, 16, 0, True, "ST PM0075, prefetch buffer of two reads")
    ),
    "ek-ra6m4": Board(
        "cortex-m33",
        200,
        1 * _MB,
        256 * _KB,
        Flash(3, 16, 32, 4 * _KB, 4 * _KB, False, "RA6M4 hardware manual, flash wait cycles above 150 MHz", False),
    ),
    "frdm-k64f": Board(  # MK64FN1M0
        "cortex-m4",
        120,
        1 * _MB,
        256 * _KB,
        Flash(4, 16, 16, 256, 128, True, "K64 reference manual, flash memory controller; flash at 24 MHz", False),
    ),
    "nrf5340-dk": Board(  # application core
        "cortex-m33",
        128,
        1 * _MB,
        512 * _KB,
        Flash(4, 16, 16, 4 * _KB, 4 * _KB, False, "nRF5340 product specification, cache of 8 KB", False),
    ),
    "nucleo-f401re": Board("cortex-m4", 84, 512 * _KB, 96 * _KB, Flash(2, **_ART_F4, source="ST RM0368, 3.4")),
    "nucleo-f446re": Board("cortex-m4", 180, 512 * _KB, 128 * _KB, Flash(5, **_ART_F4, source="ST RM0390, 3.4")),
    "nucleo-f746zg": Board(
        "cortex-m7",
        216,
        1 * _MB,
        320 * _KB,
        Flash(7, 32, 32, 4 * _KB, 4 * _KB, False, "ST RM0385, 3.3; level 1 caches as firmware enables them"),
    ),
    "nucleo-f767zi": Board(
        "cortex-m7",
        216,
        2 * _MB,
        512 * _KB,
        Flash(7, 32, 32, 16 * _KB, 16 * _KB, False, "ST RM0410, 3.3; level 1 caches as firmware enables them"),
    ),
    "nucleo-g0b1re": Board(
        "cortex-m0plus", 64, 512 * _KB, 144 * _KB, Flash(2, 8, 8, 16, 0, True, "ST RM0444, 3.3", False)
    ),
    "nucleo-h743zi": Board(
        "cortex-m7",
        480,
        2 * _MB,
        1 * _MB,
        Flash(9, 32, 32, 16 * _KB, 16 * _KB, False, "ST RM0433, 4.3: 4 wait states of the bus at half of the clock"),
    ),
    "nucleo-h7a3zi": Board(
        "cortex-m7",
        280,
        2 * _MB,
        1376 * _KB,
        Flash(6, 16, 32, 16 * _KB, 16 * _KB, False, "ST RM0455, 4.3", False),
    ),
    "nucleo-l476rg": Board("cortex-m4", 80, 1 * _MB, 128 * _KB, Flash(4, **_ART_L4, source="ST RM0351, 3.3")),
    "nucleo-l4r5zi": Board(
        "cortex-m4", 120, 2 * _MB, 640 * _KB, Flash(5, **_ART_L4, source="ST RM0432, 3.3, in two banks")
    ),
    "nucleo-l552ze": Board("cortex-m33", 110, 512 * _KB, 256 * _KB, Flash(5, **_ICACHE, source="ST RM0438, 6 and 9")),
    "nucleo-u575zi": Board("cortex-m33", 160, 2 * _MB, 768 * _KB, Flash(4, **_ICACHE, source="ST RM0456, 7 and 8")),
    "raspberry-pi-pico": Board(  # RP2040
        "cortex-m0plus",
        133,
        2 * _MB,
        264 * _KB,
        Flash(45, **_QSPI, source="RP2040 datasheet, 2.6.3; QSPI at half of the clock", sure=False),
    ),
    "raspberry-pi-pico-2": Board(  # RP2350
        "cortex-m33",
        150,
        4 * _MB,
        520 * _KB,
        Flash(45, **_QSPI, source="RP2350 datasheet, 4.4; QSPI at half of the clock", sure=False),
    ),
}
FAST_CODE = "LceBconv2d, BCNET_FAST_CODE"  # the binary convolution with its innermost functions in RAM
FAST_CODE_BYTES = 4096  # that it takes at most
_UNSURE = 1.15  # how much further the factors of a board may reach whose flash is not known exactly


def board(name: str) -> Board:
    """The `Board` of a name.

    Raises:
      ValueError: there is none of that name.
    """
    if name not in BOARDS:
        raise BcnetError(f"unknown board {name!r}: expected one of {', '.join(BOARDS)}")
    return BOARDS[name]


@functools.cache
def _factors() -> dict[str, dict[str, tuple[float, float]]]:
    """{board: {operator, or "other": [low, high]}}: cycles with code in flash over those of memory without waits.

    The first is a factor of the fewest cycles, the second of the most; it may be the smaller one.
    """
    tables: dict[str, dict[str, dict[str, tuple[float, float]]]] = json.loads(
        Path(__file__).with_suffix(".json").read_text()
    )
    return tables["factors"]


def _factor(operator: str, board_name: str) -> tuple[float, float]:
    known = _factors()[board_name]
    low, high = known.get(operator, known["other"])
    if not BOARDS[board_name].flash.sure:
        low, high = 1 + (low - 1) / _UNSURE, high * _UNSURE
    return low, high


def in_flash(cycles: Cycles, operator: str, board_name: str) -> Cycles:
    """`Cycles` of an operator, by its name, with code and weights in the flash of a board."""
    return _times(cycles, *_factor(operator, board_name))


def with_fast_code(cycles: Cycles, board_name: str) -> Cycles:
    """`Cycles` of a binary convolution whose innermost functions are in RAM that answers at once.

    Arguments:
      cycles: those of `in_flash`.
    """
    (low, high), (fast_low, fast_high) = (_factor(name, board_name) for name in ("LceBconv2d", FAST_CODE))
    return _times(cycles, min(1.0, fast_low / low), min(1.0, fast_high / high))


def _times(cycles: Cycles, low: float, high: float) -> Cycles:
    """Each end of `Cycles` times its factor. That of the lower end is larger where waits are much beside few cycles."""
    return Cycles(*sorted((cycles.low * low, cycles.high * high)))
