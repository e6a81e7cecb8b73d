"""Types of those of the schema's classes that this package reads and writes, as `flatbuffer.read` leaves them.

`read` puts an empty list wherever a file leaves out a list, so that lists are never None here.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

class schema:
    class BufferT:
        data: NDArray[np.uint8] | None
        offset: int
        size: int
        def Pack(self, builder: Any) -> int: ...

    class QuantizationParametersT:
        scale: NDArray[np.float32] | None
        zeroPoint: NDArray[np.int64] | None
        quantizedDimension: int

    class TensorT:
        name: str | bytes | None
        type: int
        shape: NDArray[np.int32] | None
        shapeSignature: NDArray[np.int32] | None
        hasRank: bool
        buffer: int
        quantization: schema.QuantizationParametersT | None
        isVariable: bool
        sparsity: Any

    class OperatorT:
        opcodeIndex: int
        inputs: NDArray[np.int32]
        outputs: NDArray[np.int32]
        builtinOptionsType: int
        builtinOptions: Any
        customOptions: NDArray[np.uint8] | None

    class OperatorCodeT:
        builtinCode: int
        deprecatedBuiltinCode: int
        customCode: str | bytes | None
        version: int

    class SubGraphT:
        name: str | bytes | None
        tensors: list[schema.TensorT]
        operators: list[schema.OperatorT]
        inputs: NDArray[np.int32]
        outputs: NDArray[np.int32]

    class MetadataT:
        name: str | bytes | None
        buffer: int

    class TensorMapT:
        name: str | bytes | None
        tensorIndex: int

    class SignatureDefT:
        signatureKey: str | bytes | None
        subgraphIndex: int
        inputs: list[schema.TensorMapT]
        outputs: list[schema.TensorMapT]

    class ModelT:
        version: int
        description: str | bytes | None
        operatorCodes: list[schema.OperatorCodeT]
        subgraphs: list[schema.SubGraphT]
        buffers: list[schema.BufferT]
        metadata: list[schema.MetadataT]
        signatureDefs: list[schema.SignatureDefT]
        @staticmethod
        def InitFromObj(table: Any) -> schema.ModelT: ...
        def Pack(self, builder: Any) -> int: ...

    # Options, enumerations and functions, of which any may be asked for.
    Model: Any
    BufferStart: Any
    BufferAddData: Any
    BufferEnd: Any
    BuiltinOperator: Any
    BuiltinOptions: Any
    TensorType: Any
    ActivationFunctionType: Any
    Padding: Any
    AddOptionsT: Any
    ArgMaxOptionsT: Any
    CallOnceOptionsT: Any
    ConcatenationOptionsT: Any
    Conv2DOptionsT: Any
    DepthwiseConv2DOptionsT: Any
    DequantizeOptionsT: Any
    EqualOptionsT: Any
    FullyConnectedOptionsT: Any
    GatherOptionsT: Any
    HardSwishOptionsT: Any
    IfOptionsT: Any
    LeakyReluOptionsT: Any
    LessOptionsT: Any
    LogSoftmaxOptionsT: Any
    MaximumMinimumOptionsT: Any
    MulOptionsT: Any
    PadOptionsT: Any
    Pool2DOptionsT: Any
    QuantizeOptionsT: Any
    ReducerOptionsT: Any
    ReshapeOptionsT: Any
    SelectV2OptionsT: Any
    SoftmaxOptionsT: Any
    StridedSliceOptionsT: Any
    SubOptionsT: Any
    VarHandleOptionsT: Any
    WhileOptionsT: Any
