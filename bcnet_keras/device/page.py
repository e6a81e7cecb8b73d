"""The profile of a flatbuffer as a self-contained HTML page."""

from __future__ import annotations

import html
from typing import Any

from bcnet_keras.device.arena import Arena
from bcnet_keras.device.cycles import Cycles
from bcnet_keras.device.profile import Profile
from bcnet_keras.utils.pages import html_page, html_table, image, new_figure

_PATH_COLOURS = {
    "always": "#1b7a4b",
    "escalated": "#c2703d",
    "accepted": "#5b8fb0",
    "sometimes": "#8a6fae",
    "loop": "#b03a2e",
    "once": "#d9a441",
    "never": "#999999",
}


def profile_page(profile: Profile) -> str:
    """A self-contained HTML page of a `bcnet_keras.device.profile.Profile`."""
    summary = "".join(
        f"<tr><td>{html.escape(what)}</td><td>{html.escape(value)}</td></tr>" for what, value in profile.summary()
    )
    verdict = ""
    if profile.board is not None:
        shortage = profile.shortage()
        verdict = f"<p><strong>{html.escape(shortage or f'It fits {profile.board[0]}.')}</strong></p>"
    body = f"""<h1>{html.escape(profile.name).replace("/", "/<wbr>")} on {html.escape(profile.core)}</h1>
{verdict}
<table class="facts">{summary}</table>
<p>Cycles are estimated from what was executed under QEMU, by models of the cores: what is not known of a core or of a
board's flash is a range, low to high. {
        html.escape(_memory_text(profile))
    } The arena is planned by TensorFlow Lite Micro's rules.</p>
<h2>Operators</h2>{
        image(_operators_figure(profile), f"Bars of each operator's {profile.core} cycles, as in the table below.")
    }
{html_table(profile.table())}
<h2>Arena over time</h2>
<p>Each box is a tensor or the scratch memory of an operator: when it is needed, and where it lies. What is in one
column is in memory at the same time; the branches of a pair use the same places. Records ({
        profile.arena.record_bytes:,} bytes) lie above.</p>
{
        image(
            _arena_figure(profile.arena),
            f"Where tensors lie in the arena, operator by operator: {profile.arena.bytes:,} B.",
        )
    }"""
    return html_page(f"{profile.name}: profile", body)


def _memory_text(profile: Profile) -> str:
    if profile.board is None:
        return "Memory answers at once; with a board's name, its flash and caches are in them."
    name, board = profile.board
    sure = "" if board.flash.sure else "; partly assumed"
    return f"Code and weights are in the flash of {name} ({board.flash.source}{sure})."


def _end(layer: str, longest: int = 24) -> str:
    """The end of a layer's name, which tells layers apart."""
    return layer if len(layer) <= longest else f"...{layer[3 - longest :]}"


def _operators_figure(profile: Profile) -> Any:
    ops = profile.cost.ops
    figure, ((axes,),) = new_figure(9, 1.2 + 0.28 * len(ops))
    for path, colour in _PATH_COLOURS.items():
        rows = [row for row, op in enumerate(ops) if op.path == path]
        if rows:
            cycles = [(ops[row].cycles or {}).get(profile.core, Cycles(0, 0)) for row in rows]
            spread = [(each.high - each.low) / 2e3 for each in cycles]
            axes.barh(rows, [each.middle / 1e3 for each in cycles], xerr=spread, color=colour, label=path)
    axes.set_yticks(range(len(ops)), [f"{op.name} {_end(op.layer)}" for op in ops], fontsize=7)
    axes.set_ylim(len(ops) - 0.4, -0.6)
    axes.set_xlabel(f"thousand {profile.core} cycles, with their range")
    axes.grid(axis="x", alpha=0.25)
    axes.legend(title="runs", loc="best")
    return figure


def _arena_figure(arena: Arena) -> Any:
    from matplotlib.patches import Rectangle

    figure, ((axes,),) = new_figure(max(7, 0.3 * len(arena.steps)), 4.5)
    for buffer in arena.buffers:
        scratch = buffer.name.startswith("scratch memory")
        place = (buffer.first - 0.5, buffer.offset / 1024), buffer.last - buffer.first + 1, buffer.bytes / 1024
        axes.add_patch(Rectangle(*place, fc="#d9a441" if scratch else "#5b8fb0", ec="white", lw=0.6))
    axes.plot([], [], "s", color="#5b8fb0", label="tensors")
    axes.plot([], [], "s", color="#d9a441", label="scratch memory")
    axes.set_xlim(-0.6, len(arena.steps) - 0.4)
    axes.set_ylim(0, max(arena.activation_bytes / 1024, 0.1) * 1.02)
    axes.set_xticks(range(len(arena.steps)), [step or "begin" for step in arena.steps], rotation=90, fontsize=7)
    axes.set_ylabel("KiB from the arena's start")
    axes.legend(loc="best")
    return figure
