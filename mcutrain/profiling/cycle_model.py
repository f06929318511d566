"""Estimates cycles from executed instructions: a flat table of costs for each core, and one function.

Left out everywhere: wait states of flash, cache misses, waiting for a result. Sources:
- Cortex-M3, -M4: "Instruction set summary" and "Load/store timings" in Arm's Technical Reference Manuals (M3 DDI 0337
  and M4 DDI 0439, section 3.3), and the table of the M4's FPU (DDI 0439, chapter 7). Cortex-M0+: DDI 0484, section 3.3.
  Cortex-M0: DDI 0432, section 3.3; a taken branch refills one stage more than the M0+'s.
- Cortex-M33: priced as an M4. A published run of an nRF5340 (MLPerf Tiny) lies within 6 % of that.
- Cortex-M7: Arm publishes no table. The units are those of LLVM's scheduling model (ARMScheduleM7.td): it issues two
  instructions a cycle, and has one unit each for multiplies, floating point, stores, branches, saturation, packing and
  bit fields, and shifted operands. A basic block costs as many cycles as its busiest unit, on top of what issues alone:
  no order of the same instructions is faster on these units, so that the figure is a low one. A shift by itself has two
  shifters to go through (LLVM takes one of them for simplicity) and is bound by the issue alone."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mcutrain.firmware.instructions import Instruction

ASSUMES = "an estimate: it leaves out wait states of flash and waiting for results"
LOW = "a low estimate: it leaves out wait states of flash, cache misses and waiting for results"


@dataclass(frozen=True)
class Table:
    """The costs of instructions on one core, in cycles.

    costs: by class. a_register: more for each word of a multiple load or store. refill: more for a branch that is
    taken; reload: the same where its target comes from memory. pipelined: less for a single load, or a store at an
    index, right behind a single load that does not make its address."""

    costs: Mapping[str, float]
    a_register: float
    refill: float
    reload: float
    pipelined: float


@dataclass(frozen=True)
class Core:
    """How one core is priced, and what the figure leaves out. table: None where a block is priced by its units."""

    source: str
    assumes: str
    table: Table | None


# Of a range the middle is taken: divisions (M3, M4: 2 to 12), the refill P (1 to 3), long multiplies of the M3 (3 to 5,
# with accumulation 4 to 7). A target that comes from memory is known late, so that its refill is the longest, 3: the
# manuals say so of LDR PC (2 + 3) and of TBB, which also adds (2 + 1 + 3).
_M4 = {
    "load": 2, "load multiple": 1, "float load": 2, "store": 1, "store at index": 2, "store multiple": 1,
    "float store": 2, "multiply": 1, "multiply-add": 1, "long multiply": 1, "long multiply-add": 1, "divide": 7,
    "float": 1, "float pair": 2, "float multiply-add": 3, "float divide": 14, "branch": 1, "table branch": 3, "call": 1,
    "other": 1,
}  # fmt: skip
_M3 = {**_M4, "multiply-add": 2, "long multiply": 4, "long multiply-add": 5.5}
_M0PLUS = {**_M4, "store": 2, "call": 2}
CORES = {
    "Cortex-M0": Core(
        "Arm's table of instruction timings (DDI 0432), single-cycle multiplier", ASSUMES, Table(_M0PLUS, 1, 2, 3, 0)
    ),
    "Cortex-M0+": Core(
        "Arm's table of instruction timings (DDI 0484), single-cycle multiplier", ASSUMES, Table(_M0PLUS, 1, 1, 2, 0)
    ),
    "Cortex-M3": Core("Arm's table of instruction timings (DDI 0337)", ASSUMES, Table(_M3, 1, 2, 3, 1)),
    "Cortex-M4F": Core("Arm's table of instruction timings (DDI 0439)", ASSUMES, Table(_M4, 1, 2, 3, 1)),
    "Cortex-M33": Core("the Cortex-M4's table of instruction timings (DDI 0439)", ASSUMES, Table(_M4, 1, 2, 3, 1)),
    "Cortex-M7": Core("no table of Arm's; the busiest unit of LLVM's model, branches predicted", LOW, None),
}
# Cortex-M7: class -> cycles in which nothing else issues; a multiple load or store moves two words a cycle
_M7_ALONE = {"load multiple": 1, "store multiple": 1, "divide": 7, "float pair": 1, "table branch": 2}
# class -> (unit of which there is one, cycles)
_M7_UNITS = {
    "multiply": ("multiplier", 1), "multiply-add": ("multiplier", 1), "long multiply": ("multiplier", 1),
    "long multiply-add": ("multiplier", 1), "float": ("float", 1), "float multiply-add": ("float", 1),
    "float divide": ("divider", 16), "store": ("store", 1), "store at index": ("store", 1), "float store": ("store", 1),
    "branch": ("branch", 1), "call": ("branch", 1),
}  # fmt: skip
# the DSP extension's unit; what else has to be the first of a pair keeps out of its way as well
_M7_SIMD = re.compile(
    r"[su]xt|[su]sat|u?q(d?add|d?sub|asx|sax)|(s|sh|u|uh)(add8|add16|sub8|sub16|asx|sax)|[su]bfx|pkh|rbit|rev|sel|usad"
    r"|clz|bf[ic]"
)
_M7_SHIFTED = re.compile(
    r"(?!v|ldr|str).*, (lsl|lsr|asr|ror) #|[su]sat|qd(add|sub)|[su]bfx|pkh|[su]xta|rbit|rev|bf[ic]"
)


@dataclass(frozen=True)
class Price:
    """The price of an instruction: `own` cycles each time it runs, `refill` more each time it goes elsewhere. That is
    as often as it runs and the instruction at `after` does not; always, where `after` is None."""

    own: float
    refill: float = 0.0
    after: int | None = None


def prices(code: Sequence[Instruction], core: str | None) -> dict[int, Price] | None:
    """Price every instruction of a firmware, by address; None for a core without a table.

    code: in the order of addresses. How often a conditional branch is taken follows from how often the next instruction
    runs; where that has another way in, a branch back counts as always taken and one ahead as never."""
    if core is None or core not in CORES:
        return None
    entered = {i.target for i in code if i.kind == "branch"}
    table = CORES[core].table
    if table is None:
        return _by_units(code, entered)
    priced = {}
    for previous, now, after in zip((None, *code), code, (*code[1:], None), strict=False):
        own = table.costs[now.kind]
        if now.kind.endswith("multiple"):
            own += table.a_register * now.words
        elif now.kind in ("load", "store at index") and previous is not None and previous.kind == "load":
            own -= 0 if now.reads_address_from(previous) else table.pipelined
        priced[now.address] = Price(own, *_refill(now, after, table, entered))
    return priced


def _refill(
    now: Instruction, after: Instruction | None, table: Table, entered: set[int | None]
) -> tuple[float, int | None]:
    if not now.jumps:
        return 0.0, None
    refill = table.reload if now.loads_pc else table.refill
    if now.goes_elsewhere:
        return refill, None
    if after is not None and after.address not in entered:
        return refill, after.address
    is_back = now.target is not None and now.target <= now.address
    return (refill if is_back else 0.0), None


def _by_units(code: Sequence[Instruction], entered: set[int | None]) -> dict[int, Price]:
    """Share a basic block's cycles out evenly among its instructions: they all run equally often (but where a table
    of a switch, which is not followed, leads into a block)."""
    priced: dict[int, Price] = {}
    block: list[Instruction] = []
    for now, after in zip(code, (*code[1:], None), strict=True):
        block.append(now)
        if after is None or now.jumps or after.address in entered or after.function != now.function:
            priced |= dict.fromkeys((i.address for i in block), Price(_block_cycles(block) / len(block)))
            block = []
    return priced


def _block_cycles(block: Sequence[Instruction]) -> float:
    """Sum what issues alone, and the largest occupancy of a unit by all the others."""
    alone, busy = 0.0, {"issue": 0.0}
    for i in block:
        if i.kind in _M7_ALONE:
            alone += max(_M7_ALONE[i.kind], i.words / 2 if i.kind.endswith("multiple") else 0)
            continue
        busy["issue"] += 0.5
        used = [_M7_UNITS[i.kind]] if i.kind in _M7_UNITS and not i.mnemonic.startswith("vmov") else []
        used += [("simd", 1)] if _M7_SIMD.match(i.mnemonic) else []
        used += [("shifter", 1)] if _M7_SHIFTED.match(i.text) else []
        for unit, cycles in used:
            busy[unit] = busy.get(unit, 0) + cycles
    return alone + max(busy.values())


def cycles(priced: Mapping[int, Price], executions: Mapping[int, int]) -> float:
    """Estimate the cycles of `executions` (address -> how often)."""
    total = 0.0
    for address, times in executions.items():
        price = priced[address]
        stayed = executions.get(price.after, 0) if price.after is not None else 0
        total += times * price.own + max(0, times - stayed) * price.refill
    return total
