"""A real Milvus server for the tests, in a process and an environment of its own."""

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROGRAM = Path(os.environ.get("ANGLER_ENGINES", ROOT / ".engines")) / "milvus/bin/milvus-server"
STARTS_WITHIN_S = 300
TOKEN = "root:Milvus"


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class MilvusServer:
    """Started, stopped, killed and started again over the same data; asks for a password."""

    def __init__(self, folder: Path) -> None:
        if not PROGRAM.is_file():
            raise RuntimeError(f"No {PROGRAM}: run make test-engines, which installs it.")
        self.folder = folder
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen | None = None

    def start(self) -> None:
        log = (self.folder / "server.log").open("ab")
        data = self.folder / "data"
        command: list[str | Path] = [PROGRAM, "--data", data, "--proxy-port", str(self.port)]
        command += ["--authorization-enabled", "1"]
        around = dict(os.environ)
        if (data / "bin/milvus").is_file():
            # The program would take another port, as the one before is not quite free: start the
            # server that it has unpacked, with the configuration that it has written.
            command = [data / "bin/milvus", "run", "standalone"]
            around |= {"DEPLOY_MODE": "STANDALONE", "MILVUS_RUN_DIR": str(data / "run")}
            around |= {"METRICS_PORT": str(free_port()), "LD_LIBRARY_PATH": str(data / "bin")}
        self._process = subprocess.Popen(
            command,
            cwd=data if data.is_dir() else None,
            env=around,
            stdout=log,
            stderr=log,
            start_new_session=True,  # so that the server goes with the program that started it
        )
        deadline = time.monotonic() + STARTS_WITHIN_S
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"Milvus did not start; see {self.folder}.")
            time.sleep(0.5)

    def _answers(self) -> bool:
        import grpc
        from pymilvus import MilvusClient, MilvusException

        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", self.port)):
                return False
        try:
            client = MilvusClient(self.uri, token=TOKEN, timeout=5)
            client.list_collections(timeout=5)
        except (MilvusException, grpc.RpcError):  # it starts, or does not answer in time
            return False
        return True

    def stop(self) -> None:
        """In order: what is in memory goes to the disk."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """As when the machine loses its power."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        os.killpg(self._process.pid, how)
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._process = None
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:  # the port is free once its last process is gone
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)):
                    return
            time.sleep(0.2)

    def remove(self) -> None:
        self.kill()
        shutil.rmtree(self.folder / "data", ignore_errors=True)
