"""An estimate of cycles from executed instructions: a flat table of costs for each core, and one function.

Everything here assumes memory without wait states (or caches that always hit) and knows no stall that comes from the
data: it is an estimate, and is called so wherever it is shown. Sources:
- Cortex-M3, -M4, -M0+: the tables of instruction timings in Arm's Technical Reference Manuals (M3 DDI 0337, M4 DDI
  0439 and 100166 with the table of the FPU, M0+ DDI 0484).
- Cortex-M7: Arm publishes no table. The units are those of LLVM's scheduling model (ARMScheduleM7.td: two ALUs, two
  load pipes, one pipe each for stores, multiplies, branches and floating point; multiple loads and stores issue alone).
  Assumed: what has two units costs half a cycle, what has one costs a whole one, branches are predicted, and no result
  is waited for. Code that waits a lot takes longer: take the figure as low."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

# mnemonic -> class; the first that matches. Classes are the columns of the table of costs below.
CLASSES = tuple(
    (re.compile(pattern), name)
    for pattern, name in (
        (r"v?ldm|v?pop|ldrd", "load multiple"),
        (r"v?stm|v?push|strd", "store multiple"),
        (r"v?ldr", "load"),
        (r"v?str", "store"),
        (r"v(n?ml|fn?m)[as]", "float multiply-add"),
        (r"vdiv|vsqrt", "float divide"),
        (r"v", "float"),
        (r"[su]div", "divide"),
        (r"[su]m(la|ul)l|umaal", "long multiply"),
        (r"ml[as]|sml", "multiply-add"),
        (r"mul|sm[mu]", "multiply"),
        (r"blx?(\.[nw])?$", "call"),
        (r"cbn?z|tb[bh]|b(x|eq|ne|cs|cc|hs|lo|mi|pl|vs|vc|hi|ls|ge|lt|gt|le)?(\.[nw])?$", "branch"),
        (r"", "other"),
    )
)
# class -> group of the instruction mix
GROUPS = {
    "load": "loads", "load multiple": "loads", "store": "stores", "store multiple": "stores", "multiply": "multiplies",
    "multiply-add": "multiplies", "long multiply": "multiplies", "float": "float", "float multiply-add": "float",
    "float divide": "float", "branch": "branches", "call": "branches", "divide": "other", "other": "other",
}  # fmt: skip
MIX = ("loads", "stores", "multiplies", "float", "branches", "other")
ASSUMES = "an estimate: memory without wait states, no stalls"


@dataclass(frozen=True)
class Core:
    """What instructions cost on one core, in cycles.

    costs: by class. a_register: more for each register of a multiple load or store. refill: more for a branch that is
    taken. pipelined: a single load right behind another single load or store."""

    source: str
    costs: Mapping[str, float]
    a_register: float
    refill: float
    pipelined: float


_M4 = {
    "load": 2, "load multiple": 1, "store": 1, "store multiple": 1, "multiply": 1, "multiply-add": 1,
    "long multiply": 1, "divide": 7, "float": 1, "float multiply-add": 3, "float divide": 14, "branch": 1, "call": 1,
    "other": 1,
}  # fmt: skip
_M3 = {**_M4, "multiply-add": 2, "long multiply": 5}
_M0PLUS = {**_M4, "store": 2, "call": 2}
_M7 = {
    "load": 0.5, "load multiple": 1, "store": 1, "store multiple": 1, "multiply": 1, "multiply-add": 1,
    "long multiply": 1, "divide": 7, "float": 1, "float multiply-add": 1, "float divide": 16, "branch": 1, "call": 1,
    "other": 0.5,
}  # fmt: skip
# the manuals give a range for divisions (2 to 12) and refills (1 to 3): the middle is taken
CORES = {
    "Cortex-M0+": Core("Arm's table of instruction timings (DDI 0484), single-cycle multiplier", _M0PLUS, 1, 1, 2),
    "Cortex-M3": Core("Arm's table of instruction timings (DDI 0337)", _M3, 1, 2, 1),
    "Cortex-M4F": Core("Arm's table of instruction timings (DDI 0439)", _M4, 1, 2, 1),
    "Cortex-M7": Core("no table of Arm's; dual issue as in LLVM's model, branches predicted", _M7, 0.5, 0, 0.5),
}


@dataclass(frozen=True)
class Instruction:
    """One instruction of a firmware as objdump prints it; target: where a direct branch goes, else None."""

    address: int
    function: str
    mnemonic: str
    operands: str
    target: int | None = None

    @cached_property
    def kind(self) -> str:
        """Its class, a key of a core's costs."""
        return next(name for pattern, name in CLASSES if pattern.match(self.mnemonic))

    @property
    def goes_elsewhere(self) -> bool:
        """Whether the next instruction never runs after it: an unconditional branch or call, a return."""
        if self.kind in ("load", "load multiple"):
            return re.search(r"\bpc\}|^pc,", self.operands) is not None
        return re.match(r"(b|bl|bx|blx|tb[bh])(\.[nw])?$", self.mnemonic) is not None


@dataclass(frozen=True)
class Price:
    """What an instruction costs: `own` cycles each time it runs, `refill` more each time it goes elsewhere. That is as
    often as it runs and the instruction at `after` does not; always, where `after` is None."""

    own: float
    refill: float = 0.0
    after: int | None = None


def prices(code: Sequence[Instruction], core: str) -> dict[int, Price] | None:
    """The price of every instruction of a firmware, by address; None for a core without a table.

    code: in the order of addresses. How often a conditional branch is taken follows from how often the next instruction
    runs; where that has another way in, a branch back counts as always taken and one ahead as never."""
    if core not in CORES:
        return None
    table = CORES[core]
    entered = {i.target for i in code if i.kind == "branch"}
    priced = {}
    for previous, now, after in zip((None, *code), code, (*code[1:], None), strict=False):
        own = table.costs[now.kind]
        if now.kind == "load" and previous is not None and previous.kind in ("load", "store"):
            own = table.pipelined
        elif now.kind.endswith("multiple"):
            own += table.a_register * registers(now)
        priced[now.address] = Price(own, *_refill(now, after, table.refill, entered))
    return priced


def _refill(now: Instruction, after: Instruction | None, refill: float, entered: set) -> tuple[float, int | None]:
    if now.goes_elsewhere:
        return refill, None
    if now.kind != "branch":
        return 0.0, None
    if after is not None and after.address not in entered:
        return refill, after.address
    is_back = now.target is not None and now.target <= now.address
    return (refill if is_back else 0.0), None


def cycles(priced: Mapping[int, Price], executions: Mapping[int, int]) -> float:
    """The estimated cycles of `executions` (address -> how often)."""
    total = 0.0
    for address, times in executions.items():
        price = priced[address]
        stayed = executions.get(price.after, 0) if price.after is not None else 0
        total += times * price.own + max(0, times - stayed) * price.refill
    return total


def registers(instruction: Instruction) -> int:
    """How many words a multiple load or store moves: 2 for ldrd and strd."""
    if instruction.mnemonic.startswith(("ldrd", "strd")):
        return 2
    listed = re.search(r"\{(.*)\}", instruction.operands)
    words = 0
    for item in listed[1].split(", ") if listed else ():
        first, _, last = item.partition("-")
        count = int(last[1:]) - int(first[1:]) + 1 if last else 1
        words += count * (2 if first.startswith("d") else 1)
    return words
