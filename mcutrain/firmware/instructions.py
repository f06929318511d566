"""Reads instructions as objdump prints them: what class each is of, where it may jump, what it moves."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

_CONDITION = "(eq|ne|cs|cc|hs|lo|mi|pl|vs|vc|hi|ls|ge|lt|gt|le)"
_WIDTH = r"(\.[nw])?"
# "mnemonic operands" -> class; the first that matches
CLASSES = tuple(
    (re.compile(pattern), name)
    for pattern, name in (
        (r"v?ldm|v?pop|ldrd|vldr\S* d", "load multiple"),
        (r"v?stm|v?push|strd|vstr\S* d", "store multiple"),
        (r"vldr", "float load"),
        (r"vstr", "float store"),
        (r"ldr", "load"),
        (r"str\S* \w+, \[\w+, [a-z]", "store at index"),  # a register as the offset
        (r"str", "store"),
        (r"v(ml[as]|mul|rmla|q?r?dmul)\w*\.[su]?i?\d+ ", "multiply-add"),  # Helium's integers
        (r"v(?!cvt|mov)\w*\.[sui]\d+ |v(orr|eor|and|bic|mvn|psel|pst|dup|mov\.[iu])", "other"),
        (r"v(n?ml|fn?m)[as]", "float multiply-add"),
        (r"vdiv|vsqrt", "float divide"),
        (r"vmov\S* [^,]+,[^,]+,", "float pair"),  # two words between the core's registers and the FPU's
        (r"v", "float"),
        (r"[su]div", "divide"),
        (r"[su]mull", "long multiply"),
        (r"[su]ml[as]l|umaal", "long multiply-add"),
        (r"ml[as]|sml|smml[as]", "multiply-add"),
        (r"mul|sm[mu]", "multiply"),
        (rf"bl{_CONDITION}?{_WIDTH} ", "call"),
        (r"tb[bh]", "table branch"),
        (rf"cbn?z|bl?x?{_CONDITION}?{_WIDTH} |(mov|add){_CONDITION}?{_WIDTH} pc,", "branch"),
        (r"", "other"),
    )
)
# class -> group of the instruction mix
GROUPS = {
    "load": "loads", "load multiple": "loads", "float load": "loads", "store": "stores", "store at index": "stores",
    "store multiple": "stores", "float store": "stores", "multiply": "multiplies", "multiply-add": "multiplies",
    "long multiply": "multiplies", "long multiply-add": "multiplies", "float": "float", "float pair": "float",
    "float multiply-add": "float", "float divide": "float", "branch": "branches", "table branch": "branches",
    "call": "branches", "divide": "other", "other": "other",
}  # fmt: skip
MIX = ("loads", "stores", "multiplies", "float", "branches", "other")

_PC = re.compile(r"pc\}|^pc,")
_ALWAYS = re.compile(rf"(bl?x?|tb[bh]|mov|add|pop|ldm(ia|db|fd)?|ldr){_WIDTH}$")


@dataclass(frozen=True)
class Instruction:
    """Holds one instruction of a firmware as objdump prints it; target: where a direct branch goes, else None."""

    address: int
    function: str
    mnemonic: str
    operands: str
    target: int | None = None

    @property
    def text(self) -> str:
        return f"{self.mnemonic} {self.operands}"

    @cached_property
    def kind(self) -> str:
        """Name its class, one of CLASSES."""
        return next(name for pattern, name in CLASSES if pattern.match(self.text))

    @cached_property
    def loads_pc(self) -> bool:
        """Tell whether where it goes comes from memory: a return that pops, a switch."""
        if self.kind == "table branch":
            return True
        return self.kind in ("load", "load multiple") and _PC.search(self.operands) is not None

    @property
    def jumps(self) -> bool:
        """Tell whether another instruction than the next one may run after it."""
        return self.kind in ("branch", "call") or self.loads_pc

    @property
    def goes_elsewhere(self) -> bool:
        """Tell whether the next instruction never runs after it: an unconditional branch or call, a return."""
        return self.jumps and _ALWAYS.match(self.mnemonic) is not None

    @property
    def words(self) -> int:
        """Count the words that a multiple load or store moves."""
        if self.mnemonic.startswith(("ldrd", "strd", "vldr", "vstr")):
            return 2
        listed = re.search(r"\{(.*)\}", self.operands)
        words = 0
        for item in listed[1].split(", ") if listed else ():
            first, _, last = item.partition("-")
            count = int(last[1:]) - int(first[1:]) + 1 if last else 1
            words += count * (2 if first.startswith("d") else 1)
        return words

    def reads_address_from(self, load: Instruction) -> bool:
        """Tell whether the address that it loads from or stores to is made of what `load` loaded."""
        loaded = load.operands.partition(",")[0]
        address = self.operands.partition("[")[2].partition("]")[0]
        return loaded in re.findall(r"\w+", address)
