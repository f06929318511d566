"""What the compiler emits for a list of models, schemes, boards and options, as a hash of each file.

`python -m tests.end_to_end.emitted` prints the list as it is now and says what differs from tests/golden/emitted.json;
with `--update` it writes that file."""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import mcutrain
from benchmarks.fuzz.seeds import all_seeds
from tests.tiny_network import CLASSES, SIZE, tiny_file

REPO = Path(__file__).resolve().parents[2]
DATA = REPO.parent / "shared" / "data"
GOLDEN = REPO / "tests" / "golden" / "emitted.json"
DIGITS = {"input_size": 16, "classes": 10, "head": "int8-slice", "logits": "dequantized"}
TINY = {"input_size": SIZE, "classes": CLASSES}


@dataclass(frozen=True)
class Case:
    """One compile. model: a name of `sources`. load: options of mcutrain.load; the rest goes to mcutrain.compile."""

    model: str
    scheme: str
    board: str
    load: Mapping[str, object] = field(default_factory=dict)
    options: Mapping[str, object] = field(default_factory=dict)


CASES = {
    "digits last_k=6 M7": Case("digits", "last_k=6", "stm32f746", DIGITS, {"budget": "96KB"}),
    "digits bias_only M4F momentum": Case("digits", "bias_only", "nrf52840", DIGITS, {"momentum": 0.9}),
    "digits full M55 accumulate whole": Case("digits", "full", "mps3-an547", DIGITS,
                                             {"accumulate": 4, "stream": False, "budget": "1MB"}),
    "digits last_k=6 M7 recompute": Case("digits", "last_k=6", "stm32f746", DIGITS,
                                         {"recompute": True, "budget": 64_000}),
    "digits head_only M0+": Case("digits", "head_only", "rp2040", {**DIGITS, "head": "float"}),
    "digits inference M3": Case("digits", "inference", "mps2-an385", DIGITS),
    "tiny full M7 seed": Case("tiny", "full", "stm32f746", TINY, {"seed": 7, "momentum": 0.5, "accumulate": 2}),
    "tiny last_k=3 M3": Case("tiny", "last_k=3", "mps2-an385", TINY),
    "mcunet 49kb M7": Case("mcunet", "49kb", "stm32f746"),
    "mcunet 49kb M3": Case("mcunet", "49kb", "mps2-an385"),
    "proxyless inference M55": Case("proxyless", "inference", "mps3-an547"),
    "keywords last_k=4 M4F": Case("kws", "last_k=4", "nrf52840"),
    "keywords float head M0+": Case("kws", "last_k=2", "rp2040", {"head": "float", "classes": 5}),
    "autoencoder full M4F": Case("ad01", "full", "nrf52840", {"loss": "autoencoder"}, {"budget": "2MB"}),
    "resnet full M55 binary": Case("resnet", "full", "mps3-an547", {"loss": "binary_cross_entropy"},
                                   {"budget": "2MB"}),
    "wake words inference softmax M7": Case("vww", "inference", "stm32f746", {"softmax": True}),
    "Relay LeNet full M7": Case("lenet", "full", "stm32f746", {}, {"budget": "512KB"}),
    "Relay qnn full M4F": Case("qnn", "full", "nrf52840", {}, {"budget": "1MB"}),
    "ONNX QDQ full M4F": Case("qdq.onnx", "full", "nrf52840"),
    "ONNX float full M7 momentum": Case("float.onnx", "full", "stm32f746", {}, {"momentum": 0.9}),
    "Relax float full M55": Case("net.relax", "full", "mps3-an547"),
}  # fmt: skip


def sources(data: Path, folder: Path) -> dict[str, Path]:
    """Model files by the names that CASES uses; those that are generated are written to `folder`."""
    found = {
        "digits": REPO / "examples/digits/digits_int8.pkl",
        "tiny": tiny_file(folder),
        "mcunet": data / "mcunet/mcunet-5fps.pkl",
        "proxyless": data / "mcunet/proxyless-w0.3.pkl",
        "kws": data / "mlperf_tiny/kws_ref_model.tflite",
        "ad01": data / "mlperf_tiny/ad01_int8.tflite",
        "resnet": data / "mlperf_tiny/pretrainedResnet_quant.tflite",
        "vww": data / "mlperf_tiny/vww_96_int8.tflite",
        "lenet": data / "relay/tvm/lenet_fp32/bound.json",
        "qnn": data / "relay/tvm/qnn_int8_nhwc/bound.relay",
    }
    seeds = all_seeds(data)
    for seed in (*seeds["onnx"], *seeds["relax"]):
        found[seed.name] = folder / seed.name
        found[seed.name].write_bytes(seed.content)
    return found


def emitted(case: Case, path: Path, folder: Path) -> dict[str, str]:
    """SHA-256 of each source file and of the plan, by its place in the compiled folder."""
    model = mcutrain.load(path, **case.load)
    out = mcutrain.compile(model, case.scheme, case.board, out=folder / "out", **case.options).directory
    files = sorted([*(p for p in (out / "codegen/host").rglob("*") if p.is_file()), out / "plan.csv"])
    return {str(p.relative_to(out)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def main() -> int:
    result = {}
    with tempfile.TemporaryDirectory() as folder:
        paths = sources(DATA, Path(folder))
        for name, case in CASES.items():
            result[name] = emitted(case, paths[case.model], Path(folder))
            print(name, *result[name].values(), sep="\n  ", flush=True)
    if "--update" in sys.argv:
        GOLDEN.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    wanted = json.loads(GOLDEN.read_text(encoding="utf-8"))
    different = [name for name in CASES if result[name] != wanted.get(name)]
    print(f"{len(CASES) - len(different)} of {len(CASES)} as before", *different, sep="\n  ")
    return int(bool(different))


if __name__ == "__main__":
    sys.exit(main())
