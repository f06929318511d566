"""Who may import whom: the schema nobody, the planner no TVM, the translator no product, and only it TVM."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
ROOMS = ("schema", "planner", "tvm_ext", "mcutrain")


def imported(tree: ast.AST) -> Iterator[str]:
    """Rooms of the product and top-level names of all else that the code imports, anywhere in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (room_of(alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide from this test"
            yield from (room_of(f"{node.module}.{alias.name}") for alias in node.names)


def room_of(module: str) -> str:
    top, *rest = module.split(".")
    return rest[0] if top == "mcutrain" and rest and rest[0] in ROOMS else top


class AtOnce(ast.NodeTransformer):
    """Leaves what runs when the module is imported: no function, nothing under TYPE_CHECKING."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        return None

    def visit_If(self, node: ast.If) -> ast.If | None:
        return None if ast.unparse(node.test) == "TYPE_CHECKING" else node


def sources(room: str) -> list[Path]:
    found = sorted((REPO / room).rglob("*.py"))
    assert len(found) >= 5
    return found


@pytest.mark.parametrize(
    ("room", "forbidden"),
    [
        ("mcutrain/schema", {"planner", "tvm_ext", "mcutrain", "numpy", "tvm", "ortools"}),
        ("planner", {"tvm", "tvm_ffi", "tvm_ext", "mcutrain"}),
        ("tvm_ext", {"mcutrain", "ortools", "typer", "rich"}),
        ("mcutrain", {"tvm", "tvm_ffi", "ortools", "networkx"}),
    ],
)
def test_each_room_imports_only_what_lies_below_it(room: str, forbidden: set[str]) -> None:
    for path in sources(room):
        assert not forbidden & set(imported(ast.parse(path.read_text()))), path
    assert any(set(ROOMS) & set(imported(ast.parse(path.read_text()))) for path in sources(room))


def test_the_product_loads_the_translator_late() -> None:
    late = 0
    for path in sources("mcutrain"):
        tree = ast.parse(path.read_text())
        late += "tvm_ext" in set(imported(tree))
        assert "tvm_ext" not in set(imported(AtOnce().visit(tree))), path
    assert late >= 2


@pytest.mark.parametrize("arguments", [["boards"], ["--help"], ["compile", "--help"]])
def test_quick_answers_do_not_load_tvm(arguments: list[str]) -> None:
    code = (
        "import sys, mcutrain.cli.main as cli\n"
        f"sys.argv = ['mcutrain', *{arguments!r}]\n"
        "try: cli.main()\n"
        "except SystemExit as ended: assert not ended.code, ended.code\n"
        "heavy = {'tvm', 'mcutrain.tvm_ext', 'ortools'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "mcutrain" in done.stdout or "stm32f746" in done.stdout
