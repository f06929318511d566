"""The estimate of cycles: costs of short programs worked out by hand from the manuals' tables, classes of mnemonics."""

from __future__ import annotations

import pytest

from mcutrain.cycle_model import CLASSES, CORES, GROUPS, MIX, Instruction, cycles, prices, registers


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
        ("strb.w r0, [r1]", 1, 1, 1),
        ("ldmia.w r0!, {r1, r2, r3}", 4, 4, 2.5),
        ("push {r4, r5, r6, lr}", 5, 5, 3),
        ("ldrd r0, r1, [sp, #8]", 3, 3, 2),
        ("vldmia r0!, {s0-s3}", 5, 5, 3),
        ("vpush {d8-d9}", 5, 5, 3),
        ("mla r0, r1, r2, r3", 1, 2, 1),
        ("smlabb r0, r1, r2, r3", 1, 2, 1),
        ("smull r0, r1, r2, r3", 1, 5, 1),
        ("vfma.f32 s0, s1, s2", 3, 3, 1),
        ("vmul.f32 s0, s1, s2", 1, 1, 1),
        ("vdiv.f32 s0, s1, s2", 14, 14, 16),
        ("bx lr", 3, 3, 1),  # taken: 1 and a refill of 1 to 3, here 2
        ("pop {r4, pc}", 5, 5, 2),
    ],
)
def test_one_instruction(line: str, m4: float, m3: float, m7: float) -> None:
    code = program(line)
    assert [estimate(core, code, 10) for core in ("Cortex-M4F", "Cortex-M3", "Cortex-M7")] == [
        10 * m4,
        10 * m3,
        10 * m7,
    ]


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


def test_classes_and_registers() -> None:
    assert GROUPS.keys() == {name for _, name in CLASSES} and set(GROUPS.values()) == set(MIX)
    assert all(core.costs.keys() == GROUPS.keys() for core in CORES.values())
    kinds = {
        "bic.w r0, r1, #1": "other", "bfi r0, r1, #0, #4": "other", "bkpt 0x00ab": "other", "blt.n 4": "branch",
        "ble.w 4": "branch", "bl 4": "call", "blx r3": "call", "b.n 4": "branch", "cbnz r0, 4": "branch",
        "movs r0, #1": "other", "mul.w r0, r1, r2": "multiply", "mls r0, r1, r2, r3": "multiply-add",
        "smuad r0, r1, r2": "multiply", "smlad r0, r1, r2, r3": "multiply-add", "umlal r0, r1, r2, r3": "long multiply",
        "umull r0, r1, r2, r3": "long multiply", "smlald r0, r1, r2, r3": "long multiply", "sdiv r0, r1, r2": "divide",
        "vldr s0, [r1]": "load", "vstr s0, [r1]": "store", "vcvtr.s32.f32 s0, s0": "float", "sub sp, #8": "other",
        "vmla.f32 s0, s1, s2": "float multiply-add", "vfnms.f32 s0, s1, s2": "float multiply-add",
        "vmov s0, r1": "float", "ldrsh.w r0, [r1]": "load", "strd r0, r1, [r2]": "store multiple",
        "sxtb r0, r1": "other",
    }  # fmt: skip
    assert {line: program(line)[0].kind for line in kinds} == kinds
    counted = {"pop {r4-r7, pc}": 5, "vldmia r0, {d0, d1}": 4, "ldrd r0, r1, [r2]": 2, "stmia r0!, {r1}": 1}
    assert {line: registers(program(line)[0]) for line in counted} == counted


def test_a_core_without_a_table_has_no_estimate() -> None:
    assert prices(program("nop"), "Cortex-M55") is None
