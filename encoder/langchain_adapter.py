"""Angler's encoder as a LangChain `Embeddings`."""

from typing import Any

from encoder.encoder import Encoder, load_encoder
from encoder.errors import MissingExtraError
from encoder.remote_model import WITHOUT_DIMENSIONS
from encoder.spec import EncoderSpec

try:
    from langchain_core.embeddings import Embeddings
    from langchain_core.load import Serializable
    from pydantic import ConfigDict, PrivateAttr
except ImportError as error:
    raise MissingExtraError("The LangChain adapter", "langchain") from error


class EncoderEmbeddings(Serializable, Embeddings):
    """Plugs an encoder into LangChain; queries and documents get their own instructions.

    Its configuration is written with `dumps(it)` and read with
    `loads(text, allowed_objects=[EncoderEmbeddings], valid_namespaces=["encoder"])`; the
    fingerprint in it makes sure that what is loaded then gives the same vectors. The asynchronous
    methods run the others in a thread.
    """

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    model: str | None = None
    """A folder, a hub id, a model behind a web service, or None for the default."""
    device: str = "auto"
    backend: str = "auto"
    dtype: str = "auto"
    dim: int | None = None
    revision: str | None = None
    local_files_only: bool = False
    query_task: str | None = None
    """The model's task whose instruction queries get, instead of its query instruction."""
    document_task: str | None = None
    """As `query_task`, for documents."""
    fingerprint: str | None = None
    """The encoder's; one that was given must be that of the encoder that is loaded."""

    _encoder: Encoder = PrivateAttr()

    def __init__(self, encoder: Encoder | str | None = None, **choices: Any) -> None:  # noqa: ANN401
        """Take a loaded encoder, or load one.

        Args:
            encoder: A loaded encoder, or as `model`.
            choices: The fields above; those of loading are as for `load_encoder`.

        Raises:
            ValueError: If a choice is unknown or wrong, the model has no such task, or the
                fingerprint is another.
            ModelNotFoundError: If there is no such model.
        """
        loaded = encoder if isinstance(encoder, Encoder) else None
        if loaded is not None:
            spec = loaded.spec
            choices |= {"model": spec.name, "dim": _dim(spec), "dtype": spec.dtype}
        elif encoder is not None:
            choices["model"] = encoder
        super().__init__(**choices)
        self._encoder = loaded or load_encoder(
            self.model,
            device=self.device,
            backend=self.backend,
            dtype=self.dtype,
            dim=self.dim,
            revision=self.revision,
            local_files_only=self.local_files_only,
        )
        spec = self._encoder.spec
        spec.template("query", self.query_task)
        spec.template("document", self.document_task)
        if self.fingerprint not in {None, spec.fingerprint}:
            raise ValueError(
                f"{spec.name} is not the encoder that this configuration was written with: its "
                f"fingerprint is {spec.fingerprint}, not {self.fingerprint}."
            )
        self.fingerprint = spec.fingerprint

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """Whether `dumps` may write the configuration."""
        return True

    @classmethod
    def get_lc_namespace(cls) -> list[str]:
        """Where `loads` finds the class."""
        return ["encoder", "langchain_adapter"]

    @property
    def encoder(self) -> Encoder:
        """The encoder behind it."""
        return self._encoder

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Embed texts to be found."""
        rows = self._encoder.encode_documents(texts, task=self.document_task)
        return [list(map(float, row)) for row in rows]

    def embed_query(self, text: str) -> list[float]:
        """Embed a question."""
        (row,) = self._encoder.encode_queries([text], task=self.query_task)
        return list(map(float, row))


def _dim(spec: EncoderSpec) -> int | None:
    """What `dim` must be for the encoder to be loaded again."""
    is_whole = spec.endpoint and spec.config == WITHOUT_DIMENSIONS
    return None if is_whole else spec.dim
