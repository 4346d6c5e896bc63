#!/bin/sh
# Runs once per version, in the bundle. A node_modules/ that is packed with it makes it work without a network.
set -eu
[ -d node_modules ] || npm ci --omit=dev --no-audit --no-fund
