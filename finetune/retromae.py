"""RetroMAE: an embedding must hold what a weak decoder needs to write the whole text again.

Source: Xiao et al. 2022 (https://arxiv.org/abs/2205.12035).
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name for it)
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import AutoModelForMaskedLM

from encoder.backends.loading import silenced
from encoder.errors import UsageError
from encoder.pooling import pool
from finetune.config import TrainConfig
from finetune.trainable import TrainableEncoder, load_trainable, set_dropout

NOT_ASKED = -100
"""A label that torch's cross-entropy leaves out."""
_AS_MASK, _AS_OTHER = 0.8, 0.9
"""Of the chosen tokens 80 % become the mask, 10 % another token and 10 % stay, as BERT's."""


class MaskedText(NamedTuple):
    """A text as the encoder meets it, and what it hides."""

    ids: list[int]
    """What the encoder reads."""
    labels: list[int]
    """The hidden tokens at their places, elsewhere `NOT_ASKED`."""
    original: list[int]
    """What the decoder writes."""
    seed: int
    """Draws what the decoder sees: the same whatever the text is batched with."""


@dataclass(frozen=True)
class Mask:
    """How texts are masked."""

    mask_id: int
    special: frozenset[int]
    vocabulary: int
    share: float

    def applied(
        self, ids: Sequence[int], words: Sequence[int | None], drawn: random.Random
    ) -> MaskedText:
        """Hide whole words until `share` of the text's tokens are hidden, one token at least.

        Args:
            ids: With the special tokens.
            words: Number of the word of each token, None for special ones.
            drawn: Draws the words.
        """
        places: dict[int, list[int]] = {}
        for place, word in enumerate(words):
            if word is not None and ids[place] not in self.special:
                places.setdefault(word, []).append(place)
        order = list(places.values())
        drawn.shuffle(order)
        wanted = self.share * sum(map(len, order))
        chosen: list[int] = []
        for word_places in order:
            if chosen and len(chosen) + len(word_places) > wanted:
                break
            chosen += word_places
        found, labels = list(ids), [NOT_ASKED] * len(ids)
        for place in chosen:
            labels[place] = ids[place]
            turn = drawn.random()
            if turn < _AS_MASK:
                found[place] = self.mask_id
            elif turn < _AS_OTHER:
                found[place] = drawn.randrange(self.vocabulary)
        return MaskedText(found, labels, list(ids), drawn.getrandbits(62))


def visible_places(mask: Tensor, hidden_share: float, seeds: Sequence[int]) -> Tensor:
    """Which places of a text the decoder may look at to write each of its tokens.

    It never sees the token that it writes, always the embedding (place 0), and of the others a part
    that is drawn anew for each place.

    Args:
        mask: 1 for real tokens, which come first, shape (batch, tokens).
        hidden_share: Of the other tokens, 0 to 1.
        seeds: One for each text.

    Returns:
        Boolean, shape (batch, tokens, tokens): row i may look at column j.

    Source: equations 6 and 7 of the paper.
    """
    batch, width = mask.shape
    seen = torch.zeros(batch, width, width, dtype=torch.bool)
    for row, (seed, length) in enumerate(zip(seeds, mask.sum(dim=1).tolist(), strict=True)):
        drawn = torch.rand(length, length, generator=torch.Generator().manual_seed(seed))
        seen[row, :length, :length] = drawn >= hidden_share
    seen &= ~torch.eye(width, dtype=torch.bool)
    # What is asked of place 0 is not counted; it looks at itself, so that it looks at something.
    seen[:, :, 0] = True
    return seen.to(mask.device) & mask[:, None, :].bool()


class EnhancedDecoder(nn.Module):
    """One layer as BERT's, whose queries all come from the embedding."""

    def __init__(self, width: int, heads: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, dropout=dropout, batch_first=True)
        self.first_norm, self.second_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.wide, self.narrow = nn.Linear(width, inner), nn.Linear(inner, width)
        self.dropout = nn.Dropout(dropout)
        self.heads = heads

    def forward(self, queries: Tensor, context: Tensor, visible: Tensor) -> Tensor:
        """Vectors by which each token is written.

        Args:
            queries: The embedding at every place, shape (batch, tokens, width).
            context: The embedding, then the tokens' own vectors, of the same shape.
            visible: As `visible_places`.
        """
        hidden = (~visible).repeat_interleave(self.heads, dim=0)
        found, _ = self.attention(queries, context, context, attn_mask=hidden, need_weights=False)
        found = self.first_norm(queries + self.dropout(found))
        wide = F.gelu(self.wide(found))
        return self.second_norm(found + self.dropout(self.narrow(wide)))  # type: ignore[no-any-return]


