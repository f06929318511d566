"""`python -m mcutrain.schema docs/FORMATS.md` makes the tables of a document anew from the schema."""

from __future__ import annotations

import argparse
from pathlib import Path

from mcutrain.schema.tables import with_tables


def main() -> None:
    """Write the document, where a table of it has changed."""
    parser = argparse.ArgumentParser(prog="python -m mcutrain.schema", description=__doc__)
    parser.add_argument("document", type=Path, help="holds `<!-- table: NAME -->` and `<!-- end -->` lines")
    path = parser.parse_args().document
    text = path.read_text(encoding="utf-8")
    if (made := with_tables(text)) != text:
        path.write_text(made, encoding="utf-8")


if __name__ == "__main__":
    main()
