"""A sample endpoint for run.adapter = "http": checks who calls, asks a model if it is given one, streams events back.

    AGENT_KEY=$(steward agents endpoint-key NAME) python3 server.py

Without AGENT_KEY it takes any caller: for trying it on one machine only.
"""

import hashlib
import hmac
import json
import os
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEY = os.environ.get("AGENT_KEY", "")


def is_ours(header):
    """Whether the caller signed with this agent's key, not long ago."""
    signed, _, signature = header.removeprefix("Bearer ").rpartition(".")
    good = hmac.new(KEY.encode(), signed.encode(), hashlib.sha256).hexdigest()
    return hmac.compare_digest(good, signature) and int(signed.split(".")[3]) > time.time()


def ask(job, task):
    """One answer of the model behind the run's own gateway, whose calls count against the run's budget."""
    gateway = job["gateway"]
    gig = job.get("gig") or {}
    body = {
        "messages": [{"role": "user", "content": f"{task}\n\n{gig.get('title', '')}\n\n{gig.get('description', '')}"}],
    }
    request = urllib.request.Request(
        gateway["openai_base_url"] + "/chat/completions",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json", "Authorization": "Bearer " + gateway["token"]},
    )
    with urllib.request.urlopen(request, timeout=300) as answer:
        return json.load(answer)["choices"][0]["message"]["content"]


def events(job):
    """What comes of a job, event by event."""
    kind = job["kind"]
    if "gateway" not in job:
        yield {"type": "progress", "text": "this endpoint was given no model; it hands back the brief"}
        text = (job.get("gig") or {}).get("description", "")
    else:
        yield {"type": "progress", "text": "asking the model"}
        text = ask(job, f"Do this job of kind {kind}.")
    if kind == "reply":
        yield {"type": "result", "text": text}
    elif kind == "propose":
        yield {"type": "result", "decline": "this endpoint does not bid"}
    else:
        yield {"type": "file", "name": "report.md", "text": text + "\n"}
        yield {"type": "result", "notes": "One report in Markdown, as asked for.", "files": ["report.md"]}


class Jobs(BaseHTTPRequestHandler):
    def do_POST(self):
        if KEY and not is_ours(self.headers.get("Authorization", "v1.0.0.0.")):
            self.send_error(401, "not signed with this agent's key")
            return
        job = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.end_headers()
        for event in events(job):
            self.wfile.write(json.dumps(event).encode() + b"\n")
            self.wfile.flush()


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "8000"))), Jobs).serve_forever()
