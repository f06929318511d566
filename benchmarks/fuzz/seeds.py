"""Makes the files that the fuzz run damages: networks of all formats, real ones where there are, and their mutants."""

from __future__ import annotations

import io
import pickle
import random
import tarfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from benchmarks.fuzz.fields import onnx_fields, tree
from benchmarks.fuzz.mutators import damaged, text
from mcutrain.tvm_ext.importers.pickle import unpickle as network_pickle
from tests.tiny_network import tiny_network

ENTRY = "archive/data.pkl"
RELAX = """# from tvm.script import ir as I
# from tvm.script import relax as R

@I.ir_module
class Module:
    @R.function
    def main(x: R.Tensor((1, 2, 6, 6), dtype="float32")) -> R.Tensor((1, 3), dtype="float32"):
        with R.dataflow():
            conv: R.Tensor((1, 2, 6, 6), dtype="float32") = R.nn.conv2d(x, R.const([[[[0.5, 0.1, -1.0], [0.25, 2.0, \
0.5], [1.0, -0.5, 0.75]]], [[[-0.25, 0.5, 1.0], [1.5, 0.5, -2.0], [0.5, 1.0, 0.125]]]], "float32"), strides=[1, 1], \
padding=[1, 1, 1, 1], dilation=[1, 1], groups=2, data_layout="NCHW", kernel_layout="OIHW", out_layout="NCHW")
            bias = R.add(conv, R.reshape(R.const([0.5, -0.5], "float32"), R.shape([1, 2, 1, 1])))
            relu = R.nn.relu(bias)
            pool = R.nn.max_pool2d(relu, pool_size=[2, 2], strides=[2, 2], padding=[0, 0, 0, 0], layout="NCHW")
            mean = R.mean(pool, axis=[2, 3], keepdims=False)
            weight = R.permute_dims(R.const([[0.5, -1.0], [2.0, 0.25], [0.75, -0.5]], "float32"), axes=[1, 0])
            dense = R.matmul(mean, weight)
            logits = R.add(dense, R.const([0.1, 0.2, 0.3], "float32"))
            gv: R.Tensor((1, 3), dtype="float32") = R.nn.softmax(logits, axis=1)
            R.output(gv)
        return gv
"""


@dataclass(frozen=True)
class Seed:
    """A seed is one file. members: its content by member for a zip or tar, else by the file's name alone. tree: of a
    network pickle, what it holds. is_readable: whether the undamaged file is imported, or good for its parser only."""

    format: str
    name: str
    members: Mapping[str, bytes]
    tree: object = None
    is_readable: bool = True

    @property
    def content(self) -> bytes:
        return _packed(self.name, self.members)


@dataclass(frozen=True)
class Mutant:
    """A mutant is the seed's damaged copy of this number, made when it is asked for. name: as on disk."""

    seed: Seed
    number: int

    @property
    def name(self) -> str:
        return f"{self.number:05}.{self.seed.name}"

    @property
    def content(self) -> bytes:
        return mutated(self.seed, random.Random(f"{self.seed.format}/{self.name}"))


def mutants(seeds: list[Seed], count: int) -> list[Mutant]:
    """Returns `count` mutants of one format, the same in every run, of each of its seeds in turn."""
    return [Mutant(seeds[number % len(seeds)], number) for number in range(count)]


def mutated(seed: Seed, rng: random.Random) -> bytes:
    """Returns the seed with a member damaged and packed again, sometimes with the whole file damaged."""
    is_packed = Path(seed.name).suffix in (".pkl", ".tar")
    if is_packed and rng.random() < 0.2:
        return damaged(seed.content, rng)
    if seed.tree is not None and rng.random() < 0.6:
        return _packed(seed.name, {ENTRY: pickle.dumps(tree(seed.tree, rng), 2)})
    member = rng.choice(tuple(seed.members))
    mutate = {".relay": text, ".json": text, ".relax": text, ".onnx": onnx_fields}
    damage = mutate.get(Path(member).suffix, damaged)
    return _packed(seed.name, {**seed.members, member: damage(seed.members[member], rng)})


