"""Runs a model through OpenVINO on the CPU: torch's vectors, sooner, and without torch.

The way from token ids to embeddings is converted once and kept on disk (encoder/model_cache.py).
"""

import logging
import sys
import warnings
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from threading import Event, Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from encoder.backends.int8 import quantised
from encoder.errors import MissingExtraError
from encoder.files import digest_of_json
from encoder.model_cache import find_entry, keep_entry
from encoder.spec import EncoderSpec

if TYPE_CHECKING:
    import torch

    from encoder.backends.torch import TorchBackend

# OpenVINO's tools report their use to its makers without being asked to. Angler reports nothing:
# where the reporting package cannot be imported, they do without.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

try:
    import openvino
except ImportError as error:
    raise MissingExtraError("The OpenVINO backend", "openvino") from error

log = logging.getLogger(__name__)

TOKEN_BUDGET = 2048
"""Most tokens of a batch: what stays in the caches of a core."""
KEPT_SHAPES = 64
"""For how many shapes of a batch compiled code is kept. Batches come in order of their lengths, so
a shape is rarely needed again; OpenVINO's own 5,000 take hundreds of MiB in the long run."""
PRECISIONS = {"float32": "f32", "bfloat16": "bf16"}
"""Those that a graph of floats runs in; in one of 8-bit integers, what is left runs in the best."""
_FORMAT = 1
"""Goes up when the conversion changes, so that nothing converted before is used again."""
_OUTSIDE_THE_GRAPH = (
    "name",
    "tokenizer",
    "max_tokens",
    "dim",
    "normalize",
    "append_eos",
    "skip_instruction",
    "templates",
    "clean",
)
"""Fields of a spec that change nothing between token ids and whole embeddings."""
_FIRST, _HAS_RUN = Lock(), Event()
"""The first run of a process goes alone. In it the library looks up numpy's functions, and two
threads that do so at once may wait for each other for ever: one with the interpreter's lock for the
look-up, the other in the look-up for the interpreter's lock."""
_GRAPH = "graph.xml"
_INPUTS = ("input_ids", "attention_mask", "pooled")
"""What `TorchBackend.forward` takes, each of shape (batch, tokens)."""


class OpenVinoBackend:
    """A converted model on the CPU; one batch runs on one core, and several at once."""

    device = "cpu"

    def __init__(
        self,
        graph: Any,  # noqa: ANN401 - openvino.Model
        spec: EncoderSpec,
        pad_id: int,
        dtype: str,
    ) -> None:
        """Compile a graph that `load_graph` gave, for `auto`, `float32`, `bfloat16` or `int8`.

        Raises:
            CannotRunError: If OpenVINO cannot compile the graph.
        """
        self._graph = graph
        self._spec = spec
        self._pad_id = pad_id
        self.token_budget = TOKEN_BUDGET
        self._precision = PRECISIONS[best_precision() if dtype in {"auto", "int8"} else dtype]
        dtype = best_precision() if dtype == "auto" else dtype
        self.engine = f"openvino {dtype} on {self.device}"
        """What runs the model, for people."""
        self._embeddings = CompiledOutput(graph, 0, self._precision)
        self.workers = self._embeddings.streams
        """How many batches run at once without waiting for each other."""
        self._tokens: CompiledOutput | None = None
        self._lock = Lock()

    def embed(
        self, ids: Sequence[Sequence[int]], starts: Sequence[int] = ()
    ) -> NDArray[np.float32]:
        """Embed one batch; several threads may do so at once.

        Args:
            ids: Token ids of each text, of any lengths.
            starts: How many tokens at the beginning of each text stay out of the pooling; none
                where it is empty.

        Returns:
            Shape (batch, dim), unit rows where the spec says so; what the model makes of a text
            may be not finite.
        """
        embeddings = self._embeddings(_padded(ids, starts, self._pad_id))[:, : self._spec.dim]
        if self._spec.normalize:
            with np.errstate(invalid="ignore", over="ignore"):
                embeddings /= np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-12)
        return embeddings

    def embed_tokens(self, ids: Sequence[Sequence[int]]) -> list[NDArray[np.float32]]:
        """The vectors of each text's own tokens, shape (tokens, width) each, not normalised."""
        with self._lock:
            if self._tokens is None:
                self._tokens = CompiledOutput(self._graph, 1, self._precision)
        vectors = self._tokens(_padded(ids, (), self._pad_id))
        return [vectors[row, : len(tokens)].copy() for row, tokens in enumerate(ids)]


