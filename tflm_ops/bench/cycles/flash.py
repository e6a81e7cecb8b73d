"""What a flash makes a core wait, from how often its caches were missed."""

from typing import NamedTuple


class Range(NamedTuple):
    """Cycles at least and at most."""

    low: float
    high: float


class CacheUse(NamedTuple):
    """How often a cache was visited, and how often without success; `sequential` of the misses followed in a row."""

    visits: int
    misses: int
    sequential: int


def arguments(flash, first, end):
    """Arguments of the plug-in that simulate the caches of a `bcnet_keras.device.boards.Flash`.

    `first` and `end` are the addresses that constants lie between. A flash without a cache keeps what it read last.
    """
    code, data = (max(1, cache // flash.line) for cache in (flash.code_cache, flash.data_cache))
    return f"code={code}:{flash.line}", f"data={data}:{flash.line}:{first}:{end}"


def stalls(flash, code, data, cycles):
    """`Range` of cycles that a core waits beside `cycles` of work, from `CacheUse` of the two caches."""
    reads = -(-flash.line // flash.width)
    every_read = reads * (flash.wait_states + 1) - 1
    # The core goes on with the first word that it asked for (low), or when the whole line is there (high).
    first = Range(flash.wait_states, every_read)
    jumps = code.misses - code.sequential
    # Code that follows in a row needs all of a line before the next. With a prefetch, what the core did with the line
    # before is not waited for; that is between the mean of a line and nothing, for loops have lines of both kinds.
    ahead = cycles / code.visits if flash.prefetch and code.visits else 0
    row = Range(max(0, every_read - ahead), max(0, every_read - ahead / 2))
    busy = flash.wait_states if flash.prefetch else 0  # a jump may find a prefetch under way
    return Range(
        jumps * first.low + code.sequential * row.low + data.misses * first.low,
        jumps * (first.high + busy) + code.sequential * row.high + data.misses * (first.high + busy),
    )
