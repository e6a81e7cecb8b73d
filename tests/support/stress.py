"""Kills, fills disks and damages files of a small training, again and again: it ends right, or says why in one line.

usage: python stress.py COUNT [SEED]

Every situation is a process of its own, forked from one that has TensorFlow loaded. It trains a float net and a pair in
one folder, as a run does, from where the one before it left off, and writes the flatbuffer. What it meets is drawn:
SIGKILL at one of its batches or of its accesses to the folder, a limit on the size of files (as on a full disk), a file
in the folder that is cut, has a flipped byte or is gone, or other data under the same name. A training that ends has
the same flatbuffer as one that nobody disturbed; one that does not ends in an error of one line.
"""

import collections
import hashlib
import os
import pathlib
import random
import resource
import shutil
import signal
import sys
import tempfile
import traceback

import numpy as np

DONE, REFUSED, FAULT = 0, 3, 4
ALLOWED = {
    "kill": ("killed", "done"),
    "damage": ("killed", "done"),
    "full disk": ("refused", "done"),
    "other data": ("refused", "done"),
}


def dataset(changed=False):
    """48 images, 8x8, in four classes; `changed` has one pixel of a training image altered."""
    from bcnet_keras.datasets import Dataset, Split

    numbers, labels = np.random.default_rng(0), np.arange(48) % 4
    images = numbers.integers(0, 256, (48, 8, 8, 1)).astype(np.uint8)
    images[3, 0, 0, 0] ^= changed
    parts = [Split(images[part], labels[part]) for part in (slice(32), slice(32, 40), slice(40, 48))]
    return Dataset("stress", *parts, tuple("abcd"), (0, 255), "", "photo")


def training(folder, data):
    """What a run does with its folder, with small nets; writes `pair.tflite`."""
    import tensorflow as tf
    from small_nets import float_net

    import bcnet_keras as bc
    from bcnet_keras.experiment.run_folder import check_data, locked
    from bcnet_keras.experiment.training_run import input_batches
    from bcnet_keras.training.checkpoints import finished_identity
    from bcnet_keras.training.stages import train_float
    from bcnet_keras.utils.atomic_files import write_atomic

    with locked(folder):
        built_on = check_data(folder, data)
        tf.keras.utils.set_random_seed(1)
        batches, net = input_batches(data, 16, 1), float_net()
        fit = dict(epochs=2, verbose=0, callbacks=[tf.keras.callbacks.LambdaCallback(on_train_batch_end=event)])
        train_float(net, *(batches[name] for name in ("train", "validation")), checkpoint_dir=folder / "float",
                    built_on=built_on, **fit)  # fmt: skip
        pair = bc.BCNet.from_keras(net, width=1, verbose=0)
        bc.train(pair, batches["train"], batches["validation"], stages=("boosted", "cooperative"), int8_share=0.8,
                 teacher=net, checkpoint_dir=folder / "pair",
                 built_on=finished_identity(folder / "float", "float", built_on), **fit)  # fmt: skip
        write_atomic(folder / "pair.tflite", bc.convert(pair))


left = 0  # events until the process kills itself; 0 for never


def event(*_, **__):
    """One thing that happened; the last one kills this process."""
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)


def attempt(folder, kill_at=0, file_limit=None, changed=False):
    """Trains in a process of its own; returns (how it ended, what it said)."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        status = FAULT
        try:
            os.close(reader)
            status, output = _child(folder, kill_at, file_limit, changed)
            os.write(writer, output.encode()[-4000:])
        finally:
            os._exit(status)
    os.close(writer)
    with open(reader, "rb") as pipe:
        output = pipe.read().decode()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return ("killed" if os.WTERMSIG(status) == signal.SIGKILL else f"signal {os.WTERMSIG(status)}"), output
    return {DONE: "done", REFUSED: "refused"}.get(os.WEXITSTATUS(status), "fault"), output


def _child(folder, kill_at, file_limit, changed):
    global left
    left = kill_at
    place = str(folder)

    def watch(name, arguments):
        if name in ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir") and str(arguments[0]).startswith(place):
            event()

    sys.addaudithook(watch)
    if file_limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, resource.RLIM_INFINITY))
    from bcnet_keras.errors import BcnetError

    try:
        training(folder, dataset(changed))
    except (BcnetError, OSError) as error:
        return REFUSED, str(error)
    except BaseException:
        return FAULT, traceback.format_exc()
    return DONE, str(kill_at - left)  # events


def damage(folder, draw):
    """Cuts, flips a bit of, or removes one file in the folder; returns what it did."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    if not files:
        return "nothing"
    path, kind = draw.choice(files), draw.choice(["cut", "flipped", "emptied", "gone"])
    content = bytearray(path.read_bytes())
    if kind == "gone":
        path.unlink()
    elif kind == "flipped" and content:
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        path.write_bytes(content)
    else:
        path.write_bytes(content[: draw.randrange(len(content)) if kind == "cut" and content else 0])
    return f"{path.relative_to(folder)} {kind}"


def _tells_its_data(folder):
    from bcnet_keras.utils.sealed_files import DamagedError, read_record

    try:
        return read_record(folder / "data.json")[1]
    except (FileNotFoundError, DamagedError):
        return False


def stress(count, seed, place, say=print):
    """Meets `count` situations; returns how many of each kind ended how. Raises AssertionError with the first fault."""
    draw, ends = random.Random(seed), collections.Counter()
    reference = place / "reference"
    end, output = attempt(reference)
    assert end == "done", output
    events = int(output)
    right = hashlib.sha256((reference / "pair.tflite").read_bytes()).hexdigest()
    folder = place / "run"
    for number in range(count):
        kind = draw.choices(["kill", "full disk", "damage", "other data"], [5, 2, 3, 1])[0]
        arguments, what = {}, kind
        if kind == "kill":
            arguments["kill_at"] = draw.randrange(1, events)
        elif kind == "full disk":
            arguments["file_limit"] = int(10 ** draw.uniform(1, 5))
        elif kind == "damage":
            what = f"damage: {damage(folder, draw)}"
            arguments["kill_at"] = draw.choice([0, draw.randrange(1, events)])
        elif _tells_its_data(folder):
            arguments["changed"] = True
        end, output = attempt(folder, **arguments)
        say(f"{number}: {what} {arguments or ''}: {end} {output}", flush=True)
        ends[kind, end] += 1
        allowed = ALLOWED[kind]
        assert end in allowed, f"{number}: {what} {arguments} ended in {end}: {output}"
        if end == "refused":
            assert output and "\n" not in output and len(output) < 300 and str(folder) in output, output
        if arguments.get("changed"):
            assert end == "refused" and "the data are not those" in output and "train images" in output, (end, output)
        if end == "done":
            found = hashlib.sha256((folder / "pair.tflite").read_bytes()).hexdigest()
            assert found == right, f"{number}: {what} {arguments}: another flatbuffer"
            if draw.random() < 0.5:
                shutil.rmtree(folder)
    end, output = attempt(folder)
    assert end == "done", output
    assert hashlib.sha256((folder / "pair.tflite").read_bytes()).hexdigest() == right
    return ends


def main():
    sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))
    count, seed = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0
    import bcnet_keras.experiment.training_run  # noqa: F401 (once, before the processes fork)
    import bcnet_keras.training.stages  # noqa: F401

    with tempfile.TemporaryDirectory() as place:
        ends = stress(count, seed, pathlib.Path(place))
    for (kind, end), times in sorted(ends.items()):
        print(f"{kind}, {end}: {times}")


if __name__ == "__main__":
    main()
