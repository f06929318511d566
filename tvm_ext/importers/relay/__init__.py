"""Relay files (text 0.0.5, saved JSON, Model Library Format) -> AST -> the dialect, or ordinary Relax."""
