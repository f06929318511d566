"""Which importer reads a model: decided by what the file holds, not by its name alone."""

from __future__ import annotations

import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from mcutrain.planner.errors import ModelError
from mcutrain.planner.policy import LOSSES

if TYPE_CHECKING:  # tvm takes two seconds to import; the command line answers `boards` and `--help` without it
    from mcutrain.tvm_ext.model import Model, RelaxModule, Source

PICKLE_INPUT_SIZE, PICKLE_CLASSES = 128, 10
HEADS = ("model", "float", "int8-slice")
LOGITS = ("raw", "dequantized")
HEAD_OF_FILE = 1 << 16  # bytes that are looked at to tell the format
FORMATS = {  # in words; each is read by mcutrain.tvm_ext.importers.KEY.load
    "pickle": "int8 network pickle",
    "tflite": "TFLite",
    "onnx": "ONNX",
    "relay": "Relay (text, JSON, or Model Library Format)",
    "relax": "Relax (text)",
    "torch": "PyTorch exported program",
}


@dataclass(frozen=True)
class LoadOptions:
    """The options of load() that a frontend gets; which of them fit its format is checked before."""

    input_size: int | None
    classes: int | None
    head: str | None
    logits: str | None
    loss: str | None
    params: Path | None
    softmax: bool


def load(
    model: Source,
    input_size: int | None = None,
    classes: int | None = None,
    head: str | None = None,
    logits: str | None = None,
    *,
    loss: str | None = None,
    params: str | os.PathLike[str] | None = None,
    softmax: bool = False,
) -> Model:
    """Read a model: the path of a network pickle, a TFLite, ONNX, Relay, Relax or PyTorch (.pt2) file, a folder or tar
    in Model Library Format; or a Relax IRModule; or a torch ExportedProgram. One guide a format stands in docs/.

    input_size: pixels of the square input of a network pickle (128); every other format fixes its own.
    head: "model" (the network's own output layer; the default but for pickles), "float" (a fresh float32 one in its
    place, from zero), or, of a pickle, "int8-slice" (the first `classes` rows of its own). classes: outputs of a fresh
    head. logits: "raw" or "dequantized" int8 logits in the loss, by default as the head has it.
    loss: cross_entropy (default), binary_cross_entropy, mse, or autoencoder (mse against the input).
    params: file with the parameters of a Relay module that stand apart from it. softmax: inference keeps the softmax at
    the end of a TFLite model and gives probabilities, not logits.
    Raises ModelError; UnsupportedError, which is one, where operators of the model cannot be expressed."""
    _check(head, classes, logits, loss)
    kind, source = format_of(model)
    data = None if params is None else Path(params)
    options = LoadOptions(input_size, classes, head, logits, loss, data, softmax)
    _check_fit(kind, source, options)
    return _read(kind, source, options)


def as_model(model: Model | Source) -> Model:
    """`model` itself where it is a loaded one, else what load() reads with its defaults. Raises as load() does."""
    if isinstance(model, str | os.PathLike):
        return load(model)
    from mcutrain.tvm_ext.model import Model

    return model if isinstance(model, Model) else load(model)


def _check(head: str | None, classes: int | None, logits: str | None, loss: str | None) -> None:
    for what, value, known in (("head", head, HEADS), ("logits", logits, LOGITS), ("loss", loss, LOSSES)):
        if value is not None and value not in known:
            raise ModelError(f"unknown {what} '{value}'; use {', '.join(known)}")
    if head == "float" and loss == "autoencoder":
        raise ModelError("an autoencoder trains its own output layer; use the head model")
    if classes is not None and classes < (1 if loss in ("binary_cross_entropy", "mse") else 2):
        raise ModelError(f"{classes} classes: need 2 or more (1 or more for binary_cross_entropy and mse)")


def _check_fit(kind: str, source: Source, options: LoadOptions) -> None:
    """Raise ModelError for an option that the format does not have."""
    if options.params is not None and kind != "relay":
        raise ModelError(f"{source}: --params belongs to a Relay file; this is {FORMATS[kind]}")
    if options.softmax and kind != "tflite":
        raise ModelError(f"{source}: --softmax belongs to a TFLite file; this is {FORMATS[kind]}")
    if kind == "pickle":
        return
    if options.input_size is not None:
        raise ModelError(f"{source}: {FORMATS[kind]} fixes its own input size; leave --input-size out")
    if options.head == "int8-slice":
        raise ModelError(f"{source}: the head int8-slice is for network pickles; use model or float")
    if options.classes is not None and options.head != "float":
        raise ModelError(f"{source}: its own output layer fixes the classes; --head float makes a new one")


