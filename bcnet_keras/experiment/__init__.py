"""One training run, from the data to the report and the verdict: `run(Settings(dataset="digits"), "runs/digits")`."""

from bcnet_keras.utils.lazy import lazy

# Name -> module of this package that defines it.
_PUBLIC = {"Settings": "settings", "read_settings": "saved_settings", "run": "training_run"}
__all__ = list(_PUBLIC)
__getattr__ = lazy(__name__, _PUBLIC)
