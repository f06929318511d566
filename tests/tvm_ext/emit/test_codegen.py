"""Emitted C: golden text, always with a run of it; exact floats; names of a model file that try to break out."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tvm

from mcutrain import frontends
from mcutrain.firmware.toolchain import KERNEL_SOURCES, build_host
from mcutrain.planner.errors import ModelError
from mcutrain.planner.model import Graph, Plan, Stream
from mcutrain.planner.policy import Layer, Policy, Update
from mcutrain.planner.stream.costs import RunCosts
from mcutrain.planner.stream.rewrite import eager, with_streams
from mcutrain.tvm_ext.dialect import attrs_of, call, op_name
from mcutrain.tvm_ext.emit.codegen import c_array, c_functions
from mcutrain.tvm_ext.emit.names import c_name
from mcutrain.tvm_ext.emit.sources import comment, emit
from mcutrain.tvm_ext.function import FunctionBuilder, copy
from mcutrain.tvm_ext.lower.graph import lower
from mcutrain.tvm_ext.model import NETWORK, Model
from mcutrain.tvm_ext.train.training import LABEL, train
from mcutrain.tvm_ext.train.updates import RATES
from tests.tiny_network import CLASSES, LAYERS, SIZE, random_image
from tests.tvm_ext.ops.cases.update import Tensor, expected_update, weights
from tests.tvm_ext.ops.test_conv import check_conv
from tests.tvm_ext.support import reference
from tests.tvm_ext.support.conv_case import conv_case, forward
from tests.tvm_ext.support.op_cases import kernel as kernel_of
from tests.tvm_ext.support.run_step import execute

SCHEME = Policy("golden", (Update("blocks.2.pointwise1", weight_ratio=0.25), Update("blocks.2.depthwise")))


# --------------------------------------------------------------------------- golden text, each with a run
def test_golden_convolution(golden: Callable) -> None:
    case = conv_case(1, 4, 4, 4, 6, 3, 2, trained=(1, 3))
    kernel = kernel_of("qconv2d_with_mask", forward(case))
    golden("conv3x3_s2_sliced_with_mask.c", c_functions([kernel], ["kernel"], ["a sliced convolution"])[0].definition)
    check_conv(case)


def test_golden_depthwise(golden: Callable) -> None:
    case = conv_case(2, 6, 6, 3, 3, 3, depthwise=True)
    kernel = kernel_of("qconv2d", forward(case))
    golden("depthwise3x3.c", c_functions([kernel], ["kernel"], ["a depthwise convolution"])[0].definition)
    check_conv(case, "qconv2d")


def test_golden_update(golden: Callable) -> None:
    t = Tensor(weights((4, 3, 3)), np.full(4, 0.2, np.float32), channels=(0, 2), momentum=0.5)
    golden("sgd_depthwise_slice_momentum.c", c_functions([t.kernel], ["kernel"], ["an update"])[0].definition)
    g = np.random.default_rng(0).normal(0, 0.3, t.g_shape).astype(np.float32)
    expected = expected_update(t, g)
    np.testing.assert_array_equal(t.update(g), expected)


def emitted(model: Model, policy: Policy, name: str):
    lowered = lower(train(model, policy))
    plan = stacked(lowered.train_step.graph)
    return lowered, plan, emit(lowered, plan, name)


def stacked(graph: Graph) -> Plan:
    """Every tensor at a place of its own, in the graph's order: golden text must not change with the planner."""
    offsets, top = {}, 0
    for tensor in graph.tensors:
        if tensor.kind != "constant":
            offsets[tensor.name] = top
            top += -(-tensor.nbytes // 16) * 16
    return Plan(tuple(op.name for op in graph.ops), offsets, {}, top, 0, "FEASIBLE", 0, "FEASIBLE")


class Built:
    """Emitted sources in a library of the host; calls go through the public C interface."""

    def __init__(self, files: dict[str, str], name: str, folder: Path) -> None:
        for path, text in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, encoding="utf-8")
        sources = sorted((folder / "codegen/host/src").glob("*.c"))
        include = [folder / "codegen/host/include", folder / "codegen/host/src"]
        self.warnings = build_host([*sources, *KERNEL_SOURCES], include, folder / "lib.so", ["MCU_HAS_FMA=1"])
        self.library, self.prefix = ctypes.CDLL(str(folder / "lib.so")), f"tvmgen_{name}"

    def train_step(self, x: np.ndarray, label: int) -> tuple[int, float, np.ndarray]:
        """(status, loss, logits)."""
        logits, loss, target = np.zeros(CLASSES, np.float32), np.zeros(1, np.float32), np.array([label], np.int32)
        inputs = (ctypes.c_void_p * 2)(x.ctypes.data, target.ctypes.data)
        outputs = (ctypes.c_void_p * 2)(loss.ctypes.data, logits.ctypes.data)
        status = getattr(self.library, f"{self.prefix}_train_step")(inputs, outputs)
        return status, float(loss[0]), logits

    def set_rates(self, rates: np.ndarray) -> None:
        """Put the initial state into the arena, then these learning rates."""
        assert getattr(self.library, f"{self.prefix}_init")() == 0
        place = getattr(self.library, f"{self.prefix}_learning_rate")
        place.restype = ctypes.c_void_p
        ctypes.memmove(place(), rates.ctypes.data, rates.nbytes)

    def arena(self, offset: int, array: np.ndarray) -> np.ndarray:
        """The bytes at `offset`, as an array like `array`."""
        memory = (ctypes.c_uint8 * (offset + array.nbytes)).in_dll(self.library, f"{self.prefix}_arena")
        return np.frombuffer(bytes(memory)[offset:], array.dtype).reshape(array.shape)


