"""Variants of kernels are measured on the emulator, chosen by counts and by their price in flash, and equal in bits."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import mcutrain
from mcutrain.firmware import measure_variants as tuning
from mcutrain.pipeline import lowered_step
from mcutrain.profiling.run import profile
from mcutrain.targets import board as boards
from mcutrain.tvm_ext.lower import variants
from mcutrain.tvm_ext.lower.graph import Lowered
from mcutrain.tvm_ext.model import Model
from mcutrain.verification import verify
from tests import tiny_network

STEP = 40  # instructions of a step of the timer
MIB = 1 << 20
COMMITTED = (
    'qconv2d 1x16x16x48 24x1x1x48 {"kernel": [1, 1], "stride": [1, 1], "padding": [0, 0, 0, 0]}',
    'qconv2d 1x128x128x3 16x3x3x3 {"kernel": [3, 3], "stride": [2, 2], "padding": [1, 1, 1, 1]}',
)


@pytest.fixture(scope="module")
def lowered(tiny_model: Model) -> Lowered:
    return lowered_step(tiny_model, "last_k=1")


def always_worth(lowered: Lowered, saved: int = 10**6) -> dict:
    """Counts by which every variant that costs flash is worth it, later kernels less than earlier ones."""
    kernels = variants.candidates(lowered)
    return {k: {variants.NARROW: saved // n, variants.WIDENED: 0} for n, k in enumerate(kernels, 1)}


@pytest.mark.slow
def test_a_real_profile_counts_what_was_measured(tiny_model: Model, lowered: Lowered, tmp_path: Path) -> None:
    """The profile's own counter agrees, op by op and variant by variant; a measurement has calls of the timer in it."""
    path, ops = tmp_path / "table.json", {}
    found = tuning.tune(lowered, "stm32f746", path)
    assert found.counts == variants.read_counts("Cortex-M7", path) and len(found.measured) == len(found.counts) >= 4
    tables = {variants.NARROW: "{}", variants.WIDENED: json.dumps({"Cortex-M7": always_worth(lowered, 10**9)})}
    for variant, text in tables.items():
        path.write_text(text)
        out = mcutrain.compile(tiny_model, "last_k=1", out=tmp_path / variant, table=path, stream=False).directory
        ops[variant] = {op.name: op.instructions for op in profile(out, infer_only=True).calls[0].ops}
    for kernel, calls in variants.candidates(lowered).items():
        for call, variant in itertools.product(calls, tables):
            assert ops[variant][call.layer] == pytest.approx(found.counts[kernel][variant], abs=STEP + 20)


@pytest.mark.parametrize("board", ["stm32f746", "nrf52840"])
def test_the_committed_counts_are_what_is_measured(data: Path, board: str) -> None:
    """A changed kernel asks for a new table: `mcutrain tune --again`."""
    network = lowered_step(mcutrain.load(data / "mcunet" / "mcunet-5fps.pkl", 128), "49kb", board=board)
    target, kernels = boards.get(board), variants.candidates(network)
    known = variants.read_counts(target.core.counts)
    for kernel in COMMITTED:
        assert tuning.measure_variants(kernels[kernel][0], target) == known[kernel]


def test_the_m33_shares_the_counts_of_the_m4(data: Path) -> None:
    target = boards.get("mps2-an505")
    network = lowered_step(mcutrain.load(data / "mcunet" / "mcunet-5fps.pkl", 128), "49kb", board=target)
    for kernel in COMMITTED:
        measured = tuning.measure_variants(variants.candidates(network)[kernel][0], target)
        assert measured == pytest.approx(variants.read_counts("Cortex-M4F")[kernel], rel=0.003)


@pytest.mark.parametrize("board", ["stm32f746", "nrf52840", "nrf5340"])
@pytest.mark.parametrize("scheme", ["49kb", "inference"])
def test_the_table_knows_the_published_networks(data: Path, board: str, scheme: str) -> None:
    """So that compiling them measures nothing and takes what was found."""
    known = variants.read_counts(boards.get(board).core.counts)
    for name in ("mcunet-5fps", "mbv2-w0.35", "proxyless-w0.3"):
        network = lowered_step(mcutrain.load(data / "mcunet" / f"{name}.pkl", 128), scheme, board=board)
        assert set(variants.candidates(network)) <= set(known)


def test_a_key_holds_what_a_kernels_instructions_depend_on(lowered: Lowered) -> None:
    """The defaults are left out: an older table goes on to be read."""
    call = next(iter(variants.candidates(lowered).values()))[0]
    assert variants.key(call).endswith('{"kernel": [3, 3], "stride": [1, 1], "padding": [1, 1, 1, 1]}')
    others = [{"rounding": "upward"}, {"rounding": "tflite"}, {"lo": -100}, {"hi": 100}, {"trained_channels": [1]}]
    others += [{"stride": [2, 2]}, {"padding": [0, 0, 0, 0]}, {"kernel": [1, 1]}]
    keys = {variants.key(replace(call, attrs={**call.attrs, **other})) for other in others}
    assert len(keys | {variants.key(call), variants.key(replace(call, kind="qconv2d_with_mask"))}) == len(others) + 2
    assert variants.key(replace(call, layer="another", attrs={**call.attrs, "in_zero": 9})) == variants.key(call)


