"""A sample endpoint for run.adapter = "http": checks who calls, asks a model if it is given one, and answers in one of
two ways. Where the executor can be reached it says 202 at once and sends what comes of the job later; where not, or with
STREAM=1, it streams events back.

    AGENT_KEY=$(steward agents endpoint-key NAME) python3 server.py

Without AGENT_KEY it takes any caller: for trying it on one machine only.
"""

import base64
import hashlib
import hmac
import json
import os
import threading
import time
import urllib.error
import urllib.request
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEY = os.environ.get("AGENT_KEY", "")
STREAM = bool(os.environ.get("STREAM"))
# Jobs that are over for the executor: nobody waits for what comes of them.
LET_GO = set()


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
        text = ask(job, "Write a short cover letter." if kind == "propose" else f"Do this job of kind {kind}.")
    for file in job["attachments"]:
        text += f"\n\nRead {file['name']}: {len(content(file))} bytes."
    if kind == "reply":
        yield {"type": "result", "text": text}
    elif kind == "propose" and "gateway" in job and job.get("bid"):
        yield {"type": "result", "amount_usdc": job["bid"]["max_usdc"], "cover_letter": text[:2000]}
    elif kind == "propose":
        yield {"type": "result", "decline": "without a model this endpoint does not bid"}
    else:
        yield {"type": "file", "name": "report.md", "text": text + "\n"}
        yield {"type": "result", "notes": "One report in Markdown, as asked for.", "files": ["report.md"]}


def content(file):
    """A file of the job: behind an address, or in the job itself; nothing of one that did not come."""
    if file.get("url"):
        with urllib.request.urlopen(file["url"], timeout=60) as answer:
            return answer.read()
    return base64.b64decode(file.get("base64") or "")


def send(method, url, body):
    """Sends until it is taken. Whether anybody still waits for it."""
    # The same key each time: what is sent again is taken once.
    headers = {"Idempotency-Key": str(uuid.uuid4()), "Content-Type": "application/octet-stream"}
    for pause in (0, 1, 2, 4, 8, 16):
        time.sleep(pause)
        try:
            request = urllib.request.Request(url, data=body, headers=headers, method=method)
            with urllib.request.urlopen(request, timeout=60):
                return True
        except urllib.error.HTTPError as refused:
            if refused.code not in (408, 429, 500, 503, 507):
                print(f"{method} was refused with {refused.code}: {refused.read().decode()}")
                return False
        except OSError as error:
            print(f"{method} failed: {error}")
    return False


def work_on(job):
    """Sends what comes of a job as it comes, files by PUT."""
    for event in events(job):
        if job["run_id"] in LET_GO:
            return
        if event["type"] == "file":
            sent = send("PUT", f"{job['upload_url']}/{event['name']}", event["text"].encode())
        else:
            sent = send("POST", job["callback_url"], json.dumps(event).encode())
        if not sent:
            return


class Jobs(BaseHTTPRequestHandler):
    def do_POST(self):
        if not self.signed():
            return
        job = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if job.get("callback_url") and not STREAM:
            LET_GO.discard(job["run_id"])
            threading.Thread(target=work_on, args=(job,), daemon=True).start()
            self.send_response(202)
            self.send_header("Location", f"/jobs/{job['run_id']}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.end_headers()
        for event in events(job):
            self.wfile.write(json.dumps(event).encode() + b"\n")
            self.wfile.flush()

    def do_DELETE(self):
        if self.signed():
            LET_GO.add(self.path.removeprefix("/jobs/"))
            self.send_response(204)
            self.end_headers()

    def signed(self):
        if KEY and not is_ours(self.headers.get("Authorization", "v1.0.0.0.")):
            self.send_error(401, "not signed with this agent's key")
            return False
        return True


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "8000"))), Jobs).serve_forever()
