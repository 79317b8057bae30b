"""Names of models behind a web service: what a caller writes in, endpoint and model out."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from encoder.errors import UsageError
from encoder.files import digest_of_json
from encoder.registry import ModelRow, find_row
from encoder.spec import REMOTE, EncoderSpec

OPENAI = "https://api.openai.com/v1"
PREFIX = "openai:"
"""What a name begins with whose service is OpenAI's, or that of OPENAI_BASE_URL."""
API = "api"
"""The architecture of a model that is only to be had from its makers' service."""
_ASSUMED_TOKENS = 8191
"""Most tokens of a text where nobody knows; a service that reads fewer says so or cuts itself."""

WITHOUT_DIMENSIONS = digest_of_json({"dimensions": None})
"""`EncoderSpec.config` of a model that is asked for its embeddings' own length."""


@dataclass(frozen=True)
class RemoteModel:
    """A model and the OpenAI-compatible service that runs it."""

    endpoint: str
    """URL up to and with its version: `https://api.openai.com/v1`."""
    model: str
    """As the service calls it."""

    @property
    def name(self) -> str:
        """What names both, also in a manifest: `http://localhost:8080/v1#BAAI/bge-m3`."""
        return f"{self.endpoint}#{self.model}"

    @property
    def row(self) -> ModelRow | None:
        """What the registry knows of the model: its instructions hold wherever it runs."""
        return find_row(self.model) or find_row(self.model.partition(":")[0])

    @property
    def takes_dimensions(self) -> bool:
        """Whether the service may be asked for shorter embeddings; else they are cut here."""
        row = self.row
        return row is None or row.matryoshka

    @property
    def key(self) -> str | None:
        """The key from OPENAI_API_KEY, which only OPENAI_BASE_URL's service (OpenAI's) is told.

        Raises:
            UsageError: If OpenAI's own service is meant, and there is no key.
        """
        key = (os.environ.get("OPENAI_API_KEY") or "").strip() or None
        if self.endpoint == OPENAI and key is None:
            raise UsageError(
                f"{self.model} runs at {OPENAI}, which wants a key: set OPENAI_API_KEY."
            )
        return key if self.endpoint == _openai_endpoint() else None


def find_remote(model: str | None, backend: str = "auto") -> RemoteModel | None:
    """The service's model that a name means; None of a model that runs here.

    Args:
        model: `openai:MODEL`, `URL#MODEL`, the name of an OpenAI model that the registry knows;
            or any name of the service's with `backend="remote"`.
        backend: As for `load_encoder`.

    Raises:
        UsageError: If a URL is incomplete, or the backend cannot be had for the model.
    """
    found = _parsed(model, backend)
    if found is not None and backend not in {"auto", "remote"}:
        raise UsageError(f"{model} runs behind a web service, not with backend={backend!r}.")
    return found


def _parsed(model: str | None, backend: str) -> RemoteModel | None:
    if model is None:
        if backend == "remote":
            raise UsageError("backend='remote' needs the name of a model.")
        return None
    if model.startswith(("http://", "https://")):
        address, _, served = model.partition("#")
        if not served:
            raise UsageError(
                f"{model} names no model; write it behind the address: {model}#MODEL, with the "
                "name that the service gives it."
            )
        return RemoteModel(_endpoint(address), served)
    row = find_row(model)
    if model.startswith(PREFIX) or backend == "remote" or (row and row.architecture == API):
        served = model.removeprefix(PREFIX)
        if row is not None and row.architecture == API:
            served = row.name.rpartition("/")[2]
        if not served:
            raise UsageError(f"{model!r} names no model; write {PREFIX}MODEL.")
        return RemoteModel(_openai_endpoint(), served)
    return None


def _openai_endpoint() -> str:
    return _endpoint(os.environ.get("OPENAI_BASE_URL") or OPENAI)


def _endpoint(address: str) -> str:
    """An address without what names the same service in another way.

    Raises:
        UsageError: If it is no plain http(s) address.
    """
    endpoint = address.strip().rstrip("/").removesuffix("/embeddings")
    try:
        parts = urlsplit(endpoint)
        parts.port  # noqa: B018 - reading it checks it
    except ValueError as error:
        raise UsageError(f"{address} is no web address: {error}.") from error
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise UsageError(f"{address} is no web address of a service (http://HOST:PORT/v1).")
    if "@" in parts.netloc or parts.query:
        # An index's manifest names its encoder, so a secret in the name would be written there.
        raise UsageError(
            f"The address of {parts.hostname} holds a name, a password or a query; leave them out "
            "and set OPENAI_BASE_URL and OPENAI_API_KEY."
        )
    # The last part is the path: upper and lower case differ there, and only there.
    return f"{parts.scheme}://{parts.netloc.lower()}{parts.path}"


def remote_spec(found: RemoteModel, dim: int | None, measure: Callable[[], int]) -> EncoderSpec:
    """The spec of a service's model.

    Args:
        found: The model.
        dim: Length of an embedding that the service is asked for (`dimensions`), or None for its
            own.
        measure: Asks the service for the length of an embedding; called where nothing says it.

    Raises:
        ValueError: If the registry knows that the model has no such dimensions, or that its
            embeddings are of no use when they are cut.
    """
    row = found.row
    if dim is not None and row is not None:
        _check_dim(dim, row, found.model)
    return EncoderSpec(
        name=found.name,
        weights=digest_of_json([found.endpoint, found.model]),
        config=WITHOUT_DIMENSIONS if dim is None else digest_of_json({"dimensions": dim}),
        tokenizer=digest_of_json("the service's own"),
        pooling=REMOTE,
        endpoint=found.endpoint,
        max_tokens=row.max_tokens if row else _ASSUMED_TOKENS,
        dim=dim or (row.dim if row else measure()),
        templates=row.templates if row else {},
        clean=row.family.clean if row else "",
    )


def _check_dim(dim: int, row: ModelRow, model: str) -> None:
    if row.architecture == API and not row.matryoshka:
        raise ValueError(f"{model} has {row.dim} dimensions and cannot be cut; got dim={dim}.")
    if not 1 <= dim <= row.dim:
        raise ValueError(f"dim must be between 1 and {row.dim}, the width of {model}; got {dim}.")
