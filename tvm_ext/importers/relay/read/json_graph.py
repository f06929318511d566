"""The node list of a tvm.ir.save_json file: checked access, and values, types and arrays out of nodes."""

from __future__ import annotations

import json
import re

import numpy as np

from mcutrain.planner.errors import ModelError
from mcutrain.tvm_ext.importers.relay.ast import LARGEST_DIM, FuncType, TensorType, TupleType, Type
from mcutrain.tvm_ext.importers.relay.operators.base.fields import LARGEST_INT
from mcutrain.tvm_ext.importers.relay.read.arrays import DTYPES, from_base64

MAX_DEPTH = 50
MAX_ITEMS = 1_000_000  # shared lists inside lists, and types inside types, can stand for more than any memory holds
_INT = re.compile(r"-?\d{1,19}")


class JsonGraph:
    """nodes[i] is a dict with `type_key`; references are indices, written as strings in attributes; 0 is None."""

    def __init__(self, text: str, source: str) -> None:
        self.source = source
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ModelError(f"{source}: not JSON: {str(error)[:100]}") from None
        if not isinstance(data, dict) or not isinstance(data.get("nodes"), list) or "root" not in data:
            raise ModelError(f"{source}: not a saved TVM graph: expected an object with 'root' and 'nodes'")
        arrays = data.get("b64ndarrays", [])
        if not isinstance(arrays, list):
            raise ModelError(f"{source}: 'b64ndarrays' is a {type(arrays).__name__}, expected a list")
        self.nodes, self._encoded = data["nodes"], arrays
        self._arrays: dict[int, np.ndarray] = {}
        self._types: dict[int, Type | None] = {}
        self._items = 0
        self.root = self.index(data["root"], 0)

    def error(self, index: int, message: str) -> ModelError:
        return ModelError(f"{self.source}, node {index}: {message}")

    def index(self, value: object, user: int) -> int:
        """Check a reference to a node. user: the node that holds it."""
        number = self.integer(value, user, "a reference")
        if not 0 <= number < len(self.nodes):
            raise self.error(user, f"refers to node {number}, the file has nodes 0 to {len(self.nodes) - 1}")
        return number

    def integer(self, value: object, user: int, what: str) -> int:
        if type(value) is int and abs(value) <= LARGEST_INT:
            return value
        if isinstance(value, str) and _INT.fullmatch(value) and abs(int(value)) <= LARGEST_INT:
            return int(value)
        raise self.error(user, f"{what} is {str(value)[:40]!r}, expected an integer")

    def kind(self, index: int) -> str:
        node = self.nodes[index]
        key = node.get("type_key") if isinstance(node, dict) else None
        if not isinstance(key, str):
            raise self.error(index, "has no type_key")
        return key

    def attrs(self, index: int) -> dict[str, object]:
        attrs = self.nodes[index].get("attrs", {})
        if not isinstance(attrs, dict):
            raise self.error(index, "its attrs are no object")
        return attrs

    def attr(self, index: int, key: str) -> object:
        attrs = self.attrs(index)
        if key not in attrs:
            raise self.error(index, f"{self.kind(index)} lacks '{key}'")
        return attrs[key]

    def ref(self, index: int, key: str) -> int:
        """Return the node that attribute `key` refers to."""
        return self.index(self.attr(index, key), index)

    def items(self, index: int, what: str = "a list") -> list[int]:
        """List the references of an Array; [] for None."""
        if self.kind(index) not in ("Array", ""):
            raise self.error(index, f"is a {self.kind(index)}, expected {what} (Array)")
        data = self.nodes[index].get("data", [])
        if not isinstance(data, list):
            raise self.error(index, "its data is no list")
        return [self.index(item, index) for item in data]

    def pairs(self, index: int) -> list[tuple[str | int, int]]:
        """List the (key, value) of a Map: keys are strings, or references where the file has no key list."""
        if self.kind(index) not in ("Map", ""):
            raise self.error(index, f"is a {self.kind(index)}, expected a Map")
        node = self.nodes[index]
        data, keys = node.get("data", []), node.get("keys")
        if not isinstance(data, list) or not isinstance(keys, list | None):
            raise self.error(index, "its keys or data are no lists")
        values = [self.index(item, index) for item in data]
        names: list[str | int] = [*values[::2]]
        if keys is None:
            values = values[1::2]
        else:
            names = [key if isinstance(key, str) else self.index(key, index) for key in keys]
        if len(names) != len(values):
            raise self.error(index, f"{len(names)} keys but {len(values)} values")
        return list(zip(names, values, strict=True))

    def string(self, index: int) -> str:
        text = (
            self.nodes[index].get("repr_str", "")
            if self.kind(index) in ("runtime.String", "Op", "SourceName")
            else None
        )
        if not isinstance(text, str):
            raise self.error(index, f"is a {self.kind(index)}, expected a string")
        return text

    def array(self, value: object, user: int) -> np.ndarray:
        """Return the array with this number in `b64ndarrays`."""
        number = self.integer(value, user, "the number of an array")
        if not 0 <= number < len(self._encoded):
            raise self.error(user, f"refers to array {number}, the file has {len(self._encoded)}")
        if number not in self._arrays:
            self._arrays[number] = from_base64(self._encoded[number], f"{self.source}, b64ndarrays[{number}]")
        return self._arrays[number]

    def value(self, index: int, depth: int = 0) -> object:
        """Read a node as plain Python: numbers, strings, lists, dicts, None; a constant as its items."""
        kind = self.kind(index)
        self._items += 1
        if depth > MAX_DEPTH or self._items > MAX_ITEMS:
            raise self.error(index, f"a value nested more than {MAX_DEPTH} deep, or too large")
        match kind:
            case "":
                return None
            case "IntImm":
                return self.integer(self.attr(index, "value"), index, "value")
            case "FloatImm":
                return self.number(self.attr(index, "value"), index, "value")
            case "runtime.String":
                return self.string(index)
            case "Array":
                return [self.value(i, depth + 1) for i in self.items(index)]
            case "Map":
                named = [(k if isinstance(k, str) else self.value(k, depth + 1), v) for k, v in self.pairs(index)]
                return {str(k)[:200]: self.value(v, depth + 1) for k, v in named}
            case "relay.Constant":
                return self.array(self.attr(index, "data"), index).tolist()
        return kind

    def number(self, value: object, user: int, what: str) -> float:
        try:
            return float(value) if isinstance(value, str | int | float) else float("none")
        except (ValueError, OverflowError):
            raise self.error(user, f"{what} is {str(value)[:40]!r}, expected a number") from None

    def type(self, index: int, depth: int = 0) -> Type | None:
        """Read the type that a node says; None for none and for kinds that are no types of tensors."""
        if depth > MAX_DEPTH:
            raise self.error(index, f"a type nested more than {MAX_DEPTH} deep, or in a cycle")
        if index not in self._types:
            found = self._types[index] = self._type(index, depth)
            if count_types(found) > MAX_ITEMS:
                raise self.error(index, f"a type of more than {MAX_ITEMS} parts")
        return self._types[index]

    def _type(self, index: int, depth: int) -> Type | None:
        kind = self.kind(index)
        if kind == "relay.TensorType":
            dtype = self.attr(index, "dtype")
            if not isinstance(dtype, str) or dtype not in DTYPES:
                raise self.error(index, f"dtype {str(dtype)[:40]!r} is none of {', '.join(sorted(DTYPES))}")
            return TensorType(tuple(self._dim(i, index) for i in self.items(self.ref(index, "shape"))), dtype)
        if kind == "TupleType":
            fields = self._type_list(self.ref(index, "fields"), depth)
            return None if fields is None else TupleType(fields)
        if kind == "FuncType":
            params = self._type_list(self.ref(index, "arg_types"), depth)
            ret = self.type(self.ref(index, "ret_type"), depth + 1)
            return None if params is None or ret is None else FuncType(params, ret)
        return None

    def _type_list(self, index: int, depth: int) -> tuple[Type, ...] | None:
        """Read the types of an Array; None where one of them is none of tensors."""
        found = [self.type(i, depth + 1) for i in self.items(index)]
        known = tuple(t for t in found if t is not None)
        return known if len(known) == len(found) else None

    def _dim(self, index: int, user: int) -> int | None:
        if self.kind(index) != "IntImm":
            return None
        size = self.integer(self.attr(index, "value"), index, "a dimension")
        if not 0 <= size <= LARGEST_DIM:
            raise self.error(user, f"dimension {size} is outside 0 to {LARGEST_DIM}")
        return size


def count_types(found: Type | None) -> int:
    """Count the tensors of a type; what shares parts is small in memory and can be large in print."""
    sizes: dict[int, int] = {}

    def count(part: Type | None) -> int:
        if id(part) not in sizes:
            inner = part.fields if isinstance(part, TupleType) else ()
            inner = (*part.params, part.ret) if isinstance(part, FuncType) else inner
            sizes[id(part)] = sum(map(count, inner)) if inner else 1
        return sizes[id(part)]

    return count(found)
