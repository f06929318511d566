"""Forms of kernels: measured on the emulator, kept in a table, chosen from it; results never depend on the choice."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import mcutrain
from mcutrain import boards, tuning
from mcutrain.pipeline import lowered_step
from planner.errors import ModelError
from tests import tiny_network
from tvm_ext import tuning as forms
from tvm_ext.lower import Lowered
from tvm_ext.model import Model


@pytest.fixture(scope="module")
def lowered(tiny_model: Model) -> Lowered:
    return lowered_step(tiny_model, "last_k=1")


@pytest.mark.slow
def test_measured_forms_agree_with_what_a_profile_counts(lowered: Lowered) -> None:
    """Two measurements are equal, and wide weights save the two instructions that take four weights apart."""
    found = tuning.tune(lowered, "stm32f746", {})
    assert found == tuning.tune(lowered, "stm32f746", {})
    assert found and all(counts[forms.WIDENED] < counts[forms.NARROW] for counts in found.values())
    assert tuning.tune(lowered, "stm32f746", found, progress=pytest.fail) == found


def test_the_form_that_pays_is_taken(lowered: Lowered) -> None:
    call = forms.candidates(lowered)[0]
    weights = np.asarray(lowered.constants[call.op.inputs[1]])
    extra = 2 * weights.size - weights.size
    for saved, is_wide in ((forms.WORTH * extra * 4, True), (forms.WORTH - 1, False)):
        counts = {forms.key(call): {forms.NARROW: 10**6 + saved, forms.WIDENED: 10**6}}
        kernels = forms.tuned(lowered, counts).kernels
        assert any(kernel.wide for kernel in kernels) == is_wide
    assert not any(kernel.wide for kernel in forms.tuned(lowered, {}).kernels)


def test_weights_that_train_or_that_others_read_keep_their_layout(tiny_model: Model) -> None:
    """A gradient of the input reads the weights of every layer behind the first trained one."""
    whole = lowered_step(tiny_model, "full")
    read_again = {n for c in whole.train_step.calls if c.kind == "conv2d_input_grad" for n in c.op.inputs[1:]}
    assert read_again and not {c.op.inputs[1] for c in forms.candidates(whole)} & (read_again | set(whole.state))


def test_equal_bits_with_and_without(tiny_model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = tiny_network.random_image(0)
    results = []
    for counts in ({}, {forms.NARROW: 10**9, forms.WIDENED: 0}):
        monkeypatch.setattr(forms, "read_counts", lambda core, c=counts: _Everywhere(c))
        out = mcutrain.compile(tiny_model, "last_k=1", out=tmp_path / f"out{len(results)}").directory
        twin = mcutrain.host(out)
        results.append((twin.infer(image).tobytes(), twin.train_step(image, 1), twin.state_bytes()))
        library = (out / "codegen/host/src/tiny_lib0.c").read_text()
        assert ("widened parameter" in library) == bool(counts)
    assert results[0] == results[1]


class _Everywhere(dict):
    """The same counts for every kernel."""

    def __init__(self, counts: dict[str, int]) -> None:
        super().__init__()
        self.counts = counts

    def get(self, key: str, default: object = None) -> dict[str, int]:
        return self.counts


@pytest.mark.parametrize("board", ["stm32f746", "nrf52840"])
def test_the_table_knows_the_published_networks(data: Path, board: str) -> None:
    """So that compiling them measures nothing and takes what was found."""
    for name in ("mcunet-5fps", "mbv2-w0.35", "proxyless-w0.3"):
        network = lowered_step(mcutrain.load(data / "mcunet" / f"{name}.pkl", 128), "49kb")
        known = forms.read_counts(boards.get(board).core)
        assert {forms.key(call) for call in forms.candidates(network)} <= set(known)


@pytest.mark.parametrize("text", ["{", "[]", "3"])
def test_a_damaged_table_is_named(text: str, tmp_path: Path) -> None:
    path = tmp_path / "tuned.json"
    path.write_text(text)
    with pytest.raises(ModelError, match=r"tuned.json: no table of instruction counts .*; remove it, and tune again"):
        forms.read_counts("Cortex-M7", path)


def test_a_table_grows_sorted(tmp_path: Path) -> None:
    path = tmp_path / "tuned.json"
    tuning.write(path, "Cortex-M7", {"b": {"": 2}})
    tuning.write(path, "Cortex-M7", {"a": {"": 1}})
    tuning.write(path, "Cortex-M3", {"a": {"": 3}})
    assert json.loads(path.read_text()) == {"Cortex-M3": {"a": {"": 3}}, "Cortex-M7": {"a": {"": 1}, "b": {"": 2}}}
    assert forms.read_counts("Cortex-M7", path) == {"a": {"": 1}, "b": {"": 2}}
