#!/bin/sh
# hostile_suite.sh SANDBOX_CLI SOURCE_DIR CATEGORY: one category of the hostile suite; exit status 77: skipped.
cases="${PONDER_CASES:-$2/tests/cases}/sandbox"
if [ "$(id -u)" != 0 ]; then echo "the suite plants canaries as root"; exit 77; fi
report=$(mktemp)
python3 "$cases/run_suite.py" --runner "$1 sandbox run --request -" --category "$3" --out "$report"
status=$?
failed=$(python3 -c "import json,sys; r=json.load(open(sys.argv[1])); print(sum(not c['ok'] for c in r) if r else -1)" "$report")
rm -f "$report"
[ $status = 0 ] && [ "$failed" = 0 ]
