"""Building and running: messages of missing tools, compile errors, static stack bounds, the object cache, memory.c."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mcutrain.errors import DeviceError, ToolError
from mcutrain.firmware import emulator, toolchain
from mcutrain.firmware.callgraph import add_library, parse_callgraph, worst_stack
from mcutrain.firmware.compiling import Compiler, compile_all, find_compiler, run_tool
from mcutrain.firmware.linked import parse_listing
from mcutrain.planner.errors import McutrainError
from mcutrain.targets import board as boards
from mcutrain.targets.core import CORES
from tests.cores import BOARDS, SAME_CODE

DISASSEMBLY = """
00000100 <__outer>:
     100:\tpush\t{r4, r5, lr}
     102:\tsub\tsp, #12
     104:\tvpush\t{d8-d9}
     106:\tbl\t200 <__inner+0x4>
     10a:\tbxeq\tlr
00000110 <__next>:
     110:\tstr.w\tlr, [sp, #-8]!
     114:\tldr.w\tpc, [sp], #8
     118:\tnop
00000200 <__inner>:
     200:\tstmdb\tsp!, {r4, r5, r6, r7, r8, lr}
     204:\tb.n\t200 <__inner>
00000300 <__jump>:
     300:\tblx\tr3
"""


CALLS = """
node: { title: "main" label: "main\\nmain.c:1:5\\n16 bytes (static)" }
node: { title: "__aeabi_idiv" label: "__aeabi_idiv\\n<built-in>" shape : ellipse }
edge: { sourcename: "main" targetname: "__aeabi_idiv" }
node: { title: "other" label: "other\\nother.h:1:5" shape : ellipse }
"""
SWITCH = """
00000100 <__divsf3>:
     100:\tpush\t{r4, lr}
     102:\tlsls\tr3, r3, #2
     104:\tldr\tr3, [r2, r3]
     106:\tmov\tpc, r3
00000200 <__tail>:
     200:\tldr\tr2, [r3, #4]
     202:\tmov\tpc, r2
"""


def write_main(folder: Path, text: str) -> str:
    (folder / "main.c").write_text(text)
    return str(folder / "main.c")  # absolute: joined to the tests' folder it stays what it is


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("int f(int n); int f(int n) { return n < 2 ? n : f(n - 1) + n * f(n - 2); }", "f -> f is recursive"),
        ("int (*f)(int); ", "main calls through a pointer"),
        ("int f(int n); int f(int n) { volatile char b[n]; b[0] = 1; return b[0]; }", "f: its frame has no fixed size"),
    ],
)
def test_unbounded_stack_is_refused(text: str, message: str, build: Callable, tmp_path: Path) -> None:
    main = write_main(tmp_path, text + "\nvolatile int n; int main(void) { return f(n) + 1; }\n")
    with pytest.raises(ToolError, match=message):
        build("nrf52840", main, optimise="-O0")


def test_library_stack_from_the_disassembly() -> None:
    graph = parse_callgraph([])
    addresses = {"__outer": 0x100, "__alias": 0x100, "__next": 0x110, "__inner": 0x200, "__jump": 0x300}
    add_library(graph, parse_listing(DISASSEMBLY), addresses)
    assert graph.frames["__outer"] == 12 + 12 + 16
    assert graph.calls["__outer"] == {"__inner", "__next"} and graph.calls["__next"] == set()
    assert worst_stack(graph, "__alias").nbytes == 40 + 24
    assert worst_stack(graph, "__alias").frames == (("__alias", 0), ("__outer", 40), ("__inner", 24))
    with pytest.raises(ToolError, match="__jump calls through a pointer"):
        worst_stack(graph, "__jump")
    with pytest.raises(ToolError, match="nowhere, called by the linker's entry, is in no call graph"):
        worst_stack(graph, "nowhere")


def test_calls_that_gcc_dropped_and_switch_tables_of_armv6m(tmp_path: Path) -> None:
    (tmp_path / "main.ci").write_text(CALLS)
    graph = parse_callgraph([tmp_path / "main.ci"])
    add_library(graph, parse_listing(SWITCH), {"main": 0, "__divsf3": 0x100, "__tail": 0x200})
    assert worst_stack(graph, "main").nbytes == 16  # no __aeabi_idiv was linked
    assert worst_stack(graph, "__divsf3").nbytes == 8
    with pytest.raises(ToolError, match="__tail calls through a pointer"):
        worst_stack(graph, "__tail")
    missing = parse_callgraph([tmp_path / "main.ci"])
    missing.calls["main"].add("other")
    add_library(missing, parse_listing(SWITCH), {"main": 0})
    with pytest.raises(ToolError, match="other, called by main, is in no call graph"):
        worst_stack(missing, "main")


@pytest.mark.parametrize("board", [name for name in BOARDS if not boards.get(name).core.has_fpu])
@pytest.mark.parametrize("optimise", ["-O2", "-O3"])
def test_soft_float_library_is_in_the_bound(
    board: str, optimise: str, build: Callable, execute: Callable, tmp_path: Path
) -> None:
    text = (
        '#include "mcu_device.h"\n#include "semihost.h"\nvolatile float a = 3.0f, b = 7.0f; volatile int c = 5;\n'
        "volatile long long d = 1LL << 40;\nint main(void) {\n"
        "c = a < b * a / b; a = a + b - (float)c; d = d / (c + 3) * d; c = c / (int)b + (int)(a * (float)d);\n"
        'semihost_print("peak "); semihost_print_number(mcu_stack_peak()); return 0; }\n'
    )
    image = build(board, write_main(tmp_path, text), optimise=optimise)
    assert any(name.startswith("__") and nbytes > 0 for name, nbytes in image.stack_path)
    assert 0 < int(execute(image)[-1].removeprefix("peak ")) <= image.stack_bound


def test_cores_that_share_their_code(tmp_path: Path) -> None:
    """The compiler makes the same micro-kernels for both, so that tests of kernels need one of them."""
    for pair in SAME_CODE.items():
        code = []
        for core in map(CORES.__getitem__, pair):
            flags = (*toolchain.COMMON_FLAGS, *toolchain.SECTION_FLAGS, "-O2", *core.flags)  # so that they are shared
            compiler = Compiler(find_compiler(), flags, (toolchain.INCLUDE,), core.defines)
            objects = compile_all(compiler, toolchain.KERNEL_SOURCES, tmp_path).files
            listing = run_tool([compiler.tool("objdump"), "-d", *objects], "disassembling").stdout
            code.append([line for line in listing.splitlines() if ".o:" not in line])
        assert code[0] == code[1] and len(code[0]) > 10_000


def test_compile_and_link_errors_name_the_place(build: Callable, tmp_path: Path) -> None:
    with pytest.raises(ToolError, match=r"compiling main\.c failed: .*main\.c:1:\d+: error: .*undeclared"):
        build("nrf52840", write_main(tmp_path, "int main(void) { return x; }\n"))
    with pytest.raises(ToolError, match=r"linking .* undefined reference to `absent'"):
        build("nrf52840", write_main(tmp_path, "int absent(void); int main(void) { return absent(); }\n"))
    with pytest.raises(ToolError, match=r"source file .*none\.c does not exist"):
        build("nrf52840", str(tmp_path / "none.c"))
    (tmp_path / "bad.c").write_text("int f(void) { return; \n")
    with pytest.raises(ToolError, match=r"compiling bad\.c failed: .*error"):
        toolchain.build_host([tmp_path / "bad.c"], [], tmp_path / "bad.so")


def test_missing_tools_name_the_package(build: Callable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolError, match="apt install gcc-arm-none-eabi"):
        build("nrf52840")
    with pytest.raises(ToolError, match="apt install gcc "):
        toolchain.build_host([], [], tmp_path / "x.so")
    with pytest.raises(ToolError, match="apt install qemu-system-arm"):
        emulator.run(tmp_path / "x.elf", boards.get("nrf52840"), tmp_path, 1)
    with pytest.raises(McutrainError, match="'z80' is not known: .*" + ", ".join(sorted(boards.BOARDS))):
        boards.get("z80")


def test_endless_firmware_is_stopped(build: Callable, tmp_path: Path) -> None:
    image = build("stm32f746", "poke_main.c", defines=("LOOP_FOREVER",))
    seen: list[str] = []
    with pytest.raises(DeviceError, match="no end within 1 s after 'swept'"):
        emulator.run(image.elf, image.board, tmp_path, 1, seen.append)
    assert seen == ["swept"]


def test_unchanged_sources_are_not_compiled_again(build: Callable, tmp_path: Path, object_cache: Path) -> None:
    main = write_main(tmp_path, '#include "value.h"\nint main(void) { return VALUE; }\n')
    (tmp_path / "value.h").write_text("#define VALUE 0\n")
    build("nrf52840", main)
    first = {path: path.stat().st_mtime_ns for path in object_cache.glob("*.o")}
    build("nrf52840", main)
    assert {path: path.stat().st_mtime_ns for path in object_cache.glob("*.o")} == first
    (tmp_path / "value.h").write_text("#define VALUE 1\n")
    build("nrf52840", main)
    again = set(object_cache.glob("*.o")) - set(first)
    assert [path.name.split("-")[0] for path in again] == ["main"]


def test_memory_functions(tmp_path: Path) -> None:
    """The device's memcpy, memmove and memset on the host, at every alignment."""
    renamed = tmp_path / "memory.c"
    text = (toolchain.RUNTIME / "src" / "memory.c").read_text()
    for name in ("memcpy", "memmove", "memset"):
        text = text.replace(f"{name}(", f"mcu_{name}(")
    renamed.write_text(text)
    toolchain.build_host([renamed], [], tmp_path / "memory.so")
    library = ctypes.CDLL(str(tmp_path / "memory.so"))
    pattern = bytes(range(1, 65))
    for to in range(5):
        for start in range(5):
            for nbytes in (0, 1, 3, 4, 7, 8, 19):
                memory = bytearray(pattern)
                view = (ctypes.c_char * 64).from_buffer(memory)
                library.mcu_memmove(ctypes.byref(view, to), ctypes.byref(view, start), ctypes.c_size_t(nbytes))
                library.mcu_memcpy(ctypes.byref(view, 32 + to), ctypes.byref(view, start), ctypes.c_size_t(nbytes))
                expected = bytearray(pattern)
                expected[to : to + nbytes] = pattern[start : start + nbytes]
                expected[32 + to : 32 + to + nbytes] = expected[start : start + nbytes]
                assert memory == expected
                library.mcu_memset(ctypes.byref(view, to), 0x1A5, ctypes.c_size_t(nbytes))
                expected[to : to + nbytes] = b"\xa5" * nbytes
                assert memory == expected


MASKED_LOADS = """
#include <stdint.h>
void route(const float *g, const uint8_t *index, float *out, int32_t rows) {
    float acc[4];
    for (int32_t y = 0; y < rows; y++) {
        for (int32_t x = 0; x < 10; x++) {
            for (int32_t c = 0; c < 16; c += 4) {
                const int32_t pooled = y / 2 * 80 + x / 2 * 16 + c, tap = y * 2 + x - x / 2 * 2 - y / 2 * 4;
                for (int32_t j = 0; j < 4; j++) {
                    acc[j] = 0.0f + (index[pooled + j] == tap ? g[pooled + j] : 0.0f);
                }
                for (int32_t j = 0; j < 4; j++) {
                    out[y * 160 + x * 16 + c + j] = acc[j];
                }
            }
        }
    }
}
"""


def test_the_hosts_compiler_is_right_about_conditional_loads(tmp_path: Path) -> None:
    """GCC 12.2 at -O3 for AVX-512 is not: the twin's flags must keep it from that."""
    source = tmp_path / "route.c"
    source.write_text(MASKED_LOADS)
    toolchain.build_host([source], [], tmp_path / "route.so")
    rng = np.random.default_rng(0)
    g, index = rng.normal(size=(5, 5, 16)).astype(np.float32), rng.integers(0, 4, (5, 5, 16), dtype=np.uint8)
    out = np.full((10, 10, 16), np.nan, np.float32)
    pointers = [ctypes.c_void_p(a.ctypes.data) for a in (g, index, out)]
    ctypes.CDLL(str(tmp_path / "route.so")).route(*pointers, 10)
    taps = np.add.outer(2 * (np.arange(10) % 2), np.arange(10) % 2)[..., None]
    big = [a.repeat(2, axis=0).repeat(2, axis=1) for a in (g, index)]
    np.testing.assert_array_equal(out, np.where(big[1] == taps, big[0], 0))
