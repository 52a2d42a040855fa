"""`skin-edge serve` under load: throughput, memory, slow clients, hostile pictures and requests, and a kill.

    python -m studies.serving [PART...] [--model MODEL] [--pictures FOLDER] [--requests N] [--json]

The server is a process of its own on 127.0.0.1. Parts, all by default:

- throughput: 8 clients that ask for one picture at a time, and such as send 8 pictures in a request, beside
  `predict_many` on the same cores; the sides take turns. Pictures a second of wall time, in which the server also pays
  for its clients on these cores (one thread is all of them; its CPU time is told); and CPU time a picture of the
  answering process alone, which other work on the machine disturbs less.
- memory: N requests (20,000) after a tenth as many to warm up: growth of resident memory and of open files.
- slow: the time of one healthy client's requests, alone and beside 200 that send a byte each half second.
- hostile: 2,000 mutated pictures and 200 malformed requests: statuses, tracebacks, hangs.
- kill: `kill -9` while a request is under way, a start on the same port, the same answer to the same cookie.

Pictures: those of FOLDER, or drawn lesions of 600x450.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import random
import selectors
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, process_time, sleep
from typing import Any

from skin_edge.benchmarks.measure.machine import describe_machine
from skin_edge.edge_runtime import console, pictures
from skin_edge.edge_runtime.classifier import DEFAULT_MODEL

from . import CHECKOUT, model_path
from .hostile.mutations import Mutant
from .hostile.pictures import image_case

PARTS = ("throughput", "memory", "slow", "hostile", "kill")
TOKEN = "token-of-a-study-on-this-machine"
_CLIENTS = 8
_WARM_UP = 2000  # requests, after which memory no longer grows with what is kept for reuse
_ROUNDS = 5
_SECONDS = 30.0  # of a request, after which it hangs


@dataclass
class Running:
    """A server that was started.

    Attributes:
        process: Of `skin-edge serve`.
        port: On 127.0.0.1.
        said: What it printed to stderr so far.
    """

    process: subprocess.Popen[str]
    port: int
    said: list[str]

    def resident_bytes(self) -> int:
        """What of its memory is there now."""
        return int(_status(self.process.pid)["VmRSS"].split()[0]) * 1024

    def open_files(self) -> int:
        """File descriptors, sockets included."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def cpu_seconds(self) -> float:
        """User and system time of all its threads."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def running(*arguments: str, port: int = 0) -> Generator[Running, None, None]:
    """Starts `skin-edge serve` and ends it.

    Args:
        arguments: Of the command, beside --port.
        port: 0 for any.
    """
    command = [sys.executable, "-m", "skin_edge.edge_runtime", "serve", *arguments, "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=CHECKOUT)
    said = list[str]()
    assert process.stdout and process.stderr
    reader = threading.Thread(target=said.extend, args=(process.stderr,), daemon=True)
    reader.start()
    try:
        line = process.stdout.readline()
        if not line.startswith("serving on "):
            raise RuntimeError(f"the server did not start: {''.join(said)}")
        yield Running(process, int(line.split("/")[2].rpartition(":")[2]), said)
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        reader.join(5)


class Client:
    """One connection that is kept: a request's bytes -> status and body."""

    def __init__(self, port: int, seconds: float = _SECONDS):
        self.connection = socket.create_connection(("127.0.0.1", port), seconds)
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._got = b""

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def ask(self, request: bytes) -> tuple[int, bytes]:
        """Sends a whole request and reads its whole answer. Raises OSError where the connection ends before that."""
        self.send(request)
        while (answer := self.receive()) is None:
            pass
        return answer

    def send(self, request: bytes) -> None:
        """Sends a whole request."""
        self._got = b""
        self.connection.sendall(request)

    def receive(self) -> tuple[int, bytes] | None:
        """Reads once: the answer, or None where it is not whole. Raises OSError where the connection has ended."""
        block = self.connection.recv(2**16)
        if not block:
            raise ConnectionError("closed")
        self._got += block
        end = self._got.find(b"\r\n\r\n")
        if end < 0:
            return None
        length = int(self._got.partition(b"Content-Length: ")[2].partition(b"\r\n")[0] or 0)
        return (int(self._got[9:12]), self._got[end + 4 :]) if len(self._got) >= end + 4 + length else None


