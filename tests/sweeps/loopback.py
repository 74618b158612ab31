"""A W&B server on the loopback, as much of it as `wandb sweep`, `wandb agent` and an online run need.

Hands out the cells of a grid, one an agent and heartbeat, and keeps what runs send: config, summary, exit code.
"""

import gzip
import itertools
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import yaml

ENTITY = {"id": "entity", "name": "me"}
PROJECT = {"id": "project", "name": "p", "entity": ENTITY}
WHEN = "2026-01-01T00:00:00"


class Loopback:
    """The server's state and its answers; use as a context."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.sweep_config: dict[str, Any] = {}
        self.cells: list[dict[str, Any]] = []
        self.handed_out: list[tuple[str, str]] = []  # (agent, run)
        self.agents = 0
        self.runs: dict[str, dict[str, Any]] = {}
        self.views: list[dict[str, Any]] = []
        self.artifacts: list[dict[str, Any]] = []  # what was said of each, and its `files` by name
        self.fault = ""  # how the server ails: `slow`, `500`, `garbage`, `silent`
        state = self

        class Handler(_Handler):
            server_state = state

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"

    def __enter__(self) -> "Loopback":
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.http.shutdown()
        self.http.server_close()

    def environment(self) -> dict[str, str]:
        """What a client must see to come here."""
        return {"WANDB_BASE_URL": self.url, "WANDB_API_KEY": "a" * 40, "WANDB_MODE": "online"}

    def answer(self, query: str, asked: dict[str, Any]) -> dict[str, Any]:
        """Data of a GraphQL answer, by the first of our words that occurs in the question."""
        with self.lock:
            for word, reply in self._replies().items():
                if word in query:
                    return reply(asked)
        return {}

    def _replies(self) -> dict[str, Any]:
        return {
            "upsertView": self._view,
            "upsertSweep": self._new_sweep,
            "createAgent": self._new_agent,
            "agentHeartbeat": self._heartbeat,
            "upsertBucket": self._run,
            "RunResumeStatus": self._resumed,
            "createRunFiles": self._files,
            "createArtifactFiles": self._artifact_files,
            "createArtifactManifest": lambda asked: self._manifest("createArtifactManifest"),
            "updateArtifactManifest": lambda asked: self._manifest("updateArtifactManifest"),
            "createArtifact(": self._artifact,
            "commitArtifact": lambda asked: {"commitArtifact": {"artifact": {"id": "artifact", "digest": "0"}}},
            "useArtifact": lambda asked: {"useArtifact": {"artifact": {"id": asked.get("artifactID")}}},
            "rtifactType": lambda asked: self._no_artifact(),
            "artifact(": lambda asked: self._no_artifact(),
            "serverInfo": lambda asked: {
                "serverInfo": {
                    "cliVersionInfo": {"max_cli_version": "0.99.0"},
                    "latestLocalVersionInfo": None,
                    "features": [],
                }
            },
            "sweep(": lambda asked: {"project": {"sweep": self._sweep()}},
            "viewer": lambda asked: {
                "viewer": {
                    "id": "user",
                    "entity": "me",
                    "username": "me",
                    "name": "me",
                    "flags": "{}",
                    "email": "",
                    "admin": False,
                    "teams": {"edges": [{"node": ENTITY}]},
                    "defaultEntity": ENTITY,
                    "apiKeys": {"edges": []},
                }
            },
        }

    def _sweep(self) -> dict[str, Any]:
        config = yaml.safe_dump(self.sweep_config)
        return {
            "id": "sweep-id",
            "name": "question",
            "displayName": "question",
            "method": self.sweep_config.get("method"),
            "state": "RUNNING",
            "description": "",
            "config": config,
            "createdAt": WHEN,
            "heartbeatAt": WHEN,
            "updatedAt": WHEN,
            "earlyStopJobRunning": False,
            "controller": None,
            "scheduler": None,
            "historyKeys": None,
            "runs": {"edges": []},
            "project": PROJECT,
        }

    def _new_sweep(self, asked: dict[str, Any]) -> dict[str, Any]:
        if asked.get("config"):
            self.sweep_config = yaml.safe_load(asked["config"])
            axes = {k: v.get("values", [v.get("value")]) for k, v in self.sweep_config["parameters"].items()}
            self.cells = [dict(zip(axes, cell, strict=True)) for cell in itertools.product(*axes.values())]
        return {"upsertSweep": {"sweep": self._sweep(), "configValidationWarnings": []}}

    def _new_agent(self, asked: dict[str, Any]) -> dict[str, Any]:
        self.agents += 1
        return {"createAgent": {"agent": {"id": f"agent{self.agents}"}}}

    def _heartbeat(self, asked: dict[str, Any]) -> dict[str, Any]:
        busy = any(json.loads(asked.get("runState") or "{}").values())
        commands = [] if busy else [self._command(asked["id"])]
        return {"agentHeartbeat": {"agent": {"id": asked["id"]}, "commands": json.dumps(commands)}}

    def _command(self, agent: str) -> dict[str, Any]:
        number = len(self.handed_out)
        if number == len(self.cells):
            return {"type": "exit"}
        self.handed_out.append((agent, f"cell{number}"))
        values = {name: {"value": value} for name, value in self.cells[number].items()}
        return {"type": "run", "run_id": f"cell{number}", "program": self.sweep_config.get("program"), "args": values}

    def _run(self, asked: dict[str, Any]) -> dict[str, Any]:
        run = self.runs.setdefault(asked["name"], {})
        run.update(
            sweep=asked.get("sweep") or run.get("sweep"),
            config=json.loads(asked.get("config") or "{}") or run.get("config"),
        )
        bucket = {
            "id": asked["name"],
            "name": asked["name"],
            "displayName": asked["name"],
            "description": "",
            "config": asked.get("config") or "{}",
            "sweepName": asked.get("sweep"),
            "project": PROJECT,
            "historyLineCount": 0,
            "host": None,
            "state": "running",
            "createdAt": WHEN,
            "tags": [],
            "groupName": None,
            "jobType": None,
        }
        return {"upsertBucket": {"inserted": True, "bucket": bucket}}

    def _resumed(self, asked: dict[str, Any]) -> dict[str, Any]:
        """What a run that goes on asks for: how far it has come."""
        run = self.runs.get(asked["name"])
        history = self.history(asked["name"])
        bucket = run and {
            "name": asked["name"],
            "displayName": asked["name"],
            "summaryMetrics": json.dumps(run.get("summary", {})),
            "config": json.dumps(run.get("config") or {}),
            "historyTail": json.dumps([json.dumps(row) for row in history[-1:]]),
            "historyLineCount": len(history),
            "eventsTail": "[]",
            "eventsLineCount": 0,
            "logLineCount": 0,
            "notes": "",
            "wandbConfig": json.dumps({"t": 1}),
        }
        return {"model": {"id": "project", "name": "p", "entity": ENTITY, "bucket": bucket}}

    def history(self, run: str) -> list[dict[str, Any]]:
        """The rows that a run has logged, as the server holds them: a later one of the same number replaces it."""
        lines = self.runs.get(run, {}).get("history", {})
        return [lines[number] for number in sorted(lines)]

    def _files(self, asked: dict[str, Any]) -> dict[str, Any]:
        self.runs.setdefault(asked["run"], {}).setdefault("files", []).extend(asked["files"])
        files = [{"name": name, "uploadUrl": f"{self.url}/put/{name}"} for name in asked["files"]]
        return {"createRunFiles": {"runID": asked["run"], "uploadHeaders": [], "files": files}}

    def _view(self, asked: dict[str, Any]) -> dict[str, Any]:
        self.views.append({**asked, "spec": json.loads(asked["spec"])})
        return {"upsertView": {"view": {"id": "view-id", "name": asked["name"]}, "inserted": True}}

    def _artifact(self, asked: dict[str, Any]) -> dict[str, Any]:
        self.artifacts.append({**asked["input"], "files": {}})
        number = str(len(self.artifacts) - 1)
        artifact = {"id": number, "state": "PENDING", "artifactSequence": {"latestArtifact": None}}
        return {"createArtifact": {"artifact": artifact}}

    def _artifact_files(self, asked: dict[str, Any]) -> dict[str, Any]:
        edges = [
            {
                "node": {
                    "storagePath": file["name"],
                    "uploadUrl": f"{self.url}/artifact/{file['artifactID']}/{file['name']}",
                    "uploadHeaders": [],
                    "uploadMultipartUrls": None,
                    "artifact": {"id": file["artifactID"]},
                }
            }
            for file in asked["input"]["artifactFiles"]
        ]
        return {"createArtifactFiles": {"files": {"edges": edges}}}

    def put(self, path: str, content: bytes) -> None:
        """Take a file; those of artifacts are kept."""
        if path.startswith("/artifact/"):
            number, name = path.removeprefix("/artifact/").split("/", 1)
            self.artifacts[int(number)]["files"][name] = content

    def _no_artifact(self) -> dict[str, Any]:
        return {"project": {"artifact": None, "artifactType": None, "artifactCollection": None}}

    def _manifest(self, key: str) -> dict[str, Any]:
        file = {"id": "file", "uploadUrl": f"{self.url}/put/manifest", "uploadHeaders": []}
        return {key: {"artifactManifest": {"id": "manifest", "file": file}}}

    def stream(self, run: str, body: dict[str, Any]) -> dict[str, Any]:
        """Take what a run streams."""
        with self.lock:
            kept = self.runs.setdefault(run, {})
            for line in body.get("files", {}).get("wandb-summary.json", {}).get("content", []):
                kept["summary"] = json.loads(line)
            rows = body.get("files", {}).get("wandb-history.jsonl", {"offset": 0, "content": []})
            for number, line in enumerate(rows["content"], rows["offset"]):
                kept.setdefault("history", {})[number] = json.loads(line)
            if "exitcode" in body:
                kept["exit"] = body["exitcode"]
        return {"exitcode": None, "limits": {}}


class _Handler(BaseHTTPRequestHandler):
    server_state: Loopback

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""

    def _body(self) -> bytes:
        data = self.rfile.read(int(self.headers.get("content-length") or 0))
        return gzip.decompress(data) if self.headers.get("content-encoding") == "gzip" else data

    def _reply(self, content: dict[str, Any]) -> None:
        data = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _ails(self) -> bool:
        """Answer as the server's fault has it; False where it has none, or is slow only."""
        fault = self.server_state.fault
        if fault in ("slow", "silent"):
            time.sleep(10 if fault == "slow" else 600)
            return False
        if not fault:
            return False
        data = b"<html>\xff nothing of ours"
        self.send_response(500 if fault == "500" else 200)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
        return True

    def do_GET(self) -> None:
        self._ails() or self._reply({})

    def do_PUT(self) -> None:
        content = self._body()
        if not self._ails():
            self.server_state.put(self.path, content)
            self._reply({})

    def do_POST(self) -> None:
        body = self._body()
        if self._ails():
            return
        if "graphql" in self.path:
            question = json.loads(body)
            self._reply({"data": self.server_state.answer(question["query"], question.get("variables") or {})})
        elif "file_stream" in self.path:
            self._reply(self.server_state.stream(self.path.split("/")[-2], json.loads(body)))
        else:
            self._reply({})
