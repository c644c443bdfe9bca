# Who holds the host's lock, which receive.sh takes. Functions only; $root is set.
# shellcheck shell=sh disable=SC2034,SC2154

# first_line FILE: $got becomes its first line; empty where there is none.
first_line() {
    got=
    { IFS= read -r got <"$1" || :; } 2>/dev/null
}

# ticks PID: $got becomes when that process started, in clock ticks since boot; empty when there is none, or it has ended.
ticks() {
    first_line "/proc/$1/stat"
    # shellcheck disable=SC2086 # the numbers after the command's name
    set -- ${got##*\)}
    if [ "${1:-}" = Z ]; then set --; fi
    got=${20:-}
}

# find_holder: $holder becomes the rollout that is at work on the host, with $holder_owner and $holder_start; empty where none is.
find_holder() {
    holder='' holder_owner='' holder_start=''
    if [ ! -L "$root/var/lib/ionet/lock" ] || ! held=$(readlink "$root/var/lib/ionet/lock" 2>/dev/null); then return; fi
    IFS=$(printf '\t')
    set -f
    # shellcheck disable=SC2086 # the lock's fields
    set -- $held
    set +f
    unset IFS
    first_line "$root/proc/sys/kernel/random/boot_id"
    if [ "${6:-}" != "$got" ] || [ -z "${4:-}" ]; then return; fi
    ticks "$4"
    if [ "${5:-}" = "$got" ]; then holder=$1 holder_owner=$2 holder_start=$3; fi
}
