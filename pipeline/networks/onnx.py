"""A trained network as an ONNX file, layer by layer, and what is needed to read its checkpoint back.

A graph is written rather than traced: torch's exporter folds the normalisations, and so loses the weights that were
trained. Here all of them lie in the file under their own names, and reading it back gives the very checkpoint; runtimes
fold normalisations by themselves.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import CheckpointError, RequestError
from ..files import write_bytes
from ..geometry import Triple
from .checkpoint import StoredNetwork
from .layers import NormalisedConvolution

INPUT, BATCH = "image", "batch"
CONFIG_KEY, CARD_KEY, COUNTS_KEY = "petavox.config", "petavox.card", "petavox.counts"
OPSET, IR_VERSION = 17, 8  # old enough for whatever runs ONNX today

Config = TypeVar("Config", bound=StoredNetwork[Any])


class LayerGraph:
    """Collects the nodes of a network's graph, in the order of its `forward`; values are passed on by name.

    Args:
        network: whose weights the graph holds.
    """

    def __init__(self, network: nn.Module) -> None:
        self._network, self._onnx = network, _onnx()
        self._nodes: list[Any] = []
        self._arrays: dict[str, np.ndarray[Any, Any]] = {
            name: value.numpy() for name, value in network.state_dict().items() if value.is_floating_point()
        }

    def write(
        self, path: Path, config: StoredNetwork[Any], card: str, output: str, channels: int, more: Mapping[str, str]
    ) -> None:
        """Write the graph as a file that appears whole or not at all.

        Args:
            path: path of the file.
            config: config of the checkpoint, kept in the file.
            card: card of the checkpoint, likewise.
            output: name of the graph's output.
            channels: channels of the output.
            more: further metadata, by name.
        """
        helper, single = self._onnx.helper, self._onnx.TensorProto.FLOAT
        graph = helper.make_graph(
            self._nodes,
            "petavox",
            [helper.make_tensor_value_info(INPUT, single, [BATCH, 1, *config.patch])],
            [helper.make_tensor_value_info(output, single, [BATCH, channels, *config.patch])],
            [self._onnx.numpy_helper.from_array(array, name) for name, array in self._arrays.items()],
        )
        opset = helper.make_opsetid("", OPSET)
        model = helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION, producer_name="petavox")
        # Of batches seen: the only weights that the graph does not need.
        counts = {n: int(value) for n, value in self._network.state_dict().items() if not value.is_floating_point()}
        described = {CONFIG_KEY: config.model_dump_json(), CARD_KEY: card, COUNTS_KEY: json.dumps(counts), **more}
        helper.set_model_props(model, described)
        self._onnx.checker.check_model(model)
        write_bytes(path, model.SerializeToString())

    def normalised(self, x: str, name: str, layer: NormalisedConvolution) -> str:
        """Adds a convolution and its normalisation; returns the name of the value that comes out, as all others do."""
        return self.norm(self.convolution(x, f"{name}.convolution", layer.convolution), f"{name}.norm", layer.norm)

    def convolution(self, x: str, name: str, layer: nn.Module) -> str:
        """Adds a convolution that keeps the shape, but for its stride."""
        assert isinstance(layer, nn.Conv3d)
        weights = [f"{name}.weight"] if layer.bias is None else [f"{name}.weight", f"{name}.bias"]
        pads = [k // 2 for k in layer.kernel_size]
        return self.add("Conv", x, *weights, kernel_shape=layer.kernel_size, strides=layer.stride, pads=pads * 2)

    def norm(self, x: str, name: str, layer: nn.Module) -> str:
        """Adds a batch normalisation by its running statistics."""
        assert isinstance(layer, nn.BatchNorm3d)
        weights = [f"{name}.{part}" for part in ("weight", "bias", "running_mean", "running_var")]
        return self.add("BatchNormalization", x, *weights, epsilon=layer.eps)

    def enlarge(self, x: str, by: Triple) -> str:
        """Adds a repetition of voxels along z, y and x."""
        scales = self.constant([1.0, 1.0, *map(float, by)])
        how = {"mode": "nearest", "nearest_mode": "floor", "coordinate_transformation_mode": "asymmetric"}
        return self.add("Resize", x, "", scales, **how)

    def elu(self, x: str) -> str:
        """Adds an exponential linear unit."""
        return self.add("Elu", x)

    def constant(self, values: list[int] | list[float]) -> str:
        """Adds a constant vector."""
        name = f"constant.{len(self._arrays)}"
        self._arrays[name] = np.array(values, np.int64 if isinstance(values[0], int) else np.float32)
        return name

    def add(self, kind: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        """Adds a node of some kind; returns the name of its output."""
        output = output or f"value.{len(self._nodes)}"
        self._nodes.append(self._onnx.helper.make_node(kind, inputs, [output], **attributes))
        return output


def read_checkpoint(
    path: Path, kind: type[Config], names: Callable[[Config], Iterable[str]]
) -> tuple[Config, dict[str, Tensor], str]:
    """Returns config, weights and card of a checkpoint that was exported.

    Args:
        path: path of the ONNX file.
        kind: class of the config.
        names: gives the names of the weights of a config's network.

    Raises:
        RequestError: the package onnx is not installed.
        CheckpointError: the file is damaged, or petavox has not made it.
    """
    onnx = _onnx()
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(str(path), load_external_data=False)
        found = {entry.key: entry.value for entry in model.metadata_props}
        config = kind.model_validate_json(found[CONFIG_KEY])
        counts = {name: torch.tensor(count) for name, count in json.loads(found[COUNTS_KEY]).items()}
        arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        weights = {n: counts[n] if n in counts else torch.from_numpy(arrays[n].copy()) for n in names(config)}
    except (OSError, DecodeError, KeyError, ValueError) as error:
        raise CheckpointError(
            f"Only an ONNX file that petavox has exported can be read back; {path} is none, or is damaged: {error!r}."
        ) from error
    return config, weights, found.get(CARD_KEY, "")


def _onnx() -> ModuleType:
    try:
        import onnx
    except ImportError as error:
        raise RequestError(
            f"ONNX files need the package onnx, which cannot be imported here: {error}. Install it: pip install onnx."
        ) from error
    return onnx  # type: ignore[no-any-return]