def test_the_form_that_pays_is_taken(lowered: Lowered) -> None:
    calls = variants.candidates(lowered)
    kernel, call = next((kernel, calls[0]) for kernel, calls in calls.items())
    extra = 8 * 2 * 28 - 8 * 27  # 27 values a filter, filled up to 28, in two bytes each
    assert np.asarray(lowered.constants[call.op.inputs[1]]).nbytes == 8 * 27
    for saved, is_wide in ((variants.WORTH * extra, True), (variants.WORTH * extra - 1, False)):
        counts = {kernel: {variants.NARROW: 10**6 + saved, variants.WIDENED: 10**6}}
        changed, widened = variants.tuned(lowered, counts, MIB)
        assert widened == ((variants.WideWeight(call.layer, extra, saved),) if is_wide else ())
        assert any(kernel.wide for kernel in changed.kernels) == is_wide
    assert not any(kernel.wide for kernel in variants.tuned(lowered, {}, MIB)[0].kernels)


def test_flash_is_spent_where_a_byte_saves_most(lowered: Lowered) -> None:
    counts = always_worth(lowered)
    _, everything = variants.tuned(lowered, counts, MIB)
    ratios = [one.saved_instructions / one.extra_bytes for one in everything]
    assert len(everything) >= 4 and ratios == sorted(ratios, reverse=True)
    whole = sum(one.extra_bytes for one in everything)
    for allowance in (0, *itertools.accumulate(one.extra_bytes for one in everything), whole - 1):
        taken = variants.tuned(lowered, counts, allowance)[1]
        left = allowance - sum(one.extra_bytes for one in taken)
        first_out = next((one for one in everything if one not in taken), None)
        assert left >= 0 and (first_out is None) == (allowance >= whole)
        # what stays out has no room among those that save more a byte
        for one in set(everything) - set(taken):
            better = sum(t.extra_bytes for t in taken if everything.index(t) < everything.index(one))
            assert better + one.extra_bytes > allowance


@pytest.mark.slow
def test_the_allowance_is_what_a_linked_firmware_leaves(tiny_model: Model, tmp_path: Path) -> None:
    """Constants as they were linked, within the texts and tables of runtime and verify program; less code than kept."""
    artifact = mcutrain.compile(tiny_model, "last_k=1", out=tmp_path / "out")
    assert not artifact.report.wide_weights
    flash = verify(artifact.directory, 0).flash
    constants = MIB - variants.CODE_BYTES - variants.flash_allowance(artifact.planned.lowered, MIB)
    assert 0 <= flash.rodata + flash.data - constants < 1024 and flash.text < variants.CODE_BYTES
    assert variants.flash_allowance(artifact.planned.lowered, 1024) == 0


def test_a_small_flash_keeps_weights_narrow(tiny_model: Model, lowered: Lowered, tmp_path: Path) -> None:
    """The report says which layers are wide; text and page show them."""
    path, wide = tmp_path / "table.json", []
    path.write_text(json.dumps({"Cortex-M7": always_worth(lowered)}))
    used = MIB - variants.flash_allowance(lowered, MIB)
    for room in (MIB, 300, 0):
        board = replace(boards.get("stm32f746"), name="small", flash_bytes=used + room)
        artifact = mcutrain.compile(tiny_model, "last_k=1", board, out=tmp_path / f"out{room}", table=path)
        written = json.loads((artifact.directory / "report.json").read_text())
        wide.append(written["wide_weights"])
        library = (artifact.directory / "codegen/host/src/tiny_lib0.c").read_text()
        assert library.count("widened parameter") == len(wide[-1])
    assert len(wide[0]) > len(wide[1]) > len(wide[2]) == 0
    assert 0 < sum(one["extra_bytes"] for one in wide[1]) <= 300
    assert set(wide[0][0]) == {"layer", "extra_bytes", "saved_instructions"}


def test_weights_that_train_or_that_others_read_keep_their_layout(tiny_model: Model) -> None:
    """A gradient of the input reads the weights of every layer behind the first trained one."""
    whole = lowered_step(tiny_model, "full")
    read_again = {n for c in whole.train_step.calls if c.kind == "conv2d_input_grad" for n in c.op.inputs[1:]}
    chosen = {call.op.inputs[1] for calls in variants.candidates(whole).values() for call in calls}
    assert read_again and not chosen & (read_again | set(whole.state))


def test_equal_bits_with_and_without(tiny_model: Model, lowered: Lowered, tmp_path: Path) -> None:
    image, path, results = tiny_network.random_image(0), tmp_path / "table.json", []
    for counts in ({}, always_worth(lowered, 10**9)):
        path.write_text(json.dumps({"Cortex-M7": counts}))
        out = mcutrain.compile(tiny_model, "last_k=1", out=tmp_path / f"out{len(results)}", table=path).directory
        twin = mcutrain.host(out)
        results.append((twin.infer(image).tobytes(), twin.train_step(image, 1), twin.state_bytes()))
        library = (out / "codegen/host/src/tiny_lib0.c").read_text()
        assert library.count("widened parameter") == sum(map(len, variants.candidates(lowered).values())) * bool(counts)
    assert results[0] == results[1]
