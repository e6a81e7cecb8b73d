"""Flags of commands that follow from the settings of a run."""

from __future__ import annotations

from typing import Any

from absl import flags

from bcnet_keras.experiment.settings import FLAGS


def define_setting(values: flags.FlagValues, name: str, **changed: Any) -> None:
    """Declares the flag of a setting of a run, as `experiment.settings` describes it.

    Arguments:
      name: of the setting.
      changed: `default` or `help` in place of the setting's own.
    """
    default, flag = FLAGS[name]
    default, text = changed.get("default", default), changed.get("help", flag.help)
    if flag.choices:
        flags.DEFINE_enum(name, default, list(flag.choices), text, flag_values=values)
    elif flag.listed:
        flags.DEFINE_list(name, default, text, flag_values=values)
    elif flag.kind is bool:
        flags.DEFINE_bool(name, default, text, flag_values=values)
    elif flag.kind is str:
        flags.DEFINE_string(name, default, text, flag_values=values)
    else:
        define = flags.DEFINE_integer if flag.kind is int else flags.DEFINE_float
        define(name, default, text, lower_bound=flag.least, upper_bound=flag.most, flag_values=values)
