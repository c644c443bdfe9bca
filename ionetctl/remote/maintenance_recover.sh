# The maintenance door's part on the host's lock and fence, which it shares with enrolments, and on putting back what a killed run
# left. Functions only, called by maintenance.sh.
# shellcheck shell=sh disable=SC2034,SC2154

# read_fence: $fence becomes how many have taken the host's lock, $lease the lease of the last enrolment, empty where there is none.
read_fence() {
    fence=0 lease=''
    { { IFS=$tab read -r fence _ && read -r lease; } <"$our/fence" || :; } 2>/dev/null
    case $fence in '' | 0* | *[!0-9]* | ????????????????*) fence=0 ;; esac
}

# is_free: no apply is at work.
is_free() {
    find_holder
    set -f
    [ -z "$holder" ]
}

# take_lock: the host's, as receive.sh takes it, for what is left of the word $serial. Fails where an apply is at work.
take_lock() {
    exec 9<"$our"
    taken=no
    if flock 9 && is_free; then
        first_line "$root/proc/sys/kernel/random/boot_id"
        boot=$got
        ticks $$
        began=$(date -u +%Y-%m-%dT%H:%M:%SZ)
        if ln -sfn "word-$serial${tab}door$tab$began$tab$$$tab$got$tab$boot" "$our/lock"; then taken=yes; fi
    fi
    exec 9<&-
    [ $taken = yes ]
}

# raise_fence: whoever surveyed the host before changes nothing.
raise_fence() {
    read_fence
    write "$((fence + 1))${tab}word-$serial${tab}door$tab$began$nl${lease:--}" "$our/fence"
}

# recover RESTARTS: what a run that was killed had changed is put back, unless it was whole, or an enrolment has taken over. While
# one is at work, or where the way back fails, the mark stays.
recover() {
    if [ ! -e "$room/applying" ]; then return 0; fi
    serial='' owner=''
    { read -r serial <"$room/applying" || :; } 2>/dev/null
    if ! take_lock; then return 0; fi
    { read -r owner <"$our/pending" || :; } 2>/dev/null
    said='it was cut off, before or after all changes'
    if [ "$owner" = "word-$serial" ]; then
        touched=$1
        mkdir -p "$run"
        rm -rf "$our/staging"
        if ! raise_fence || { [ -e "$backup/index" ] && ! roll_back; }; then
            answer "$serial" failed interrupted 'it was cut off, and putting the old files back failed: enroll this host again'
            rm -f "$our/lock"
            return 0
        fi
        said='it was cut off; the host was put back as it was'
        clean forget
    else
        rm -f "$our/lock"
    fi
    # The lock is free: whoever holds it now, it is no more ours to remove.
    answer "${serial:--}" failed interrupted "$said"
    rm -f "$room/applying"
}
