#!/usr/bin/env bash
# leave.sh SPEC|back: has the host lead its users elsewhere and finish what it is at, or takes that back (leave.py); waits for a
# change of its server that is at work.
# shellcheck source=components/remote/common.sh
. "$(dirname "$0")/common.sh"
mkdir -p "$EDGE_HOME/transaction"
exec 9>>"$EDGE_HOME/transaction/lock"
flock 9
exec python3 -B "$(dirname "$0")/leave.py" "$1"
