"""An emitted model as the outside sees it: its public functions, their header, and mcu_model.h."""

from __future__ import annotations

from mcutrain.planner.model import Plan
from mcutrain.tvm_ext.emit import c_text
from mcutrain.tvm_ext.emit.codegen import C_TYPES, comment
from mcutrain.tvm_ext.emit.placement import Placement
from mcutrain.tvm_ext.lower.graph import Lowered
from mcutrain.tvm_ext.model import Model
from mcutrain.tvm_ext.train.training import LABEL
from mcutrain.tvm_ext.train.updates import RATES


def public(prefix: str, lowered: Lowered, infer: Placement, train: Placement | None) -> str:
    """The functions that an application calls."""
    model = lowered.training.model
    values = {
        "prefix": prefix,
        "input": infer.offsets["x"],
        "input_bytes": infer.step.values["x"].tensor.nbytes,
        "logits": infer.offsets[infer.step.logits],
        "logits_bytes": infer.step.values[infer.step.logits].tensor.nbytes,
        "input_type": C_TYPES[model.input_dtype],
    }
    text = c_text.RUN.format(**values)
    if train is not None:
        text += c_text.TRAIN.format(
            **values,
            **_label_text(prefix, model, train),
            loss=train.loss_offset,
            train_logits=train.offsets[train.step.logits],
            rates=train.offsets[RATES],
        )
    return text


def _label_text(prefix: str, model: Model, train: Placement) -> dict[str, str]:
    """The parts of the entry points that differ with the loss."""
    if LABEL not in train.offsets:
        return dict.fromkeys(("label_missing", "label_copy", "label_declaration", "label_check"), "")
    nbytes = train.step.values[LABEL].tensor.nbytes
    values = {"prefix": prefix, "classes": model.classes, "label": train.offsets[LABEL], "label_bytes": nbytes}
    _, declaration, check = (part.format(**values) for part in c_text.LABELS[model.loss])
    return {
        "label_missing": "inputs->label == NULL || ",
        "label_copy": c_text.LABEL_COPY.format(**values),
        "label_declaration": declaration,
        "label_check": check,
    }


def header(prefix: str, lowered: Lowered, infer: Placement, train: Placement | None) -> str:
    """The application's header."""
    model, logits = lowered.training.model, infer.step.values[infer.step.logits]
    height, width, channels = model.input_shape[1:]
    is_int8 = model.input_dtype == "int8"
    real = f", real = (x - {model.input_zero}) * {model.input_scale!r}" if is_int8 else ""
    member = c_text.LABELS[model.loss][0].format(classes=model.classes)
    unit = c_text.LOSS_UNITS.get(model.loss, "nats")
    return c_text.HEADER.format(
        prefix=prefix,
        guard=prefix.upper(),
        input=f"{model.input_dtype} {height}x{width}x{channels} (HWC){real}",
        input_type=C_TYPES[model.input_dtype],
        output=f"{logits.dtype} {model.classes} {'probabilities, (q + 128) / 256' if model.softmax else 'logits'}",
        train=c_text.TRAIN_HEADER.format(prefix=prefix, label_member=member, loss_unit=unit) if train else "",
    )


def model_header(prefix: str, lowered: Lowered, plan: Plan, infer: Placement, train: Placement | None) -> str:
    """mcu_model.h: the constants by which the generic verify program and the host twin drive the model."""
    values = infer.step.values
    pairs = {
        "ARENA": f"{prefix}_arena",
        "ARENA_BYTES": plan.height,
        "INIT": f"{prefix}_init",
        "INFER": f"{prefix}_infer_arena",
        "TRAINS": int(train is not None),
        "INPUT_OFFSET": infer.offsets["x"],
        "INPUT_BYTES": values["x"].tensor.nbytes,
        "INFER_LOGITS_OFFSET": infer.offsets[infer.step.logits],
        "LOGITS_BYTES": values[infer.step.logits].tensor.nbytes,
        "INFER_OPS": len(infer.calls),
    }
    segments = []
    if train is not None:
        pairs |= {
            "TRAIN": f"{prefix}_train_arena",
            "TRAIN_OPS": len(train.calls),
            "LABEL_OFFSET": train.offsets.get(LABEL, 0),
            "LABEL_BYTES": train.step.values[LABEL].tensor.nbytes if LABEL in train.offsets else 0,
            "TRAIN_LOGITS_OFFSET": train.offsets[train.step.logits],
            "LOSS_OFFSET": train.loss_offset,
            "HYPER_OFFSET": train.offsets[RATES],
            "HYPER_BYTES": lowered.state[RATES].nbytes,
        }
        segments = [(plan.offsets[n], v.nbytes, n) for n, v in lowered.state.items()]
    pairs["SEGMENTS"] = len(segments)
    lines = [f"#define MCU_MODEL_{key} {value}" for key, value in pairs.items()]
    if segments:
        lines += ["static const mcu_segment mcu_model_segments[] = {"]
        lines += [f"    {{{offset}u, {nbytes}u}}, /* {comment(n)} */" for offset, nbytes, n in segments] + ["};"]
    return c_text.MODEL_HEADER.format(prefix=prefix, lines="\n".join(lines))
