"""The boards for tests of firmware: one of each core, since boards of one core run the same code on one machine."""

from mcutrain.targets.board import BOARDS as KNOWN
from mcutrain.targets.core import CORES

BOARDS = [next(name for name, board in KNOWN.items() if board.core == core) for core in CORES.values()]
# Cores for which the compiler makes the same code, as a test compares: of these, one is enough to test kernels on.
SAME_CODE = {"Cortex-M0": "Cortex-M0+"}
CODES = [board for board in BOARDS if KNOWN[board].core.name not in SAME_CODE]
