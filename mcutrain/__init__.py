"""mcutrain: networks that go on learning on a microcontroller, inside a memory budget that is proven.

>>> model = mcutrain.load("network.tflite")
>>> artifact = mcutrain.compile(model, scheme="last_k=2", board="stm32f746", out="out")
>>> twin = mcutrain.host("out")
"""

import lazy_loader

# The names stand in __init__.pyi, where editors and mypy read them; each module loads when its name is first used, so
# that mcutrain.planner comes without tvm and the command line answers `--help` at once.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
