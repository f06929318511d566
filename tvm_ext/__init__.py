"""Translates: model -> Relax integer dialect -> training graph -> TIR -> C. Everything that imports tvm stands here."""
