"""Public flatbuffers, and what `bcnet profile`, `export` and `run` say of each: writes `docs/tested_models.md`.

    python -m experiments.tested_models ~/models

`tested_models.json` beside this file lists them: sources by address and version, files by path and SHA-256. They are
not ours to give on: get each source into a folder `~/models/NAME`, a repository at the revision that is listed, a wheel
unpacked. What lies in an archive has the path `archive.zip!file`. The table ends with what is not there, or is another.

Each arena is held against TensorFlow Lite Micro's own interpreter, the one of the tflite-micro wheel, whose kernels are
the reference ones: activations and scratch memory, to the byte. An interpreter runs in a process of its own, since a
damaged file can end it.
"""

import hashlib
import io
import json
import multiprocessing
import pathlib
import re
import zipfile

import numpy as np
from absl import app

from bcnet_keras.device.arena import REFERENCE, arena
from bcnet_keras.device.cost_bconv2d import SCRATCH_BUDGET
from bcnet_keras.device.memory_plan import plan_memory
from bcnet_keras.device.profile import Profile
from bcnet_keras.errors import BcnetError
from bcnet_keras.export.description import describe
from bcnet_keras.runtime import tflm
from bcnet_keras.tflite import flatbuffer
from bcnet_keras.utils.atomic_files import write_atomic
from bcnet_keras.utils.pages import text_table
from bcnet_keras.utils.silence import captured_output

LIST = pathlib.Path(__file__).with_suffix(".json")
TABLE = pathlib.Path(__file__).parents[1] / "docs" / "tested_models.md"
HELD = "activations and scratch, TensorFlow Lite Micro's"
OPTIMIZED = "arena after bcnet optimize"
_SECONDS = 300  # for one run


def content(folder, path):
    """Bytes of a file of a source; None where it is not there. `path` may lead into an archive."""
    outer, _, inner = path.partition("!")
    file = folder / outer
    if not file.is_file():
        return None
    if not inner:
        return file.read_bytes()
    with zipfile.ZipFile(io.BytesIO(file.read_bytes())) as archive:
        return archive.read(inner) if inner in archive.namelist() else None


def run_in_micro(data, connection):
    """Sends (bytes of activations and scratch memory, "ran" or the reason why not, the answers to inputs of 1)."""
    try:
        model = tflm.Model(data)
        with captured_output() as captured:
            model._interpreter.print_allocations()
            head = int(re.search(r"Arena allocation head (\d+) bytes", captured())[1])
        graph = flatbuffer.read(data).subgraphs[0]
        inputs = [
            np.ones(flatbuffer.shape(tensor), flatbuffer.dtype(tensor))
            for tensor in (graph.tensors[index] for index in graph.inputs)
        ]
        answers = [np.asarray(answer).tobytes() for answer in model.run(inputs)]
        connection.send((head, "ran", answers))
    except BcnetError as error:
        connection.send((None, str(error), None))


def in_micro(data):
    """What `run_in_micro` sends from a process of its own."""
    receiver, sender = multiprocessing.Pipe()
    process = multiprocessing.Process(target=run_in_micro, args=(data, sender), daemon=True)
    process.start()
    sender.close()
    try:
        result = receiver.recv() if receiver.poll(_SECONDS) else (None, f"did not end in {_SECONDS} s", None)
    except EOFError:
        result = None, "the interpreter's process ended", None
    process.kill()
    process.join()
    return result


def row(name, path, data):
    """Cells of a file's row."""
    cells = [name, path.replace("|", ""), hashlib.sha256(data).hexdigest()[:16]]
    try:
        profile = Profile.of(data, "cortex-m4")
    except BcnetError as error:
        _, outcome, _ = in_micro(data)
        return [*cells, f"refused: {error}", "", "", "", "", "refused", "refused" if outcome != "ran" else "RAN"]
    least = "at least " if profile.cost.incomplete else ""
    bytes_ = f"{'at least ' if profile.arena.incomplete else ''}{profile.arena.bytes:,}"
    planned = arena(data, REFERENCE).activation_bytes
    found, outcome, answers = in_micro(data)
    held = "not told" if found is None else f"{planned:,}, same" if found == planned else f"{planned:,} for {found:,}"
    try:
        net = describe(data, None, None, SCRATCH_BUDGET)
        exported = f"arena of {net.arena_size:,}"
    except BcnetError as error:
        exported = str(error)
    figures = f"{least}{profile.expected_cycles.range_text()}", f"{least}{profile.expected:,}"
    return [*cells, *figures, bytes_, optimized(data, found, answers), held, exported, outcome]


