"""A chatbot over a folder of text files, as a LangChain chain with Angler's encoder in it.

    python examples/chatbot.py docs/en
    python examples/chatbot.py docs/en --question "How do I update an index?"
    python examples/chatbot.py docs/en --chat-url http://localhost:11434/v1 --chat-model qwen3

Without --chat-url it works offline and answers with the sentences that fit best. With it, any
OpenAI-compatible chat service words the answer (its key, if it wants one, is CHAT_API_KEY). For
indexes that are kept, updated and searched by words too, see `SearchIndex.as_retriever`.
"""

import argparse
import os
import re
import sys
from pathlib import Path
from typing import Any

PASSAGES = 4
SENTENCES = 2
TOKENS_OF_PASSAGE = 120
SYSTEM = (
    "Answer from the numbered passages alone, in the language of the question, and cite their "
    "numbers like [1]. If they do not hold the answer, say so."
)


def main() -> None:
    """Read the folder, then answer one question or all that are typed."""
    parser = argparse.ArgumentParser(description="Ask questions about a folder of text files.")
    parser.add_argument("folder", type=Path, help="its .md and .txt files are read")
    parser.add_argument("--question", help="ask this one and end; otherwise questions are typed")
    parser.add_argument("--encoder", help="folder, hub id or service (default: the embedded one)")
    parser.add_argument("--chat-url", help="an OpenAI-compatible service, such as http://host/v1")
    parser.add_argument("--chat-model", help="its model; needed with --chat-url")
    arguments = parser.parse_args()
    if bool(arguments.chat_url) != bool(arguments.chat_model):
        parser.error("--chat-url and --chat-model go together")
    if not arguments.folder.is_dir():
        parser.error(f"there is no folder {arguments.folder}")
    try:
        chat(arguments)
    except (OSError, ValueError, LookupError) as error:
        sys.exit(f"error: {error}")


def chat(arguments: argparse.Namespace) -> None:
    """Answer one question, or one after the other until an empty line or the end of input."""
    from encoder.langchain_adapter import EncoderEmbeddings

    embeddings = EncoderEmbeddings(arguments.encoder)
    chain = build_chain(embeddings, read_passages(arguments.folder, embeddings), arguments)
    questions = [arguments.question] if arguments.question else typed_questions()
    history: list[tuple[str, str]] = []
    for question in questions:
        found = chain.invoke({"question": question, "history": history})
        history.append((question, found["answer"]))
        print(found["answer"])
        for number, passage in enumerate(found["passages"], start=1):
            print(f"  [{number}] {passage.metadata['source']}: {passage.metadata['heading']}")


def typed_questions() -> Any:  # noqa: ANN401 - an iterator of strings
    """What is typed, line by line; a prompt is shown where somebody is looking."""
    while True:
        if sys.stdin.isatty():
            print("? ", end="", flush=True)
        question = sys.stdin.readline().strip()
        if not question:
            return
        yield question


def read_passages(folder: Path, embeddings: Any) -> list[Any]:  # noqa: ANN401
    """The paragraphs of all text files, as LangChain documents that know where they come from."""
    from langchain_core.documents import Document

    passages = []
    for path in sorted([*folder.rglob("*.md"), *folder.rglob("*.txt")]):
        heading, waiting = path.stem, ""
        # A last heading ends the last passage.
        for paragraph in [*re.split(r"\n\s*\n", path.read_text("utf-8")), "# end"]:
            is_heading = paragraph.startswith("#")
            longer = f"{waiting}\n{' '.join(paragraph.split())}"
            is_full = embeddings.encoder.count_tokens([longer])[0] > TOKENS_OF_PASSAGE
            if waiting and (is_heading or is_full):
                source = {"source": str(path.relative_to(folder)), "heading": heading}
                passages.append(Document(page_content=heading + waiting, metadata=source))
                waiting, longer = "", longer[len(waiting) :]
            if is_heading:
                heading = paragraph.splitlines()[0].strip("# ")
            elif longer.strip():
                waiting = longer
    if not passages:
        raise ValueError(f"{folder} holds no .md or .txt file with text in it.")
    return passages


def build_chain(embeddings: Any, passages: list[Any], arguments: argparse.Namespace) -> Any:  # noqa: ANN401
    """Question and history → passages → answer, in LangChain's expression language."""
    from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder
    from langchain_core.runnables import RunnableLambda, RunnablePassthrough
    from langchain_core.vectorstores import InMemoryVectorStore

    store = InMemoryVectorStore.from_documents(passages, embeddings)
    retriever = store.as_retriever(search_kwargs={"k": PASSAGES})
    find = RunnableLambda(lambda asked: asked["question"]) | retriever
    if not arguments.chat_url:
        answer = RunnableLambda(lambda asked: quote(embeddings, asked))
    else:
        prompt = ChatPromptTemplate.from_messages(
            [
                ("system", SYSTEM),
                MessagesPlaceholder("history"),
                ("human", "{context}\n\nQuestion: {question}"),
            ]
        )
        answer = (
            RunnableLambda(in_words)
            | prompt
            | RunnableLambda(lambda filled: ask(filled, arguments.chat_url, arguments.chat_model))
        )
    return RunnablePassthrough.assign(passages=find) | RunnablePassthrough.assign(answer=answer)


def in_words(asked: dict[str, Any]) -> dict[str, Any]:
    """What the prompt's places are filled with."""
    numbered = enumerate(asked["passages"], start=1)
    history = [
        message
        for question, answer in asked["history"]
        for message in (("human", question), ("ai", answer))
    ]
    context = "\n\n".join(f"[{number}] {passage.page_content}" for number, passage in numbered)
    return {"context": context, "question": asked["question"], "history": history}


def quote(embeddings: Any, asked: dict[str, Any]) -> str:  # noqa: ANN401
    """The sentences of the passages that are nearest to the question, in their order."""
    import numpy as np

    sentences = [
        (number, sentence)
        for number, passage in enumerate(asked["passages"], start=1)
        for sentence in re.findall(r"[^\n]+?(?:[.!?]+(?=\s|$)|[。！？]+|$)", passage.page_content)
        if len(sentence.strip()) > 3
    ]
    if not sentences:
        return "The files do not say."
    rows = np.array(embeddings.embed_documents([sentence for _, sentence in sentences]))
    scores = rows @ np.array(embeddings.embed_query(asked["question"]))
    best = sorted(np.argsort(-scores, kind="stable")[:SENTENCES])
    return " ".join(f"{' '.join(sentences[n][1].split())} [{sentences[n][0]}]" for n in best)


def ask(filled: Any, url: str, model: str) -> str:  # noqa: ANN401 - LangChain's prompt value
    """One call of an OpenAI-compatible chat service."""
    import httpx2

    roles = {"system": "system", "human": "user", "ai": "assistant"}
    messages = [
        {"role": roles[message.type], "content": message.content}
        for message in filled.to_messages()
    ]
    key = os.environ.get("CHAT_API_KEY")
    try:
        response = httpx2.post(
            f"{url.rstrip('/')}/chat/completions",
            json={"model": model, "messages": messages},
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=120,
        )
        response.raise_for_status()
        return str(response.json()["choices"][0]["message"]["content"])
    except (httpx2.HTTPError, KeyError, IndexError, TypeError) as error:
        raise OSError(f"{url} gave no answer: {error!r}") from error


if __name__ == "__main__":
    main()
