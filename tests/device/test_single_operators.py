"""Every builtin operator of TensorFlow Lite Micro alone: what is accepted here runs there, in an arena of that size."""

import re

import numpy as np
import pytest
from single_operators import NETS, TYPES, net
from tflite_micro import runtime

from bcnet_keras.device.arena import REFERENCE, arena
from bcnet_keras.device.cost import CORES, cost
from bcnet_keras.errors import FlatbufferError
from bcnet_keras.export.description import describe
from bcnet_keras.tflite import flatbuffer, operators
from bcnet_keras.tflite.support import check_micro
from bcnet_keras.utils.silence import captured_output

ON_SUBGRAPHS = {"IF", "WHILE", "CALL_ONCE", "VAR_HANDLE", "ASSIGN_VARIABLE", "READ_VARIABLE"}  # tested elsewhere
DTYPES = {"float32": np.float32, "int32": np.int32, "int16": np.int16, "int8": np.int8, "uint8": np.uint8, "bool": bool}


def head_of(data):
    """Bytes of activations and scratch memory in the wheel's interpreter, which has the reference kernels."""
    graph = flatbuffer.read(data).subgraphs[0]
    with captured_output() as captured:
        interpreter = runtime.Interpreter.from_bytes(data, arena_size=1 << 20)
        interpreter.print_allocations()
        size = int(re.search(r"Arena allocation head (\d+) bytes", captured())[1])
        for number, index in enumerate(graph.inputs):
            tensor = graph.tensors[index]
            interpreter.set_input(np.ones(flatbuffer.shape(tensor), DTYPES[flatbuffer.type_name(tensor)]), number)
        interpreter.invoke()
    return size


def accepted(name):
    """{type: flatbuffer} of the types of data on which the operator is not refused."""
    found = {}
    for type in TYPES:
        data = net(name, type)
        try:
            check_micro(flatbuffer.read(data))
        except FlatbufferError:
            continue
        found[type] = data
    return found


def test_all_are_there():
    builtins = {name for name, record in operators.OPERATORS.items() if not record.ours and not record.custom}
    assert builtins == {*NETS, *ON_SUBGRAPHS}


@pytest.mark.parametrize("name", NETS)
def test_operator_is_the_interpreters(name):
    nets = accepted(name)
    assert nets
    for type, data in nets.items():
        planned = arena(data, REFERENCE)
        # Pointers are twice as wide on this machine: ADD_N has one for each of its three inputs.
        wider = 16 if name == "ADD_N" else 0
        assert planned.activation_bytes == head_of(data) - wider, type
        assert not planned.incomplete
        (op,) = cost(data, partial=True).ops
        assert op.instructions is not None or type == "int16"
        for core in CORES:
            if op.instructions is not None:
                assert op.instructions[core] >= 250
        if len(flatbuffer.read(data).subgraphs[0].inputs):
            needed = max(arena(data, core).bytes for core in (*CORES, REFERENCE))
            assert needed <= describe(data, "net", None, 0).arena_size <= 1.04 * needed + 16