def check_two_steps(built: Built, lowered, plan) -> None:
    """Two training steps of the emitted C equal the same kernels run one by one: losses, logits and all state."""
    state = {RATES: np.array([30.0, 0.1], np.float32)}  # high: two steps must move integer weights
    built.set_rates(state[RATES])
    for label in (1, 3):
        x = random_image(label)
        step = lowered.train_step
        given = {**state, "x": x[None], LABEL: np.array([label], np.int32)}
        tensors = execute(lowered, step, given, with_updates=True)
        status, loss, logits = built.train_step(x, label)
        assert status == 0 and loss == float(tensors[step.loss].reshape(-1)[0])
        np.testing.assert_array_equal(logits, tensors[step.logits].reshape(-1))
        state = {n: tensors[n] for n in lowered.state}
        for name, value in state.items():
            np.testing.assert_array_equal(built.arena(plan.offsets[name], value), value)
    moved = [p.variable for p in lowered.training.parameters if np.any(state[p.variable] != lowered.state[p.variable])]
    assert len(moved) == len(lowered.training.parameters)


def test_golden_model(tiny_model: Model, golden: Callable, tmp_path: Path) -> None:
    lowered, plan, source = emitted(tiny_model, SCHEME, "tiny")
    library = source.files["codegen/host/src/tiny_lib0.c"]
    golden("tiny_lib0.c", library)
    golden("tvmgen_tiny.h", source.files["codegen/host/include/tvmgen_tiny.h"])
    assert emitted(tiny_model, SCHEME, "tiny")[2].files == source.files
    built = Built(source.files, "tiny", tmp_path)
    assert not built.warnings
    check_two_steps(built, lowered, plan)


STREAMED = Policy(
    "streams",
    (
        Update("blocks.2.pointwise1", weight_ratio=1.0),
        Update("blocks.2.depthwise"),
        Update("blocks.1.pointwise2"),
    ),
)


def run_of(graph: Graph, axis: str, first: str, last: str) -> Stream:
    """The run over `axis` from op `first` to op `last` of those that can stream."""
    costs = RunCosts(graph)
    i, j = ([op.name for op in costs.ops].index(name) for name in (first, last))
    found = costs.over_rows(i, j) if axis == "rows" else costs.over_channels(i, j)
    assert found is not None
    return found[1]


def nest_text(library: str, run: Stream) -> str:
    """The loop nest of a run in the training step, with the comments on its ops."""
    lines = library[library.index("_train_ops(void)") :].splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith(f"    /* {run.ops[0]}: "))
    end = lines.index("    }", first)
    return "\n".join(lines[first : end + 1]) + "\n"


