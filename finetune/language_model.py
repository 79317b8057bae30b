"""A language model behind an OpenAI-compatible service invents queries for texts.

The prompts are those of E5-mistral's two steps, in our words: first the model thinks of retrieval
tasks, then it writes a query of one task for a given text (Wang et al. 2024, appendix C,
https://arxiv.org/abs/2401.00368). The texts are those of the knowledge base, not invented too.
"""

import json
import os
import random
import re
import time
from collections.abc import Iterator, Sequence
from typing import Any

import httpx2

from finetune.synthesis import Made, Passage

TASKS_WANTED = 10
_TASKS = """Think of {count} different ways in which people search this kind of text.
For each write one short sentence that says what a searcher gives and what should be found, such as
"Given a symptom, find the page of the manual that explains its cause."
Here are examples of the texts:

{examples}

Answer with a JSON array of {count} strings and nothing else."""
_QUERY = """A search task: {task}

Write one query of this task that the text below answers. The query is {length}, {clarity}, in the
language of the text, and must not copy a whole phrase of it. If the text does not fit the task,
write the query that a user would most likely have who needs this text.

Text:
{text}

Answer with a JSON object {{"query": "..."}} and nothing else."""
_LENGTHS = ("less than 5 words long", "5 to 15 words long", "at least 10 words long")
_CLARITIES = ("clear", "understandable with some effort", "as vague as a hasty user's")
_LONGEST_TEXT = 4000
_PASSING = {408, 409, 429, 500, 502, 503, 504}
_OBJECT = re.compile(r"[\[{].*[\]}]", re.DOTALL)


class LanguageModelError(OSError):
    """The service did not give what was asked for."""


class LanguageModel:
    """Asks one model of a service."""

    def __init__(
        self,
        url: str,
        model: str,
        *,
        key: str | None = None,
        timeout_s: float = 120.0,
        attempts: int = 4,
        pause_s: float = 1.0,
    ) -> None:
        """Name the service; nothing is asked yet.

        Args:
            url: Such as `http://127.0.0.1:8000/v1`.
            model: As the service calls it.
            key: Of the service; the environment's OPENAI_API_KEY if not given. Goes into a header
                and nowhere else.
            timeout_s: Longest wait for one answer.
            attempts: How often a request is sent before the work fails.
            pause_s: Before the second time; doubled each time.
        """
        self._url = f"{url.rstrip('/')}/chat/completions"
        self._model = model
        self._attempts = attempts
        self._pause_s = pause_s
        key = key or os.environ.get("OPENAI_API_KEY")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._client = httpx2.Client(timeout=timeout_s, headers=headers)

    def ask(self, prompt: str, *, seed: int = 0) -> str:
        """The model's answer.

        Raises:
            LanguageModelError: If there is none.
        """
        body = {
            "model": self._model,
            "messages": [{"role": "user", "content": prompt}],
            "temperature": 1.0,
            "seed": seed,
        }
        problem = ""
        for attempt in range(self._attempts):
            if attempt:
                time.sleep(self._pause_s * 2 ** (attempt - 1))
            try:
                answer = self._client.post(self._url, json=body)
            except httpx2.HTTPError as error:
                problem = str(error) or type(error).__name__
                continue
            if answer.status_code == httpx2.codes.OK:
                return _content(answer)
            problem = f"status {answer.status_code}: {answer.text[:200]}"
            if answer.status_code not in _PASSING:
                break
        raise LanguageModelError(f"{self._url} did not answer ({problem}); is the service up?")


def invented(
    passages: Sequence[Passage],
    model: LanguageModel,
    *,
    seed: int = 0,
    tasks: Sequence[str] | None = None,
) -> Iterator[Made]:
    """Ask for one query for each text; answers that are no JSON object are passed over.

    Args:
        passages: What the queries are for.
        model: Invents them.
        seed: Draws task, length and clarity of each.
        tasks: In place of those that the model thinks of first.

    Raises:
        LanguageModelError: If the service does not answer.
    """
    drawn = random.Random(seed)
    if tasks is None:
        tasks = brainstormed(passages, model, seed=seed)
    for place, passage in enumerate(passages):
        prompt = _QUERY.format(
            task=drawn.choice(list(tasks)),
            length=drawn.choice(_LENGTHS),
            clarity=drawn.choice(_CLARITIES),
            text=passage.chunk.text[:_LONGEST_TEXT],
        )
        found = _parsed(model.ask(prompt, seed=seed + place))
        query = found.get("query") if isinstance(found, dict) else None
        if isinstance(query, str) and query.strip():
            yield Made("llm", " ".join(query.split()), passage.chunk.text, passage.chunk.id)


def brainstormed(
    passages: Sequence[Passage], model: LanguageModel, *, seed: int = 0, attempts: int = 3
) -> list[str]:
    """Let the model think of search tasks for texts such as some of these.

    Raises:
        LanguageModelError: If it gives no list of sentences.
    """
    drawn = random.Random(f"tasks/{seed}")
    some = drawn.sample(list(passages), min(5, len(passages)))
    examples = "\n\n".join(passage.chunk.text[:500] for passage in some)
    prompt = _TASKS.format(count=TASKS_WANTED, examples=examples)
    for attempt in range(attempts):
        found = _parsed(model.ask(prompt, seed=seed + attempt))
        if isinstance(found, list):
            tasks = [task.strip() for task in found if isinstance(task, str) and task.strip()]
            if tasks:
                return tasks
    raise LanguageModelError(
        f"The model gave no JSON array of tasks in {attempts} answers; choose a larger one."
    )


def _content(answer: httpx2.Response) -> str:
    try:
        content = answer.json()["choices"][0]["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise LanguageModelError(
            f"The service's answer has no message: {answer.text[:200]}"
        ) from error
    if not isinstance(content, str):
        raise LanguageModelError(f"The service's message is no text: {content!r}")
    return content


def _parsed(content: str) -> Any:  # noqa: ANN401 - whatever JSON holds
    """The JSON in an answer, also with words around it; None where there is none."""
    match = _OBJECT.search(content)
    try:
        return json.loads(match[0]) if match else None
    except ValueError:
        return None
