# The last serial of a maintenance door, which an apply mends. Functions only; $our and $tab are set.
# shellcheck shell=sh disable=SC2034,SC2154

# How far ahead of the host's clock a word's end may lie, and with it its serial, so that none makes all later ones old.
ahead_s=604800

# is_number TEXT: of at most 16 digits, which every shell can reckon with.
is_number() {
    case $1 in '' | 0?* | *[!0-9]* | ?????????????????*) return 1 ;; esac
}

# read_serial: $last becomes the last word's serial, $seen when it counted, in seconds; both are 0 before the first. Fails where nobody
# can tell: the file is torn, or its serial is one that was never taken.
read_serial() {
    last=0 seen=0
    if [ ! -e "$our/maintenance/serial" ]; then return; fi
    last='' seen=''
    { IFS=$tab read -r last seen <"$our/maintenance/serial" || return 1; } 2>/dev/null
    is_number "$last" && is_number "$seen" && [ ${#seen} -le 11 ] && [ "$last" -le $(((seen + ahead_s) * 1000000)) ]
}