def test_golden_loop_nests(tiny_model: Model, golden: Callable, tmp_path: Path) -> None:
    """A run over rows and one over blocks of channels. tests/end_to_end/test_streams.py forces every other one."""
    lowered = lower(train(tiny_model, STREAMED))
    graph = eager(lowered.train_step.graph)
    rows = run_of(graph, "rows", "blocks.1.pointwise1:qconv2d", "blocks.1.pointwise2:qconv2d_with_mask")
    channels = run_of(
        graph, "channels", "blocks.2.pointwise2:conv2d_input_grad", "blocks.2.pointwise1:conv2d_input_grad"
    )
    assert channels.ops[-1] == "blocks.2.pointwise1.weight:sgd"
    plan = replace(stacked(with_streams(graph, [rows, channels])), streams=(rows, channels))
    source = emit(lowered, plan, "streams")
    library = source.files["codegen/host/src/streams_lib0.c"]
    golden("stream_rows.c", nest_text(library, rows))
    golden("stream_channels.c", nest_text(library, channels))
    built = Built(source.files, "streams", tmp_path)
    assert not built.warnings
    check_two_steps(built, lowered, plan)


def test_full_training_compiles_without_a_warning(tiny_model: Model, tmp_path: Path) -> None:
    everything = Policy("full", tuple(Update(name, weight_ratio=1.0) for name in LAYERS))
    lowered = lower(train(tiny_model, everything, momentum=0.9, accumulate=2))
    built = Built(emit(lowered, stacked(lowered.train_step.graph), "full").files, "full", tmp_path)
    assert not built.warnings


# --------------------------------------------------------------------------- names
HOSTILE = [
    'a"; system("reboot"); //',
    "*/ int evil(void) { return 1; } /*",
    "line\nbreak\r\n#define main evil\\",
    "**/ */*/ ??/ \\",
    "größe/网络\u2028\u202e",
    "",
    "0 starts with a digit",
    "x",
    "\x00\x1b[31m%s%n{prefix}{0}",
]


def renamed(model: Model, names: dict[str, str]) -> Model:
    """The same model as a stranger's file may name its layers."""

    def layer_of(name: str) -> str:
        layer, dot, what = name.rpartition(".")
        return f"{names[layer]}{dot}{what}" if layer in names else name

    main, builder = model.module[NETWORK], FunctionBuilder()
    known = {p: builder.param(layer_of(p.name), [int(v) for v in p.ty.shape], dtype(p)) for p in main.params}

    def rewrite(_: str, old, args: list):
        attrs = attrs_of(old)
        return call(op_name(old), args, **{**attrs, "layer": names.get(attrs["layer"], attrs["layer"])})

    outputs = copy(main, builder, known, rewrite)
    return replace(
        model,
        module=tvm.IRModule({NETWORK: builder.finish(NETWORK, outputs, list(builder.params.values()))}),
        params={layer_of(n): v for n, v in model.params.items()},
        layers=tuple(Layer(names.get(x.name, x.name), x.weight, x.depthwise, x.is_head) for x in model.layers),
    )


def dtype(var) -> str:
    return str(getattr(var.ty.dtype, "dtype", var.ty.dtype))


def without_comments(text: str) -> str:
    return re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)


def test_hostile_names_never_reach_c(tiny_model: Model, tmp_path: Path) -> None:
    """Every layer bears a hostile name; the C is ASCII, has no trace outside comments, no warning, and runs."""
    names = dict(zip(reversed(LAYERS), HOSTILE, strict=False))
    model = renamed(tiny_model, names)
    policy = Policy("hostile", tuple(Update(n, weight_ratio=0.5) for n in names.values() if n))
    lowered, plan, source = emitted(model, policy, "hostile")
    for path, text in source.files.items():
        assert text.isascii() and "\r" not in text and "\x00" not in text and "\x1b" not in text, path
        code = without_comments(text)
        assert "evil" not in re.sub(r"\bp_\w+", "", code) and "reboot" not in re.sub(r"\bp_\w+", "", code)
    parameters = set(re.findall(r"\bp_\w+(?=\[)", source.files["codegen/host/src/hostile_lib0.c"]))
    assert parameters - source.symbols.keys() == {"p_learning_rate", "p_counter"}  # no layer's own
    assert source.symbols.keys() <= parameters and set(source.symbols.values()) >= set(filter(None, names.values()))
    assert source.symbols["p__0_starts_with_a_digit_scale"] == "0 starts with a digit"
    built = Built(source.files, "hostile", tmp_path)
    assert not built.warnings
    check_two_steps(built, lowered, plan)


