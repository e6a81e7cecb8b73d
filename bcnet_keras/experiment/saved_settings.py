"""The settings of a run as its folder holds them."""

from __future__ import annotations

import dataclasses
import pathlib
import shutil
from typing import Any

from bcnet_keras.errors import BcnetError
from bcnet_keras.experiment.settings import TARGET, Settings
from bcnet_keras.models.networks import Nets
from bcnet_keras.utils.atomic_files import replace_when_done
from bcnet_keras.utils.sealed_files import read_record, write_record
from bcnet_keras.utils.types import StrPath

FILE = "settings.json"
PRICE = {"cost": "estimated cycles"}  # in a run's settings; of before, when costs were instructions, they lack it
FREE = (*TARGET, "data_dir")  # settings that may change between two starts: what the data are, `run_folder.DATA` says


def read_settings(folder: StrPath) -> Settings:
    """The `Settings` of the run in `folder`. Raises FileNotFoundError where there is none, ValueError where damaged."""
    place = pathlib.Path(folder) / FILE
    if not place.is_file():
        raise FileNotFoundError(f"{folder} is not the folder of a run: it has no {FILE}.")
    try:
        return settings_of(read_record(place)[0])
    except (ValueError, TypeError, KeyError):
        raise BcnetError(f"{place} is damaged or of another version") from None


def settings_of(record: dict[str, Any]) -> Settings:
    """The `Settings` of a record of them, as JSON holds it."""
    values: dict[str, Any] = {name: value for name, value in record.items() if name not in PRICE}
    values |= {name: values[name] and tuple(values[name]) for name in ("epochs", "resize") if name in values}
    nets = values.get("nets")
    return Settings(**{**values, "nets": nets and Nets.from_record(nets)})


def take_float_net(source: pathlib.Path, folder: pathlib.Path, settings: Settings) -> None:
    """Copies the float net of the run in `source` to where one in the new `folder` looks for it.

    Does nothing where `folder` is there already, where there is no such net, and where the run's settings are not
    `settings`: it may then be another net. Only the epochs of the other stages may differ.
    """
    files = [source / "checkpoints" / name for name in ("float.history.json", "float.weights.h5")]
    if folder.exists() or not all(file.exists() for file in files):
        return
    theirs = read_settings(source)
    same = (
        dataclasses.replace(theirs, **{name: getattr(settings, name) for name in ("epochs", "nets", *TARGET)})
        == settings
    )
    float_epochs = [each.named_recipe and each.named_recipe[1] for each in (theirs, settings)]
    if same and float_epochs[0] == float_epochs[1]:
        (folder / "checkpoints").mkdir(parents=True)
        for file in files:
            with replace_when_done(folder / "checkpoints" / file.name) as path:
                shutil.copy(file, path)


def write_settings(folder: StrPath, settings: Settings) -> None:
    """Writes the settings of the run in `folder`."""
    write_record(pathlib.Path(folder) / FILE, dataclasses.asdict(settings) | PRICE)


def trained_on(settings: Settings) -> dict[str, Any]:
    """The settings on which training depends, as a dict for JSON."""
    return {name: value for name, value in dataclasses.asdict(settings).items() if name not in (*FREE, "nets")}
