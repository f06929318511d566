"""Bounds the stack of a firmware: its static worst case, from GCC's call graphs (-fcallgraph-info=su) and the linked
library code.

GCC writes one .ci file an object: each function's own frame in bytes and whom it calls. Functions without one (libgcc's
soft-float and division routines, written in assembler) are read from the disassembly: every byte that any of their
instructions pushes counts, as if all of them ran one after the other. Recursion, calls through pointers and frames of
unknown size have no bound and are errors."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mcutrain.errors import ToolError
from mcutrain.firmware.instructions import Instruction

_NODE = re.compile(r'^node: \{ title: "([^"]+)" label: "(?:[^"]*\\n)?(\d+) bytes \(([^)]*)\)"')
_BUILT_IN = re.compile(r'^node: \{ title: "([^"]+)" label: "[^"]*<built-in>"')
_EDGE = re.compile(r'^edge: \{ sourcename: "([^"]+)" targetname: "([^"]+)"')
_TARGET = re.compile(r"^b\S* .*<([^>+]+)(?:\+0x[0-9a-f]+)?>|^cbn?z .*<([^>+]+)(?:\+0x[0-9a-f]+)?>")
_INDIRECT = re.compile(r"^blx \w+$|^blx\.n \w+$|^bx (?!lr)\w+$|^mov(\.w)? pc, (?!lr)")
_TABLE_LOAD = re.compile(r"^ldr (r\d), \[r\d, r\d\]$")
_LEAVES = re.compile(r"^(b|b\.[nw]|bx|udf\S*) |^pop\S* .*pc|^ldmia\.w sp!.*pc|^ldr(\.w)? pc|^mov pc, ")
_PUSHES = re.compile(r"^(?:push|vpush|stmdb|vstmdb)\S*\s(?:sp!, )?\{(.*)\}")
_MOVES_DOWN = re.compile(r"^sub[wns.]*\S* sp, (?:sp, )?#(\d+)|^str\S* .*\[sp, #-(\d+)\]!")
_UNKNOWN_SIZE = re.compile(r"^sub\S* sp, (?:sp, )?r\w+|^mov(\.w)? sp, ")
_INDIRECT_NODE = "__indirect_call"


@dataclass
class CallGraph:
    """Says who calls whom. frames: function -> own stack bytes; calls: function -> callees; unbounded: function -> why
    it has no bound.
    built_in: library functions that GCC thought of calling."""

    frames: dict[str, int] = field(default_factory=dict)
    calls: dict[str, set[str]] = field(default_factory=dict)
    unbounded: dict[str, str] = field(default_factory=dict)
    built_in: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class StackPath:
    """Holds the deepest chain of calls below one function: its bytes, and (function, own bytes) from the root down."""

    nbytes: int
    frames: tuple[tuple[str, int], ...]


def parse_callgraph(files: Iterable[Path]) -> CallGraph:
    """Read GCC's .ci files into one graph. Functions that they only declare get no frame."""
    graph = CallGraph()
    for path in files:
        for line in path.read_text().splitlines():
            if node := _NODE.match(line):
                name, nbytes, qualifier = node.groups()
                graph.frames[name] = int(nbytes)
                graph.calls.setdefault(name, set())
                if qualifier == "dynamic":
                    graph.unbounded[name] = "its frame has no fixed size (a variable-length array or alloca)"
            elif library := _BUILT_IN.match(line):
                graph.built_in.add(library[1])
            elif edge := _EDGE.match(line):
                graph.calls.setdefault(edge[1], set()).add(edge[2])
    return graph


def add_library(graph: CallGraph, code: Sequence[Instruction], addresses: Mapping[str, int]) -> None:
    """Add the functions that have no .ci node. code: all of the linked file, in the order of addresses;
    addresses: symbol -> address, by which an alias (__aeabi_fadd) finds the name that objdump prints (__addsf3)."""
    functions = _by_function(code)
    names = list(functions)
    for name, following in zip(names, [*names[1:], ""], strict=True):
        if name not in graph.frames:
            _add_library_function(graph, name, functions[name], following)
    shown = {addresses[name]: name for name in names if name in addresses}
    for alias, address in addresses.items():
        if alias not in graph.frames and address in shown:
            graph.frames[alias] = 0
            graph.calls[alias] = {shown[address]}
    # GCC lists the calls of sequences that it weighed and dropped, too; what is not linked is not called
    absent = graph.built_in - addresses.keys()
    for callees in graph.calls.values():
        callees -= absent


