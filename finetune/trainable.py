"""An encoder that can be trained: texts in their templates to embeddings with gradients."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from encoder.backends.loading import load_model
from encoder.backends.torch import TorchBackend, resolve_device
from encoder.batching import plan_batches
from encoder.errors import MissingExtraError, UsageError
from encoder.head import load_head
from encoder.model_folder import ModelDescription, describe_encoder
from encoder.pooling import needs_hidden_states
from encoder.spec import EncoderSpec
from encoder.static_model import find_static
from encoder.templates import CLEANERS, PLACE, unwrap
from encoder.tokenizer import Tokenizer, Tokens
from finetune.batches import ALIKE, DOCUMENT, QUERY
from finetune.config import TrainConfig
from finetune.prefix import FIRST, prefixed, put_prefix

CPU_TOKENS = 4096
"""Most tokens that go through the model together on a CPU, where more only leave the caches."""
_NEVER_TRAINED = "pooler."
"""Layers that transformers loads and no pooling of ours reads."""


class EmbeddingModule(nn.Module):
    """Model, pooling and head as one module, so that the trainer wraps and saves it whole."""

    def __init__(
        self,
        model: nn.Module,
        head: nn.Module,
        spec: EncoderSpec,
        pad_id: int,
        *,
        every_layer: bool = False,
    ) -> None:
        """Join the parts.

        Args:
            model: A model of transformers.
            head: What follows its pooling.
            spec: The encoder's.
            pad_id: The token that fills a batch up.
            every_layer: Give the embeddings of every layer in training.

        Raises:
            UsageError: If there is no telling what an earlier layer's embedding is.
        """
        super().__init__()
        self.model = model
        self.head = head
        self._spec, self._pad_id = spec, pad_id
        self._backend = TorchBackend(model, spec, pad_id, head)
        self.layers = int(self._backend.model.config.num_hidden_layers) if every_layer else 1
        """How many layers' embeddings stand side by side in training."""
        if every_layer and (spec.layer != -1 or needs_hidden_states(spec.pooling)):
            raise UsageError(
                f"The pooling {spec.pooling} reads several layers itself; an earlier layer has no "
                "embedding of its own."
            )

    def use(self, model: nn.Module) -> None:
        """Put a model that was made of this one in its place."""
        self.model = model
        self._backend = TorchBackend(model, self._spec, self._pad_id, self.head)

    def forward(self, input_ids: Tensor, mask: Tensor, pooled: Tensor) -> Tensor:
        """Embeddings in float32, shape (batch, dim), not normalised.

        Where every layer is trained they stand side by side, the first layer's first: shape
        (batch, layers * dim).
        """
        if self.layers > 1 and self.training:
            found = self._backend.forward_layers(input_ids, mask, pooled)
            return torch.cat([rows[:, : self._spec.dim] for rows in found], dim=1)
        return self._backend.forward(input_ids, mask, pooled)[0][:, : self._spec.dim]


