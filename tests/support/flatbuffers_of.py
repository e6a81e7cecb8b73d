"""Flatbuffers of a single operator or of a few, made without a converter."""

import re

import numpy as np

from bcnet_keras.tflite import flatbuffer

schema = flatbuffer.schema


def convolution(op, size, channels, filters, kernel, type=schema.TensorType.INT8):
    """A flatbuffer of one convolution with stride 1 and padding."""
    builder = flatbuffer.Builder("test")
    graph = builder.subgraph("main")
    image = builder.tensor(graph, "image", type, [1, size, size, channels], (1.0, 0))
    weights = builder.tensor(graph, "weights", type, [filters, kernel, kernel, channels], (1.0, 0))
    result = builder.tensor(graph, "result", type, [1, size, size, filters], (1.0, 0))
    options = schema.Conv2DOptionsT()
    options.strideH = options.strideW = 1
    builder.operator(graph, op, [image, weights, -1], [result], options)
    graph.inputs, graph.outputs = np.array([image], np.int32), np.array([result], np.int32)
    return builder.finish()


def binary_convolution(record):
    """A flatbuffer of the layer of one of the bench's records."""
    height, width, channels, filters, kernel, stride = map(int, re.findall(r"\d+", record["shape"]))
    types = {"bitpacked": schema.TensorType.INT32, "int8": schema.TensorType.INT8, "float32": schema.TensorType.FLOAT32}
    words, size = -(-channels // 32), (-(-height // stride), -(-width // stride))
    written = -(-filters // 32) if record["output"] == "bitpacked" else filters
    builder = flatbuffer.Builder("test")
    graph = builder.subgraph("main")
    image = builder.tensor(graph, "image", types["bitpacked"], [1, height, width, words])
    weights = builder.tensor(graph, "weights", types["bitpacked"], [filters, kernel, kernel, words])
    result = builder.tensor(graph, "result", types[record["output"]], [1, *size, written], (1.0, 0))
    options = flatbuffer.encode_options({"stride_height": stride, "stride_width": stride})
    builder.operator(graph, b"LceBconv2d", [image, weights, -1, -1, -1], [result], custom_options=options)
    graph.inputs, graph.outputs = np.array([image], np.int32), np.array([result], np.int32)
    return builder.finish()


def stem_net(image, filters, planes, stride, padding=0):
    """A flatbuffer of one `BcnetStem`: shapes of image, HWC, and filters, OHWI; padding 0 is SAME, 1 VALID."""
    builder = flatbuffer.Builder("test")
    graph = builder.subgraph("main")
    codes = builder.tensor(graph, "image", schema.TensorType.INT8, (1, *image), (1 / 128, 3))
    window = zip(image[:2], filters[1:3], strict=True)
    size = [(side - (taps if padding else 1)) // stride + 1 for side, taps in window]
    words = -(-filters[0] * planes // 32)
    bits = builder.tensor(graph, "bits", schema.TensorType.INT32, (1, *size, words))
    weights = builder.constant(graph, "weights", np.ones(filters, np.int8))
    thresholds = builder.constant(graph, "thresholds", np.arange(filters[0] * planes, dtype=np.int32))
    options = flatbuffer.encode_options({"padding": padding, "stride_height": stride, "stride_width": stride})
    builder.operator(graph, b"BcnetStem", [codes, weights, thresholds], [bits], custom_options=options)
    graph.inputs, graph.outputs = np.array([codes], np.int32), np.array([bits], np.int32)
    return builder.finish()


def branching_net(structure):
    """A flatbuffer of operators on one int8 vector of 8.

    In `structure` a number is a FULLY_CONNECTED; ("IF", then, else), ("WHILE", condition, body) and ("ONCE", init) are
    operators with subgraphs, which are lists of the same.
    """
    int8, boolean = schema.TensorType.INT8, schema.TensorType.BOOL
    builder = flatbuffer.Builder("test")

    def fill(graph, parts, current):
        for part in parts:
            if isinstance(part, int):
                weights = builder.tensor(graph, "w", int8, [8, 8], (1.0, 0), np.zeros((8, 8), np.int8))
                result = builder.tensor(graph, "x", int8, [1, 8], (1.0, 0))
                builder.operator(
                    graph, "FULLY_CONNECTED", [current, weights, -1], [result], schema.FullyConnectedOptionsT()
                )
                current = result
                continue
            kind, *bodies = part
            numbers = []
            for body in bodies:
                inner = builder.subgraph("inner")
                numbers.append(len(builder.model.subgraphs) - 1)
                start = builder.tensor(inner, "in", int8, [1, 8], (1.0, 0))
                inner.inputs = np.array([] if kind == "ONCE" else [start], np.int32)
                inner.outputs = np.array([] if kind == "ONCE" else [fill(inner, body, start)], np.int32)
                if kind == "ONCE":
                    fill(inner, body, start)
            result = builder.tensor(graph, "x", int8, [1, 8], (1.0, 0))
            if kind == "IF":
                condition = builder.tensor(graph, "c", boolean, [1])
                options = schema.IfOptionsT()
                options.thenSubgraphIndex, options.elseSubgraphIndex = numbers
                builder.operator(graph, "IF", [condition, current], [result], options)
                current = result
            elif kind == "WHILE":
                options = schema.WhileOptionsT()
                options.condSubgraphIndex, options.bodySubgraphIndex = numbers
                builder.operator(graph, "WHILE", [current], [result], options)
                current = result
            else:
                options = schema.CallOnceOptionsT()
                (options.initSubgraphIndex,) = numbers
                builder.operator(graph, "CALL_ONCE", [], [], options)
        return current

    main = builder.subgraph("main")
    image = builder.tensor(main, "image", int8, [1, 8], (1.0, 0))
    main.inputs, main.outputs = np.array([image], np.int32), np.array([fill(main, structure, image)], np.int32)
    return builder.finish()


def make_int8_net(
    seed,
    classes=4,
    shape=(3, 3, 2),
    scale=0.05,
    zero_point=0,
    image=(1 / 128, 0),
    end=None,
    batch=1,
    spread=1.0,
    stem=None,
    skip=False,
):
    """Random weights, `scale` and `zero_point` those of the logits, whose codes mostly lie in 64 * `spread` around it.

    `end` is the name of a builtin operator without options that is put behind the logits; probabilities have their own
    scale. `stem` is the seed of a 1x1 CONV_2D in front, with the image's scale at its output too; with `skip` the image
    is added to that.
    """
    int8, random, size = schema.TensorType.INT8, np.random.default_rng(seed), int(np.prod(shape))
    builder = flatbuffer.Builder("test")
    graph = builder.subgraph("main")
    pixels = builder.tensor(graph, "pixels", int8, [batch, *shape], image)
    flat = builder.tensor(graph, "flat", int8, [batch, size], image)
    front = pixels
    if stem is not None:
        generator, channels = np.random.default_rng(stem), shape[-1]
        numbers = generator.integers(-127, 128, (channels, 1, 1, channels)).astype(np.int8)
        filters = builder.tensor(graph, "filters", int8, numbers.shape, (0.01, 0), numbers)
        biases = generator.integers(-3000, 3000, channels).astype(np.int32)
        bias = builder.tensor(graph, "bias", schema.TensorType.INT32, [channels], (0.01 * image[0], 0), biases)
        front = builder.tensor(graph, "front", int8, [batch, *shape], image)
        options = schema.Conv2DOptionsT()
        options.padding, options.strideH, options.strideW = schema.Padding.VALID, 1, 1
        builder.operator(graph, "CONV_2D", [pixels, filters, bias], [front], options, version=3)
        if skip:
            total = builder.tensor(graph, "total", int8, [batch, *shape], image)
            builder.operator(graph, "ADD", [front, pixels], [total], schema.AddOptionsT(), version=2)
            front = total
    options = schema.ReshapeOptionsT()
    options.newShape = np.array([batch, size], np.int32)
    builder.operator(graph, "RESHAPE", [front, builder.constant(graph, "s", options.newShape)], [flat], options)
    weights = random.integers(-127, 128, (classes, size)).astype(np.int8)
    # Pixels and weights are uniform with a deviation of about 74 codes.
    weight_scale = scale * 32 * spread / (74 * 74 * np.sqrt(size) * image[0])
    kernel = builder.tensor(graph, "kernel", int8, weights.shape, (weight_scale, 0), weights)
    logits = builder.tensor(graph, "logits", int8, [batch, classes], (scale, zero_point))
    builder.operator(graph, "FULLY_CONNECTED", [flat, kernel, -1], [logits], schema.FullyConnectedOptionsT(), version=4)
    if end:
        quantization = (1 / 256, -128) if end in ("LOGISTIC", "SOFTMAX") else (scale, zero_point)
        last = builder.tensor(graph, "last", int8, [batch, classes], quantization)
        builder.operator(graph, end, [logits], [last])
        logits = last
    graph.inputs, graph.outputs = np.array([pixels], np.int32), np.array([logits], np.int32)
    builder.signature(0, {"x": pixels}, {"y": logits})
    return builder.finish()


def streaming_net():
    """A flatbuffer that adds its input to a resource variable, which CALL_ONCE sets to 3, and gives the sum."""
    int8, builder = schema.TensorType.INT8, flatbuffer.Builder("test")
    main, first = builder.subgraph("main"), builder.subgraph("first")

    def handle(graph, name):
        options = schema.VarHandleOptionsT()
        options.container, options.sharedName = "", name
        index = builder.tensor(graph, name, schema.TensorType.RESOURCE, [1])
        builder.operator(graph, "VAR_HANDLE", [], [index], options)
        return index

    once = schema.CallOnceOptionsT()
    once.initSubgraphIndex = 1
    builder.operator(main, "CALL_ONCE", [], [], once)
    x, before, after = (builder.tensor(main, name, int8, [1, 24], (1.0, 0)) for name in ("x", "before", "after"))
    state = handle(main, "state")
    builder.operator(main, "READ_VARIABLE", [state], [before], schema.ReadVariableOptionsT())
    builder.operator(main, "ADD", [x, before], [after], schema.AddOptionsT())
    builder.operator(main, "ASSIGN_VARIABLE", [state, after], [], schema.AssignVariableOptionsT())
    for name in ("state", "other"):
        start = builder.tensor(first, f"start of {name}", int8, [1, 24], (1.0, 0), np.full((1, 24), 3, np.int8))
        builder.operator(first, "ASSIGN_VARIABLE", [handle(first, name), start], [], schema.AssignVariableOptionsT())
    main.inputs, main.outputs = np.array([x], np.int32), np.array([after], np.int32)
    first.inputs = first.outputs = np.array([], np.int32)
    return builder.finish()


def random_net(random, layers=10, branches=0):
    """A flatbuffer of int8 vectors of several sizes: dense layers, sums and concatenations of results that came before.

    `branches` IFs follow one another, each on a condition of its own: the sum of a few of its input's elements is
    positive. Their subgraphs take all that has been computed so far, and are nets of the same kind.

    Arguments:
      random: NumPy generator, of sizes, weights and connections.
    """
    int8, builder = schema.TensorType.INT8, flatbuffer.Builder("test")

    def vector(graph, size, name="x", scale=0.05):
        return builder.tensor(graph, name, int8, [1, size], (scale, 0))

    def dense(graph, source, size, name="x"):
        units = flatbuffer.shape(graph.tensors[source])[-1]
        weights = random.integers(-60, 61, (size, units)).astype(np.int8)
        kernel = builder.tensor(graph, "w", int8, weights.shape, (1 / (35 * np.sqrt(units)), 0), weights)
        result = vector(graph, size, name)
        builder.operator(
            graph, "FULLY_CONNECTED", [source, kernel, -1], [result], schema.FullyConnectedOptionsT(), version=4
        )
        return result

    def fill(graph, known, count):
        known = list(known)
        for _ in range(count):
            source = known[int(random.integers(len(known)))]
            size = flatbuffer.shape(graph.tensors[source])[-1]
            alike = [other for other in known if flatbuffer.shape(graph.tensors[other])[-1] == size and other != source]
            kind = random.integers(4)
            if kind == 0 and alike:
                result = vector(graph, size)
                builder.operator(graph, "ADD", [source, alike[-1]], [result], schema.AddOptionsT(), version=2)
            elif kind == 1 and len(known) > 1 and size < 500:
                other = known[int(random.integers(len(known)))]
                both = [source, other]
                result = vector(graph, sum(flatbuffer.shape(graph.tensors[each])[-1] for each in both))
                options = schema.ConcatenationOptionsT()
                options.axis = 1
                builder.operator(graph, "CONCATENATION", both, [result], options, version=2)
            else:
                result = dense(graph, source, int(random.integers(1, 13)) * 16)
            known.append(result)
        return known

    main = builder.subgraph("main")
    image = vector(main, 64, "image")
    known = fill(main, [image], layers)
    for _ in range(branches):
        handed = [known[index] for index in sorted({*random.integers(len(known), size=3).tolist(), len(known) - 1})]
        chosen = dense(main, known[-1], 1)
        zero = builder.tensor(main, "zero", int8, [1, 1], (0.05, 0), np.zeros((1, 1), np.int8))
        condition = builder.tensor(main, "c", schema.TensorType.BOOL, [1, 1])
        builder.operator(main, "GREATER", [chosen, zero], [condition], schema.GreaterOptionsT(), version=2)
        numbers = []
        for _ in range(2):
            inner = builder.subgraph("inner")
            numbers.append(len(builder.model.subgraphs) - 1)
            inside = [vector(inner, flatbuffer.shape(main.tensors[index])[-1], "in") for index in handed]
            inner.inputs = np.array(inside, np.int32)
            inner.outputs = np.array([dense(inner, fill(inner, inside, 4)[-1], 32)], np.int32)
        answer = vector(main, 32, "answer")
        options = schema.IfOptionsT()
        options.thenSubgraphIndex, options.elseSubgraphIndex = numbers
        builder.operator(main, "IF", [condition, *handed], [answer], options)
        known.append(answer)
    result = dense(main, known[-1], 8)
    main.inputs, main.outputs = np.array([image], np.int32), np.array([result], np.int32)
    return builder.finish()


def renumbered(data, random):
    """The same flatbuffer with its tensors in an order drawn by a NumPy generator."""
    model = flatbuffer.read(data)
    for number, graph in enumerate(model.subgraphs):
        order = random.permutation(len(graph.tensors))
        new = np.append(np.argsort(order), -1)  # the last for an input that is left out, -1
        graph.tensors = [graph.tensors[index] for index in order]
        for holder in (graph, *graph.operators):
            holder.inputs, holder.outputs = (new[each].astype(np.int32) for each in (holder.inputs, holder.outputs))
        for signature in model.signatureDefs:
            if signature.subgraphIndex == number:
                for entry in (*signature.inputs, *signature.outputs):
                    entry.tensorIndex = int(new[entry.tensorIndex])
    return flatbuffer.write(model)