def _read(kind: str, source: Any, options: LoadOptions) -> Model:
    """Read what is known to be of the format `kind`. Only the format's own frontend is imported, here: torch and onnx
    take seconds."""
    head, classes, logits, loss = options.head or "model", options.classes, options.logits, options.loss
    if kind == "pickle":
        from mcutrain.tvm_ext.importers.pickle.load import load as load_pickle

        size = PICKLE_INPUT_SIZE if options.input_size is None else options.input_size
        count = PICKLE_CLASSES if classes is None else classes
        return load_pickle(source, size, count, options.head or "float", logits, loss)
    if kind == "tflite":
        from mcutrain.tvm_ext.importers.tflite.load import load as load_tflite

        return load_tflite(source, classes, head, logits, loss, options.softmax)
    if kind == "onnx":
        from mcutrain.tvm_ext.importers.onnx.load import load as load_onnx

        return load_onnx(source, classes, head, logits, loss)
    if kind == "relay":
        from mcutrain.tvm_ext.importers.relay.load import load as load_relay

        return load_relay(source, classes, cast(Literal["model", "float"], head), logits, loss, options.params)
    if kind == "relax":
        from mcutrain.tvm_ext.importers.relax.load import load as load_relax

        return load_relax(source, classes, head, logits, loss)
    from mcutrain.tvm_ext.importers.torch.load import load as load_torch

    return load_torch(source, classes, head, logits, loss)


def format_of(model: Source) -> tuple[str, Source]:
    """(a key of FORMATS, the path or object to read). Raises ModelError for what is none that is known."""
    if not isinstance(model, str | os.PathLike):
        kind = {"IRModule": "relax", "ExportedProgram": "torch"}.get(type(model).__name__)
        if type(model).__name__ == "Model":
            raise ModelError(
                f"{getattr(model, 'name', 'the model')} is loaded already; plan and compile take it as it is"
            )
        if kind is None:
            raise ModelError(f"a {type(model).__name__} is no model; give a path, an IRModule or an ExportedProgram")
        return kind, model
    path = Path(model)
    if path.is_dir():
        if (path / "metadata.json").is_file():
            return "relay", path
        raise ModelError(f"{path}: a folder without metadata.json; give a model file, or a Model Library Format folder")
    try:
        with path.open("rb") as file:
            begin = file.read(HEAD_OF_FILE)
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror or error}; give the path of a model file") from None
    return _kind_of(begin, path), path


def _kind_of(begin: bytes, path: Path) -> str:
    if begin[4:8] == b"TFL3" or path.suffix == ".tflite":
        return "tflite"
    if path.suffix == ".onnx":
        return "onnx"
    if path.suffix in (".npz", ".npy"):
        raise ModelError(f"{path}: arrays are no model; `mcutrain train` and `mcutrain quantize` take them as data")
    if begin[:2] == b"PK" and path.suffix != ".pkl":
        return "torch" if _holds_program(path) else "pickle"
    if begin[257:262] == b"ustar" or begin.lstrip()[:1] == b"{" or b"def @" in begin or b"#[version" in begin:
        return "relay"
    if b"R.function" in begin or path.suffix == ".relax":
        return "relax"
    if path.suffix in (".relay", ".json", ".tar"):
        return "relay"
    if path.suffix in (".pkl", ".pt2", ".pt"):
        return "pickle" if path.suffix == ".pkl" else "torch"
    raise ModelError(f"{path}: none of the formats that are known: {', '.join(FORMATS.values())}")


def _holds_program(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return not any(name.rsplit("/", 1)[-1] == "data.pkl" for name in archive.namelist()) or any(
                "archive_format" in name or name.endswith("models/model.json") for name in archive.namelist()
            )
    except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError):
        return path.suffix in (".pt2", ".pt")


def to_relax(path: str | os.PathLike[str], params: str | os.PathLike[str] | None = None) -> RelaxModule:
    """A Relay file as an ordinary Relax IRModule, to be run, looked at or rewritten: any graph, not networks alone, of
    any batch size; integer ones in TVM's fixed-point arithmetic. params: as for load(). Raises ModelError."""
    from mcutrain.tvm_ext.importers.relay.read import reader
    from mcutrain.tvm_ext.importers.relay.real import to_relax

    module: RelaxModule = to_relax.to_relax(reader.read(Path(path), None if params is None else Path(params)))
    return module
