"""The estimate of cycles: costs of short programs worked out by hand from the manuals' tables, classes of mnemonics."""

from __future__ import annotations

import pytest

from mcutrain.firmware.instructions import CLASSES, GROUPS, MIX, Instruction
from mcutrain.profiling.cycle_model import ASSUMES, CORES, LOW, cycles, prices


def program(*lines: str) -> list[Instruction]:
    """Instructions two bytes apart from address 0; a branch's operand is its target."""
    code = []
    for i, line in enumerate(lines):
        mnemonic, _, operands = line.partition(" ")
        last = operands.rpartition(" ")[2]
        target = int(last) if mnemonic[0] in "bc" and last.isdigit() else None
        code.append(Instruction(2 * i, "f", mnemonic, operands, target))
    return code


def estimate(core: str, code: list[Instruction], *times: int) -> float:
    return cycles(prices(code, core), {i.address: n for i, n in zip(code, times, strict=True) if n})


@pytest.mark.parametrize(
    ("line", "m4", "m3", "m7"),
    [
        ("add.w r0, r1, r2", 1, 1, 0.5),
        ("ldr r0, [r1, #4]", 2, 2, 0.5),
        ("vldr s0, [r1]", 2, 2, 0.5),
        ("strb.w r0, [r1]", 1, 1, 1),
        ("str.w r0, [r1, r2, lsl #2]", 2, 2, 1),  # "STR [Ry, #imm] is always one cycle"; at an index two
        ("vstr s0, [r1]", 2, 2, 1),
        ("vldr d8, [sp, #8]", 3, 3, 1),
        ("ldmia.w r0!, {r1, r2, r3}", 4, 4, 1.5),
        ("push {r4, r5, r6, lr}", 5, 5, 2),
        ("ldrd r0, r1, [sp, #8]", 3, 3, 1),
        ("vldmia r0!, {s0-s3}", 5, 5, 2),
        ("vpush {d8-d9}", 5, 5, 2),
        ("mla r0, r1, r2, r3", 1, 2, 1),
        ("smlabb r0, r1, r2, r3", 1, 2, 1),
        ("smull r0, r1, r2, r3", 1, 4, 1),  # M3: 3 to 5
        ("umlal r0, r1, r2, r3", 1, 5.5, 1),  # M3: 4 to 7
        ("sdiv r0, r1, r2", 7, 7, 7),  # M3, M4: 2 to 12
        ("vfma.f32 s0, s1, s2", 3, 3, 1),
        ("vmul.f32 s0, s1, s2", 1, 1, 1),
        ("vdiv.f32 s0, s1, s2", 14, 14, 16),
        ("vmov s0, r1", 1, 1, 0.5),
        ("vmov r0, r1, s0, s1", 2, 2, 1),
        ("vmov d0, r0, r1", 2, 2, 1),
        ("sxtb.w r0, r1", 1, 1, 1),  # the only unit of its kind
        ("qadd r0, r1, r2", 1, 1, 1),
        ("ssat r0, #8, r1", 1, 1, 1),
        ("pkhbt r0, r1, r2, lsl #16", 1, 1, 1),
        ("ubfx r0, r1, #8, #8", 1, 1, 1),
        ("add.w r0, r1, r2, lsl #2", 1, 1, 1),  # the only shifter of operands
        ("lsls r0, r1, #2", 1, 1, 0.5),  # has two
        ("bx lr", 3, 3, 1),  # taken: 1 and a refill of 1 to 3, here 2
        ("mov pc, r3", 3, 3, 1),
        ("pop {r4, pc}", 6, 6, 1),  # a target from memory: the longest refill
        ("ldr.w pc, [sp], #4", 5, 5, 0.5),  # "at least two cycles for the load, and three for the reload"
        ("tbb [pc, r0]", 6, 6, 2),  # "two for the load, one for the add, and three for the reload"
    ],
)
def test_one_instruction(line: str, m4: float, m3: float, m7: float) -> None:
    code = program(line)
    costs = [estimate(core, code, 10) for core in ("Cortex-M4F", "Cortex-M3", "Cortex-M7")]
    assert costs == [10 * m4, 10 * m3, 10 * m7]


