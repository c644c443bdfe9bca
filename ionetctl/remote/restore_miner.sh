# Puts back the miners that ionetctl stopped on this host, last step first: units, lines of crontabs and start files. Run it
# as root. A step that fails stays for the next time. Processes that were started by hand are listed, and not started.
# It travels with the functions of programs.sh and settle.sh before it.
# shellcheck shell=sh disable=SC2034,SC2329
set -u
export LC_ALL=C
PATH=${PATH:+$PATH:}/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
root=${IONET_ROOT:-}
undo=$root/var/lib/ionet/miners/undo
system=$root/etc/systemd/system
tab=$(printf '\t')
grace_s=20

service() {
    within 600 systemctl "$@"
}

# Each of these puts one record back: it ends with another status than 0 where it could not, and harms nothing done twice.

# put_unit UNIT ENABLED ACTIVE TARGET: records of old have neither ACTIVE nor TARGET, and were of active units.
put_unit() {
    if [ "$2" != masked ] && [ "$(readlink "$system/$1")" = /dev/null ]; then service unmask "$1" || return; fi
    if [ "${4:--}" != - ] && [ "$4" != /dev/null ] && [ ! -e "$system/$1" ]; then
        ln -sf "$4" "$system/$1" && service daemon-reload || return
    fi
    if [ "$2" = enabled ]; then service enable "$1" || return; fi
    if [ "${3:-active}" != active ]; then return; fi
    service start "$1" && echo "started $1"
}

# put_lines KIND PATH
put_lines() {
    file=$(readlink -f "$root$2") || return 0
    if [ ! -f "$file" ]; then return; fi
    new=${file%/*}/.ionet-${file##*/}
    cp -p "$file" "$new" && sed -e '/ #ionet$/d' -e 's/^#ionet# //' "$file" >"$new" &&
        settle "$new" && mv -f "$new" "$file" || return
    case $1 in
    crontab) echo "put the lines back into $2" ;;
    *) echo "put the lines back into $2, which runs at the next boot or login" ;;
    esac
}

# put_hive: by a record of old. What its command ends with says nothing: it fails when a watchdog is off.
put_hive() {
    if systemctl cat hive.service >/dev/null 2>&1; then service start hive.service || return; fi
    status=0
    within 120 env "PATH=$root/hive/bin:$root/hive/sbin:$PATH" "$root/hive/bin/miner" start || status=$?
    case $status in
    0) echo 'started the miner of HiveOS' ;;
    *) echo "asked HiveOS to start its miner, which ended with status $status" ;;
    esac
}

# remove_unit UNIT: one of ours. It goes on until the next boot: some systems feed a watchdog card only from then on, and
# nobody would meanwhile.
remove_unit() {
    if [ ! -e "$system/$1" ]; then return; fi
    service disable "$1" && rm -f "$system/$1" && service daemon-reload && echo "removed $1"
}

put_back() {
    case $1 in
    unit) put_unit "$2" "$3" "$4" "$5" ;;
    crontab | start_file) put_lines "$1" "$2" ;;
    hold) rm -f "$root$2" && echo "removed $2" ;;
    own) remove_unit "$2" ;;
    enabled) service disable "$2" && echo "disabled $2" ;;
    hive) put_hive ;;
    command) echo "was started by hand, or by something unknown: $2" ;;
    esac
}

main() {
    rm -f "$root/var/lib/ionet/miners/pending"
    if [ ! -e "$undo" ]; then
        echo 'no miner was stopped here'
        exit 0
    fi
    rm -f "$undo.failed" "$undo.backwards"
    awk '{ line[NR] = $0 } END { for (i = NR; i > 0; i--) print line[i] }' "$undo" >"$undo.backwards" || exit 1
    failed=
    while IFS= read -r record; do
        IFS=$tab
        # shellcheck disable=SC2086 # its fields
        set -f -- $record
        unset IFS
        set +f
        if put_back "${1:-}" "${2:-}" "${3:-}" "${4:-}" "${5:-}" </dev/null; then continue; fi
        echo "could not be put back: $(printf '%s' "$record" | tr '\t' ' ')" >&2
        failed="$record
$failed"
    done <"$undo.backwards"
    rm -f "$undo.backwards"
    if [ -z "$failed" ]; then
        mv -f "$undo" "$undo.done"
        exit 0
    fi
    printf '%s' "$failed" >"$undo.failed" && settle "$undo.failed" && mv -f "$undo.failed" "$undo"
    echo 'what failed is tried again by the next run of this program' >&2
    exit 1
}

main
