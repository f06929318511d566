"""The host twin: the emitted C of an artifact, compiled by the host's compiler and driven through ctypes.

It computes the same bits as the device, so that training can be tried out at host speed."""

from __future__ import annotations

import ctypes
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from msgspec.structs import replace

from mcutrain.artifact.metadata import read_metadata
from mcutrain.planner.errors import ModelError, OutputError
from mcutrain.schema.metadata import ParameterEntry, Place, TrainEntry
from mcutrain.twin import labels
from mcutrain.twin.library import Library

_CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_uint32, ctypes.c_void_p, ctypes.c_size_t)


def host(out: str | os.PathLike[str]) -> Twin:
    """The host twin of a compiled model: its C, compiled by this machine's gcc and loaded.

    out: an Artifact or its folder. Two twins of one share nothing.
    Raises OutputError (no artifact) and ToolError (no compiler)."""
    return Twin(Path(out))


class Twin:
    """One network with its trained state. Two twins of one artifact share nothing.

    learning_rate: float32 [2], of the network and of the head; assign to it between steps."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.meta = read_metadata(directory)
        self._library = Library(directory, self.meta, ())
        self._debug: Library | None = None
        self._whole: dict[str, np.ndarray] | None = None
        self.reset()

    def __repr__(self) -> str:
        meta, learns = self.meta, f"scheme {self.meta.scheme}" if self.meta.train else "inference only"
        shape = "x".join(map(str, meta.input.shape[1:]))
        return f"<Twin {meta.name}, {learns}: {meta.input.dtype} {shape} -> {meta.classes} logits>"

    # ------------------------------------------------------------------ running
    def infer(self, x: np.ndarray) -> np.ndarray:
        """The logits (classes,), int8 or float32 as the head is, of one input: int8 (float32 of a float network) of the
        network's shape (H, W, C); axes of one may be left out or added."""
        self._library.write(self.meta.input, self._image(x))
        self._library.call("mcu_twin_infer")
        return self._library.read(self.meta.logits).reshape(-1)

    def train_step(self, x: np.ndarray, y: object = None) -> float:
        """One step on one input and its label (a class number; for other losses an array, or nothing for an
        autoencoder); the loss, before the update. Raises ModelError."""
        self._train(self._library, x, y)
        return self._loss(self._library)

    def gradients(self, x: np.ndarray, y: object = None) -> dict[str, np.ndarray]:
        """The float32 gradients of every trained parameter with respect to its stored values, before quantisation-aware
        scaling; weights OIHW, zero where a channel does not train. The twin's state stays as it is."""
        if self._debug is None:
            self._debug = Library(self.directory, self.meta, ("MCU_GRADIENTS",))
        debug = self._debug
        debug.call("mcu_twin_init")
        for place in self.meta.state:
            debug.write(place, self._library.read(place))
        collected: dict[int, bytes] = defaultdict(bytes)

        def collect(index: int, pointer: int, nbytes: int) -> None:
            collected[index] += ctypes.string_at(pointer, nbytes)

        callback = _CALLBACK(collect)
        debug.library.mcu_twin_on_gradient(callback)
        try:
            self._train(debug, x, y)
        finally:
            debug.library.mcu_twin_on_gradient(_CALLBACK())
        gradients = {index: np.frombuffer(data, np.float32) for index, data in collected.items()}
        return {p.name: self._spread(p, gradients[p.gradient]) for p in self.meta.parameters}

    def _train(self, library: Library, x: np.ndarray, y: object) -> None:
        train = self._training()
        label = labels.encode(self.meta, y)
        library.write(self.meta.input, self._image(x))
        if train.label is not None:
            library.write(train.label, label)
        library.call("mcu_twin_train")

    def _loss(self, library: Library) -> float:
        return float(library.read(Place(offset=self._training().loss_offset, shape=(1,), dtype="float32"))[0])

    def last_logits(self) -> np.ndarray:
        """The logits (classes,) of the last training step, before its update."""
        place = replace(self.meta.logits, offset=self._training().logits_offset)
        return self._library.read(place).reshape(-1)

    # ------------------------------------------------------------------ state
    def reset(self) -> None:
        """Forget everything learnt."""
        self._library.call("mcu_twin_init")

    @property
    def learning_rate(self) -> np.ndarray:
        """float32 (2,): of the network and of the head."""
        return self._library.read(self._training().learning_rate)

    @learning_rate.setter
    def learning_rate(self, rates: np.ndarray | Sequence[float] | float) -> None:
        self._library.write(self._training().learning_rate, np.broadcast_to(np.asarray(rates, np.float32), (2,)))

    def state(self) -> dict[str, np.ndarray]:
        """A copy of every trained parameter by name: int8 weights OIHW (whole, with their frozen channels), int32
        biases, float32 head."""
        places = {place.name: place for place in self.meta.state}
        return {p.name: self._merge(p, self._library.read(places[p.variable])) for p in self.meta.parameters}

    def set_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Write parameters as `state()` gives them; frozen channels of a weight are ignored. Raises ModelError."""
        places = {place.name: place for place in self.meta.state}
        parameters = {p.name: p for p in self.meta.parameters}
        now = self.state()
        for name, value in state.items():
            if name not in parameters:
                raise ModelError(f"'{name}' is not a trained parameter; state() lists them")
            value = np.asarray(value)
            if value.shape != now[name].shape or value.dtype != now[name].dtype:
                expected = f"{now[name].dtype} {now[name].shape}"
                raise ModelError(f"'{name}' is {value.dtype} {value.shape}, expected {expected}")
            self._library.write(places[parameters[name].variable], self._part(parameters[name], value))

    def state_bytes(self) -> tuple[bytes, ...]:
        """The trained state as it lies in memory, piece by piece: what the device hands back."""
        return tuple(self._library.read(place).tobytes() for place in self.meta.state)

    def _merge(self, parameter: ParameterEntry, value: np.ndarray) -> np.ndarray:
        if not parameter.is_weight or value.ndim == 2:
            return value
        if parameter.channels is None or parameter.depthwise:
            return _to_oihw(value)
        whole = self._initial(parameter.name + ".frozen")
        merged = np.empty((*whole.shape[:3], whole.shape[3] + value.shape[3]), value.dtype)
        merged[..., _rest(merged.shape[3], parameter.channels)] = whole
        merged[..., list(parameter.channels)] = value
        return _to_oihw(merged)

    def _part(self, parameter: ParameterEntry, value: np.ndarray) -> np.ndarray:
        if not parameter.is_weight or value.ndim == 2:
            return value
        if parameter.depthwise:
            return value[:, 0]
        ohwi = value.transpose(0, 2, 3, 1)
        return ohwi if parameter.channels is None else ohwi[..., list(parameter.channels)]

    def _spread(self, parameter: ParameterEntry, gradient: np.ndarray) -> np.ndarray:
        """A gradient slice in the place that it has in the whole tensor, zeros elsewhere."""
        gradient = gradient.reshape(parameter.gradient_shape)
        channels = parameter.channels
        if not parameter.is_weight or gradient.ndim == 2:
            return gradient.reshape(-1) if gradient.ndim != 2 else gradient
        if channels is None:
            return _to_oihw(gradient)
        if parameter.depthwise:
            whole = np.zeros(self.state()[parameter.name].shape, np.float32)
            whole[list(channels)] = _to_oihw(gradient)
            return whole
        frozen = self._initial(parameter.name + ".frozen").shape[3]
        whole = np.zeros((*gradient.shape[:3], frozen + len(channels)), np.float32)
        whole[..., list(channels)] = gradient
        return _to_oihw(whole)

    def _initial(self, name: str) -> np.ndarray:
        if self._whole is None:
            from mcutrain.tvm_ext.emit.mlf import read_parameters

            path = self.directory / "parameters" / f"{self.meta.name}.params"
            try:
                self._whole = read_parameters(path.read_bytes())
            except OSError as error:
                raise OutputError(f"{path}: cannot be read: {error.strerror}; compile the model again") from None
            except Exception:  # TVM's reader raises errors of its own
                raise OutputError(f"{path}: does not hold TVM parameters; compile the model again") from None
        if name not in self._whole:
            raise OutputError(f"{self.directory}: parameter '{name}' is not in the folder; compile the model again")
        return self._whole[name]

    # ------------------------------------------------------------------ checks
    def _training(self) -> TrainEntry:
        if self.meta.train is None:
            raise ModelError(f"{self.directory}: compiled for inference only; compile with a training scheme")
        return self.meta.train

    def _image(self, x: np.ndarray) -> np.ndarray:
        x, (_, *shape), dtype = np.asarray(x), self.meta.input.shape, self.meta.input.dtype
        if x.dtype != np.dtype(dtype) or [n for n in x.shape if n != 1] != [n for n in shape if n != 1]:
            raise ModelError(f"input is {x.dtype} {x.shape}, the network takes {dtype} {tuple(shape)} (HWC)")
        return x


def _to_oihw(value: np.ndarray) -> np.ndarray:
    """OHWI -> OIHW, depthwise [C, kh, kw] -> [C, 1, kh, kw]."""
    return np.ascontiguousarray(value.transpose(0, 3, 1, 2)) if value.ndim == 4 else value[:, None]


def _rest(count: int, channels: Sequence[int]) -> list[int]:
    return sorted(set(range(count)) - set(channels))
