# What an apply and a preparation have in common: lines to the controller, commands whose failure is reported, and logs.
# Functions only, called by apply.sh or prepare.sh, each of which has its own way to fail.
# shellcheck shell=sh disable=SC2034,SC2154

# say TEXT: one line to the controller, who may be gone.
say() {
    { printf '%.4000s\n' "$1" || :; } 2>/dev/null
}

# flat TEXT: on one line.
flat() {
    printf '%.900s' "$1" | tr '\n\t' '  '
}

# try CODE COMMAND...: all of it fails with CODE when the command does, or with the code that its output shows.
try() {
    code=$1
    shift
    if ! said=$("$@" 2>&1); then fail "$code" "$said"; fi
}

# log_of UNIT LINES: the end of what its latest start logged, and of what systemd said of that; not of its past.
log_of() {
    if ! has journalctl; then return; fi
    lines=$2
    invocation=$(within 10 systemctl show -p InvocationID "$1" 2>/dev/null) || :
    invocation=${invocation#InvocationID=}
    case $invocation in
    '' | *[!0-9a-f]*) set -- -u "$1" ;; # an old systemd numbers no starts
    *) set -- "_SYSTEMD_INVOCATION_ID=$invocation" + _PID=1 "INVOCATION_ID=$invocation" ;;
    esac
    within 10 journalctl "$@" -n "$lines" -o cat --no-pager 2>/dev/null | tail -n "$lines" || :
}