def _by_function(code: Sequence[Instruction]) -> dict[str, list[str]]:
    """Map each function to its instructions as text ("push {r4, lr}"), in the order of addresses."""
    functions: dict[str, list[str]] = {}
    for instruction in code:
        body = functions.setdefault(instruction.function, [])
        if not instruction.mnemonic.startswith("nop"):
            body.append(instruction.text.strip())
    return functions


def _add_library_function(graph: CallGraph, name: str, body: list[str], following: str) -> None:
    """Add one assembler function: all that it pushes or branches to, and the next one where it runs into it."""
    graph.frames[name] = sum(_pushed_bytes(instruction) for instruction in body)
    callees = graph.calls[name] = set()
    for before, instruction in zip(["", *body], body, strict=False):
        if target := _TARGET.match(instruction):
            callees.add(target[1] or target[2])
        if _INDIRECT.match(instruction) and not _is_table_jump(before, instruction):
            callees.add(_INDIRECT_NODE)
        if _UNKNOWN_SIZE.match(instruction):
            graph.unbounded[name] = f"its frame has no fixed size ({instruction})"
    if following and body and not _LEAVES.match(body[-1]):
        callees.add(following)
    callees.discard(name)


def _is_table_jump(before: str, instruction: str) -> bool:
    """Tell whether this is GCC's switch statement for Armv6-M: to an entry of a table, inside the same function. A call
    through a pointer is a blx or bx there."""
    loaded = _TABLE_LOAD.match(before)
    return loaded is not None and instruction == f"mov pc, {loaded[1]}"


def _pushed_bytes(instruction: str) -> int:
    if moved := _MOVES_DOWN.match(instruction):
        return int(moved[1] or moved[2])
    if not (pushed := _PUSHES.match(instruction)):
        return 0
    nbytes = 0
    for registers in pushed[1].split(", "):
        first, _, last = registers.partition("-")
        count = int(last[1:]) - int(first[1:]) + 1 if last else 1
        nbytes += count * (8 if first.startswith("d") else 4)
    return nbytes


def worst_stack(graph: CallGraph, root: str) -> StackPath:
    """Find the deepest chain of calls from `root`. Raises ToolError where there is no bound: recursion, a call through
    a pointer, a frame of unknown size, or a function that neither GCC nor the disassembly knows."""
    known: dict[str, StackPath] = {}
    active: list[str] = []

    def visit(name: str) -> StackPath:
        if name in known:
            return known[name]
        _refuse_unbounded(graph, name, active)
        active.append(name)
        below = max((visit(callee) for callee in sorted(graph.calls[name])), key=_depth, default=StackPath(0, ()))
        active.pop()
        own = graph.frames[name]
        shown = name.rsplit("/", 1)[-1]  # GCC calls a static function /path/file.c:function
        known[name] = StackPath(own + below.nbytes, ((shown, own), *below.frames))
        return known[name]

    return visit(root)


def _depth(path: StackPath) -> int:
    return path.nbytes


def _refuse_unbounded(graph: CallGraph, name: str, active: list[str]) -> None:
    caller = active[-1] if active else "the linker's entry"
    if name in active:
        cycle = " -> ".join([*active[active.index(name) :], name])
        raise ToolError(f"the stack has no static bound: {cycle} is recursive; write it as a loop")
    if name == _INDIRECT_NODE:
        raise ToolError(f"the stack has no static bound: {caller} calls through a pointer; call the function by name")
    if name in graph.unbounded:
        raise ToolError(f"the stack has no static bound: {name}: {graph.unbounded[name]}")
    if name not in graph.frames:
        raise ToolError(f"the stack has no static bound: {name}, called by {caller}, is in no call graph of the build")