@pytest.mark.parametrize(
    ("lines", "m4"),
    [  # the examples of the manuals' load/store timings, and what they forbid
        (("ldr r0, [r1]", "ldr r1, [r2]"), 3),
        (("ldr r0, [r1, r2]", "str r0, [r3, #20]"), 3),
        (("ldr r0, [r1, r2]", "str r1, [r3, r2]"), 3),
        (("ldr r0, [r1, r5]", "ldr r1, [r2]", "ldr r2, [r3, #4]"), 4),
        (("ldr r0, [r1]", "ldr r2, [r0]"), 4),  # needs what the first one loads
        (("str r0, [r1]", "ldr r2, [r3]"), 3),  # "nothing can be pipelined after the store"
        (("str r0, [r1, r2]", "ldr r3, [r4]"), 4),
        (("ldrd r0, r1, [r2]", "ldr r3, [r4]"), 5),  # "cannot be pipelined"
        (("ldr r3, [r4]", "vldr s0, [r4]"), 4),
    ],
)
def test_loads_and_stores_side_by_side(lines: tuple[str, ...], m4: float) -> None:
    code, times = program(*lines), [10] * len(lines)
    assert estimate("Cortex-M4F", code, *times) == estimate("Cortex-M3", code, *times) == 10 * m4
    assert estimate("Cortex-M0+", program("str r0, [r1]", "ldr r2, [r3]"), 1, 1) == 4  # never pipelined


@pytest.mark.parametrize(
    ("line", "cycles"),
    [("bl 4", 3), ("blx r3", 2), ("bx lr", 2), ("mov pc, r3", 2), ("pop {r4, pc}", 5), ("ldr r0, [r1]", 2)],
)
def test_the_m0plus(line: str, cycles: float) -> None:
    assert estimate("Cortex-M0+", program(line), 1) == cycles


@pytest.mark.parametrize(
    ("lines", "m7"),
    [
        (("ldr r0, [r1]", "smlad r2, r0, r3, r2"), 1),  # issue together
        (("ldr r0, [r1]", "ldr r2, [r1, #4]", "smlad r4, r0, r2, r4", "smlad r4, r0, r3, r4"), 2),
        (("smlad r0, r1, r2, r0", "smlad r0, r3, r4, r0", "mul r5, r5, r5", "adds r6, #1"), 3),  # one multiplier
        (("sxtb16 r0, r1", "sxtb16 r2, r1, ror #8", "adds r3, #1"), 2),
        (("sxtb r0, r1", "clz r2, r1"), 2),
        (("str r0, [r1]", "str r2, [r3]", "adds r4, #1", "adds r5, #1"), 2),
        (("vldr s0, [r1]", "vldr s1, [r2]", "vfma.f32 s2, s0, s1", "adds r1, #4"), 2),
        (("vdiv.f32 s0, s1, s2", "adds r0, #1", "vadd.f32 s3, s4, s5"), 16),
        (("adds r0, #1", "push {r4, lr}", "adds r1, #1"), 2),  # alone, beside a pair
        (("add r0, r1, r2, asr #4", "lsls r3, r3, #1"), 1),
        (("ldr r0, [r1, r2, lsl #2]", "ldr r3, [r1, r4, lsl #2]"), 1),  # an address is no shifted operand
    ],
)
def test_a_block_on_the_m7_costs_its_busiest_unit(lines: tuple[str, ...], m7: float) -> None:
    assert estimate("Cortex-M7", program(*lines), *[10] * len(lines)) == pytest.approx(10 * m7)


def test_blocks_on_the_m7_end_where_another_way_comes_in() -> None:
    """Four multiplies and a loop's branch back into them: two blocks, 2 and 2 cycles, the second run five times."""
    code = program("mul r0, r0, r0", "mul r1, r1, r1", "mul r2, r2, r2", "adds r3, #1", "subs r4, #1", "bne.n 4", "nop")
    assert estimate("Cortex-M7", code, 1, 1, 5, 5, 5, 5, 0) == pytest.approx(2 + 5 * 2)
    called = program("mul r0, r0, r0", "bl 6", "mul r0, r0, r0", "mul r0, r0, r0")
    assert estimate("Cortex-M7", called, 1, 1, 1, 1) == pytest.approx(3)
    two = [Instruction(0, "f", "mul", "r0, r0, r0"), Instruction(2, "g", "sxtb", "r0, r0")]
    assert estimate("Cortex-M7", two, 1, 7) == pytest.approx(8)


def test_never_below_one_instruction_in_half_a_cycle_nor_above_the_sum() -> None:
    """Of a block: between issuing alone and each instruction by itself."""
    lines = ["ldr r0, [r1]", "smlad r2, r0, r3, r2", "sxtb16 r4, r0", "str r4, [r1]", "add r1, r1, r5, lsl #2", "b.n 0"]
    together = estimate("Cortex-M7", program(*lines), *[1] * 6)
    assert 3 <= together <= sum(estimate("Cortex-M7", program(line), 1) for line in lines) and together == 3


