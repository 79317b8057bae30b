"""Pairs of a query and a document to token ids, as a reranker was trained to read them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from encoder.tokenizer import Tokenizer

QUERY, DOCUMENT, INSTRUCTION = "{query}", "{document}", "{instruction}"
_QUERY_SHARE = 0.75
"""A query is only cut where it takes more than this share of the room; FlagEmbedding's share."""


@dataclass(frozen=True, kw_only=True)
class PairTemplate:
    """How a language model is asked whether a document answers a query."""

    segments: tuple[str, ...]
    """Texts that are tokenised one by one; together they hold `{query}` and `{document}` once."""
    instruction: str
    """What `{instruction}` in a segment stands for."""
    yes: str
    """The answer whose likelihood is the score."""
    no: str = ""
    """The answer that it is weighed against; empty where the score is the logit of `yes` alone."""
    begins: bool = False
    """Whether the beginning-of-sequence token comes first."""
    source: str


TEMPLATES: Mapping[str, PairTemplate] = {
    "qwen3": PairTemplate(
        segments=(
            "<|im_start|>system\nJudge whether the Document meets the requirements based on the "
            "Query and the Instruct provided. Note that the answer can only be "
            '"yes" or "no".<|im_end|>\n<|im_start|>user\n',
            "<Instruct>: {instruction}\n<Query>: {query}\n<Document>: {document}",
            "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",
        ),
        instruction="Given a web search query, retrieve relevant passages that answer the query",
        yes="yes",
        no="no",
        source="https://huggingface.co/Qwen/Qwen3-Reranker-0.6B",
    ),
    "bge-gemma": PairTemplate(
        segments=("A: {query}", "\n", "B: {document}", "\n", "{instruction}"),
        instruction="Given a query A and a passage B, determine whether the passage contains an "
        "answer to the query by providing a prediction of either 'Yes' or 'No'.",
        yes="Yes",
        begins=True,
        source="https://huggingface.co/BAAI/bge-reranker-v2-gemma",
    ),
}
"""How each family of language models is asked, byte for byte as its authors do."""


@dataclass(frozen=True, slots=True)
class PairTokens:
    """One pair as the model reads it."""

    ids: list[int]
    types: list[int]
    """0 for the query's side, 1 for the document's; BERT tells them apart by it."""
    dropped: int
    """Tokens of the document, and in need of the query, that did not fit."""


@dataclass(slots=True)
class _Marked:
    ids: list[int]
    types: list[int]
    of_query: list[int]
    """Positions of the query's own tokens."""
    of_document: list[int]


class PairTokenizer:
    """Joins and cuts pairs; safe to use from several threads."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        max_tokens: int,
        template: PairTemplate | None = None,
        bos_id: int | None = None,
    ) -> None:
        """Take a tokenizer, the most tokens of a pair, and for a language model its template.

        Args:
            tokenizer: The reranker's.
            max_tokens: Most tokens of a pair, template and special tokens included.
            template: How a language model is asked; without one the tokenizer joins the pair.
            bos_id: The beginning-of-sequence token, for a template that begins with it.

        Raises:
            ValueError: If the tokens leave no room for a query and a document, or the tokenizer
                has no single token for an answer.
        """
        self._tokenizer = tokenizer
        self._backend: Any = tokenizer.backend
        self._template = template
        self._max_tokens = max_tokens
        self._bos_id = bos_id
        self.answers = self._ids_of_answers()
        """Token ids of yes and no; empty without a template."""
        fixed = len(self._marked("", "").ids)
        if max_tokens < fixed + 2:
            raise ValueError(
                f"max_tokens must be at least {fixed + 2} for this reranker, whose own words take "
                f"{fixed}; got {max_tokens}."
            )

    @property
    def pad_id(self) -> int:
        """What fills up the shorter pairs of a batch."""
        return self._tokenizer.pad_id

    def unknown_share(self, text: str) -> float:
        """Share of the text's tokens that the vocabulary does not know, 0 to 1."""
        return self._tokenizer.unknown_share(text)

    def encode(self, pairs: Sequence[tuple[str, str]]) -> list[PairTokens]:
        """Token ids of each pair, cut to the most tokens: the document's end goes first."""
        if self._template is None:
            encodings = self._backend.encode_batch(list(pairs))
            return [self._fit(_marked_by_tokenizer(encoding)) for encoding in encodings]
        return [self._fit(self._marked(*pair)) for pair in pairs]

    def _fit(self, pair: _Marked) -> PairTokens:
        excess = len(pair.ids) - self._max_tokens
        if excess <= 0:
            return PairTokens(pair.ids, pair.types, 0)
        own = len(pair.of_query) + len(pair.of_document)
        room = self._max_tokens - (len(pair.ids) - own)
        query = min(len(pair.of_query), max(int(room * _QUERY_SHARE), room - len(pair.of_document)))
        document = room - query
        gone = {*pair.of_query[query:], *pair.of_document[document:]}
        kept = [place for place in range(len(pair.ids)) if place not in gone]
        return PairTokens(
            [pair.ids[place] for place in kept], [pair.types[place] for place in kept], len(gone)
        )

    def _marked(self, query: str, document: str) -> _Marked:
        if self._template is None:
            return _marked_by_tokenizer(self._backend.encode(query, document))
        found = _Marked([], [], [], [])
        if self._template.begins and self._bos_id is not None:
            found.ids.append(self._bos_id)
        for segment in self._template.segments:
            text, spans = _filled(segment, self._template.instruction, query, document)
            encoding = self._backend.encode(text, add_special_tokens=False)
            for token, (start, end) in zip(encoding.ids, encoding.offsets, strict=True):
                for name, own in ((QUERY, found.of_query), (DOCUMENT, found.of_document)):
                    if name in spans and end > spans[name][0] and start < spans[name][1]:
                        own.append(len(found.ids))
                found.ids.append(token)
        found.types = [0] * len(found.ids)
        return found

    def _ids_of_answers(self) -> list[int]:
        if self._template is None:
            return []
        return [self._id_of(word) for word in (self._template.yes, self._template.no) if word]

    def _id_of(self, word: str) -> int:
        ids = self._backend.encode(word, add_special_tokens=False).ids
        if len(ids) != 1:
            raise ValueError(
                f"The tokenizer makes {len(ids)} tokens of the answer {word!r} instead of one; "
                "this is not a model that answers so, or the template is another one's."
            )
        return int(ids[0])


def _marked_by_tokenizer(encoding: Any) -> _Marked:  # noqa: ANN401 - tokenizers.Encoding
    sides = encoding.sequence_ids
    places = range(len(sides))
    return _Marked(
        list(encoding.ids),
        list(encoding.type_ids),
        [place for place in places if sides[place] == 0],
        [place for place in places if sides[place] == 1],
    )


def _filled(
    segment: str, instruction: str, query: str, document: str
) -> tuple[str, dict[str, tuple[int, int]]]:
    """A segment with its places filled, and where query and document stand in it."""
    text = ""
    spans: dict[str, tuple[int, int]] = {}
    while segment:
        places = [name for name in (QUERY, DOCUMENT, INSTRUCTION) if name in segment]
        if not places:
            return text + segment, spans
        first = min(places, key=segment.index)
        before, _, segment = segment.partition(first)
        value = {QUERY: query, DOCUMENT: document, INSTRUCTION: instruction}[first]
        text += before
        spans[first] = (len(text), len(text) + len(value))
        text += value
    return text, spans
