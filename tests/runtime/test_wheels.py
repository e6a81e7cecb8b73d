"""What is read from the library of the `tflite-micro` wheel, of which each nightly has names of its own."""

import pytest

from bcnet_keras.runtime import plugin

FIND = "_ZNK6tflite22MicroMutableOpResolverILj{}EE6FindOpEPKc"
INPUT, OUTPUT = "23AllocateTempInputTensor", "24AllocateTempOutputTensor"


def flags(tmp_path, *names):
    """The compiler flags for a wheel whose library has these names."""
    (tmp_path / "_runtime.so").write_bytes(b"\x7fELF\0" + b"\0".join(name.encode() for name in names) + b"\0")
    return plugin._wheel_flags(tmp_path / "_runtime.so")


def names(inside, node):
    return [f"_ZN{inside}12MicroContext{function}E{node}i" for function in (INPUT, OUTPUT)]


def test_a_wheel_with_the_names_of_the_headers_needs_no_others(tmp_path):
    own = names("6tflite", "PK10TfLiteNode")
    assert flags(tmp_path, FIND.format(200), *own) == ["-DBCNET_RESOLVER_CAPACITY=200"]
    compressed = flags(tmp_path, FIND.format(128), "_ZN6tflite12MicroContext24DecompressTensorToBufferE", *own)
    assert compressed == ["-DBCNET_RESOLVER_CAPACITY=128", "-DUSE_TFLM_COMPRESSION"]


@pytest.mark.parametrize(
    ("inside", "node"), [("6tflite", "PKNS_5micro10TfLiteNodeE"), ("6tflite5micro", "PKNS0_10TfLiteNodeE")]
)
def test_a_wheel_with_a_namespace_for_nodes_is_called_by_its_names(tmp_path, inside, node):
    there = names(inside, node)
    assert flags(tmp_path, FIND.format(200), *there)[1:] == [
        f'-DBCNET_WHEEL_INPUT_TENSOR="{there[0]}"',
        f'-DBCNET_WHEEL_OUTPUT_TENSOR="{there[1]}"',
    ]


@pytest.mark.parametrize(
    ("library", "message"),
    [
        ([], "has another operator resolver"),
        ([FIND.format(200)], "lacks AllocateTempInputTensor"),
        ([FIND.format(200), "_ZN6tflite3AddERKNS_5micro16TFLMRegistrationE"], "registers operators differently"),
        ([FIND.format(200), "_ZN6tflite5micro3AddEPPKNS0_16TFLMRegistrationE"], "registers operators differently"),
    ],
)
def test_a_wheel_that_cannot_be_extended_is_refused_before_it_could_crash(tmp_path, library, message):
    with pytest.raises(RuntimeError, match=f"this version of tflite-micro {message}; install one that setup.py names"):
        flags(tmp_path, *library)
