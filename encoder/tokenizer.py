"""Texts to token ids: fills the template, cuts the text and never the template or the end mark."""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

from encoder.files import digest_of_file, digest_of_json, read_object
from encoder.model_cache import find_entry, keep_entry
from encoder.spec import EncoderSpec
from encoder.templates import PLACE, Filled, fill

_FORMAT = 2
"""Goes up when a tokenizer is made in another way, so that none made before is used again."""
_SOURCES = ("*.json", "*.txt", "*.model", "*.tiktoken")
"""Files of a model folder that a tokenizer may be made from."""
_FILE, _IDS = "tokenizer.json", "ids.json"
ROOM_PER_TOKEN = 16
"""Characters of a text that are looked at for each token that the encoder reads; then more."""
MARGIN = 2048
"""Characters behind a token that settle it, whatever comes after them."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """One text as the model reads it."""

    ids: list[int]
    dropped: int
    """Tokens of the text that did not fit; at least so many, where the text was very long."""
    start: int = 0
    """Where the text begins behind its instruction; 0 where there is none to leave out."""


class Tokenizer:
    """A model's tokenizer; safe to use from several threads."""

    def __init__(
        self,
        backend: Any,  # noqa: ANN401 - tokenizers.Tokenizer is untyped
        pad_id: int,
        unknown_id: int | None,
        eos_id: int | None,
        marks: Collection[int],
    ) -> None:
        self._backend = backend
        self.pad_id = pad_id
        self._unknown_id = unknown_id
        self.eos_id = eos_id
        self.marks = frozenset(marks)
        """Ids that stand for no word: beginning, end, padding, unknown."""

    @classmethod
    def load(cls, folder: Path, *, trust_remote_code: bool = False) -> "Tokenizer":
        """Read a model folder's tokenizer, kept between runs without the library that makes it.

        Raises:
            ValueError: If the folder holds none that can report the offsets of its tokens.
        """
        # Code that comes with a model may do anything, so what it makes is not kept.
        key = None if trust_remote_code else _key(folder)
        entry = find_entry(key) if key else None
        if entry is not None:
            return cls._kept(entry)
        made = cls._made(folder, trust_remote_code)
        if key is not None:
            keep_entry(key, made._write)
        return made

    @classmethod
    def _kept(cls, entry: Path) -> "Tokenizer":
        from tokenizers import Tokenizer as Backend

        return cls(Backend.from_file(str(entry / _FILE)), **read_object(entry / _IDS))

    def _write(self, folder: Path) -> None:
        self._backend.save(str(folder / _FILE), pretty=False)
        ids = {
            "pad_id": self.pad_id,
            "unknown_id": self._unknown_id,
            "eos_id": self.eos_id,
            "marks": sorted(self.marks),
        }
        (folder / _IDS).write_text(json.dumps(ids), "utf-8")

    @classmethod
    def _made(cls, folder: Path, trust_remote_code: bool) -> "Tokenizer":
        from transformers import AutoTokenizer

        try:
            tokenizer = AutoTokenizer.from_pretrained(
                folder, local_files_only=True, trust_remote_code=trust_remote_code
            )
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{folder} holds no tokenizer that can be read ({error}).") from error
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise ValueError(f"The tokenizer in {folder} cannot report offsets of its tokens.")
        # Cutting and padding are ours: the library's would be state shared between threads.
        backend.no_truncation()
        backend.no_padding()
        if read_object(folder / "sentence_bert_config.json").get("do_lower_case"):
            _lower_case(backend)
        pad_id = tokenizer.pad_token_id
        eos_id = tokenizer.eos_token_id
        unknown_id = tokenizer.unk_token_id
        marks = {tokenizer.cls_token_id, eos_id, pad_id, unknown_id} - {None}
        return cls(backend, 0 if pad_id is None else pad_id, unknown_id, eos_id, marks)

    def encode(self, texts: Sequence[str], template: str, spec: EncoderSpec) -> list[Tokens]:
        """Token ids of each text in its template, at most `spec.max_tokens` each.

        Raises:
            ValueError: If the template alone takes more tokens than that.
        """
        return self._encode(texts, template, spec, ROOM_PER_TOKEN * spec.max_tokens + 2 * MARGIN)

    def _encode(
        self, texts: Sequence[str], template: str, spec: EncoderSpec, room: int
    ) -> list[Tokens]:
        # Of a text of ten million characters the model reads the first few hundred.
        filled = [fill(template, _shortened(text, room)) for text in texts]
        encodings = self._backend.encode_batch([text.composed for text in filled])
        rows = []
        for text, place, encoding in zip(texts, filled, encodings, strict=True):
            settled = len(text) if len(text) <= room else room - 2 * MARGIN
            tokens = self._fit(encoding, place, spec, place.start + settled)
            rows.append(tokens or self._encode([text], template, spec, 8 * room)[0])
        return rows

    def _fit(
        self,
        encoding: Any,  # noqa: ANN401 - tokenizers.Encoding is untyped
        filled: Filled,
        spec: EncoderSpec,
        settled: int,
    ) -> Tokens | None:
        """The ids without those that are too many; None if some beyond `settled` are kept."""
        ids = encoding.ids
        end = self._missing_end(ids, spec)
        excess = len(ids) + len(end) - spec.max_tokens
        start = _start_of_text(encoding, filled) if spec.skip_instruction else 0
        if start == len(ids) + len(end):
            start = 0  # an empty text without an end mark leaves nothing else to pool
        if excess <= 0:
            return Tokens(ids + end, 0, start) if filled.end <= settled else None
        own = _positions_of_text(encoding, filled)
        if excess > len(own):
            raise ValueError(
                f"{spec.name} reads at most {spec.max_tokens} tokens, but the instruction alone "
                f"takes {len(ids) + len(end) - len(own)}; give a shorter one."
            )
        cut = own[-excess:]
        if encoding.offsets[cut[0]][0] > settled:
            return None
        del ids[cut[0] : cut[-1] + 1]
        return Tokens(ids + end, len(cut), start)

    def _missing_end(self, ids: Sequence[int], spec: EncoderSpec) -> list[int]:
        """The end-of-sequence token, where the model wants one that the tokenizer left out."""
        if not spec.append_eos or self.eos_id is None or (ids and ids[-1] == self.eos_id):
            return []
        return [self.eos_id]

    @property
    def backend(self) -> Any:  # noqa: ANN401 - tokenizers.Tokenizer is untyped
        """The library's own tokenizer, without cutting and padding."""
        return self._backend

    def counts_by_words(self, template: str, spec: EncoderSpec) -> bool:
        """Whether a part of a text, cut at spaces or marks, has the tokens that it has in it."""
        return template == PLACE and not spec.clean and not spec.append_eos and self._parts_words

    @cached_property
    def _parts_words(self) -> bool:
        """Whether it takes a text apart at spaces and marks, and each word for itself.

        So do tokenizers of BERT's kind, which put one mark before a text and one behind it. Others
        put a mark before a word that a space precedes, or find tokens over several words.
        """
        steps = (self._backend.normalizer, self._backend.pre_tokenizer, self._backend.model)
        kinds = [type(step).__name__ for step in steps]
        if kinds != ["BertNormalizer", "BertPreTokenizer", "WordPiece"]:
            return False
        return list(self._backend.encode("a").special_tokens_mask) == [1, 0, 1]

    def spans(self, text: str) -> list[tuple[int, int]]:
        """The place of each token in the text as (start, end), without special tokens."""
        return self.read(text)[1]

    def read(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """The text's tokens and their places in it, without special tokens."""
        encoding = self._backend.encode(text, add_special_tokens=False)
        return list(encoding.ids), list(encoding.offsets)

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """The tokens of each text, special tokens included, before any cut."""
        return [list(row.ids) for row in self._backend.encode_batch_fast(list(texts))]

    def count(self, texts: Sequence[str], template: str, spec: EncoderSpec) -> list[int]:
        """Tokens of each text in its template, special tokens included, before any cut."""
        composed = [fill(template, text).composed for text in texts]
        rows = self._backend.encode_batch_fast(composed)
        if not spec.append_eos:
            return list(map(len, rows))
        return [len(row) + len(self._missing_end(row.ids, spec)) for row in rows]

    def unknown_share(self, text: str) -> float:
        """Share of the text's tokens that the vocabulary does not know, 0 to 1."""
        return self.unknown_among(self._backend.encode(text, add_special_tokens=False).ids)

    def unknown_among(self, ids: Sequence[int]) -> float:
        """Share of unknown tokens among these, 0 to 1."""
        return sum(id_ == self._unknown_id for id_ in ids) / len(ids) if ids else 0.0


def _key(folder: Path) -> str:
    files = sorted(path for pattern in _SOURCES for path in folder.glob(pattern))
    digests = {path.name: digest_of_file(path) for path in files}
    makers = {name: version(name) for name in ("tokenizers", "transformers")}
    return digest_of_json(["tokenizer", _FORMAT, digests, makers])


def _lower_case(backend: Any) -> None:  # noqa: ANN401 - tokenizers.Tokenizer is untyped
    """Lower-case texts first, as sentence-transformers does where a folder asks for it."""
    from tokenizers.normalizers import Lowercase, Sequence

    normalizer = backend.normalizer
    backend.normalizer = Sequence([Lowercase()] + ([normalizer] if normalizer else []))


def _start_of_text(encoding: Any, filled: Filled) -> int:  # noqa: ANN401
    """How many tokens stand before the text; none where there is no instruction before it."""
    if not filled.start:
        return 0
    offsets, is_special = encoding.offsets, encoding.special_tokens_mask
    before = [
        position
        for position, (_, end) in enumerate(offsets)
        if not is_special[position] and end <= filled.start
    ]
    return before[-1] + 1 if before else 0


def _shortened(text: str, room: int) -> str:
    """A long text's beginning, and its end, which the template's words meet."""
    return text if len(text) <= room else text[: room - MARGIN] + text[-MARGIN:]


def _positions_of_text(encoding: Any, filled: Filled) -> list[int]:  # noqa: ANN401
    # Each look at a field of an encoding copies it whole.
    offsets, is_special = encoding.offsets, encoding.special_tokens_mask
    return [
        position
        for position, (start, end) in enumerate(offsets)
        if not is_special[position] and end > filled.start and start < filled.end
    ]
