"""Language models through LangChain: an OpenAI-compatible server, or a folder on this machine."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Thread
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from app.answering import ChatModel, Message, ModelFailedError
from encoder import MissingExtraError

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

URL, MODEL, KEY, FOLDER = (
    "ANGLER_CHAT_URL",
    "ANGLER_CHAT_MODEL",
    "ANGLER_CHAT_KEY",
    "ANGLER_CHAT_FOLDER",
)
TIMEOUT_S = 30.0
"""Seconds without a word from a server."""
_NEW_TOKENS = 512
_REFUSED = {401, 403, 404, 429}


@dataclass(frozen=True, kw_only=True)
class ChatSettings:
    """Which language model words answers; the administrator chooses it, not the page."""

    url: str = ""
    model: str = ""
    key: str = field(default="", repr=False)
    folder: str = ""
    timeout_s: float = TIMEOUT_S

    @classmethod
    def of_environment(cls, environment: Mapping[str, str] = os.environ) -> "ChatSettings | None":
        """What the environment names; None where it names no model."""
        url, folder = environment.get(URL, ""), environment.get(FOLDER, "")
        if not (url or folder):
            return None
        return cls(
            url=url,
            model=environment.get(MODEL, ""),
            key=environment.get(KEY, ""),
            folder=folder,
        )

    @property
    def name(self) -> str:
        """What to call it on a page: never with a key or a password in the address."""
        if self.folder:
            return os.path.basename(os.path.normpath(self.folder))  # noqa: PTH119 - a name, no file
        return f"{self.model} ({urlsplit(self.url).hostname})"


def load_chat(settings: ChatSettings) -> ChatModel:
    """The model of some settings.

    Raises:
        MissingExtraError: If LangChain is not installed.
        ModelFailedError: If there is no such folder.
    """
    try:
        model = _local(settings) if settings.folder else _served(settings)
    except ImportError as error:
        raise MissingExtraError("Answers by a language model", "chat") from error
    return _Chat(settings.name, model)


class _Chat:
    """A LangChain chat model with all that can go wrong told in our own words."""

    def __init__(self, name: str, model: "BaseChatModel") -> None:
        self.name = name
        self._model = model

    def stream(self, messages: Sequence[Message]) -> Iterator[str]:
        is_whole, is_empty = False, True
        try:
            for chunk in self._model.stream(list(messages)):
                is_whole = is_whole or bool(chunk.response_metadata.get("finish_reason"))
                if text := str(chunk.text):
                    is_empty = False
                    yield text
        except ModelFailedError:
            raise
        except Exception as error:  # whatever a server sends, a reader gets an answer
            failure = _failure(self.name, error)
            if failure.key == "chat_down" and not is_empty:
                failure.key = "chat_garbled"  # it was there, and broke off
            raise failure from error
        if is_empty or not is_whole:
            raise ModelFailedError("chat_garbled", f"{self.name} broke off its answer.")


def _failure(name: str, error: Exception) -> ModelFailedError:
    """What went wrong; a server's own words may hold anything, and stay out of it."""
    kinds = {kind.__name__ for kind in type(error).__mro__}
    status = getattr(error, "status_code", None)
    if any("Timeout" in kind for kind in kinds):
        key = "chat_slow"
    elif status in _REFUSED:
        key = "chat_refused"
    elif isinstance(status, int):
        key = "chat_broken"
    elif kinds & {"RemoteProtocolError", "ReadError", "IncompleteRead"}:
        key = "chat_garbled"
    elif kinds & {"APIConnectionError", "ConnectError", "ConnectionError", "NetworkError"}:
        key = "chat_down"
    else:
        key = "chat_garbled"
    detail = f"{type(error).__name__}{f' {status}' if status else ''}"
    return ModelFailedError(key, f"{name} gave no answer ({detail}).")


def _served(settings: ChatSettings) -> "BaseChatModel":
    from langchain_openai import ChatOpenAI
    from pydantic import SecretStr

    return ChatOpenAI(
        base_url=settings.url,
        model=settings.model or "default",
        # A server without a key gets a word that is none: the client insists on one.
        api_key=SecretStr(settings.key or "none"),
        timeout=settings.timeout_s,
        max_retries=0,
        temperature=0,
        stream_usage=False,
        use_responses_api=False,
    )


def _local(settings: ChatSettings) -> "BaseChatModel":
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import AIMessageChunk, BaseMessage
    from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
    from transformers import AutoModelForCausalLM, AutoTokenizer, TextIteratorStreamer

    try:
        tokenizer = AutoTokenizer.from_pretrained(settings.folder, local_files_only=True)
        network: Any = AutoModelForCausalLM.from_pretrained(settings.folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise ModelFailedError(
            "chat_down", f"{settings.name} cannot be loaded ({type(error).__name__})."
        ) from error
    network.eval()

    class LocalChat(BaseChatModel):
        """A causal language model of transformers, one reply at a time."""

        @property
        def _llm_type(self) -> str:
            return "transformers"

        def _stream(
            self, messages: list[BaseMessage], *_: object, **__: object
        ) -> Iterator[ChatGenerationChunk]:
            streamer = TextIteratorStreamer(
                tokenizer, skip_prompt=True, skip_special_tokens=True, timeout=settings.timeout_s
            )
            inputs = _tokens(tokenizer, network, messages)
            choices = {"streamer": streamer, "max_new_tokens": _NEW_TOKENS, "do_sample": False}
            Thread(target=network.generate, kwargs={**inputs, **choices}, daemon=True).start()
            for text in streamer:
                yield ChatGenerationChunk(message=AIMessageChunk(content=text))
            end = AIMessageChunk(content="", response_metadata={"finish_reason": "stop"})
            yield ChatGenerationChunk(message=end)

        def _generate(self, messages: list[BaseMessage], *_: object, **__: object) -> ChatResult:
            text = "".join(str(chunk.text) for chunk in self._stream(messages))
            return ChatResult(generations=[ChatGeneration(message=AIMessageChunk(content=text))])

    return LocalChat()


_ROLES = {"system": "system", "human": "user", "ai": "assistant"}


def _tokens(tokenizer: Any, network: Any, messages: Sequence[Any]) -> dict[str, Any]:  # noqa: ANN401 - transformers'
    """A conversation as a model reads it, its end kept if it is too long for it."""
    spoken = [{"role": _ROLES[one.type], "content": str(one.content)} for one in messages]
    if tokenizer.chat_template:
        text = tokenizer.apply_chat_template(spoken, tokenize=False, add_generation_prompt=True)
    else:
        text = "\n\n".join(one["content"] for one in spoken) + "\n\nAnswer:"
    most = getattr(network.config, "max_position_embeddings", None) or 4096
    tokenizer.truncation_side = "left"
    inputs = tokenizer(
        text, return_tensors="pt", truncation=True, max_length=max(1, most - _NEW_TOKENS)
    )
    return {"input_ids": inputs["input_ids"], "attention_mask": inputs["attention_mask"]}
