"""Real boards: a core, its clock, and the memories that a program has."""

from dataclasses import dataclass

from bcnet_keras.errors import BcnetError

_KB, _MB = 1 << 10, 1 << 20


@dataclass(frozen=True)
class Board:
    """A board as its maker's data sheet describes it: core, clock in MHz, bytes of flash and of RAM.

    RAM is all that one program can use; where it is in several parts, an arena can be no larger than a part.
    """

    core: str
    mhz: int
    flash_bytes: int
    ram_bytes: int


BOARDS = {
    "arduino-nano-33-ble": Board("cortex-m4", 64, 1 * _MB, 256 * _KB),  # nRF52840
    "bluepill-f103c8": Board("cortex-m3", 72, 64 * _KB, 20 * _KB),  # STM32F103C8
    "frdm-k64f": Board("cortex-m4", 120, 1 * _MB, 256 * _KB),  # MK64FN1M0
    "nrf5340-dk": Board("cortex-m33", 128, 1 * _MB, 512 * _KB),  # application core
    "nucleo-f446re": Board("cortex-m4", 180, 512 * _KB, 128 * _KB),
    "nucleo-f767zi": Board("cortex-m7", 216, 2 * _MB, 512 * _KB),
    "nucleo-h743zi": Board("cortex-m7", 480, 2 * _MB, 1 * _MB),
    "nucleo-l476rg": Board("cortex-m4", 80, 1 * _MB, 128 * _KB),
    "nucleo-l552ze": Board("cortex-m33", 110, 512 * _KB, 256 * _KB),
    "raspberry-pi-pico": Board("cortex-m0plus", 133, 2 * _MB, 264 * _KB),  # RP2040
    "raspberry-pi-pico-2": Board("cortex-m33", 150, 4 * _MB, 520 * _KB),  # RP2350
}


def board(name):
    """The `Board` of a name.

    Raises:
      ValueError: there is none of that name.
    """
    if name not in BOARDS:
        raise BcnetError(f"unknown board {name!r}: expected one of {', '.join(BOARDS)}")
    return BOARDS[name]