def post(
    content: bytes, *, kind: str = "image/jpeg", path: str = "/v1/predict?assess_anything=1", headers: str = ""
) -> bytes:
    """A request to /v1/predict.

    Args:
        content: The body.
        kind: Its type.
        path: With its query.
        headers: More of them, each with its line's end.
    """
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n{headers}"
    return f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content


def form(contents: Sequence[bytes]) -> bytes:
    """A request with several pictures."""
    parts = [
        b'--x-x\r\nContent-Disposition: form-data; name="picture"; filename="p"\r\n\r\n' + content + b"\r\n"
        for content in contents
    ]
    return post(b"".join(parts) + b"--x-x--\r\n", kind="multipart/form-data; boundary=x-x")


# -------------------------------------------------------------------------------------------------- throughput

_PREDICT_MANY = """
import json, sys, time
from pathlib import Path
from skin_edge.edge_runtime.classifier import SkinClassifier
contents = [Path(path).read_bytes() for path in json.loads(sys.argv[2])]
classifier = SkinClassifier(sys.argv[1])
list(classifier.predict_many(contents[:20]))
for line in sys.stdin:
    count = int(line)
    cpu, start = time.process_time(), time.perf_counter()
    taken = (contents[number % len(contents)] for number in range(count))
    done = sum(hasattr(answer, "label") for answer in classifier.predict_many(taken))
    print(json.dumps([done, time.perf_counter() - start, time.process_time() - cpu]), flush=True)
"""


