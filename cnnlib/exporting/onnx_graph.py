"""A graph of TensorFlow as one of ONNX: the operations that our networks use, and no others.

Operations are translated one by one. What depends on constants, or on the shape of an image, is
computed now and becomes a constant. Convolutions and pooling of ONNX want channels first: such a
feature map stays so until an operation needs it as TensorFlow has it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from cnnlib.exporting.inference_graph import InferenceGraph
from cnnlib.networks.session import open_session, session_options

OPSET = 17  # known to onnxruntime since 1.12
IR_VERSION = 8  # of the same time
LEAST_HALVED = 256  # values; smaller constants are not worth a half's error
TO_FIRST, TO_LAST = (0, 3, 1, 2), (0, 2, 3, 1)  # channels


def to_onnx(inference: InferenceGraph, halve: bool = False) -> onnx.ModelProto:
    """Return the graph as a model that is checked, for any number of images.

    `halve` keeps weights as float16; they are enlarged once, when the file is loaded, and computed
    with as float32. Raises NotImplementedError for an operation that no network here had before.
    """
    translation = _Translation(inference, halve)
    image = inference.image
    graph = helper.make_graph(
        translation.nodes,
        "cnn_captcha",
        [helper.make_tensor_value_info(image.op.name, TensorProto.UINT8, _shape(image))],
        [
            helper.make_tensor_value_info(name, _element_type(tensor), _shape(tensor))
            for name, tensor in inference.outputs.items()
        ],
        translation.constants,
    )
    model = helper.make_model(
        graph,
        producer_name="cnn_captcha",
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def _shape(tensor: Any) -> list[int | str]:
    return ["batch", *tensor.shape.as_list()[1:]]


def _element_type(tensor: Any) -> int:
    return int(helper.np_dtype_to_tensor_dtype(np.dtype(tensor.dtype.as_numpy_dtype)))


class _Translation:
    """The nodes and constants of the ONNX graph."""

    def __init__(self, inference: InferenceGraph, halve: bool) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._halve = halve
        self._values = _constant_values(inference)
        self._names = {inference.image.name: inference.image.op.name}
        self._first: dict[str, str] = {}  # tensors of which there is one with channels first
        for op in _needed(inference, self._values):
            if op is inference.image.op:
                continue
            translate = TRANSLATIONS.get(op.type)
            if translate is None:
                raise NotImplementedError(
                    f"no translation of the operation {op.type} ({op.name}) to ONNX: add one to "
                    f"{__name__}"
                )
            translate(self, op)
        for name, tensor in inference.outputs.items():
            self.add("Identity", [self.last(tensor)], name)

    # --- tensors ---

    def value(self, tensor: Any) -> np.ndarray:
        """Return a constant that an operation needs to know; raises KeyError for another one."""
        return self._values[tensor.name]

    def last(self, tensor: Any) -> str:
        """Return the name of a tensor as TensorFlow has it."""
        if tensor.name not in self._names:
            if tensor.name in self._values:
                self._names[tensor.name] = self.constant(self._values[tensor.name], tensor.name)
            else:
                self._names[tensor.name] = self.add(
                    "Transpose", [self._first[tensor.name]], perm=TO_LAST
                )
        return self._names[tensor.name]

    def first(self, tensor: Any) -> str:
        """Return the name of a feature map with its channels first, [B, D, h, w]."""
        if tensor.name not in self._first:
            self._first[tensor.name] = self.add("Transpose", [self.last(tensor)], perm=TO_FIRST)
        return self._first[tensor.name]

    def has_first(self, tensor: Any) -> bool:
        return tensor.name in self._first

    def constant(self, value: np.ndarray, name: str = "constant") -> str:
        """Add a constant and return its name."""
        name = f"{name.removesuffix(':0')}/{len(self.constants)}"
        value = np.asarray(value)
        if self._halve and value.dtype == np.float32 and value.size >= LEAST_HALVED:
            self.constants.append(numpy_helper.from_array(value.astype(np.float16), f"{name}/half"))
            return self.add("Cast", [f"{name}/half"], name, to=TensorProto.FLOAT)
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def add(
        self, kind: str, inputs: Iterable[str], output: str | None = None, **attributes: Any
    ) -> str:
        """Add a node and return the name of its output."""
        output = output or f"{kind.lower()}/{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, [*inputs], [output], output, **attributes))
        return output

    def set_last(self, tensor: Any, name: str) -> None:
        self._names[tensor.name] = name

    def set_first(self, tensor: Any, name: str) -> None:
        self._first[tensor.name] = name


def _needed(inference: InferenceGraph, known: Mapping[str, np.ndarray]) -> list[Any]:
    """Return the operations that the outputs depend on, each after its inputs.

    Values that are `known` need none.
    """
    needed: set[Any] = set()
    waiting = [tensor.op for tensor in inference.outputs.values()]
    while waiting:
        op = waiting.pop()
        if op not in needed:
            needed.add(op)
            waiting += [tensor.op for tensor in op.inputs if tensor.name not in known]
    return [op for op in inference.graph.get_operations() if op in needed]


def _constant_values(inference: InferenceGraph) -> dict[str, np.ndarray]:
    """Return the values of all tensors that are the same whatever the images are.

    Those that depend on the shape of the images count where they are the same for one and for two.
    """
    varying = {inference.image.op}
    tensors: dict[str, Any] = {}
    for op in _needed(inference, {}):
        if op.type != "Shape" and any(tensor.op in varying for tensor in op.inputs):
            varying.add(op)
        elif op not in varying:
            tensors |= {tensor.name: tensor for tensor in op.outputs}
    sizes = inference.image.shape.as_list()[1:]
    with open_session(inference.graph, session_options()) as session:
        one, two = (
            session.run(tensors, {inference.image: np.zeros((count, *sizes), np.uint8)})
            for count in (1, 2)
        )
    return {
        name: value
        for name, value in one.items()
        if np.shape(value) == np.shape(two[name]) and np.all(value == two[name])
    }


# --- operations ---


def _alias(graph: _Translation, op: Any) -> None:
    graph.set_last(op.outputs[0], graph.last(op.inputs[0]))


def _unary(kind: str) -> Callable[[_Translation, Any], None]:
    def translate(graph: _Translation, op: Any) -> None:
        if graph.has_first(op.inputs[0]):
            graph.set_first(op.outputs[0], graph.add(kind, [graph.first(op.inputs[0])]))
        else:
            graph.set_last(op.outputs[0], graph.add(kind, [graph.last(op.inputs[0])]))

    return translate


def _binary(kind: str) -> Callable[[_Translation, Any], None]:
    def translate(graph: _Translation, op: Any) -> None:
        if all(map(graph.has_first, op.inputs)):
            graph.set_first(op.outputs[0], graph.add(kind, map(graph.first, op.inputs)))
        else:
            graph.set_last(op.outputs[0], graph.add(kind, map(graph.last, op.inputs)))

    return translate


def _reduction(kind: str) -> Callable[[_Translation, Any], None]:
    def translate(graph: _Translation, op: Any) -> None:
        axes = np.atleast_1d(graph.value(op.inputs[1]))
        keeps = int(op.get_attr("keep_dims"))
        data = graph.last(op.inputs[0])
        if kind == "ReduceSum":  # since opset 13 its axes are an input, those of others since 18
            inputs = [data, graph.constant(axes.astype(np.int64), "axes")]
            graph.set_last(op.outputs[0], graph.add(kind, inputs, keepdims=keeps))
        else:
            name = graph.add(kind, [data], axes=axes.tolist(), keepdims=keeps)
            graph.set_last(op.outputs[0], name)

    return translate


def _argmax(graph: _Translation, op: Any) -> None:
    axis = int(graph.value(op.inputs[1]))
    found = graph.add("ArgMax", [graph.last(op.inputs[0])], axis=axis, keepdims=0)  # int64
    graph.set_last(op.outputs[0], graph.add("Cast", [found], to=_element_type(op.outputs[0])))


def _cast(graph: _Translation, op: Any) -> None:
    to = _element_type(op.outputs[0])
    graph.set_last(op.outputs[0], graph.add("Cast", [graph.last(op.inputs[0])], to=to))


def _square(graph: _Translation, op: Any) -> None:
    x = graph.last(op.inputs[0])
    if op.inputs[0].shape.rank == 4:  # of all pixels: a product is quicker
        graph.set_last(op.outputs[0], graph.add("Mul", [x, x]))
        return
    # Of a layer normalisation, which onnxruntime knows by its Pow and makes one operation of.
    inputs = [x, graph.constant(np.array(2, np.float32), "two")]
    graph.set_last(op.outputs[0], graph.add("Pow", inputs))


def _softmax(graph: _Translation, op: Any) -> None:
    name = graph.add("Softmax", [graph.last(op.inputs[0])], axis=-1)
    graph.set_last(op.outputs[0], name)


def _shape_change(graph: _Translation, op: Any) -> None:
    """Reshape, or ExpandDims; one size may be unknown."""
    sizes = [-1 if size is None else size for size in op.outputs[0].shape.as_list()]
    shape = graph.constant(np.array(sizes, np.int64), "shape")
    graph.set_last(op.outputs[0], graph.add("Reshape", [graph.last(op.inputs[0]), shape]))


def _transpose(graph: _Translation, op: Any) -> None:
    order = graph.value(op.inputs[1]).tolist()
    name = graph.add("Transpose", [graph.last(op.inputs[0])], perm=order)
    graph.set_last(op.outputs[0], name)


def _slice(graph: _Translation, op: Any) -> None:
    begins, sizes = (graph.value(tensor).astype(np.int64) for tensor in op.inputs[1:])
    ends = np.where(sizes < 0, np.iinfo(np.int64).max, begins + sizes)
    limits = [graph.constant(value, "limits") for value in (begins, ends)]
    graph.set_last(op.outputs[0], graph.add("Slice", [graph.last(op.inputs[0]), *limits]))


def _pad(graph: _Translation, op: Any) -> None:
    widths = graph.value(op.inputs[1]).T.reshape(-1).astype(np.int64)
    inputs = [graph.constant(widths, "widths"), graph.last(op.inputs[2])]
    graph.set_last(op.outputs[0], graph.add("Pad", [graph.last(op.inputs[0]), *inputs]))


def _gather(graph: _Translation, op: Any) -> None:
    places = graph.constant(graph.value(op.inputs[1]).astype(np.int64), "places")
    axis = int(graph.value(op.inputs[2]))
    name = graph.add("Gather", [graph.last(op.inputs[0]), places], axis=axis)
    graph.set_last(op.outputs[0], name)


def _concat(graph: _Translation, op: Any) -> None:
    *parts, axis = op.inputs
    name = graph.add("Concat", map(graph.last, parts), axis=int(graph.value(axis)))
    graph.set_last(op.outputs[0], name)


def _unpack(graph: _Translation, op: Any) -> None:
    for i, output in enumerate(op.outputs):
        inputs = [graph.last(op.inputs[0]), graph.constant(np.array(i, np.int64), "index")]
        graph.set_last(output, graph.add("Gather", inputs, axis=op.get_attr("axis")))


def _matmul(first: str, second: str) -> Callable[[_Translation, Any], None]:
    """`first` and `second` say that the last two axes of an input change places."""

    def translate(graph: _Translation, op: Any) -> None:
        inputs = []
        for tensor, attribute in zip(op.inputs, (first, second), strict=True):
            name = graph.last(tensor)
            if op.get_attr(attribute):
                *others, row, column = range(tensor.shape.rank)
                name = graph.add("Transpose", [name], perm=[*others, column, row])
            inputs.append(name)
        graph.set_last(op.outputs[0], graph.add("MatMul", inputs))

    return translate


def _conv(graph: _Translation, op: Any) -> None:
    kernel = graph.value(op.inputs[1])  # [h, w, in, out]
    strides = op.get_attr("strides")[1:3]
    weights = graph.constant(kernel.transpose(3, 2, 0, 1), op.inputs[1].name)  # [out, in, h, w]
    name = graph.add(
        "Conv",
        [graph.first(op.inputs[0]), weights],
        kernel_shape=kernel.shape[:2],
        strides=strides,
        pads=_pads(op, kernel.shape[:2], strides),
    )
    graph.set_first(op.outputs[0], name)


def _pool(kind: str) -> Callable[[_Translation, Any], None]:
    def translate(graph: _Translation, op: Any) -> None:
        size, strides = op.get_attr("ksize")[1:3], op.get_attr("strides")[1:3]
        name = graph.add(
            kind,
            [graph.first(op.inputs[0])],
            kernel_shape=size,
            strides=strides,
            pads=_pads(op, size, strides),
        )
        graph.set_first(op.outputs[0], name)

    return translate


def _pads(op: Any, size: Sequence[int], strides: Sequence[int]) -> list[int]:
    """Return by how much TensorFlow's "SAME" enlarges a map: top, left, bottom, right."""
    if op.get_attr("padding") != b"SAME":
        return [0, 0, 0, 0]
    sides = op.inputs[0].shape.as_list()[1:3]
    totals = [
        max(0, (-(-side // stride) - 1) * stride + window - side)
        for side, window, stride in zip(sides, size, strides, strict=True)
    ]
    before = [total // 2 for total in totals]
    return before + [total - some for total, some in zip(totals, before, strict=True)]


def _bias_add(graph: _Translation, op: Any) -> None:
    x, bias = op.inputs
    if not graph.has_first(x):
        graph.set_last(op.outputs[0], graph.add("Add", map(graph.last, op.inputs)))
        return
    # The convolution before it takes the bias too; nothing else uses what it gives.
    conv = graph.nodes[-1]
    if conv.op_type != "Conv" or len(x.consumers()) != 1:
        raise NotImplementedError(f"the bias {op.name} follows no convolution")
    conv.input.append(graph.constant(graph.value(bias), bias.name))
    graph.set_first(op.outputs[0], graph.first(x))


TRANSLATIONS: Mapping[str, Callable[[_Translation, Any], None]] = {
    "AddV2": _binary("Add"),
    "ArgMax": _argmax,
    "AvgPool": _pool("AveragePool"),
    "BatchMatMulV2": _matmul("adj_x", "adj_y"),
    "BiasAdd": _bias_add,
    "Cast": _cast,
    "ConcatV2": _concat,
    "Conv2D": _conv,
    "ExpandDims": _shape_change,
    "Floor": _unary("Floor"),
    "GatherV2": _gather,
    "Identity": _alias,
    "LessEqual": _binary("LessOrEqual"),
    "MatMul": _matmul("transpose_a", "transpose_b"),
    "Max": _reduction("ReduceMax"),
    "MaxPool": _pool("MaxPool"),
    "Maximum": _binary("Max"),
    "Mean": _reduction("ReduceMean"),
    "Mul": _binary("Mul"),
    "PadV2": _pad,
    "Prod": _reduction("ReduceProd"),
    "RealDiv": _binary("Div"),
    "Relu": _unary("Relu"),
    "Reshape": _shape_change,
    "Slice": _slice,
    "Softmax": _softmax,
    "Sqrt": _unary("Sqrt"),
    "Square": _square,
    "Sub": _binary("Sub"),
    "Sum": _reduction("ReduceSum"),
    "Transpose": _transpose,
    "Unpack": _unpack,
}
