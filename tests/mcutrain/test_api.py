"""The public API: its names, the options that its functions share, and what the values say of themselves."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import inspect
import pkgutil
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from xml.etree import ElementTree

import pytest

import mcutrain
from mcutrain.cli.compile import compile as compile_command
from mcutrain.cli.plan import plan as plan_command
from mcutrain.options import DEFAULTS, PlanOptions
from tests.mcutrain import tiny

REPO = Path(__file__).resolve().parents[2]
FUNCTIONS = ("load", "quantize", "inspect", "plan", "compile", "verify", "profile", "train", "host")
OWN = ("PluginError",)  # errors that never reach a caller: profile() counts by another way


def test_every_name_loads_at_once() -> None:
    """EAGER_IMPORT makes lazy_loader load all: a name that its module does not hold is an ImportError."""
    code = "import mcutrain; assert {*mcutrain.__all__} <= {*dir(mcutrain)}; print(*mcutrain.__all__)"
    eager = {"EAGER_IMPORT": "1", "PYTHONPATH": str(REPO)}
    done = subprocess.run([sys.executable, "-c", code], env=eager, capture_output=True, text=True, check=True)
    assert {*FUNCTIONS, "Policy", "Update", "Board", "boards", "__version__"} <= {*done.stdout.split()}


def test_no_module_hides_a_function() -> None:
    """Importing mcutrain.x puts the module x into the package, over a function of that name."""
    modules = {module.name for module in pkgutil.iter_modules(mcutrain.__path__)}
    assert modules & {*mcutrain.__all__} == {"planner"} and {"profiling", "inspection", "planner"} <= modules


def test_every_error_is_public() -> None:
    """Of all modules: a class is below McutrainError as soon as its module was imported."""
    for module in pkgutil.walk_packages(mcutrain.__path__, "mcutrain."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)

    def below(error: type) -> set[type]:
        return {error}.union(*map(below, error.__subclasses__()))

    names = {error.__name__ for error in below(mcutrain.McutrainError) if error.__module__.startswith("mcutrain.")}
    assert names - {*mcutrain.__all__} <= {*OWN} and len(names) >= 9


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_typed_and_documented(name: str) -> None:
    function = getattr(mcutrain, name)
    signature = inspect.signature(function)
    assert signature.return_annotation not in ("None", inspect.Signature.empty)
    assert all(p.annotation is not p.empty and p.kind is not p.VAR_KEYWORD for p in signature.parameters.values())
    assert "Raises" in function.__doc__
    unsaid = [p for p in signature.parameters if not re.search(rf"\b{p}\b", function.__doc__)]
    assert [p for p in unsaid if p not in {field.name for field in fields(PlanOptions)}] == []


@pytest.mark.parametrize("function", [mcutrain.plan, mcutrain.compile, plan_command, compile_command])
def test_shared_options_are_spelled_out(function: Callable) -> None:
    """Names, order and defaults of the fields of PlanOptions."""
    parameters = inspect.signature(function).parameters
    names = [field.name for field in fields(PlanOptions)]
    assert [name for name in parameters if name in names] == names
    assert {name: parameters[name].default for name in names} == vars(DEFAULTS)


def test_examples_import_the_public_package_alone() -> None:
    files = sorted((REPO / "examples").rglob("*.py"))
    for path in files:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            modules = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module] if isinstance(node, ast.ImportFrom) else []
            assert not any(module.startswith("mcutrain.") for module in modules), path
            if isinstance(node, ast.ImportFrom) and node.module == "mcutrain":
                assert {alias.name for alias in node.names} <= {*mcutrain.__all__}, path
    assert len(files) >= 5


@pytest.mark.parametrize("document", ["README.md", *(f"docs/{path.name}" for path in (REPO / "docs").glob("*.md"))])
def test_documents_show_public_names_alone(document: str) -> None:
    """In their Python: `mcutrain.x` is public, and nothing is imported from inside."""
    for block in re.findall(r"```python\n(.*?)```", (REPO / document).read_text(encoding="utf-8"), re.DOTALL):
        assert {*re.findall(r"\bmcutrain\.(\w+)", block)} <= {*mcutrain.__all__}, block
        assert not re.search(r"(from|import) mcutrain\.", block), block


def test_boards_are_read_only() -> None:
    assert mcutrain.boards["stm32f746"].name == "stm32f746" and isinstance(mcutrain.boards["rp2040"], mcutrain.Board)
    with pytest.raises(TypeError):
        mcutrain.boards["mine"] = mcutrain.boards["rp2040"]


def test_version(command: Callable) -> None:
    assert mcutrain.__version__ == importlib.metadata.version("mcutrain")
    assert command("--version").out == f"mcutrain {mcutrain.__version__}\n"


def test_a_path_does_for_a_model(pickle_file: Path, tmp_path: Path) -> None:
    """Read as load() does by default: of a pickle 128 pixels and 10 classes."""
    by_path, model = mcutrain.plan(pickle_file, "head_only", "1MB"), mcutrain.load(str(pickle_file))
    assert by_path.plan == mcutrain.plan(model, "head_only", "1MB").plan
    found, of_model = (mcutrain.inspect(m, costs=False) for m in (str(pickle_file), model))
    assert (found.frontend, of_model.frontend) == ("pickle", None) and found.layers == of_model.layers
    with pytest.raises(mcutrain.ModelError, match=r"none\.tflite: No such file or directory; give the path of a model"):
        mcutrain.plan(tmp_path / "none.tflite")
    with pytest.raises(mcutrain.ModelError, match="a dict is no model; give a path, an IRModule or an ExportedProgram"):
        mcutrain.compile({}, out=tmp_path / "out")


def test_a_loaded_model_is_not_loaded_again(pickle_file: Path) -> None:
    with pytest.raises(mcutrain.ModelError, match="tiny is loaded already"):
        mcutrain.load(mcutrain.load(pickle_file, 8))


def test_values_say_in_a_line_what_they_hold(compiled: mcutrain.Artifact) -> None:
    planned, training = compiled.planned, compiled.planned.lowered.training
    height = f"{planned.plan.height:,}"
    said = [
        (training.model, "Model tiny", "int8 8x8x3", "4 outputs"),
        (planned, "PlannedModel tiny", "scheme mixed", f"{height} of 262,144 B", "OPTIMAL"),
        (planned.plan, "Plan of ", f"{height} B", "OPTIMAL"),
        (compiled, "Artifact", str(compiled.directory), height),
        (mcutrain.host(compiled), "Twin tiny", "scheme mixed", "int8 8x8x3 -> 4 logits"),
        (mcutrain.boards["nrf52840"], "nrf52840", "Cortex-M4F"),
        (tiny.MIXED, "Policy mixed", "5 biases and 5 weights"),
        (compiled.report, "Report tiny", "scheme mixed", f"{height} of 262,144 B", "fits"),
        (mcutrain.inspect(training.model, costs=False), "Inspection tiny", "14 layers", "MACs"),
    ]
    for value, *words in said:
        text = repr(value)
        assert all(word in text for word in words) and len(text) < 250 and "\n" not in text, text


def test_a_notebook_shows_the_arena(compiled: mcutrain.Artifact) -> None:
    """A fragment of HTML that stands alone: a line of text, then the picture."""
    html = compiled.planned._repr_html_()
    line, picture = html.split("\n", 1)
    assert line.startswith("<p>PlannedModel tiny, scheme mixed: arena ") and line.endswith("</p>")
    assert ElementTree.fromstring(picture).tag.endswith("svg") and "script" not in html
    assert f"{compiled.planned.plan.height:,}" in picture and "blocks.2.pointwise2.weight" in picture


def test_measurements_say_in_a_line_what_they_hold(pickle_file: Path, tmp_path: Path) -> None:
    artifact = mcutrain.compile(mcutrain.load(pickle_file, 8, 4), "head_only", out=tmp_path / "out")
    measured, profiled = mcutrain.verify(artifact, steps=1), mcutrain.profile(artifact, infer_only=True)
    used = f"{measured.sram_total_bytes:,} of 262,144 B of SRAM"
    assert repr(measured).startswith(f"<Measurement tiny on stm32f746: {used}, ") and len(repr(measured)) < 250
    assert repr(measured).endswith(" a step, fits, host == device>")
    assert repr(profiled).startswith("<Profile on stm32f746 (Cortex-M7), by ") and " instructions>" in repr(profiled)
