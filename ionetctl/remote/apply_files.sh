# The apply's part on single files: directories, renames, rights, and what must be on disk.
# Functions only, called by apply.sh, which sets the paths.
# shellcheck shell=sh disable=SC2034,SC2154

remove() {
    rm -f "$1"
}

remove_directory() {
    rmdir "$1" 2>/dev/null || :
}

# make_directory PATH MODE: with whatever is missing above it.
make_directory() {
    if [ -z "$1" ] || [ -d "$1" ]; then return; fi
    make_directory "${1%/*}" 0755
    try apply_failed mkdir -m "${2:-0755}" "$1"
    made=$1$nl$made
}

# settle FILE...: on disk. An old sync takes no files and writes everything.
settle() {
    sync "$@" 2>/dev/null || sync
}

# settle_all LIST: those of its paths that are there, a line each. A link is on disk with its directory.
settle_all() {
    rest=$1
    set --
    while [ -n "$rest" ]; do
        if [ -e "${rest%%"$nl"*}" ] && [ ! -L "${rest%%"$nl"*}" ]; then set -- "$@" "${rest%%"$nl"*}"; fi
        rest=${rest#*"$nl"}
    done
    if [ $# -gt 0 ]; then settle "$@"; fi
}

# note_place PATH: $places becomes the list of it and its directory.
note_place() {
    places=$places$root$1$nl$root${1%/*}$nl
}

# settle_places LIST: paths below the root, with the directories that name them.
settle_places() {
    places=''
    each_line "$1" note_place
    settle_all "$places"
}

# append LINE FILE: by cat, which prints why it cannot.
append() {
    printf '%s\n' "$1" | cat >>"$2"
}

# write LINE FILE: whole or not at all, and never readable by others before it is there.
write() {
    rm -f "$2.ionet-new"
    if (set -C && printf '%s\n' "$1" | cat >"$2.ionet-new") && settle "$2.ionet-new"; then
        mv -f "$2.ionet-new" "$2"
    else
        rm -f "$2.ionet-new"
        return 1
    fi
}

copy() {
    (set -C && cat <"$1" >"$2")
}

# unpack FORM FILE TO: the form is the name of its program.
unpack() {
    (set -C && "$1" -dc <"$2" >"$3")
}

# grant MODE OWNER FILE
grant() {
    chown "$2" "$3" && chmod "$1" "$3"
}

# stage_beside PATH: $new becomes the name under which its new content waits.
stage_beside() {
    new=$root$1.ionet-new
    make_directory "${new%/*}"
    try apply_failed rm -f "$new"
    staged=$staged$new$nl
}

# put PATH: what waits beside it takes its place.
put() {
    if [ -d "$root$1" ] && [ ! -L "$root$1" ]; then fail apply_failed "$1 is a directory"; fi
    if [ -d "$root$1" ]; then try apply_failed rm -f "$root$1"; fi
    try apply_failed mv -f "$root$1.ionet-new" "$root$1"
}

# move_aside PATH
move_aside() {
    if [ ! -e "$root$1" ] && [ ! -L "$root$1" ]; then return; fi
    aside=${aside:-$our/replaced/$(date -u +%Y%m%dT%H%M%SZ)}
    into=$aside${1%/*}
    try apply_failed mkdir -p "$into"
    try apply_failed mv -f "$root$1" "$into/"
}

# set_rights MODE OWNER DEST
set_rights() {
    try apply_failed grant "$1" "$2" "$root$3"
}
