"""What a stage of a training keeps on disk: its last epochs while it trains, its weights and history when it is done.

Every file carries a checksum. One that is damaged is set aside, and the stage is trained again from the last that is
whole.
"""

from __future__ import annotations

import json
import logging
import os
import pathlib
import shutil
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from bcnet_keras.utils.atomic_files import replace_when_done
from bcnet_keras.utils.sealed_files import (
    DamagedError,
    digest,
    read_arrays,
    read_record,
    set_aside,
    write_arrays,
    write_record,
)
from bcnet_keras.utils.types import StrPath

_KEPT_EPOCHS = 2  # so that a damaged one has another before it

log = logging.getLogger(__name__)


class StageCheckpoint:
    """The files of one stage.

    Arguments:
      folder: where they are; None to keep nothing.
      stage: its name.
      built_on: text that stands for all that the stage starts from. What is there from another start is set aside.

    Attributes:
      history: {metric: list with one value per epoch} of what is trained already.
      epochs: how many epochs that is; stopped: whether the schedule ended with the last of them.
    """

    def __init__(self, folder: StrPath | None, stage: str, built_on: str | None = None) -> None:
        self.stage, self.folder, self.built_on = stage, None if folder is None else pathlib.Path(folder), built_on
        self.history: dict[str, list[float]] = {}
        self.epochs, self.stopped = 0, False
        self._weights_digest: str | None = None
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.weights = self.folder / f"{stage}.weights.h5"
            self.record = self.folder / f"{stage}.history.json"
            self.in_progress = self.folder / f"{stage}_in_progress"

    @property
    def identity(self) -> str | None:
        """Text that stands for the finished stage and all before it; None where nothing is kept."""
        return self._weights_digest and _identity(self.built_on, self.stage, self._weights_digest)

    def finished(self, model: tf.keras.Model) -> bool:
        """Loads the weights of the stage if it is finished and its files are whole; says whether it did.

        Where it did not, the model and its optimizer are as they were.
        """
        if self.folder is None or not self.weights.exists():
            return False
        before = {id(variable): variable.numpy() for variable in _variables(model)}
        try:
            record, sealed = read_record(self.record)
            if sealed and record["weights"] != digest(self.weights.read_bytes()):
                raise DamagedError(f"{self.weights} is damaged")
            if sealed and self.built_on is not None and record["built_on"] != self.built_on:
                raise DamagedError(f"{self.weights} was trained on other data, settings or stages")
            model.load_weights(self.weights)
        except FileNotFoundError:
            return self._again(f"{self.record} is missing")
        except DamagedError as error:
            return self._again(str(error))
        except (OSError, ValueError, KeyError, RuntimeError):  # files of earlier versions carry no checksum
            for variable in _variables(model):  # some are loaded; an optimizer that had none yet begins with zeros
                variable.assign(before.get(id(variable), tf.zeros_like(variable)))
            return self._again(f"{self.weights} is damaged")
        self.history = record["history"] if sealed else record
        self._weights_digest = digest(self.weights.read_bytes())
        log.info("stage %s is finished already; loaded from %s", self.stage, self.weights)
        return True

    def _again(self, reason):
        log.warning("%s: set aside as *.damaged, and stage %s is trained again.", reason, self.stage)
        for path in (self.weights, self.record):
            if path.exists():
                set_aside(path)
        return False

    def resume(self, model: tf.keras.Model, callbacks: Sequence[tf.keras.callbacks.Callback]) -> None:
        """Takes model, optimizer and callbacks to where the last whole epoch left them.

        Of `callbacks`, each of a kind of its own, those with a method `state`, which gives a dict of arrays, get it
        back by `restore`.
        """
        if self.folder is None:
            return
        for path in sorted(self.in_progress.glob("epoch_*.state"), reverse=True):
            try:
                arrays = read_arrays(path)
                about = json.loads(str(arrays["about"]))
                variables = _variables(model)
                values = [arrays[f"variable{index}"] for index in range(len(variables))]
                if [value.shape for value in values] != [tuple(variable.shape) for variable in variables]:
                    raise DamagedError(f"{path} is of other nets")
                if self.built_on is not None and about["built_on"] != self.built_on:
                    raise DamagedError(f"{path} was trained on other data, settings or stages")
            except KeyError:
                log.warning("%s is of another version: set aside as %s.", path, set_aside(path).name)
                continue
            except DamagedError as error:
                log.warning("%s: set aside as %s.", error, set_aside(path).name)
                continue
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)
            for callback in callbacks:
                if hasattr(callback, "restore"):
                    prefix = f"{type(callback).__name__}."
                    mine = {name.removeprefix(prefix): arrays[name] for name in arrays if name.startswith(prefix)}
                    callback.restore(mine)
            self.history, self.epochs, self.stopped = about["history"], about["epochs"], about["stopped"]
            log.info("stage %s resumes after epoch %d", self.stage, self.epochs)
            return

    def keep(
        self, model: tf.keras.Model, callbacks: Sequence[tf.keras.callbacks.Callback], logs: dict[str, Any] | None
    ) -> None:
        """Keeps an epoch that has ended."""
        self.epochs += 1
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(float(value))
        if self.folder is None:
            return
        about = {"history": self.history, "epochs": self.epochs, "stopped": bool(model.stop_training)}
        about["built_on"] = self.built_on
        arrays = {"about": np.array(json.dumps(about))}
        arrays |= {f"variable{index}": variable.numpy() for index, variable in enumerate(_variables(model))}
        for callback in callbacks:
            if hasattr(callback, "state"):
                arrays |= {f"{type(callback).__name__}.{name}": value for name, value in callback.state().items()}
        if not _writes(model):
            return
        write_arrays(self.in_progress / f"epoch_{self.epochs:06d}.state", arrays)
        for path in self.in_progress.glob("epoch_*.state"):
            if not 0 <= self.epochs - int(path.stem.removeprefix("epoch_")) < _KEPT_EPOCHS:
                path.unlink(missing_ok=True)

    def save(self, model: tf.keras.Model) -> None:
        """Keeps the finished stage, in the place of its epochs. The weights come last: they say that it is finished."""
        if self.folder is None or not _writes(model):
            return
        with replace_when_done(self.weights) as path:
            self._check_room(path, model)
            model.save_weights(path)
            self._weights_digest = digest(path.read_bytes())
            about = {"weights": self._weights_digest, "built_on": self.built_on, "history": self.history}
            write_record(self.record, about)
        shutil.rmtree(self.in_progress, ignore_errors=True)

    def _check_room(self, path, model):
        """Raises OSError where the disk has no room: HDF5 ends the whole process where a file cannot be closed."""
        size = sum(variable.numpy().nbytes + 4096 for variable in model.variables) + (1 << 16)
        try:
            with open(path, "wb") as file:
                file.write(bytes(size))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise type(error)(error.errno, f"cannot write {self.weights}: {error.strerror}") from error
        path.unlink()


def finished_identity(folder: StrPath, stage: str, built_on: str | None) -> str:
    """`StageCheckpoint.identity` of a finished stage in a folder."""
    return _identity(built_on, stage, digest((pathlib.Path(folder) / f"{stage}.weights.h5").read_bytes()))


def _identity(built_on, stage, weights_digest):
    return digest([built_on, stage, weights_digest])


class EpochKeeper(tf.keras.callbacks.Callback):
    """Has every epoch kept; the last of the `callbacks` of a stage."""

    def __init__(self, kept: StageCheckpoint, callbacks: Sequence[tf.keras.callbacks.Callback]) -> None:
        super().__init__()
        self.kept, self.callbacks = kept, callbacks

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.kept.keep(self.model, self.callbacks, logs)


def _variables(model):
    """What an epoch changes: weights, the optimizer's variables and, where dropout has one, the state of its masks."""
    generators = [getattr(getattr(layer, "_random_generator", None), "_generator", None) for layer in model.submodules]
    states = [generator.state for generator in generators if generator is not None]
    return [*model.weights, *(model.optimizer.variables if model.optimizer else ()), *states]


def _writes(model):
    """Whether this process is the one of several workers that writes files."""
    return model.distribute_strategy.extended.should_checkpoint
