"""TFLite's own reference kernels, as the oracle of imported TFLite models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

ENDS = ("SOFTMAX", "LOGISTIC")  # what stands behind the logits


def logits(path: Path, images: np.ndarray) -> np.ndarray:
    """int8 (N, outputs): what the network gives for int8 images (N, ...), before a softmax at its end."""
    interpreter = Interpreter(
        model_path=str(path),
        experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
        experimental_preserve_all_tensors=True,
    )
    interpreter.allocate_tensors()
    (place,) = interpreter.get_input_details()
    last = interpreter._get_ops_details()[-1]
    index = last["inputs"][0] if last["op_name"] in ENDS else last["outputs"][0]
    results = []
    for image in images:
        interpreter.set_tensor(place["index"], image.reshape(place["shape"]))
        interpreter.invoke()
        results.append(interpreter.get_tensor(index).reshape(-1).copy())
    return np.array(results)