@dataclass
class TrainableEncoder:
    """A model in torch with its tokenizer, and which of its weights are trained."""

    found: ModelDescription
    module: EmbeddingModule
    tokenizer: Tokenizer
    max_query_tokens: int
    max_document_tokens: int
    templates: Mapping[str, str]
    """Role, as in `finetune.batches` → template."""
    tokenizer_folder: Path
    """Where the tokenizer's files lie."""
    precision: str = "float32"
    """What the model multiplies in while it is trained."""
    kept: Any = None
    """What must live as long as the encoder."""

    @property
    def spec(self) -> EncoderSpec:
        """What the encoder was before training; training changes nothing but weights."""
        return self.found.spec

    @property
    def device(self) -> torch.device:
        """Where the module is."""
        return next(self.module.parameters()).device

    def trained(self) -> dict[str, nn.Parameter]:
        """The weights that training changes, by name."""
        return {name: p for name, p in self.module.named_parameters() if p.requires_grad}

    def tokenise(self, texts: Sequence[tuple[str, str, str | None]]) -> list[Tokens]:
        """The tokens of (role, text, instruction or None), each cut as its role says."""
        groups: dict[tuple[int, str], list[int]] = {}
        for place, (role, _, instruction) in enumerate(texts):
            template = self.templates[role] if instruction is None else _as_template(instruction)
            limit = self.max_query_tokens if role == QUERY else self.max_document_tokens
            groups.setdefault((limit, template), []).append(place)
        tokens: dict[int, Tokens] = {}
        clean = CLEANERS[self.spec.clean]
        for (limit, template), places in groups.items():
            bare = [clean(_bare(template, texts[place][1])) for place in places]
            found = self.tokenizer.encode(bare, template, replace(self.spec, max_tokens=limit))
            tokens |= dict(zip(places, found, strict=True))
        return [tokens[place] for place in range(len(texts))]

    def inputs(self, tokens: Sequence[Tokens]) -> tuple[Tensor, Tensor, Tensor]:
        """Padded ids, mask, and mask of what is pooled, shape (texts, longest) each."""
        width = max(len(item.ids) for item in tokens)
        ids = torch.full((len(tokens), width), self.tokenizer.pad_id)
        mask, pooled = torch.zeros_like(ids), torch.zeros_like(ids)
        for row, item in enumerate(tokens):
            ids[row, : len(item.ids)] = torch.tensor(item.ids)
            mask[row, : len(item.ids)] = 1
            pooled[row, item.start : len(item.ids)] = 1
        return ids.to(self.device), mask.to(self.device), pooled.to(self.device)

    def encode_quickly(self, texts: Sequence[str], role: str) -> NDArray[np.float32]:
        """As `encode`, in the training's precision: cosines above 0.999 to those in float32."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            return self.encode(texts, role)

    def encode(self, texts: Sequence[str], role: str) -> NDArray[np.float32]:
        """Embed texts with the weights as they are now, cut as in use and not as in training.

        Returns:
            Shape (len(texts), dim), rows of unit length.
        """
        most = self.spec.max_tokens
        whole = replace(self, max_query_tokens=most, max_document_tokens=most)
        return whole.encode_cut([(role, text, None) for text in texts])

    def encode_cut(self, texts: Sequence[tuple[str, str, str | None]]) -> NDArray[np.float32]:
        """As `encode`, but cut as in training; role, text and instruction as in a batch."""
        was_training = self.module.training
        self.module.eval()
        rows = np.empty((len(texts), self.spec.dim), np.float32)
        tokens = self.tokenise(texts)
        with torch.no_grad():
            for places in plan_batches([len(item.ids) for item in tokens], self.token_budget(None)):
                found = self.module(*self.inputs([tokens[place] for place in places]))
                rows[places] = nn.functional.normalize(found.float(), dim=1).cpu().numpy()
        self.module.train(was_training)
        return rows

    def token_budget(self, records: int | None) -> int:
        """Most tokens to run together: what `records` may take, on a CPU no more than is quick."""
        longest = self.max_query_tokens + self.max_document_tokens
        if self.device.type == "cpu":
            return min(CPU_TOKENS, (records or CPU_TOKENS) * longest)
        return (records or 64) * longest


def load_trainable(config: TrainConfig) -> TrainableEncoder:
    """Load the model to begin with and choose what of it is trained.

    Raises:
        ModelNotFoundError: If there is no such model.
        UsageError: If the model has no weights to train, or the method does not fit.
        MissingExtraError: If a package for the method is not installed.
    """
    found = describe_encoder(config.model)
    if found.spec.endpoint or find_static(found.folder):
        raise UsageError(
            f"{found.spec.name} is a {'service' if found.spec.endpoint else 'table of vectors'}, "
            "whose weights cannot be trained; give a transformer model."
        )
    found = replace(found, spec=_respecified(found.spec, config))
    tokenizer_folder, kept = found.tokenizer_folder, None
    if config.method == "prefix":
        found, kept = prefixed(found, config.prefix_tokens)
        tokenizer_folder = Path(kept.name)
    tokenizer = Tokenizer.load(tokenizer_folder)
    module = _load_module(found, config, tokenizer)
    _choose_trained(module, config)
    if config.dropout is not None:
        set_dropout(module, config.dropout)
    spec = found.spec
    alike = spec.template("query", "sts") if "sts" in spec.tasks else spec.template("document")
    return TrainableEncoder(
        found=found,
        module=module,
        tokenizer=tokenizer,
        max_query_tokens=min(spec.max_tokens, config.max_query_tokens or spec.max_tokens),
        max_document_tokens=min(spec.max_tokens, config.max_document_tokens or spec.max_tokens),
        templates={
            QUERY: spec.template("query"),
            DOCUMENT: spec.template("document"),
            ALIKE: alike,
        },
        tokenizer_folder=tokenizer_folder,
        precision=precision_of(config.precision, next(module.parameters()).device),
        kept=kept,
    )


def _respecified(spec: EncoderSpec, config: TrainConfig) -> EncoderSpec:
    templates = dict(spec.templates)
    for role, text in ((QUERY, config.query_instruction), (DOCUMENT, config.document_instruction)):
        if text is not None:
            templates[role] = _as_template(text)
    pooling = spec.pooling if config.pooling is None else config.pooling
    try:
        return replace(spec, templates=templates, pooling=pooling)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _load_module(
    found: ModelDescription, config: TrainConfig, tokenizer: Tokenizer
) -> EmbeddingModule:
    device = own_device(config.device)
    model = load_model(
        found.folder,
        found.base or found.folder,
        found.spec,
        device=device,
        dtype="int4" if config.method == "qlora" else "float32",
        trust_remote_code=False,
    )
    if config.gradient_checkpointing:
        _keep_few_activations(model, found.spec.name)
    if config.method in {"lora", "qlora"}:
        model = _with_adapter(model, config)
    if config.method == "prefix":
        count = 2 * config.prefix_tokens
        put_prefix(model, tokenizer.backend.token_to_id(FIRST), count, config.seed)
    head = load_head(found.folder, found.spec, device)
    return EmbeddingModule(
        model, head, found.spec, tokenizer.pad_id, every_layer=config.layers != "last"
    )


def precision_of(asked: str, device: torch.device) -> str:
    """What to multiply in on a device; `auto` is bfloat16 where there are instructions for it."""
    if asked != "auto":
        return asked
    # Without such instructions a CPU computes bfloat16 more slowly than float32.
    has_16_bit = bf16_on_cpu() if device.type == "cpu" else torch.cuda.is_bf16_supported()
    return "bfloat16" if has_16_bit else "float32"


def bf16_on_cpu() -> bool:
    """Whether the processor multiplies bfloat16 by instructions of its own."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def own_device(device: str) -> torch.device:
    """The device that is asked for; of several GPUs the one of this process."""
    chosen = resolve_device(device)
    if chosen.type == "cuda" and "LOCAL_RANK" in os.environ:
        return torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    return chosen