class RetroMae(nn.Module):
    """An encoder, the head that guesses its hidden tokens, and the decoder."""

    def __init__(self, encoder: TrainableEncoder, masked: Any) -> None:  # noqa: ANN401
        super().__init__()
        self.model = encoder.module.model
        self._pooling = encoder.spec.pooling
        self.head = masked.cls if hasattr(masked, "cls") else masked.lm_head
        config: Any = self.model.config
        self.decoder = EnhancedDecoder(
            config.hidden_size,
            config.num_attention_heads,
            config.intermediate_size,
            float(getattr(config, "hidden_dropout_prob", 0.0)),
        )

    def forward(
        self, ids: Tensor, labels: Tensor, original: Tensor, mask: Tensor, visible: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Sums of the encoder's and the decoder's cross-entropies over all tokens asked for.

        Args:
            ids: What the encoder reads, shape (batch, tokens).
            labels: What it guesses.
            original: What the decoder writes, `NOT_ASKED` where it need not.
            mask: 1 for real tokens.
            visible: As `visible_places`.
        """
        vectors = self.model(input_ids=ids, attention_mask=mask).last_hidden_state
        guessed = _summed(self.head(vectors), labels)
        embedding = pool(vectors, mask, self._pooling).to(vectors.dtype)[:, None]
        embeddings: Any = self.model.embeddings
        tokens = embeddings(input_ids=original.where(original != NOT_ASKED, ids))
        context = torch.cat([embedding, tokens[:, 1:]], dim=1)
        everywhere = embedding.expand(-1, ids.shape[1], -1)
        queries = embeddings(inputs_embeds=everywhere)
        written = self.decoder(queries, context, visible)
        return guessed, _summed(self.head(written), original)


def _summed(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(
        logits.flatten(0, 1).float(), labels.flatten(), ignore_index=NOT_ASKED, reduction="sum"
    )


@dataclass
class Pretraining:
    """What RetroMAE trains, and the encoder that is taken out of it."""

    encoder: TrainableEncoder
    module: RetroMae
    mask: Mask
    precision: str

    @property
    def device(self) -> torch.device:
        """Where the module is."""
        return self.encoder.device

    def trained(self) -> dict[str, nn.Parameter]:
        """The weights that training changes, by name."""
        return {name: p for name, p in self.module.named_parameters() if p.requires_grad}

    def masked(self, texts: Sequence[str], drawn: random.Random) -> list[MaskedText]:
        """Texts cut to the most tokens and masked."""
        most = self.encoder.max_document_tokens
        found = []
        for encoding in self.encoder.tokenizer.backend.encode_batch(list(texts)):
            ids, words = list(encoding.ids), list(encoding.word_ids)
            if len(ids) > most:
                # The end mark stays.
                ids, words = [*ids[: most - 1], ids[-1]], [*words[: most - 1], words[-1]]
            found.append(self.mask.applied(ids, words, drawn))
        return found


def load_pretraining(config: TrainConfig, mask_share: float) -> Pretraining:
    """Load an encoder with what RetroMAE puts around it.

    Raises:
        UsageError: If the model hides no tokens: a decoder, or one without a mask token.
        ModelNotFoundError: If there is no such model.
    """
    encoder = load_trainable(config)
    if encoder.spec.head or encoder.spec.adapter or "+" in encoder.spec.pooling:
        raise UsageError(
            f"{encoder.spec.name} has an adapter, several poolings or layers behind its pooling; "
            "RetroMAE trains an encoder without them."
        )
    folder = encoder.found.folder
    torch.manual_seed(config.seed)  # the decoder is drawn, and a head that the folder has not
    try:
        with silenced():
            masked = AutoModelForMaskedLM.from_pretrained(
                folder, local_files_only=True, dtype=torch.float32
            )
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UsageError(f"{encoder.spec.name} guesses no hidden tokens: {reason}") from error
    body = getattr(masked, masked.base_model_prefix)
    has_head = hasattr(masked, "cls") or hasattr(masked, "lm_head")
    if not has_head or not hasattr(body, "embeddings"):
        raise UsageError(f"RetroMAE needs a model like BERT or RoBERTa, not {type(body).__name__}.")
    setattr(masked, masked.base_model_prefix, encoder.module.model)
    masked.tie_weights()
    words = masked.get_input_embeddings().weight
    if masked.get_output_embeddings().weight is not words:
        masked.get_output_embeddings().weight = words
    mask = Mask(*_mask_tokens(encoder), share=mask_share)
    module = RetroMae(encoder, masked).to(encoder.device)
    if config.dropout is not None:
        set_dropout(module, config.dropout)
    return Pretraining(encoder, module, mask, encoder.precision)


def _mask_tokens(encoder: TrainableEncoder) -> tuple[int, frozenset[int], int]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(encoder.tokenizer_folder, local_files_only=True)
    if tokenizer.mask_token_id is None:
        raise UsageError(
            f"The tokenizer of {encoder.spec.name} has no mask token; RetroMAE hides tokens."
        )
    return tokenizer.mask_token_id, frozenset(tokenizer.all_special_ids), len(tokenizer)