def _padded(
    ids: Sequence[Sequence[int]], starts: Sequence[int], pad_id: int
) -> dict[str, NDArray[np.int64]]:
    # Padding stands on the right, so that absolute positions are those of a lone text.
    shape = (len(ids), max(len(row) for row in ids))
    input_ids = np.full(shape, pad_id, np.int64)
    mask = np.zeros(shape, np.int64)
    for row, tokens in enumerate(ids):
        input_ids[row, : len(tokens)] = tokens
        mask[row, : len(tokens)] = 1
    pooled = mask.copy() if starts else mask
    for row, start in enumerate(starts):
        pooled[row, :start] = 0
    return dict(zip(_INPUTS, (input_ids, mask, pooled), strict=True))


class CompiledOutput:
    """A graph compiled for one of its outputs."""

    def __init__(self, graph: Any, output: int, precision: str) -> None:  # noqa: ANN401
        only = openvino.Model([graph.get_results()[output]], graph.get_parameters())
        # One core for each batch: cores that share one wait for each other at every layer.
        options = {
            "INFERENCE_PRECISION_HINT": precision,
            "PERFORMANCE_HINT": "THROUGHPUT",
            "CPU_RUNTIME_CACHE_CAPACITY": KEPT_SHAPES,
        }
        try:
            self._compiled = openvino.Core().compile_model(only, "CPU", options)
        except RuntimeError as error:
            raise CannotRunError(error) from error
        self.streams = int(self._compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
        # A request holds the buffers of one run; making one costs as much as a short run.
        self._idle: deque[Any] = deque()

    def __call__(self, inputs: dict[str, NDArray[np.int64]]) -> NDArray[np.float32]:
        """The output for one batch; from any thread."""
        if _HAS_RUN.is_set():
            return self._run(inputs)
        with _FIRST:
            output = self._run(inputs)
            _HAS_RUN.set()
        return output

    def _run(self, inputs: dict[str, NDArray[np.int64]]) -> NDArray[np.float32]:
        try:
            request = self._idle.pop()
        except IndexError:
            request = self._compiled.create_infer_request()
        result = request.infer(inputs, share_inputs=True, share_outputs=True)
        output = np.array(result[0])  # the request's next run overwrites its own
        self._idle.append(request)
        return output


class CannotRunError(ValueError):
    """OpenVINO has no way to run a model that is sound."""

    def __init__(self, error: Exception | str) -> None:
        reason = " ".join(str(error).split())[:300]
        super().__init__(
            f"OpenVINO cannot run this model ({reason}); load it with backend='torch'."
        )


def best_precision() -> str:
    """The precision in which the processor runs floats soonest."""
    abilities = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return "bfloat16" if "BF16" in abilities else "float32"


def load_graph(
    spec: EncoderSpec,
    load_torch: "Callable[[], TorchBackend]",
    calibration: Callable[[], list[list[int]]],
    *,
    keep: bool,
) -> Any:  # noqa: ANN401 - openvino.Model
    """The way from token ids and mask to embeddings and token vectors, kept or converted.

    Args:
        spec: What to run.
        load_torch: Loads the model into torch, on the CPU in float32; called where no graph is
            kept.
        calibration: Gives the token ids of texts; called where a graph is to be quantised.
        keep: Whether to look for a kept graph, and to keep a new one.

    Raises:
        ValueError: If the model cannot be loaded.
        CannotRunError: If it cannot be converted.
        MissingExtraError: If it is to be quantised and nncf is not installed.
    """

    def make() -> Any:  # noqa: ANN401
        if spec.precision == "float":
            return _converted(load_torch())
        floats = load_graph(replace(spec, precision="float"), load_torch, calibration, keep=keep)
        log.info("%s is quantised to 8 bits, which takes a minute or so once.", spec.name)
        return quantised(floats, [_padded([ids], (), 0) for ids in calibration()])

    return kept(_key(spec), make, keep=keep)


def _key(spec: EncoderSpec) -> str:
    facts = {name: fact for name, fact in asdict(spec).items() if name not in _OUTSIDE_THE_GRAPH}
    return key_of(facts)


def key_of(facts: object) -> str:
    """Under which key the graph is kept that these versions of the libraries make of some facts."""
    makers = {name: version(name) for name in ("openvino", "torch", "transformers")}
    return digest_of_json([_FORMAT, facts, makers])


def kept(key: str, make: Callable[[], Any], *, keep: bool) -> Any:  # noqa: ANN401
    """The graph that is kept under a key, or a new one, which is kept from now on.

    Args:
        key: What `key_of` gave.
        make: Makes the graph.
        keep: Whether to look for a kept graph, and to keep a new one.

    Raises:
        CannotRunError: If OpenVINO cannot read what was kept.
    """
    entry = find_entry(key) if keep else None
    if entry is not None:
        return _read(entry)
    graph = make()
    entry = keep_entry(key, lambda folder: _write(graph, folder)) if keep else None
    return graph if entry is None else _read(entry)


def _write(graph: Any, folder: Path) -> None:  # noqa: ANN401
    try:
        openvino.save_model(graph, folder / _GRAPH, compress_to_fp16=False)
    except RuntimeError as error:
        raise OSError(" ".join(str(error).split())[:300]) from error


def write_graph(module: "torch.nn.Module", inputs: Sequence[str], path: Path, output: str) -> None:
    """Write a module of torch as a model of OpenVINO.

    Args:
        module: As `converted`.
        inputs: As `converted`; they are the model's names of them too.
        path: The `.xml`; the weights stand beside it.
        output: What the model calls what it gives.

    Raises:
        CannotRunError: If OpenVINO cannot convert it.
    """
    graph = converted(module, inputs)
    graph.outputs[0].get_tensor().set_names({output})
    openvino.save_model(graph, path, compress_to_fp16=False)


def run_written(path: Path, inputs: dict[str, NDArray[np.int64]]) -> NDArray[np.float32]:
    """What a written model gives for one batch, in float32."""
    return CompiledOutput(openvino.Core().read_model(path), 0, PRECISIONS["float32"])(inputs)


def _read(entry: Path) -> Any:  # noqa: ANN401
    try:
        return openvino.Core().read_model(entry / _GRAPH)
    except RuntimeError as error:
        raise CannotRunError(error) from error


def _converted(backend: "TorchBackend") -> Any:  # noqa: ANN401
    if backend.is_unpadded:
        raise CannotRunError("its vectors change with the padding")
    return converted(backend.as_module(), _INPUTS)


def converted(module: "torch.nn.Module", inputs: Sequence[str]) -> Any:  # noqa: ANN401
    """A module of torch as a graph.

    Args:
        module: Takes tensors of whole numbers, each of shape (batch, tokens).
        inputs: Their names; the attention mask is one of them.

    Raises:
        CannotRunError: If OpenVINO cannot convert it.
    """
    import torch

    from encoder.backends.loading import silenced

    # Two texts of different lengths: a mask of ones only would be traced away.
    mask = torch.tensor([[1] * 8, [1] * 5 + [0] * 3])
    example = {name: mask.clone() for name in inputs}
    shapes = [(name, [-1, -1]) for name in inputs]
    try:
        with warnings.catch_warnings(), silenced():
            warnings.simplefilter("ignore")  # tracing warns of every branch that it takes
            return openvino.convert_model(module, example_input=example, input=shapes)
    except (RuntimeError, ValueError, TypeError) as error:
        raise CannotRunError(error) from error