def _keep_few_activations(model: Any, name: str) -> None:  # noqa: ANN401 - of transformers
    if not getattr(model, "supports_gradient_checkpointing", False):
        raise UsageError(
            f"{name} cannot compute its activations again; leave gradient-checkpointing off."
        )
    options = {"use_reentrant": False}
    if hasattr(model, "activation_checkpointing_enable"):  # its name since transformers 5.20
        model.activation_checkpointing_enable(activation_checkpointing_kwargs=options)
    else:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=options)


def _with_adapter(model: Any, config: TrainConfig) -> nn.Module:  # noqa: ANN401 - of transformers
    if find_spec("peft") is None:
        raise MissingExtraError(f"The method {config.method}", "finetune")
    from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training

    linear = [name for name, part in model.named_modules() if "Linear" in type(part).__name__]
    kept = [name for name in linear if _NEVER_TRAINED not in f"{name}."]
    if config.lora_targets:
        wanted = set(config.lora_targets)
        kept = [name for name in kept if name.rpartition(".")[2] in wanted]
        found = {name.rpartition(".")[2] for name in linear}
        if missing := sorted(wanted - found):
            raise UsageError(
                f"The model has no linear layer {missing[0]!r}. It has: {', '.join(sorted(found))}."
            )
    if config.method == "qlora":
        model = prepare_model_for_kbit_training(  # type: ignore[no-untyped-call]
            model, use_gradient_checkpointing=config.gradient_checkpointing
        )
    torch.manual_seed(config.seed)  # the first matrix of each adapter is drawn
    return get_peft_model(
        model,
        LoraConfig(
            r=config.lora_rank,
            lora_alpha=config.lora_alpha,
            lora_dropout=config.lora_dropout,
            target_modules=kept,
        ),
    )


def _choose_trained(module: EmbeddingModule, config: TrainConfig) -> None:
    for name, weight in module.named_parameters():
        if _NEVER_TRAINED in name:
            weight.requires_grad_(False)
        elif config.method == "bitfit":
            # Ben Zaken et al. 2022, section 2 (https://arxiv.org/abs/2106.10199).
            weight.requires_grad_(name.endswith("bias"))
        elif config.method in {"lora", "qlora"}:
            weight.requires_grad_("lora_" in name)
        elif config.method == "prefix":
            weight.requires_grad_(name.endswith(".rows"))
    if not any(weight.requires_grad for weight in module.parameters()):
        raise UsageError(
            f"The model has no weights that {config.method} trains; take another method."
        )


class HasWeights(Protocol):
    """An encoder or a reranker."""

    def trained(self) -> dict[str, nn.Parameter]:
        """The weights that training changes, by name."""


def put_weights(encoder: HasWeights, weights: dict[str, Tensor]) -> None:
    """Give the trained weights other values, by name; ValueError if they are of another model."""
    own = encoder.trained()
    if own.keys() != weights.keys():
        odd = sorted(own.keys() ^ weights.keys())
        raise ValueError(f"These are the weights of another model: {odd[0]} does not fit.")
    with torch.no_grad():
        for name, weight in own.items():
            weight.copy_(weights[name])


def set_dropout(module: nn.Module, share: float) -> None:
    """Put a share in place of every dropout of a model."""
    for part in module.modules():
        if isinstance(part, nn.Dropout):
            part.p = share
        for name in ("attention_dropout", "dropout_prob", "activation_dropout", "dropout"):
            if isinstance(getattr(part, name, None), float):
                setattr(part, name, share)


def in_groups(lengths: Sequence[int], token_budget: int) -> Iterator[list[int]]:
    """Places of texts that run together: of like length, so that little of it is padding."""
    yield from plan_batches(lengths, token_budget)


def _as_template(instruction: str) -> str:
    return instruction if PLACE in instruction else instruction + PLACE


def _bare(template: str, text: str) -> str:
    inner = unwrap(template, text)
    return text if inner is None else inner
