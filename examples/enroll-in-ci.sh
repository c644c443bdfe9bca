#!/bin/sh
# Enrols a site without anybody watching: enroll-in-ci.sh INVENTORY [OPTION…]; the options go to `ionetctl enroll`.
# Leaves check.json, enroll.json and enroll.xml (JUnit) in the working directory. Needs jq. Ends with ionetctl's exit code.
set -eu

inventory=${1:?usage: enroll-in-ci.sh INVENTORY [OPTION...]}
shift

# troubles FILE: hosts that did not end well, a line for each code; and what ended the command, if something did.
troubles() {
  jq -r '(.hosts | map(select(.outcome == "failed" or .outcome == "unreachable" or .outcome == "unverified"))
          | group_by(.error.code)[] | "\(.[0].error.code): \(map(.name) | join(", "))\n  \(.[0].error.hint)"),
         (.error // empty | "\(.code): \(.message)")' "$1"
}

status=0
ionetctl enroll "$inventory" "$@" --check --quiet -o json >check.json || status=$?
case $status in
  0) echo "every host is as it should be" && exit 0 ;;
  4 | 5 | 9) ;; # some hosts cannot be enrolled now; the others need not wait for them
  *) troubles check.json >&2 && exit "$status" ;;
esac
changing=$(jq '[.hosts[] | select(.error.code == "check")] | length' check.json)
echo "$changing hosts differ from the inventory"
if [ "$changing" -eq 0 ]; then troubles check.json >&2 && exit "$status"; fi

status=0
ionetctl enroll "$inventory" "$@" --yes --quiet -o json --report junit=enroll.xml >enroll.json || status=$?
jq -r '.summary | "\(.hosts) hosts: \(.enrolled) enrolled, \(.unchanged) unchanged, \(.skipped) not begun"' enroll.json
troubles enroll.json >&2
case $status in
  10 | 129 | 130 | 143) echo "go on with: ionetctl enroll $inventory --yes --resume --rollout $(jq -r .rollout enroll.json)" >&2 ;;
esac
exit "$status"
