"""Float32 ONNX -> int8 ONNX: onnxruntime's static quantiser with the settings that the importer and the device want."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mcutrain.artifact.folder import replace_file
from mcutrain.frontends import format_of
from mcutrain.planner.errors import ModelError
from mcutrain.quantization.prepare_onnx import prepare

CALIBRATIONS = ("minmax", "entropy", "percentile")
MAX_BYTES = 256 << 20
QUANTISED = ("Conv", "Gemm", "MatMul")


@dataclass(frozen=True)
class QuantizationResult:
    """A quantised model: where it is, and how far its outputs are from the float ones.

    out: the file that it wrote. samples: how many it calibrated with. layers: convolutions and fully connected layers
    with int8 weights. float_layers: names of those that stayed float32. mean_error, max_error: |int8 - float| of the
    outputs over the compared samples, in the outputs' own unit. output_range: of the float outputs. argmax_agreement:
    the fraction of samples whose largest output is the same one; None where there is one output alone."""

    out: Path
    samples: int
    layers: int
    float_layers: tuple[str, ...]
    mean_error: float
    max_error: float
    output_range: tuple[float, float]
    argmax_agreement: float | None


def quantize(
    model: str | os.PathLike[str],
    data: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    calibration: str = "minmax",
    compared: int = 500,
) -> QuantizationResult:
    """Quantise the float32 ONNX file `model` after training and write `out`, int8 in QDQ form.

    data: .npz with one array, or one named as the model's input: float32 (N, ...) samples shaped as the input without
    its batch, prepared just as for training; some 100 typical ones do. out: by default MODEL_int8.onnx beside it.
    calibration: how ranges of activations are found: "minmax" (all values fit), "entropy" or "percentile" (outliers are
    cut off). compared: of the samples, how many at most the float and the int8 network are compared on.
    Weights become int8, symmetric, one scale a channel; activations int8 with a zero point; batch normalisation is
    folded first. The file is written whole or not at all.

    Raises ModelError for a model or data that do not fit, OutputError where `out` cannot be written."""
    if calibration not in CALIBRATIONS:
        raise ModelError(f"unknown calibration '{calibration}'; use {', '.join(CALIBRATIONS)}")
    model = Path(model)
    out = model.with_name(f"{model.stem}_int8.onnx") if out is None else Path(out)
    _check_kind(model)
    session = _session(model)
    _check_is_float(model)
    name, shape = _input(session, model)
    samples = _samples(Path(data), name, shape)
    with tempfile.TemporaryDirectory() as folder, _quiet():
        prepared, made = Path(folder, "prepared.onnx"), Path(folder, "int8.onnx")
        try:
            prepare(model, prepared)
            _calibrate(prepared, made, name, samples, calibration)
        except Exception as error:  # onnxruntime's quantiser raises whatever its parts raise
            reason = _reason(error).replace(str(prepared), str(model)).replace(str(made), str(out))
            raise ModelError(f"{model}: cannot be quantised: {reason}") from None
        content = made.read_bytes()
        layers, float_layers = _layers(made)
        if not layers:
            raise ModelError(f"{model}: holds no Conv, Gemm or MatMul with a weight; nothing to quantise")
        report = _compare(session, _session(made, as_written=True), name, samples[:compared])
    replace_file(out, content)
    return QuantizationResult(out, len(samples), layers, float_layers, *report)


def _session(path: Path, as_written: bool = False) -> Any:
    """A session for a file. as_written: each operator by itself; onnxruntime's own integer kernels saturate on some
    processors."""
    import onnxruntime

    try:
        if path.stat().st_size > MAX_BYTES:
            raise ModelError(f"{path}: more than {MAX_BYTES} B are refused")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        if as_written:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        return onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror or error}; give the path of an ONNX model") from None
    except ModelError:
        raise
    except Exception as error:  # its errors have no common base
        raise ModelError(f"{path}: onnxruntime cannot run it: {_reason(error)}; give a float32 ONNX model") from None


def _reason(error: Exception) -> str:
    """The message on one line, without the number and the name that onnxruntime gives its errors."""
    text = re.sub(r"\[ONNXRuntimeError\] : \d+ : \w+ : ", "", " ".join(str(error).split()))
    return text[:300] or type(error).__name__


def _check_kind(path: Path) -> None:
    """Refuse a TFLite model, which onnxruntime would only call damaged."""
    try:
        kind = format_of(path)[0]
    except ModelError:  # what cannot be read at all is said where it is read
        return
    if kind == "tflite":
        way_out = "convert it with post-training full-integer quantisation (docs/guide-tflite.md)"
        raise ModelError(f"{path}: a TFLite model, and only ONNX can be quantised here; {way_out}")


def _check_is_float(path: Path) -> None:
    import onnx

    kinds = {node.op_type for node in onnx.load(path, load_external_data=False).graph.node}
    found = sorted(kind for kind in kinds if kind.lower().endswith("quantizelinear") or kind.startswith("QLinear"))
    if found:
        raise ModelError(
            f"{path}: is quantised already (it holds {found[0]}); compile it as it is, or give the float32 one"
        )


def _input(session: Any, path: Path) -> tuple[str, list[object]]:
    """Name and shape of the one input; a size that is not fixed is None or a name."""
    inputs = session.get_inputs()
    if len(inputs) != 1 or len(session.get_outputs()) != 1:
        raise ModelError(f"{path}: {len(inputs)} inputs and {len(session.get_outputs())} outputs, must have 1 of each")
    if inputs[0].type != "tensor(float)":
        raise ModelError(f"{path}: its input is {inputs[0].type}, must be float32; give the float network")
    return inputs[0].name, list(inputs[0].shape)


def _samples(path: Path, name: str, shape: Sequence[object]) -> np.ndarray:
    """Read float32 (N, 1, ...): N inputs of batch 1."""
    try:
        loaded = np.load(path, allow_pickle=False)
        if not isinstance(loaded, np.lib.npyio.NpzFile):
            raise ModelError(f"{path}: is a single array; save it by np.savez(path, {name}=samples)")
        with loaded as archive:
            key = name if name in archive.files else archive.files[0] if len(archive.files) == 1 else None
            if key is None:
                held = ", ".join(archive.files[:5])
                raise ModelError(f"{path}: holds {held or 'nothing'}; one array, or one named '{name}'")
            samples = archive[key]
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror or error}; give an .npz with samples") from None
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error, KeyError, NotImplementedError):
        raise ModelError(f"{path}: no .npz file of numbers; save one by np.savez(path, {name}=samples)") from None
    if samples.dtype.kind not in "fiu" or samples.ndim < 1 or len(samples) == 0:
        raise ModelError(f"{path}: holds {samples.dtype} {samples.shape}; samples are numbers, (N, ...)")
    fits = len(samples.shape) == len(shape) and all(
        not isinstance(n, int) or n == m for n, m in zip(shape[1:], samples.shape[1:], strict=True)
    )
    if not fits:
        wanted = ", ".join(["N", *(str(n) if isinstance(n, int) else "?" for n in shape[1:])])
        raise ModelError(f"{path}: samples of {samples.shape}; the model's input takes ({wanted})")
    samples = samples.astype(np.float32)
    if not np.all(np.isfinite(samples)):
        raise ModelError(f"{path}: a sample is not finite; remove it")
    return samples[:, None]


def _calibrate(prepared: Path, made: Path, name: str, samples: np.ndarray, calibration: str) -> None:
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

    methods = dict(zip(CALIBRATIONS, ("MinMax", "Entropy", "Percentile"), strict=True))
    quantize_static(
        str(prepared),
        str(made),
        _Reader(name, samples),
        quant_format=QuantFormat.QDQ,
        # a normalisation that could not be folded keeps its factors, which int8 would spoil
        op_types_to_quantize=[op for op in {**QLinearOpsRegistry, **QDQRegistry} if op != "BatchNormalization"],
        per_channel=True,
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod[methods[calibration]],
        extra_options={"ActivationSymmetric": False, "WeightSymmetric": True},
    )


class _Reader:
    """A CalibrationDataReader, which onnxruntime knows by its method: hands out one sample at a time."""

    def __init__(self, name: str, samples: np.ndarray) -> None:
        self._name, self._rest = name, iter(samples)

    def get_next(self) -> dict[str, np.ndarray] | None:
        sample = next(self._rest, None)
        return None if sample is None else {self._name: sample}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the quantiser: it logs and prints hints that do not concern the user of this function."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)


def _layers(path: Path) -> tuple[int, tuple[str, ...]]:
    """Count: (layers with quantised weights, names of those without)."""
    import onnx

    graph = onnx.load(path).graph
    sources = {name: node.op_type for node in graph.node for name in node.output}
    constants = {tensor.name for tensor in graph.initializer}
    layers = [node for node in graph.node if node.op_type in QUANTISED and len(node.input) > 1]
    done = [node for node in layers if sources.get(node.input[1]) == "DequantizeLinear"]
    left = [node.name or node.op_type for node in layers if node not in done and node.input[1] in constants]
    return len(done), tuple(left)


def _compare(
    before: Any, after: Any, name: str, samples: np.ndarray
) -> tuple[float, float, tuple[float, float], float | None]:
    total = count = same = 0
    largest, low, high = 0.0, np.inf, -np.inf
    for sample in samples:
        (real,), (ours,) = (session.run(None, {name: sample}) for session in (before, after))
        error = np.abs(ours.astype(np.float64) - real)
        total, count, largest = total + error.sum(), count + error.size, max(largest, float(error.max()))
        low, high = min(low, float(real.min())), max(high, float(real.max()))
        same += int(real.argmax() == ours.argmax())
    agreement = same / len(samples) if real.size > 1 else None
    return float(total / count), largest, (low, high), agreement
