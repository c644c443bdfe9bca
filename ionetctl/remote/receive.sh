# Takes the lock, unpacks a tar, runs apply.sh: sh -c THIS sh NONCE ROLLOUT OWNER STARTED FENCE LEASE DIGEST...
# A line with the size comes before the tar. Its members p/DIGEST.FROM are added to what lies in artifacts/DIGEST.
set -eu
umask 077
export LC_ALL=C
r=${IONET_ROOT:-}
PATH=${PATH:+$PATH:}$r/usr/local/sbin:$r/usr/local/bin:$r/usr/sbin:$r/usr/bin:$r/sbin:$r/bin
our=$r/var/lib/ionet
lock=$our/lock
stage=$our/staging
kept=$our/artifacts
tab='	'

fail() {
    case $1.$2 in
    locked.* | changed.*) ;;
    *'No space'* | *quota*)
        rm -rf "$stage" "$kept"
        set -- disk_full "$2"
        ;;
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
    if [ "${1:-}" = Z ]; then set --; fi
    t=${20:-}
}

lives() {
    IFS=$tab
    set -f
    # shellcheck disable=SC2086
    set -- $1
    set +f
    unset IFS
    holder="$1 ${2:-} ${3:-}"
    ticks "${4:-}"
    [ "${6:-}" = "$boot" ] && [ "${5:-}" = "$t" ]
}

# keep: what has come of each program is added to what lay there; what was added before this broke off is not added twice.
keep() {
    for part in "$stage"/p/*; do
        if [ ! -f "$part" ]; then continue; fi
        whole=${part##*/}
        from=${whole#*.}
        whole=$kept/${whole%.*}
        if [ ! -d "$kept" ]; then mkdir "$kept" || return; fi
        if [ "$from" = 0 ]; then
            mv -f "$part" "$whole" || return
            continue
        elif [ -f "$whole" ] && from=$(($(wc -c <"$whole") - from + 1)) && [ "$from" -gt 0 ]; then
            tail -c "+$from" "$part" >>"$whole" || return
        fi
        rm -f "$part"
    done
}

boot=
{ read -r boot <"$r/proc/sys/kernel/random/boot_id" || :; } 2>/dev/null
ticks $$
me=$2$tab$3$tab$4$tab$$$tab$t$tab$boot
[ -d "$our" ] || why=$(mkdir -p "$our" 2>&1) || fail apply_failed "$why"
# One at a time looks at the lock and takes it: of several that find a dead one, each could remove what another made.
exec 9<"$our"
why=$(flock 9 2>&1) || fail apply_failed "$why"
if [ -L "$lock" ] && old=$(readlink "$lock") && lives "$old"; then fail locked "$holder"; fi
why=$(ln -sfn "$me" "$lock" 2>&1) || fail apply_failed "$why"
exec 9<&-
trap 'keep || :; rm -rf "$stage" "$our/fence.ionet-new" "$lock"' EXIT
trap 'exit 1' HUP INT PIPE TERM
# The fence counts who took the lock: whose survey is older knows another host, and changes nothing. Its second line is the
# lease of the last one: an older lease of the same catalog, whatever its survey found, was taken over.
fence=0 by='' lease=''
{ { read -r fence by && read -r lease; } <"$our/fence" || :; } 2>/dev/null
case $fence in '' | 0* | *[!0-9]* | ????????????????*) fence=0 ;; esac
case $lease in
"${6%.*}".*) if [ "${lease#*.}" -gt "${6#*.}" ] 2>/dev/null; then fail changed "$by"; fi ;;
esac
if [ "$fence" != "$5" ]; then fail changed "$by"; fi
why=$(printf '%d\t%s\t%s\t%s\n%s\n' $((fence + 1)) "$2" "$3" "$4" "$6" | {
    cat >"$our/fence.ionet-new" && mv -f "$our/fence.ionet-new" "$our/fence"
} 2>&1) || fail apply_failed "$why"
keep || :
[ ! -e "$stage" ] || why=$(rm -rf "$stage" 2>&1) || fail apply_failed "$why"
why=$(mkdir "$stage" 2>&1) || fail apply_failed "$why"
cd "$stage"
nonce=$1
shift 6
if [ -d "$kept" ]; then find "$kept" -type f -mtime +0 -exec rm -f {} + || :; fi
for digest in "$@"; do
    if [ -s "$kept/$digest" ]; then printf 'have\t%s\t%d\n' "$digest" "$(wc -c <"$kept/$digest")"; fi
done
printf 'ready\t%s\nstep\treceive\n' "$nonce"
read -r size || size=0
why=$(head -c "$size" | {
    s=0
    # As of now: what is old is swept.
    tar -xmf - 2>&1 || s=$?
    cat >/dev/null
    exit $s
} && keep 2>&1) || fail payload_corrupt "$why"
trap - EXIT
exec sh ./apply.sh
