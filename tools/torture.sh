#!/bin/bash
# Runs torture.pl against one flavour, that of AddressSanitizer unless told.
#
#   [MINUTES=5] [SEED=n] tools/torture.sh [asan|debian|source|newest]
set -euo pipefail
. "$(dirname "$0")/random.sh"

keep_logs() { cp -r "$dir"/servroot/logs "$dir"/kept "$dir"/*.conf "$1/"; }

random_run torture "${1:-asan}"
