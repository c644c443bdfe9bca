# The survey's part on disks: room and mounts of places, and what the system itself lies on.
# Functions only, called by survey.sh and survey_machine.sh; the former sets root, tab and nl.
# shellcheck shell=sh disable=SC2154

# nearest PATH: $got becomes the nearest directory at or above it.
nearest() {
    got=$root$1
    while [ -n "$got" ] && [ ! -d "$got" ]; do got=${got%/*}; done
    got=${got:-/}
}

# disks PLACE...: room and mount of each. The mounts are read once and in one go: a host of many containers has many.
disks() {
    places=
    for place in "$@"; do
        places=$places$place$nl
        nearest "$place"
        shift
        set -- "$@" "$got"
    done
    if ! table=$(answer 10 df -Pk "$@"); then return; fi
    mounts=$root/proc/mounts
    if [ ! -r "$mounts" ]; then mounts=/proc/mounts; fi
    if [ ! -r "$mounts" ]; then mounts=/dev/null; fi
    printf '%s\n' "$table" | places=$places awk '
        # Of several mounts at one point the last one is on top.
        FILENAME != "-" { kind[$2] = $3; options[$2] = substr($4, 1, 500); next }
        FNR == 1 { split(ENVIRON["places"], place, "\n"); next }
        {
            row++
            point = $0
            for (column = 1; column <= 5; column++) sub(/^[^ \t]+[ \t]+/, "", point)
            gsub(/ /, "\\040", point)
            gsub(/\t/, "\\011", point)
            known = point in kind
            if ($4 ~ /^[0-9]+$/)
                printf "disk\t%s\t%.0f\t%s\t%s\t%s\n", place[row], int($4 / 1024),
                    known ? kind[point] : "unknown", known ? options[point] : "unknown", substr(point, 1, 300)
        }' "$mounts" -
}

# system_disk: whether / lies on a stick or card, and what of its disk no partition has. $table is df's, / comes first in it.
system_disk() {
    block=${table#*"$nl"}
    block=${block%%[ "$tab"]*}
    block=${block#/dev/}
    case $block in '' | *[!0-9A-Za-z]*) return ;; esac
    block=$root/sys/class/block/$block
    if [ ! -e "$block" ]; then return; fi
    if [ -e "$block/partition" ]; then
        block=$block/..
        unpartitioned "$block"
    fi
    first_line "$block/removable"
    case $got$(cd -P "$block" 2>/dev/null && pwd -P) in
    1* | *"$root"/sys/*/usb[0-9]* | *"$root"/sys/*/mmc_host/*) fact stick 1 ;;
    0*) fact stick 0 ;;
    esac
}

# unpartitioned DISK: a directory of /sys, where sizes are in sectors of 512 bytes.
unpartitioned() {
    if ! sectors "$1"; then return; fi
    free=$got
    for part in "$1"/*/partition; do
        if sectors "${part%/*}"; then free=$((free - got)); fi
    done
    if [ "$free" -ge 0 ]; then fact unpartitioned.kib $((free / 2)); fi
}

# sectors DIRECTORY: $got becomes its size; false where there is none.
sectors() {
    first_line "$1/size"
    case $got in '' | *[!0-9]* | 0?* | ????????????????*) return 1 ;; esac
}