def throughput(model: Path, paths: Sequence[Path], count: int = 400) -> dict[str, Any]:
    """Pictures a second, and CPU seconds a picture, of each side; `ratio` and `cpu_ratio`: the server by predict_many.

    Args:
        model: A .tflite.
        paths: Of pictures.
        count: Pictures of a round.
    """
    contents = [path.read_bytes() for path in paths]
    single = [post(content) for content in contents]
    several = [form([contents[(at + more) % len(contents)] for more in range(8)]) for at in range(len(contents))]
    command = [sys.executable, "-c", _PREDICT_MANY, str(model), json.dumps([str(path) for path in paths])]
    rounds: dict[str, list[tuple[float, float]]] = {"predict_many": [], "server": [], "server, 8 a request": []}
    clients: dict[str, list[float]] = {"server": [], "server, 8 a request": []}
    many = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=CHECKOUT)
    assert many.stdin and many.stdout
    with many, running(str(model)) as server:
        _ask_all(server, single, 40, 1)
        for _ in range(_ROUNDS):
            many.stdin.write(f"{count}\n")
            many.stdin.flush()
            done, seconds, cpu = json.loads(many.stdout.readline())
            assert done == count
            rounds["predict_many"].append((count / seconds, cpu / count))
            for name, requests, each in (("server", single, 1), ("server, 8 a request", several, 8)):
                before, of_clients = server.cpu_seconds(), process_time()
                seconds = _ask_all(server, requests, count // each, each)
                clients[name].append((process_time() - of_clients) / count)
                rounds[name].append((count / seconds, (server.cpu_seconds() - before) / count))
        many.stdin.close()
    result: dict[str, Any] = {
        name: {
            "per_second": statistics.median(a for a, _ in both),
            "cpu_ms": 1000 * statistics.median(b for _, b in both),
        }
        for name, both in rounds.items()
    }
    for name in clients:
        result[name]["clients_cpu_ms"] = 1000 * statistics.median(clients[name])
        result[name]["ratio"] = statistics.median(
            one / other for (one, _), (other, _) in zip(rounds[name], rounds["predict_many"], strict=True)
        )
        result[name]["cpu_ratio"] = statistics.median(
            other / one for (_, one), (_, other) in zip(rounds[name], rounds["predict_many"], strict=True)
        )
    return {"pictures": len(paths), "clients": _CLIENTS, "rounds": _ROUNDS, "pictures_a_round": count, **result}


def _ask_all(server: Running, requests: Sequence[bytes], count: int, each: int) -> float:
    """Seconds in which clients at the same time ask for `count` requests in all, and all are answered.

    One thread is all of them: it takes little of the cores that the server has to share with it.
    """
    rest = iter(range(count))
    start = perf_counter()
    with contextlib.ExitStack() as stack:
        waiting = stack.enter_context(selectors.DefaultSelector())
        for number in itertools.islice(rest, _CLIENTS):
            client = stack.enter_context(Client(server.port))
            client.send(requests[number % len(requests)])
            waiting.register(client.connection, selectors.EVENT_READ, client)
        answered = 0
        while answered < count:
            ready = waiting.select(_SECONDS)
            if not ready:
                raise RuntimeError(f"no answer after {_SECONDS:g} s")
            for key, _ in ready:
                client = key.data
                answer = client.receive()
                if answer is None:
                    continue
                status, body = answer
                if status != 200 or body.count(b'"label"') != each:
                    raise RuntimeError(f"a request was not answered: {status} {body[:200]!r}")
                answered += 1
                if (number := next(rest, None)) is not None:
                    client.send(requests[number % len(requests)])
    return perf_counter() - start


# ------------------------------------------------------------------------------------------------------ memory


def memory(model: Path, paths: Sequence[Path], requests: int) -> dict[str, Any]:
    """Growth of the server's resident memory and open files over `requests` requests, after a tenth as many or 2,000.

    Args:
        model: A .tflite.
        paths: Of pictures.
        requests: How many.
    """
    asked = [post(path.read_bytes()) for path in paths]
    with running(str(model)) as server:
        _ask_all(server, asked, max(_WARM_UP, requests // 10), 1)
        sleep(1)
        before, files = server.resident_bytes(), server.open_files()
        grown: list[int] = []
        for _ in range(4):
            _ask_all(server, asked, requests // 4, 1)
            sleep(1)
            grown.append(server.resident_bytes() - before)
        return {
            "requests": requests // 4 * 4,
            "resident_bytes": before,
            "grown_bytes": grown,
            "grown_files": server.open_files() - files,
        }


# -------------------------------------------------------------------------------------------------------- slow


def slow(model: Path, paths: Sequence[Path], clients: int = 200, requests: int = 300) -> dict[str, Any]:
    """Milliseconds of a healthy client's requests, alone and beside slow ones.

    Args:
        model: A .tflite.
        paths: Of pictures.
        clients: Slow ones.
        requests: Of the healthy one, each time.
    """
    asked = [post(path.read_bytes()) for path in paths]
    ended = threading.Event()
    with running(str(model)) as server, contextlib.ExitStack() as stack:
        _ask_all(server, asked, 40, 1)
        alone = _times(server, asked, requests)
        sockets = [
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port), _SECONDS)) for _ in range(clients)
        ]
        for connection in sockets:
            connection.sendall(post(b"x" * 10_000)[:-10_000])
        dripping = threading.Thread(target=_drip, args=(sockets, ended))
        dripping.start()
        try:
            sleep(1)
            beside = _times(server, asked, requests)
        finally:
            ended.set()
            dripping.join()
        open_still = sum(connection.fileno() >= 0 for connection in sockets)
    return {
        "slow_clients": open_still,
        "alone": alone,
        "beside": beside,
        "p99_ratio": beside["p99_ms"] / alone["p99_ms"],
    }


def _drip(sockets: Sequence[socket.socket], ended: threading.Event) -> None:
    while not ended.wait(0.5):
        for connection in sockets:
            with contextlib.suppress(OSError):
                connection.send(b"x")


def _times(server: Running, asked: Sequence[bytes], requests: int) -> dict[str, float]:
    times: list[float] = []
    with Client(server.port) as client:
        for number in range(requests):
            start = perf_counter()
            status, _ = client.ask(asked[number % len(asked)])
            times.append((perf_counter() - start) * 1000)
            if status != 200:
                raise RuntimeError(f"a healthy client got {status}")
    times.sort()
    return {"p50_ms": times[requests // 2], "p99_ms": times[min(requests - 1, round(requests * 0.99))]}


# ----------------------------------------------------------------------------------------------------- hostile


def hostile(model: Path, cases: int = 2000, malformed: int = 200, seed: int = 42) -> dict[str, Any]:
    """Statuses of mutated pictures and of malformed requests; what is bad among them.

    Args:
        model: A .tflite.
        cases: Pictures.
        malformed: Requests.
        seed: Of both.
    """
    bad = list[str]()
    with running(str(model)) as server:
        answers = _in_turn(server, [post(image_case(seed, number).content) for number in range(cases)], bad, "picture")
        # A connection each, closed for writing: what is not whole is then not waited for.
        requests = [malformed_request(seed, number) for number in range(malformed)]
        told = Counter(_closed(server, request, bad, number) for number, request in enumerate(requests))
        with Client(server.port) as client:
            if client.ask(post(image_case(seed, 0).content))[0] not in (200, 422):
                bad.append("no answer after all of it")
        files = server.open_files()
    bad += [line for line in server.said if "Traceback" in line or "fault" in line]
    bad += [f"status {status}" for status in (*answers, *told) if status.startswith("5") and status != "503"]
    return {
        "pictures": dict(sorted(answers.items())),
        "requests": dict(sorted(told.items())),
        "open_files": files,
        "exit_code": server.process.returncode,
        "bad": bad,
    }


def _in_turn(server: Running, requests: Sequence[bytes], bad: list[str], what: str) -> Counter[str]:
    statuses = Counter[str]()
    for number, request in enumerate(requests):
        try:
            with Client(server.port) as client:
                status, body = client.ask(request)
        except OSError as error:
            bad.append(f"{what} {number}: {error!r}")
            continue
        statuses[str(status)] += 1
        told = json.loads(body)
        if "Traceback" in body.decode() or not ({"answers", "error"} & set(told)):
            bad.append(f"{what} {number}: {body[:200]!r}")
    return statuses


def _closed(server: Running, request: bytes, bad: list[str], number: int) -> str:
    """The status of the first answer; "none" where the connection ends without one."""
    got = b""
    try:
        with socket.create_connection(("127.0.0.1", server.port), _SECONDS) as connection:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            while block := connection.recv(2**16):
                got += block
    except TimeoutError:
        bad.append(f"request {number}: no end after {_SECONDS:g} s")
    except OSError:
        pass
    if b"Traceback" in got:
        bad.append(f"request {number}: {got[:200]!r}")
    return got[9:12].decode("ascii", "replace") if got.startswith(b"HTTP/1.") else "none"


def malformed_request(seed: int, number: int) -> bytes:
    """The malformed request `number` of `seed`: a whole one of several kinds whose head or form is changed."""
    rng = random.Random(f"{seed} request {number}")
    content = image_case(seed, 0).content
    whole = rng.choice(
        [
            post(content),
            form([content, content]),
            post(b'{"token": "x"}', kind="application/json", path="/v1/session"),
            b"GET /v1/info HTTP/1.1\r\nHost: localhost\r\n\r\n",
        ]
    )
    end = whole.find(b"\r\n\r\n") + 4
    change = _CHANGES[number % len(_CHANGES)]
    return change(whole[:end], whole[end:], rng)


def _mutated(head: bytes, body: bytes, rng: random.Random) -> bytes:
    mutant = Mutant(head, rng)
    for _ in range(rng.choice((1, 2, 5))):
        rng.choice((mutant.bits, mutant.bytes, mutant.truncate, mutant.insert, mutant.delete))()
        if not mutant.data:
            break
    return bytes(mutant.data) + body


def _with_header(line: bytes) -> Callable[[bytes, bytes, random.Random], bytes]:
    return lambda head, body, rng: head[:-2] + line + b"\r\n\r\n" + body


def _mutated_form(head: bytes, body: bytes, rng: random.Random) -> bytes:
    mutant = Mutant(body or b"--x-x\r\n\r\n", rng)
    rng.choice((mutant.bits, mutant.bytes, mutant.insert, mutant.delete))()
    kind = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x-x\r\n"
    return kind + b"Content-Length: %d\r\n\r\n" % len(mutant.data) + bytes(mutant.data)


def _many_parts(head: bytes, body: bytes, rng: random.Random) -> bytes:
    names = [b'--x-x\r\nContent-Disposition: form-data; name="%d"\r\n\r\n\r\n' % number for number in range(5000)]
    return post(b"".join(names) + b"--x-x--\r\n", kind="multipart/form-data; boundary=x-x")


_CHANGES: tuple[Callable[[bytes, bytes, random.Random], bytes], ...] = (
    _mutated,
    _mutated_form,
    lambda head, body, rng: head[: rng.randrange(len(head))],
    lambda head, body, rng: head + body[: rng.randrange(len(body) + 1)],
    lambda head, body, rng: head.replace(b"HTTP/1.1", rng.choice((b"HTTP/9.9", b"", b"HTTP/1.1 x", b"ICY"))) + body,
    lambda head, body, rng: (
        head.replace(b"Content-Length: ", rng.choice((b"Content-Length: -", b"Content-Length: 9"))) + body
    ),
    _with_header(b"Transfer-Encoding: chunked"),
    _with_header(b"Transfer-Encoding: chunked, gzip"),
    _with_header(b"Content-Encoding: gzip"),
    _with_header(b"Content-Length: 3"),
    _with_header(b"Host: evil.example"),
    _with_header(b"Expect: 100-continue"),
    _with_header(b"Cookie: " + b"a=b; " * 5000),
    _with_header(b"X: \xff\x00\x7f"),
    _with_header(b"Authorization: Bearer \xff" + b"x" * 5000),
    _many_parts,
    lambda head, body, rng: head.replace(b"boundary=x-x", b"boundary=" + b"x" * 500) + body,
    lambda head, body, rng: (head + body) * 30,
    lambda head, body, rng: rng.randbytes(2000),
    lambda head, body, rng: (
        head.replace(b" /v1", rng.choice((b" //v1", b" /../v1", b" /v1%00", b" http://x/v1"))) + body
    ),
)


# -------------------------------------------------------------------------------------------------------- kill


def kill(model: Path, paths: Sequence[Path]) -> dict[str, Any]:
    """Whether a server that was killed while it answered is as before once it is started again on the same port.

    Args:
        model: A .tflite.
        paths: Of pictures.
    """
    asked = post(paths[0].read_bytes(), headers=f"Authorization: Bearer {TOKEN}\r\n")
    session = post(json.dumps({"token": TOKEN}).encode(), kind="application/json", path="/v1/session")
    with tempfile.TemporaryDirectory() as folder:
        (token := Path(folder, "token")).write_text(TOKEN)
        arguments = (str(model), "--token-file", str(token))
        with running(*arguments) as server:
            port = server.port
            with Client(port) as client:
                first = json.loads(client.ask(asked)[1])["answers"][0]
            with Client(port) as client:
                client.connection.sendall(session)
                cookie = client.connection.recv(2**16).decode()
            cookie = cookie.partition("Set-Cookie: ")[2].partition(";")[0]
            in_flight = Client(port)
            in_flight.connection.sendall(asked)
            server.process.send_signal(signal.SIGKILL)
            server.process.wait()
        start = perf_counter()
        with running(*arguments, port=port) as server:
            seconds = perf_counter() - start
            with Client(port) as client:
                status, body = client.ask(post(paths[0].read_bytes(), headers=f"Cookie: {cookie}\r\n"))
            again = json.loads(body)["answers"][0]
    same = all(first[key] == again[key] for key in ("label", "probabilities", "decisions"))
    return {"status": status, "same_answer": same, "restart_seconds": seconds}


# ------------------------------------------------------------------------------------------------------ report


def drawn(folder: Path) -> list[Path]:
    """Lesions of 600x450, drawn, as JPEG files in `folder`."""
    from skin_edge.train.data.synthetic import draw_dataset

    draw_dataset(folder / "drawn", lesions_per_class=2, size=(600, 450))
    return sorted(Path(path) for path, _ in pictures.walk(folder / "drawn") if pictures.has_suffix(path))


def _status(process: int) -> dict[str, str]:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def measure(parts: Sequence[str], model: Path, paths: Sequence[Path], requests: int) -> dict[str, Any]:
    """JSON-ready figures.

    Args:
        parts: Of PARTS.
        model: A .tflite.
        paths: Of pictures.
        requests: Of the part `memory`.
    """
    measures: dict[str, Callable[[], dict[str, Any]]] = {
        "throughput": lambda: throughput(model, paths),
        "memory": lambda: memory(model, paths, requests),
        "slow": lambda: slow(model, paths),
        "hostile": lambda: hostile(model),
        "kill": lambda: kill(model, paths),
    }
    result: dict[str, Any] = {"machine": describe_machine("ai-edge-litert")}
    for part in parts:
        console.say(f"{part} ...", err=True)
        result[part] = measures[part]()
    return result


def main() -> None:
    """As the module's docstring says."""
    parser = argparse.ArgumentParser(prog="python -m studies.serving", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", choices=[*PARTS, []], default=[])
    parser.add_argument("--model", type=model_path, default=DEFAULT_MODEL)
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--json", action="store_true")
    told = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if told.pictures:
            paths = [
                Path(path) for path, hidden in pictures.walk(told.pictures) if not hidden and pictures.is_picture(path)
            ]
        else:
            paths = drawn(Path(folder))
        result = measure(told.parts or PARTS, told.model, paths, told.requests)
    console.say_json(result)


if __name__ == "__main__":
    main()