def _packed(name: str, members: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    if name.endswith(".pkl"):
        with zipfile.ZipFile(out, "w") as archive:
            for member, content in members.items():
                archive.writestr(zipfile.ZipInfo(member, (1980, 1, 1, 0, 0, 0)), content)
    elif name.endswith(".tar"):
        with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
            for member, content in members.items():
                info = tarfile.TarInfo(member)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    else:
        (content,) = members.values()
        return content
    return out.getvalue()


# --------------------------------------------------------------------------- the seeds
def all_seeds(data: Path) -> dict[str, list[Seed]]:
    """Returns the seeds by format. data: the folder of published networks."""
    relay = data / "relay/tvm"
    files = [
        relay / folder / name for folder in ("lenet_fp32", "qnn_int8_nhwc") for name in ("bound.relay", "bound.json")
    ]
    syntax = [relay / f"syntax/{name}" for name in ("many_ops.relay", "many_ops.json", "let_if_tuple.relay")]
    return {
        "tflite": [_file("tflite", path) for path in sorted((data / "mlperf_tiny").glob("*.tflite"))],
        "onnx": [_onnx("qdq.onnx", True), _onnx("float.onnx", False)],
        "relay": [
            *(_file("relay", path, f"{path.parent.name}_") for path in files),
            _library(data / "relay/mlf/qnn_int8_nhwc", relay / "qnn_int8_nhwc"),
            *(_file("relay", path, is_readable=False) for path in syntax),
        ],
        "pickle": [
            _pickle("tiny.pkl", tiny_network()),
            _pickle("mcunet-5fps.pkl", _plain(network_pickle.read(data / "mcunet/mcunet-5fps.pkl"))),
        ],
        "relax": [Seed("relax", "net.relax", {"net.relax": RELAX.encode()})],
    }


def _file(kind: str, path: Path, prefix: str = "", is_readable: bool = True) -> Seed:
    name = prefix + path.name
    return Seed(kind, name, {name: path.read_bytes()}, is_readable=is_readable)


def _library(folder: Path, network: Path) -> Seed:
    """Packs a tar as microTVM packs it, with a text and parameters that fit: the library's own text lacks them."""
    return Seed("relay", "library.tar", {
        "metadata.json": (folder / "metadata.json").read_bytes(),
        "src/default.relay": (network / "unbound.relay").read_bytes(),
        "parameters/default.params": (network / "params.bin").read_bytes(),
    })  # fmt: skip


def _pickle(name: str, network: dict) -> Seed:
    return Seed("pickle", name, {ENTRY: pickle.dumps(network, 2)}, network)


def _plain(node: Any) -> Any:
    """Returns the same with arrays of numpy's own class, which can be pickled."""
    if isinstance(node, dict):
        return {key: _plain(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_plain(value) for value in node]
    return node.view(np.ndarray) if isinstance(node, np.ndarray) else node


def _onnx(name: str, is_quantised: bool) -> Seed:
    """Makes a network of convolution, depthwise convolution, residual add, pools and a dense layer; float32, or int8
    between QDQ pairs."""
    rng = np.random.RandomState(0)
    nodes: list[NodeProto] = []
    constants: list[TensorProto] = []

    def const(value: object, dtype: str = "float32") -> str:
        constants.append(numpy_helper.from_array(np.asarray(value, dtype), f"c{len(constants)}"))
        return constants[-1].name

    def op(kind: str, *inputs: str, **attrs: Any) -> str:
        nodes.append(helper.make_node(kind, inputs, [f"t{len(nodes)}"], name=f"/{kind}_{len(nodes)}", **attrs))
        return nodes[-1].output[0]

    def coded(x: str) -> str:
        if not is_quantised:
            return x
        step = const(0.05), const(3, "int8")
        return op("DequantizeLinear", op("QuantizeLinear", x, *step), *step)

    def weight(*shape: int) -> tuple[str, str]:
        """Returns (weight, bias)."""
        if not is_quantised:
            return const(rng.normal(size=shape)), const(rng.normal(size=shape[0]))
        ints, unit = const(rng.randint(-127, 128, shape), "int8"), const(np.full(shape[0], 0.01))
        bias = const(rng.randint(-2000, 2000, shape[0]), "int32"), const(np.full(shape[0], 0.0005))
        zeros = const(np.zeros(shape[0]), "int8")
        return op("DequantizeLinear", ints, unit, zeros, axis=0), op("DequantizeLinear", *bias, axis=0)

    x = op("Conv", coded("x"), *weight(4, 2, 3, 3), kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2])
    x = coded(op("Relu", x))
    y = coded(op("Conv", x, *weight(4, 1, 3, 3), kernel_shape=[3, 3], pads=[1, 1, 1, 1], group=4))
    y = coded(op("MaxPool", coded(op("Add", x, y)), kernel_shape=[2, 2], strides=[2, 2]))
    y = op("Flatten", coded(op("GlobalAveragePool", y)), axis=1)
    y = coded(op("Gemm", coded(y), *weight(5, 4), transB=1))
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 2, 8, 8))
    made = helper.make_tensor_value_info(op("Softmax", y, axis=1), TensorProto.FLOAT, (1, 5))
    graph = helper.make_graph(nodes, "net", [given], [made], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    return Seed("onnx", name, {name: model.SerializeToString(deterministic=True)})
