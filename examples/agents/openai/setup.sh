#!/bin/sh
# Runs once per version, in the bundle. Wheels in wheels/ make it work without a network
# (`pip download -r requirements.txt -d wheels`).
set -eu
python3 -m venv .venv
if [ -d wheels ]; then
    .venv/bin/pip install --quiet --no-index --find-links wheels -r requirements.txt
else
    .venv/bin/pip install --quiet -r requirements.txt
fi
