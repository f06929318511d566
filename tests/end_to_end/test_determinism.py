"""The same network, policy and seed give the same bytes, whatever the process, its hash seed and its folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.end_to_end.conftest import mcutrain_command


@pytest.mark.slow
def test_mcunet_twice(data: Path, tmp_path: Path) -> None:
    outputs = []
    for seed, place in (("1", "a/out"), ("31337", "b/with a space/result")):
        out = tmp_path / place
        arguments = ("compile", data / "mcunet/mcunet-5fps.pkl", "--scheme", "49kb", "-o", out)
        done = mcutrain_command(*arguments, PYTHONHASHSEED=seed, TZ="Asia/Tokyo" if seed == "1" else "UTC")
        assert done.returncode == 0, done.stderr
        outputs.append((out, {str(p.relative_to(out)) for p in out.rglob("*") if p.is_file()}))
    (first, names), (second, other_names) = outputs
    assert names == other_names and len(names) >= 20
    assert [name for name in sorted(names) if (first / name).read_bytes() != (second / name).read_bytes()] == []
    assert first.with_name("out.tar").read_bytes() == second.with_name("result.tar").read_bytes()
    # nothing is left beside the output
    assert {p.name for p in tmp_path.glob("*/*")} == {"out", "out.tar", "with a space"}
