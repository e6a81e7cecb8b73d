"""Shapes and options that contradict each other are refused before anything computes with them."""

import numpy as np
import pytest
from flatbuffers_of import streaming_net
from single_operators import net
from test_damaged import five_files

from bcnet_keras.device.profile import Profile
from bcnet_keras.export.description import describe
from bcnet_keras.tflite import flatbuffer
from bcnet_keras.tflite.verify import verify


@pytest.mark.parametrize("data", five_files(), ids=["int8", "custom gate", "builtin gate", "binary", "branches"])
def test_any_other_dimension_is_refused(data):
    """Every dimension of every tensor that two operators share is known from its neighbours."""
    verify(flatbuffer.read(data))
    accepted = []
    for number, graph in enumerate(flatbuffer.read(data).subgraphs):
        used = {index for holder in (graph, *graph.operators) for index in (*holder.inputs, *holder.outputs)}
        for index in used - {-1}:
            tensor = graph.tensors[index]
            for axis in range(len(flatbuffer.shape(tensor))):
                model = flatbuffer.read(data)
                damaged = model.subgraphs[number].tensors[index]
                damaged.shape = np.array(damaged.shape)
                damaged.shape[axis] += 1
                try:
                    verify(flatbuffer.read(flatbuffer.write(model)))
                except ValueError as error:
                    assert len(str(error)) < 300 and str(error).endswith("write the file again")
                else:
                    accepted.append((flatbuffer.text(tensor.name), axis))
    assert set(accepted) <= {("signs", 3)}  # words hold 33 to 64 channels


@pytest.mark.parametrize("field,value", [("strideH", 0), ("strideW", -1), ("dilationHFactor", 1 << 20), ("padding", 7)])
def test_options_out_of_range_are_refused(make_part, field, value):
    model = flatbuffer.read(make_part(0, stem=1))
    setattr(model.subgraphs[0].operators[0].builtinOptions, field, value)
    with pytest.raises(ValueError, match=rf"operator CONV_2D \(number 0 of subgraph 0\) has the .*{value}"):
        Profile.of(flatbuffer.write(model))


@pytest.mark.parametrize(
    "name", ["ASSIGN_VARIABLE", "READ_VARIABLE", "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"]
)
def test_operands_that_are_left_out_are_told(name):
    data = streaming_net() if name.endswith("_VARIABLE") else net(name, "int8")
    model = flatbuffer.read(data)
    Profile.of(data), describe(data, "net", None, 0)
    place, operator = next(
        (place, each)
        for place, each in enumerate(model.subgraphs[0].operators)
        if flatbuffer.op_name(model, each) == name
    )
    for count in range(len(operator.inputs) - ("VARIABLE" not in name)):  # a bias may be left out
        model = flatbuffer.read(data)
        operator = model.subgraphs[0].operators[place]
        operator.inputs = operator.inputs[:count]
        damaged = flatbuffer.write(model)
        for use in (Profile.of, lambda data: describe(data, "net", None, 0)):
            with pytest.raises(ValueError, match=rf"operator {name} \(number {place} of subgraph 0\) lacks inputs"):
                use(damaged)
