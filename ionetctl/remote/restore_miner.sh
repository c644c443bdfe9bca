#!/bin/sh
# Puts back the miners that ionetctl stopped on this host: units, HiveOS, lines of crontabs. Run it as root.
# Processes that were started by hand are listed, and not started.
set -eu
export LC_ALL=C
PATH=${PATH:+$PATH:}/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
root=${IONET_ROOT:-}
undo=$root/var/lib/ionet/miners/undo
tab=$(printf '\t')

# put_unit UNIT ENABLED
put_unit() {
    if [ "$2" = enabled ]; then systemctl enable "$1"; fi
    systemctl start "$1"
    echo "started $1"
}

put_crontab() {
    file=$root$1
    if [ ! -f "$file" ]; then return; fi
    # Through a copy, so that its owner and mode stay.
    lines=$(sed 's/^#ionet# //' "$file")
    printf '%s\n' "$lines" >"$file"
    echo "put the lines back into $1"
}

put_hive() {
    if systemctl cat hive.service >/dev/null 2>&1; then systemctl start hive.service; fi
    "$root/hive/bin/miner" start
    echo 'started the miner of HiveOS'
}

if [ ! -e "$undo" ]; then
    echo 'no miner was stopped here'
    exit 0
fi
while IFS=$tab read -r kind one two; do
    case $kind in
    unit) put_unit "$one" "$two" ;;
    crontab) put_crontab "$one" ;;
    hive) put_hive ;;
    command) echo "was started by hand, or by something unknown: $one" ;;
    esac
done <"$undo"
mv "$undo" "$undo.done"
