#!/bin/sh
# Lets a job start only if its files fit the GPU, and leaves the answer beside it.
#
#     examples/gate.sh GPU FILE...
set -u
gpu=$1
shift
answer=${PLANNER_ANSWER:-planner-answer.json}
planner check "$@" --gpu "$gpu" --json >"$answer"
case $? in
0) echo "fits $gpu: $answer" ;;
1)
    echo "does not fit $gpu; the smallest change:" >&2
    python3 -c 'import json, sys
changes = json.load(open(sys.argv[1]))["changes"]
print(changes[0]["diff"] if changes else "none that these files can say")' "$answer" >&2
    exit 1
    ;;
*)
    echo "cannot be planned: $answer says why" >&2
    exit 2
    ;;
esac
