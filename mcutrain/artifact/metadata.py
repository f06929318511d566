"""Reads what an artifact says of itself: the key `mcutrain` of metadata.json, checked before anything relies on it."""

from __future__ import annotations

from pathlib import Path

from mcutrain.artifact.folder import METADATA, read_json
from mcutrain.planner.errors import OutputError
from mcutrain.schema.metadata import Metadata
from mcutrain.schema.reading import SchemaError, typed
from mcutrain.schema.words import SCHEMA


def read_metadata(out: Path) -> Metadata:
    """Read the artifact's description. Raises OutputError naming the folder and the first wrong key."""
    own = read_json(out / METADATA, "the artifact's description").get("mcutrain")
    if not isinstance(own, dict) or own.get("schema") != SCHEMA:
        raise OutputError(f"{out}: {METADATA} was not made by this version of mcutrain; compile the model again")
    try:
        return typed(own, Metadata, "mcutrain")
    except SchemaError as error:
        raise OutputError(f"{out}: {METADATA}: {error}; compile the model again") from None
