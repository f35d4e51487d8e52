"""How the tests of the server ask it, in this process or in another one."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from PIL import ImageOps

from tests.paths import REFERENCE
from tests.pictures import packed
from tests.preprocessing.test_reader import seven

MODEL = REFERENCE / "model.tflite"
BLACK_ON_WHITE, WHITE_ON_BLACK = packed(seven()), packed(ImageOps.invert(seven()))


def files(*contents: bytes, field: str = "image") -> list[tuple[str, tuple[str, bytes]]]:
    return [(field, (f"{n}.png", content)) for n, content in enumerate(contents, start=1)]


def failed(response: Any, status: int, message: str) -> None:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    content = response.json()
    assert content.keys() == {"Success", "Error"}
    assert content["Success"] is False
    assert message in content["Error"]


def start(*arguments: str) -> tuple[subprocess.Popen[str], int]:
    command = [sys.executable, "-m", "mnist_utils.cli.main", "serve", "--results", str(REFERENCE.parent), "--port", "0"]
    process = subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout
    line = process.stdout.readline()
    if not line.endswith(" - model: reference (accurate, trained on mnist). Press Ctrl-C to stop.\n"):
        process.kill()  # else it would go on, and its errors never end
        raise AssertionError(line + process.communicate()[1])
    return process, int(line.split()[1].rpartition(":")[2])


def ask(port: int, request: bytes) -> tuple[int, bytes]:
    """Send bytes, receive the status and all that comes until the server closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(request)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    return int(answer.split()[1]), answer


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=60).close()
    except ConnectionRefusedError:
        return False
    return True


def form(picture: bytes) -> bytes:
    body = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n' + picture + b"\r\n--x--\r\n"
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\nConnection: close\r\n"
    return head.encode() + b"Content-Type: multipart/form-data; boundary=x\r\n\r\n" + body


def memory(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
