# What must be on disk, in an apply, a preparation, a closing and restore-miner. Functions only.
# shellcheck shell=sh disable=SC2034,SC2154

# settle FILE...: on disk; else it fails, and says why, also in $unsettled. It is not asked twice for the same file: the
# kernel tells of a failed write once, and then takes what was lost for written.
# A sync that takes no files writes everything; so it does where a file system knows no fsync of a file or directory.
settle() {
    if unsettled=$(sync "$@" 2>&1); then return; fi
    if takes_files; then
        unsettled=$(printf '%s\n' "$unsettled" | grep -v ': Invalid argument$') || unsettled=''
        if [ -n "$unsettled" ]; then
            printf '%s\n' "$unsettled" >&2
            return 1
        fi
    fi
    unsettled=$(sync 2>&1)
}

# takes_files: whether sync does, tried with what lies in memory, where no write is lost.
takes_files() {
    sync /dev >/dev/null 2>&1
}
