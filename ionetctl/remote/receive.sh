# Takes the lock, unpacks SIZE bytes of tar, runs apply.sh: sh -c THIS sh NONCE ROLLOUT OWNER STARTED SIZE
set -eu
umask 077
export LC_ALL=C
r=${IONET_ROOT:-}
PATH=${PATH:+$PATH:}$r/usr/local/sbin:$r/usr/local/bin:$r/usr/sbin:$r/usr/bin:$r/sbin:$r/bin
our=$r/var/lib/ionet
lock=$our/lock
stage=$our/staging
tab=$(printf '\t')

fail() {
    case $2 in
    *'No space'* | *quota*) set -- disk_full "$2" ;;
    *Read-only*) set -- read_only "$2" ;;
    esac
    printf 'error\t%s\t%.900s\n' "$1" "$(printf %s "$2" | tr '\n' ' ')"
    if [ "$1" = locked ]; then exit 75; fi
    exit 1
}

ticks() {
    t=
    { read -r t <"/proc/$1/stat" || :; } 2>/dev/null
    # shellcheck disable=SC2086
    set -- ${t##*\)}
    echo "${20:-}"
}

lives() {
    IFS=$tab
    # shellcheck disable=SC2086
    set -f -- $1
    unset IFS
    holder="$1 ${2:-} ${3:-}"
    [ "${6:-}" = "$boot" ] && [ "${5:-}" = "$(ticks "${4:-}")" ]
}

boot=
{ read -r boot <"$r/proc/sys/kernel/random/boot_id" || :; } 2>/dev/null
me=$2$tab$3$tab$4$tab$$$tab$(ticks $$)$tab$boot
why=$(mkdir -p "$our" 2>&1) || fail apply_failed "$why"
# One at a time looks at the lock and takes it: of several that find a dead one, each could remove what another made.
exec 9<"$our"
why=$(flock 9 2>&1) || fail apply_failed "$why"
old=$(readlink "$lock") || old=
if [ -n "$old" ] && lives "$old"; then fail locked "$holder"; fi
why=$(rm -f "$lock" 2>&1 && ln -sn "$me" "$lock" 2>&1) || fail apply_failed "$why"
exec 9<&-
trap 'rm -rf "$stage" "$lock"' EXIT
trap 'exit 1' HUP INT PIPE TERM
why=$(rm -rf "$stage" 2>&1 && mkdir "$stage" 2>&1) || fail apply_failed "$why"
cd "$stage"
printf 'ready\t%s\nstep\treceive\n' "$1"
why=$(head -c "$5" | {
    s=0
    tar -xf - 2>&1 || s=$?
    cat >/dev/null
    exit $s
}) || fail payload_corrupt "$why"
trap - EXIT
exec sh ./apply.sh
