"""What an agent says to Steward: a few functions, no dependencies. Copy this file into your agent's folder.

Events go to the pipe STEWARD_EVENTS. Importing this module opens it, and from then on whatever the process prints is
only log: text of a client or a model can be printed safely. Outside of Steward events are shown on standard error.
"""

import json
import os
import sys

_pipe = open(os.environ["STEWARD_EVENTS"], "w", encoding="utf-8") if "STEWARD_EVENTS" in os.environ else sys.stderr
_job = None

OUT = os.environ.get("STEWARD_OUT", "out")
"""The folder deliverables go to."""

MODEL = os.environ.get("STEWARD_MODEL", "gpt-4o-mini")
"""The model the agent file names as default."""

TRY_AGAIN_LATER = 75
"""Exit code: this attempt does not count, try again."""

CANNOT_DO = 77
"""Exit code: a human should look at this."""


def job():
    """The job: version, run_id, kind (work, revise, reply or propose), contract, gig, messages, attachments, ..."""
    global _job
    if _job is None:
        with open(os.environ["STEWARD_JOB"], encoding="utf-8") as file:
            _job = json.load(file)
    return _job


def attached(longest=64 * 1024):
    """What the client sent, one text for each file: the beginning of text files, the name and size of others."""
    texts = []
    for file in job().get("attachments") or []:
        if not file.get("path"):
            texts.append(f"The client sent {file['name']}, but it could not be fetched: {file.get('error')}")
            continue
        try:
            with open(file["path"], "rb") as opened:
                body = opened.read(longest)
        except OSError as error:
            texts.append(f"The client sent {file['name']}, but it cannot be read: {error.strerror}")
            continue
        if b"\0" in body:
            texts.append(f"The client sent {file['path']} ({file['bytes']} bytes, no text).")
        else:
            cut = " (its beginning)" if file["bytes"] > len(body) else ""
            texts.append(f"The client sent {file['path']}{cut}:\n" + body.decode("utf-8", "replace"))
    return texts


def progress(text):
    """Tells people who watch how far the work is."""
    _say({"type": "progress", "text": str(text)})


def message(text, key=None):
    """Writes to the client, once per contract and key, also across attempts."""
    _say({"type": "message", "text": str(text), **({"key": str(key)} if key else {})})


def checkpoint(data=None, files=()):
    """Keeps data and files below out/ for the next attempt: job()["checkpoint"] has the data, the files lie there again."""
    _say({"type": "checkpoint", "data": data, "files": list(files)})


def wait(timeout="24h"):
    """Parks the run until the client writes or the time is up. Exit with 0 afterwards."""
    _say({"type": "wait", "for": "message", "timeout": timeout})


def retry(after="10m"):
    """Asks for another try later; it uses no attempt up, and each time the pause grows. Exit with 0 afterwards."""
    _say({"type": "retry", "after": after})


def result(**fields):
    """The result, by the job's kind. Exit with 0 afterwards.

    work, revise: notes, files (names below out/), message (optional: to the client, once the delivery has gone out) - reply: text, or none=True and reason -
    propose: amount_usdc, cover_letter, estimated_hours (optional), or decline
    """
    _say({"type": "result", **fields})


def _say(event):
    _pipe.write(json.dumps(event) + "\n")
    _pipe.flush()
