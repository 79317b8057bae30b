"""What was measured on: the machine and the versions, for the head of every result."""

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = (
    "angler-search",
    "torch",
    "transformers",
    "openvino",
    "sentence-transformers",
    "faiss-cpu",
    "tantivy",
)


def describe_machine() -> dict[str, str]:
    """Processor, cores, memory, system and package versions."""
    return {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
    } | {name: _version(name) for name in PACKAGES}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def data_folder() -> Path:
    """Where the real data should be: ANGLER_DATA, or ../shared/data beside the project."""
    root = Path(__file__).parent.parent
    return Path(os.environ.get("ANGLER_DATA", root.parent / "shared" / "data"))


def judged_sets() -> Path:
    """The folder with the judged sets; ends the program where there is none."""
    folder = data_folder()
    if not folder.is_dir():
        sys.exit(f"No judged sets in {folder}: set ANGLER_DATA to the folder that holds them.")
    return folder


def write_result(name: str, title: str, command: str, text: str, **more: str) -> None:
    """Write `benchmarks/results/NAME` with the command and the machine above what was measured."""
    facts = describe_machine() | {key.replace("_", " "): value for key, value in more.items()}
    head = "\n".join(f"- {key}: {value}" for key, value in facts.items())
    path = Path(__file__).parent / "results" / name
    path.write_text(f"# {title}\n\n`{command}`\n\n{head}\n\n{text}\n", "utf-8")
