# What an apply and a preparation have in common: lines to the controller, and commands whose failure is reported.
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
