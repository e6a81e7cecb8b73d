"""Checkpoints of a training in stages: each stage leaves its weights and history, so that a killed training resumes."""

import json
import logging
import pathlib
import shutil

import tensorflow as tf

from bcnet_keras.utils.atomic_files import replace_when_done

log = logging.getLogger(__name__)


class StageCheckpoint:
    """The files of one stage: the epoch in progress, then the stage's weights and history.

    Arguments:
      folder: directory of the checkpoints; None keeps nothing.
      stage: name of the stage, from which the file names follow.
    """

    def __init__(self, folder, stage):
        self.stage, self.folder = stage, None if folder is None else pathlib.Path(folder)
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.weights = self.folder / f"{stage}.weights.h5"
            self.history = self.folder / f"{stage}.history.json"
            self.backup = self.folder / f"{stage}_in_progress"

    @property
    def progress(self):
        """The file in which the learning rate schedule keeps the validation history; None without a folder."""
        return self.folder and self.folder / f"{self.stage}.progress.json"

    @property
    def finished(self):
        """Whether the stage was trained to its end."""
        return self.folder is not None and self.weights.exists()

    @property
    def callbacks(self):
        """Keras callbacks that save each epoch and resume from the last one."""
        if self.folder is None:
            return []
        # The last epoch stays on disk until the stage's weights are there.
        return [tf.keras.callbacks.BackupAndRestore(str(self.backup), delete_checkpoint=False)]

    def load(self, model):
        """Loads the weights of a finished stage into `model`; returns its history."""
        model.load_weights(self.weights)
        log.info("stage %s is finished already; loaded from %s", self.stage, self.weights)
        return json.loads(self.history.read_text())

    def save(self, model, history):
        """Saves a finished stage and deletes the files of the epoch in progress."""
        if self.folder is None:
            return
        # The weights are written last, so that their presence means that the stage is finished.
        with replace_when_done(self.history) as path:
            path.write_text(json.dumps(history))
        with replace_when_done(self.weights) as path:
            model.save_weights(path)
        shutil.rmtree(self.backup, ignore_errors=True)
        self.progress.unlink(missing_ok=True)
