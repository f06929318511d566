"""Saved PyTorch programs, archives and programs that are refused, each with its message, and mutants."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from mcutrain.planner.errors import ModelError
from mcutrain.tvm_ext.importers.torch.load import load
from tests.tvm_ext.importers.torch import torch_nets
from tests.tvm_ext.importers.torch.torch_nets import exported, quantised_program

REPO = Path(__file__).resolve().parents[4]
pytestmark = pytest.mark.filterwarnings("ignore")  # of PyTorch's, about itself


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("program") / "sequence.pt2"
    net = torch_nets.prepared(torch_nets.Sequence(), (1, 2, 40))
    torch.export.save(quantised_program(net, (1, 2, 40)), path)
    return path


def test_a_saved_program(saved: Path) -> None:
    model = load(saved, classes=3, head="float")
    assert (model.name, model.classes, model.head, model.input_shape) == ("sequence", 3, "float", (1, 1, 40, 2))
    assert [layer.name for layer in model.layers] == ["body.0", "body.3", "classifier"]


def test_a_saved_program_in_a_process_of_its_own(saved: Path) -> None:
    """Where nobody has imported what registers PT2E's operators."""
    code = f"from mcutrain.tvm_ext.importers.torch.load import load; print(load({str(saved)!r}).classes)"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, cwd=REPO)
    assert (done.returncode, done.stdout.strip()) == (0, "1"), done.stderr[-500:]


def rewritten(saved: Path, path: Path, change: Callable[[str, bytes], tuple[str, bytes] | None]) -> None:
    with zipfile.ZipFile(saved) as archive, zipfile.ZipFile(path, "w") as out:
        for name in archive.namelist():
            entry = change(name, archive.read(name))
            if entry is not None:
                out.writestr(*entry)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"use_pickle": false', '"use_pickle": true', "holds pickled tensors; only plain ones are read"),
        ('"path_name": "', '"path_name": "../', "holds pickled tensors; only plain ones are read"),
        ('"hint": null', '"hint": null, "expr_str": "f().g"', None),
        ("data/weights/weight_0", "data/aotinductor/model.so", "holds '.*aotinductor/model.so'; only graphs and plain"),
        ("models/", "modules/", "holds 0 exported programs, must hold 1"),
        ("{", "[", "no exported program, or truncated; save it anew"),
    ],
)
def test_archives_that_are_refused(saved: Path, tmp_path: Path, old: str, new: str, message: str | None) -> None:
    """Before PyTorch reads them: its reader would run what they hold."""
    path = tmp_path / "bad.pt2"

    def change(name: str, content: bytes) -> tuple[str, bytes]:
        if "sample_inputs" in name:
            return name, b"cos\nsystem\n(S'false'\ntR."  # a pickle that runs a command: it is left out
        is_text = name.endswith(".json")
        return name.replace(old, new), content.replace(old.encode(), new.encode()) if is_text else content

    rewritten(saved, path, change)
    if message is None:  # nothing in this file has such a field
        assert load(path).classes == 1
        return
    with pytest.raises(ModelError, match=message) as caught:
        load(path)
    assert str(caught.value).startswith(str(path))


def test_sizes_that_are_computed_are_refused(tmp_path: Path) -> None:
    path, bad = tmp_path / "open.pt2", tmp_path / "bad.pt2"
    net = nn.Sequential(nn.Flatten(), nn.Linear(6, 2)).eval()
    torch.export.save(exported(net, (3, 6), dynamic_shapes=({0: torch.export.Dim("n", max=9)},)), path)
    assert load(path).classes == 2
    expression = b'"expr_str": "'
    rewritten(path, bad, lambda name, data: (name, data.replace(expression, expression + b"exit() + ")))
    with pytest.raises(ModelError, match="holds sizes that are computed; export it with a fixed input size"):
        load(bad)


def test_mutants_are_refused_or_read(saved: Path, tmp_path: Path) -> None:
    rng, path, data, refused = np.random.RandomState(0), tmp_path / "bad.pt2", saved.read_bytes(), 0
    for number in range(30):
        mutant = bytearray(data)
        for index in rng.randint(0, len(data), 20):
            mutant[index] = rng.randint(256)
        path.write_bytes(mutant[: rng.randint(len(data))] if number % 5 == 0 else mutant)
        try:
            load(path)
        except ModelError:
            refused += 1
    assert refused >= 10


# --------------------------------------------------------------------------- refusals
class Bad(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.out = nn.Conv2d(3, 3, 3, dilation=2), nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = nn.functional.softplus(nn.functional.mish(x))
        return self.conv(x).mean((2, 3)) + self.out(hidden.mean((2, 3)))


def test_all_problems_at_once() -> None:
    with pytest.raises(ModelError) as caught:
        load(exported(Bad().eval(), (1, 3, 8, 8)))
    message = str(caught.value)
    assert message.startswith("program: 3 problems in the network")
    assert "aten.mish.default mish: the operator is not supported; use one of relu, relu6, sigmoid, " in message
    assert (
        "aten.softplus.default softplus: the operator is not supported; use one of relu, relu6, sigmoid, " in message
    )  # behind the first
    assert "Conv conv: dilation [2, 2]; train it without dilation" in message


def test_a_chain_of_problems() -> None:
    """Behind a refused operator the program's own shapes stand in; what is right there is not called a problem."""
    layers = (nn.Mish(), nn.Conv2d(4, 4, 3, groups=2), nn.Conv2d(4, 6, 1), nn.Softplus(), nn.Conv2d(6, 2, 3, groups=2))
    net = nn.Sequential(*layers, nn.Flatten(), nn.Linear(32, 5))
    with pytest.raises(ModelError) as caught:
        load(exported(net.eval(), (1, 4, 8, 8)))
    lines = str(caught.value).splitlines()[1:]
    assert [line.split()[1].removesuffix(":") for line in lines] == ["0.mish", "1", "3.softplus", "4"]


class Pair(nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x, x + 1


@pytest.mark.parametrize(
    ("net", "shape", "message"),
    [
        (nn.Sequential(nn.ConvTranspose2d(3, 4, 2)), (1, 3, 8, 8), "the operator is not supported|a transposed conv"),
        (nn.Sequential(nn.Conv2d(3, 4, 3)), (2, 3, 8, 8), r"an input of \[2, 3, 8, 8\]; export with a batch size of 1"),
        (Pair(), (1, 3, 8, 8), "has 2 outputs, must have 1; export the one that is trained"),
        (nn.Sequential(nn.AdaptiveAvgPool2d(3)), (1, 3, 8, 8), "an adaptive pool of .* only to sizes that divide it"),
        (nn.Sequential(nn.ReLU()), (1, 3), "holds no layer that can train; use the float head"),
    ],
)
def test_refusals(net: nn.Module, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        load(exported(net.eval(), shape))


def test_a_network_in_training_mode() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).train()
    with pytest.raises(ModelError, match=r"call model.eval\(\) before the export"):
        load(exported(net, (1, 3, 8, 8)))


def test_options_and_files_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="unknown head 'int8'; use model or float"):
        load(tmp_path / "none.pt2", head="int8")
    with pytest.raises(ModelError, match="a float head needs the number of its classes"):
        load(tmp_path / "none.pt2", head="float")
    with pytest.raises(ModelError, match=r"none\.pt2: No such file or directory; give the path of an exported program"):
        load(tmp_path / "none.pt2")
    (tmp_path / "text.pt2").write_text("hello")
    with pytest.raises(ModelError, match=r"text\.pt2: no exported program, or truncated; save it anew by"):
        load(tmp_path / "text.pt2")
