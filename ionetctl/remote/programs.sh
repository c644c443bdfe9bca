# What all scripts have in common: programs, and the time they are given. Functions only; the script sets grace_s, how
# long a program has to heed the signal that ends it.
# shellcheck shell=sh disable=SC2154

has() {
    command -v "$1" >/dev/null 2>&1
}

# read_clock: $now becomes the time since boot, in hundredths of a second.
read_clock() {
    now=0.00
    { read -r now _ </proc/uptime || :; } 2>/dev/null
    now=$((${now%.*} * 100 + 1${now#*.} - 100))
}

# within SECONDS COMMAND...: the command, ended when it takes longer: then the status is 124, and standard error names
# it. The clock decides, since programs called timeout differ; it may be a little behind the timer.
within() {
    within_s=$1
    shift
    read_clock
    within_began=$now within_status=0
    if has timeout; then
        timeout -k "$grace_s" "$within_s" "$@" || within_status=$?
    else
        "$@" || within_status=$?
    fi
    if [ "$within_status" = 0 ]; then return; fi
    read_clock
    if [ $((now - within_began)) -lt $((within_s * 100 - 10)) ]; then return "$within_status"; fi
    echo "$1 did not end within $within_s s" >&2
    return 124
}