@pytest.mark.parametrize("name", HOSTILE)
def test_one_comment_one_identifier(name: str) -> None:
    text = comment(name)
    assert text.isascii() and text.isprintable() and "*/" not in text and "/*" not in text
    assert re.fullmatch(r"[A-Za-z_]\w*", "p_" + c_name(name), flags=re.ASCII)


def test_a_hostile_file_name_becomes_an_identifier(tiny_path: Path, tmp_path: Path) -> None:
    path = tmp_path / '9*l\u00fcft"; x\n.pkl'
    path.write_bytes(tiny_path.read_bytes())
    name = c_name(frontends.load(path, SIZE, CLASSES).name)
    assert re.fullmatch(r"[A-Za-z_]\w*", name, flags=re.ASCII)


# --------------------------------------------------------------------------- constants
FLOATS = [0.0, -0.0, 1.0, 0.1, -1 / 3, 1e-45, -1e-45, 1.1754942e-38, 1.17549435e-38, 3.4028235e38, -3.4028235e38]
FLOATS += [16777217.0, 1e-7, np.nextafter(np.float32(1), np.float32(2)), np.pi]


def read_back(array: np.ndarray, folder: Path, ctype: str) -> np.ndarray:
    text = f"#include <stdint.h>\n{c_array('values', array, 'x')}\nconst {ctype} *get(void) {{ return values; }}\n"
    (folder / "array.c").write_text(text)
    assert not build_host([folder / "array.c"], [], folder / "array.so")
    get = ctypes.CDLL(str(folder / "array.so")).get
    get.restype = ctypes.c_void_p
    return np.frombuffer(ctypes.string_at(get(), array.nbytes), array.dtype).reshape(array.shape)


def test_floats_read_back_to_the_same_bits(tmp_path: Path) -> None:
    random = np.random.default_rng(0).integers(0, 2**32, 3000, dtype=np.uint32).view(np.float32)
    values = np.concatenate([np.array(FLOATS, np.float32), random[np.isfinite(random)]])
    np.testing.assert_array_equal(read_back(values, tmp_path, "float").view(np.uint32), values.view(np.uint32))


@pytest.mark.parametrize("kind", ["int8", "int16", "int32", "uint32"])
def test_integers_read_back(kind: str, tmp_path: Path) -> None:
    info = np.iinfo(kind)
    values = np.array([info.min, info.min + 1, 0, 1, info.max - 1, info.max], kind).reshape(2, 3)
    np.testing.assert_array_equal(read_back(values, tmp_path, f"{kind}_t"), values)


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_a_constant_that_is_not_finite_is_refused(bad: float) -> None:
    """C has no literal for it; no importer lets one through, and the printer does not print nonsense."""
    with pytest.raises(ModelError, match="scale: holds a value that is not finite"):
        c_array("scale", np.array([1.0, bad], np.float32), "x")


def test_no_emitted_float_literal_has_lost_digits(tiny_model: Model) -> None:
    """TVM prints seven digits of a literal: whatever is not exact in them must come from its bits."""
    kernels = lower(train(tiny_model, SCHEME, momentum=0.3, accumulate=3)).kernels
    text = "".join(
        f.definition for f in c_functions(list(kernels), [f"k{i}" for i in range(len(kernels))], [""] * len(kernels))
    )
    literals = set(re.findall(r"[-+]?\d+\.\d+e[-+]\d+f?", text))
    assert literals and all(float(v.rstrip("f")) in (0.0, 1.0) for v in literals), literals


def test_the_reference_hash_is_the_emitted_one() -> None:
    """A spread of bits, so that the comparison of updates above compares randomness at all."""
    bits = reference.mcu_hash(3, 1, np.arange(4096))
    assert len(np.unique(bits)) == 4096 and abs(np.mean((bits >> 31) & 1) - 0.5) < 0.04
