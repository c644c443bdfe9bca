# The survey's part on disks: room and mounts of places, and what the system itself lies on.
# Functions only, called by survey.sh and survey_machine.sh; the former sets root, tab and nl.
# shellcheck shell=sh disable=SC2154

# nearest PATH: $got becomes the nearest directory at or above it.
nearest() {
    got=$root$1
    while [ -n "$got" ] && [ ! -d "$got" ]; do got=${got%/*}; done
    got=${got:-/}
}

# disks PLACE...: $table becomes df's of them, and $places themselves, a line each; what tables makes of it is in survey_machine.sh.
disks() {
    places=
    for place in "$@"; do
        places=$places$place$nl
        nearest "$place"
        shift
        set -- "$@" "$got"
    done
    if ask 10 df -Pk "$@"; then
        table=$said
        return
    fi
    # A place that fails has no row, and rows have no names: each place by itself.
    table=header asked=$places places=
    for directory in "$@"; do
        place=${asked%%"$nl"*}
        asked=${asked#*"$nl"}
        if ask 3 df -Pk "$directory"; then places=$places$place$nl table=$table$nl${said#*"$nl"}; fi
    done
}

# system_disk: whether / lies on a stick or card, and what of its disk no partition has. $table is df's, / comes first in it.
system_disk() {
    case $places in "/$nl"*) ;; *) return ;; esac
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
    if cd -P "$block" 2>/dev/null; then got=$got$PWD; fi
    case $got in
    1* | *"$root"/sys/*/usb[0-9]* | *"$root"/sys/*/mmc_host/*) fact stick 1 ;;
    0*) fact stick 0 ;;
    esac
    cd /
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