def optimized(data, before, answers):
    """The cell of `bcnet optimize`: bytes of the arena for a Cortex-M4, and what TensorFlow Lite Micro says of them."""
    model = flatbuffer.read(data)
    plan_memory(model)
    planned = flatbuffer.write(model)
    size = arena(planned, "cortex-m4").bytes
    if size == arena(data, "cortex-m4").bytes:
        return "no gain"
    after, _, planned_answers = in_micro(planned)
    if answers is None:
        return f"{size:,}, not run"
    sound = planned_answers == answers and after <= before
    return f"{size:,}, {'same answers' if sound else 'OTHER ANSWERS OR LARGER'}"


def number(cell):
    """The first number in a cell."""
    return int(re.search(r"\d[\d,]*", cell)[0].replace(",", "").rstrip(","))


def main(arguments):
    if len(arguments) != 2 or not pathlib.Path(arguments[1]).expanduser().is_dir():
        raise app.UsageError("expected one argument, the folder with a folder for each source")
    folder, sources = pathlib.Path(arguments[1]).expanduser(), json.loads(LIST.read_text())
    rows, missing = [], []
    for name, source in sources.items():
        for path, digest in source["files"].items():
            data = content(folder / name, path)
            if data is None or hashlib.sha256(data).hexdigest() != digest:
                missing.append(f"{name}: {path}")
                continue
            rows.append(row(name, path, data))
            print(" | ".join(rows[-1]), flush=True)
    headings = ["source", "file", "SHA-256 begins", "cycles", "instructions", "arena, bytes", OPTIMIZED]
    headings += [HELD, "bcnet export", "TensorFlow Lite Micro"]
    held = [cells[headings.index(HELD)] for cells in rows]
    compared = [cell for cell in held if cell.endswith("same") or " for " in cell]
    same = sum(cells.endswith("same") for cells in compared)
    smaller = [
        number(cells[headings.index(OPTIMIZED)]) / number(cells[headings.index(OPTIMIZED) - 1])
        for cells in rows
        if cells[headings.index(OPTIMIZED)][:1].isdigit()
    ]
    listed = "\n".join(f"- {name}: {source['address']}, {source['version']}" for name, source in sources.items())
    absent = "\n".join(f"- {line}" for line in missing)
    planned = f"{len(compared)} of them too: {same} have activations and scratch memory of that size to the byte"
    gain = f"{len(smaller)} files smaller, to {min(smaller, default=1):.2f} of it at best"
    write_atomic(
        TABLE,
        f"""# Public flatbuffers that were tried

Written by `python -m experiments.tested_models FOLDER`; how to get the files is said in `experiments/tested_models.py`.
{len(rows)} files. Cycles (estimated), instructions and arena are of `bcnet profile` for a Cortex-M4, or its sentence.
TensorFlow Lite Micro's interpreter, with its reference kernels, planned
{planned}.
`bcnet optimize` makes the arena of {gain}; the answers to inputs
of 1 stay the same bit by bit.
The last two columns are what `bcnet export` says, and whether the file ran in TensorFlow Lite Micro.

{listed}

{text_table([headings, *rows])}
{f"Not at hand:{chr(10)}{chr(10)}{absent}{chr(10)}" if missing else ""}""",
    )
    told = f"{len(rows)} files, {same} of {len(compared)} arenas the same, {len(missing)} files not at hand"
    print(f"{TABLE}: {told}")


if __name__ == "__main__":
    app.run(main)
