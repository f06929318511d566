"""Describes what `mcutrain verify` measured; `--json` prints it."""

from __future__ import annotations

from typing import Annotated

from msgspec import Struct

from mcutrain.schema.report import Flash, Instructions
from mcutrain.schema.words import Status, doc


class Measurement(Struct, frozen=True, kw_only=True):
    """A verify run: the firmware on the emulated board, and whether the host twin gave the same bits."""

    name: Annotated[str, doc("C name of the model")]
    scheme: Annotated[str, doc("name of the sparse-update policy")]
    board: Annotated[str, doc("what was emulated")]
    budget_bytes: Annotated[int, doc("SRAM for everything")]
    sram_total_bytes: Annotated[int, doc("arena + data + bss + stack bound")]
    data_bytes: Annotated[int, doc("initialised data")]
    bss_bytes: Annotated[int, doc("zeroed data, without the arena")]
    arena_bytes: Annotated[int, doc("bytes of the arena")]
    arena_bound_bytes: Annotated[int, doc("lower bound for this order")]
    plan_status: Annotated[Status, doc("of the allocation")]
    stack_peak_bytes: Annotated[int, doc("painted and measured")]
    stack_bound_bytes: Annotated[int, doc("static, from the call graph")]
    flash_bytes: Annotated[int, doc("all of flash")]
    flash: Annotated[Flash, doc("flash by section")]
    instructions: Annotated[Instructions, doc("executed ones")]
    op_instructions: Annotated[
        tuple[int, ...], doc("of each op of the last step, of an artifact without training of the inference")
    ]
    losses: Annotated[tuple[float, ...], doc("of the steps; null in JSON where one is not finite")]
    host_equals_device: Annotated[bool, doc("whether twin and device gave the same bits")]
    fits: Annotated[bool, doc("whether all fits the budget, and the stack its bound")]

    def __repr__(self) -> str:
        sram = f"{self.sram_total_bytes:,} of {self.budget_bytes:,} B of SRAM"
        counts = f"{self.instructions.infer:,} instructions an inference, {self.instructions.train_step:,} a step"
        verdict = f"{'fits' if self.fits else 'does not fit'}, host {'==' if self.host_equals_device else '!='} device"
        return f"<Measurement {self.name} on {self.board}: {sram}, {counts}, {verdict}>"
