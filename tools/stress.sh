#!/bin/bash
# Runs stress.pl against one flavour.
#
#   [MINUTES=3] [SEED=n] tools/stress.sh debian|source|asan|newest
set -euo pipefail
. "$(dirname "$0")/random.sh"

keep_logs() {
    local node
    for node in "$dir"/servroot*; do
        cp "$node/logs/error.log" "$1/${node##*/}.log"
    done
}

random_run stress "$1"
