#!/bin/sh
# Runs once per version, in the bundle: builds the program, unless one is packed with it. Agents find a compiler where the
# system has it (`apt-get install rustc`) or where `isolation.readable` and `isolation.path` of the executor say; without
# one, build before adding: sh setup.sh
set -eu
[ -x agent ] || rustc --edition 2024 -O -o agent src/main.rs