def test_a_loop_on_the_m4() -> None:
    """1,000 turns: load 2, load behind it 1, multiply-add 1, subtract 1, branch 1 and, 999 times, a refill of 2."""
    code = program("ldrsb.w r2, [r0]", "ldrsb.w r3, [r1]", "mla r4, r2, r3, r4", "subs r5, #1", "bne.n 0", "nop")
    assert estimate("Cortex-M4F", code, 1000, 1000, 1000, 1000, 1000, 1) == 1000 * 6 + 999 * 2 + 1


def test_branches_with_another_way_to_the_next_instruction() -> None:
    """What follows them is a target too: one back counts as taken, one ahead as not."""
    ahead = program("cmp r0, #0", "beq.n 6", "nop", "b.n 4")  # the last one makes the nop a target
    assert estimate("Cortex-M4F", ahead, 1, 1, 0, 0) == 2
    back = program("nop", "bne.n 0", "nop", "b.n 4")
    assert estimate("Cortex-M4F", back, 5, 5, 0, 0) == 5 + 5 * 3


def test_a_conditional_return_is_paid_when_taken() -> None:
    """In an IT block: 1 + N + 3 each time, less the refill where the next instruction ran."""
    code = program("cmp r0, #0", "it eq", "popeq {r4, pc}", "nop")
    assert estimate("Cortex-M4F", code, 10, 10, 10, 7) == 20 + 10 * 3 + 3 * 3 + 7


def test_classes_and_words() -> None:
    assert GROUPS.keys() == {name for _, name in CLASSES} and set(GROUPS.values()) == set(MIX)
    assert all(core.table.costs.keys() == GROUPS.keys() for core in CORES.values() if core.table)
    assert {name: core.assumes for name, core in CORES.items()} == dict.fromkeys(CORES, ASSUMES) | {"Cortex-M7": LOW}
    kinds = {
        "bic.w r0, r1, #1": "other", "bfi r0, r1, #0, #4": "other", "bkpt 0x00ab": "other", "blt.n 4": "branch",
        "ble.w 4": "branch", "bl 4": "call", "blx r3": "branch", "b.n 4": "branch", "cbnz r0, 4": "branch",
        "movs r0, #1": "other", "mul.w r0, r1, r2": "multiply", "mls r0, r1, r2, r3": "multiply-add",
        "smuad r0, r1, r2": "multiply", "smlad r0, r1, r2, r3": "multiply-add", "sdiv r0, r1, r2": "divide",
        "umlal r0, r1, r2, r3": "long multiply-add", "smlald r0, r1, r2, r3": "long multiply-add",
        "umull r0, r1, r2, r3": "long multiply", "vldr s0, [r1]": "float load", "vstr s0, [r1]": "float store",
        "vcvtr.s32.f32 s0, s0": "float", "sub sp, #8": "other",
        "vmla.f32 s0, s1, s2": "float multiply-add", "vfnms.f32 s0, s1, s2": "float multiply-add",
        "vmov s0, r1": "float", "ldrsh.w r0, [r1]": "load", "strd r0, r1, [r2]": "store multiple",
        "sxtb r0, r1": "other", "bxeq lr": "branch", "bleq 4": "call", "bls.n 4": "branch", "add pc, r1": "branch",
        "vmlava.s8 r0, q1, q0": "multiply-add", "vmullb.s16 q0, q1, q2": "multiply-add", "vmul.i32 q0, q1, r0":
        "multiply-add", "vadd.i32 q0, q1, q2": "other", "vorr q0, q1, q2": "other", "vqmovnb.s32 q0, q1": "other",
        "vmla.s8 q0, q1, r0": "multiply-add", "vmul.f32 q0, q1, q2": "float", "vfma.f32 q0, q1, q2":
        "float multiply-add", "vldrb.s16 q0, [r1]": "float load", "vcvt.f32.s32 q0, q1": "float",
        "vldr d0, [r1]": "load multiple", "str r0, [sp, r1]": "store at index", "str.w r0, [r1], #4": "store",
    }  # fmt: skip
    assert {line: program(line)[0].kind for line in kinds} == kinds
    counted = {"pop {r4-r7, pc}": 5, "vldmia r0, {d0, d1}": 4, "ldrd r0, r1, [r2]": 2, "stmia r0!, {r1}": 1}
    counted |= {"vldr d0, [r2]": 2}
    assert {line: program(line)[0].words for line in counted} == counted


def test_a_core_without_a_table_has_no_estimate() -> None:
    assert prices(program("nop"), "Cortex-M55") is None
