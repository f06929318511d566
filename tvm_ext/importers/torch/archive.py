"""Reads a .pt2 file. PyTorch's own reader trusts it: archives may hold pickles, compiled libraries and expressions that
are evaluated. What is handed on is a copy of the archive without any of them."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import re
import zipfile
import zlib
from pathlib import Path
from typing import Any

from mcutrain.planner.errors import ModelError

MAX_BYTES = 256 << 20  # unpacked
DROPPED = re.compile(r"data/sample_inputs/|extra/")
ADMITTED = re.compile(
    r"archive_format|archive_version|byteorder|\.data/\w+|models/[\w-]+\.json"
    r"|data/(?:weights|constants)/(?:[\w-]+_config\.json|weight_\d+|tensor_\d+)"
)
# Of sizes that stay open: sums and products of symbols s0 or u0 and numbers; nothing else that is called
EXPRESSION = re.compile(
    r"(?:Symbol\('[us]\d+'(?:, (?:positive|nonnegative|integer)=(?:True|False))*\)"
    r"|[us]\d{1,6}|\d{1,9}|[ +-]|(?<![* ])\*(?![* ]))+"  # no power: it would never end
)
SAVE = "save it anew by torch.export.save(torch.export.export(model, inputs), path)"


def read(path: Path) -> Any:
    """The torch.export.ExportedProgram of a file. Raises ModelError."""
    import torch

    try:
        content = _checked(path)
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror or error}; give the path of an exported program") from None
    except (zipfile.BadZipFile, zlib.error, ValueError, KeyError, RecursionError, NotImplementedError, RuntimeError):
        raise ModelError(f"{path}: no exported program, or truncated; {SAVE}") from None
    except ModelError as error:
        raise ModelError(f"{path}: {error}; {SAVE}") from None
    with contextlib.suppress(ImportError):  # registers PT2E's operators; float32 programs need none of them
        import torch.ao.quantization.fx._decomposed

    disabled = logging.root.manager.disable
    logging.disable(logging.ERROR)  # of a file that it cannot read it logs its own trace
    try:
        return torch.export.load(io.BytesIO(content))
    except Exception as error:  # its reader raises whatever its parts raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ModelError(f"{path}: torch cannot read it ({reason}); {SAVE}") from None
    finally:
        logging.disable(disabled)


def _checked(path: Path) -> bytes:
    """The archive with its tensors and its graph alone."""
    copy = io.BytesIO()
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(copy, "w") as out:
        entries = archive.infolist()
        size = sum(entry.file_size for entry in entries)
        if size > MAX_BYTES:
            raise ModelError(f"unpacks to {size} B, more than {MAX_BYTES} B are refused")
        models = [entry for entry in entries if re.search(r"/models/[^/]*\.json$", entry.filename)]
        if len(models) != 1:
            raise ModelError(f"holds {len(models)} exported programs, must hold 1")
        root = models[0].filename.split("/models/")[0]
        for entry in entries:
            name = entry.filename.removeprefix(f"{root}/")
            if DROPPED.match(name):
                continue
            if not ADMITTED.fullmatch(name):
                raise ModelError(f"holds '{name[:60]}'; only graphs and plain tensors are read")
            out.writestr(entry.filename, _checked_entry(name, archive.read(entry)))
        model = models[0].filename.rsplit("/", 1)[1].removesuffix(".json")
        out.writestr(f"{root}/data/sample_inputs/{model}.pt", b"")
    return copy.getvalue()


def _checked_entry(name: str, content: bytes) -> bytes:
    if name.endswith("_config.json"):
        config = json.loads(content)
        entries = config.get("config") if isinstance(config, dict) else None
        if not isinstance(entries, dict) or not all(isinstance(e, dict) for e in entries.values()):
            raise ModelError(f"'{name[:60]}' lists no tensors")
        if any(e.get("use_pickle") is not False or not ADMITTED.fullmatch(_place(name, e)) for e in entries.values()):
            raise ModelError("holds pickled tensors; only plain ones are read")
    elif name.startswith("models/"):
        model = json.loads(content)
        if not isinstance(model, dict):
            raise ModelError("its graph is no JSON object")
        model["guards_code"] = []  # source text of checks that are not run here
        _check_expressions(model)
        return json.dumps(model).encode()
    return content


def _place(config: str, entry: dict) -> str:
    return f"{config.rsplit('/', 1)[0]}/{entry.get('path_name')}"


def _check_expressions(value: object) -> None:
    """Sizes that stay open are evaluated as Python by their reader: only sums and products of names are let through."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, list):
            waiting.extend(item)
        elif isinstance(item, dict):
            expression = item.get("expr_str", "s0")
            if not isinstance(expression, str) or not EXPRESSION.fullmatch(expression):
                raise ModelError("holds sizes that are computed; export it with a fixed input size")
            waiting.extend(item.values())
