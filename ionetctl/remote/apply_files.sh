# The apply's part on single files: lists, directories, renames, rights, and what must be on disk.
# Functions only, called by apply.sh, which sets the paths.
# shellcheck shell=sh disable=SC2034,SC2154

# ensure COMMAND...: all of it fails when the command does. That is run in this shell, which is cheaper than one that
# listens, and alone, so that nothing goes on when this shell is killed; where it fails, once more for what it says.
ensure() {
    if "$@" >/dev/null 2>&1; then return; fi
    try apply_failed "$@"
}

# with_lines LIST COMMAND...: the command, with the lines of the list as its last arguments; nothing where there are none.
with_lines() {
    lines=$1
    shift
    if [ -z "$lines" ]; then return; fi
    IFS=$nl
    # shellcheck disable=SC2086 # an argument a line
    set -- "$@" $lines
    unset IFS
    "$@"
}

# into DIRECTORY COMMAND...: the command, with the directory as its last argument.
into() {
    last=$1
    shift
    "$@" "$last/"
}

# each_line LIST FUNCTION: calls it with every line of the list, until it fails.
each_line() {
    IFS=$nl
    # shellcheck disable=SC2086 # a line each
    for entry in $1; do
        unset IFS
        "$2" "$entry" || return
    done
    unset IFS
}

# each KIND FUNCTION: calls it with the fields of every record of that kind, until it fails.
each() {
    IFS=$nl
    for record in $steps; do
        unset IFS
        case $record in "$1$tab"*) with_fields "$2" "${record#*"$tab"}" || return ;; esac
    done
    unset IFS
}

# with_fields FUNCTION RECORD
with_fields() {
    IFS=$tab
    # shellcheck disable=SC2086 # an argument a field
    set -- "$1" $2
    unset IFS
    "$@"
}

# need_directory PATH: it is missing, with whatever is missing above it; $missing has those to be made, the highest first.
need_directory() {
    if [ -z "$1" ] || [ -d "$1" ]; then return; fi
    case $nl$missing in *"$nl$1$nl"*) return ;; esac
    need_directory "${1%/*}"
    missing=$missing$1$nl
    made=$1$nl$made
}

make_directories() {
    ensure with_lines "$missing" mkdir -p -m 0755
    missing=''
}

# settle_all LIST: those of its paths that are there, a line each. A link is on disk with its directory.
settle_all() {
    there=''
    each_line "$1" note_there
    with_lines "$there" settle
}

# expect_settled COMMAND...: one that settles, which is not done again where it fails.
expect_settled() {
    "$@" 2>/dev/null || fail apply_failed "$unsettled"
}

note_there() {
    if [ -e "$1" ] && [ ! -L "$1" ]; then there=$there$1$nl; fi
}

# note_place PATH: $places has it and its directory.
note_place() {
    places=$places$root$1$nl
    case $nl$places in *"$nl$root${1%/*}$nl"*) ;; *) places=$places$root${1%/*}$nl ;; esac
}

# settle_places LIST: paths below the root, with the directories that name them.
settle_places() {
    places=''
    each_line "$1" note_place
    settle_all "$places"
}

# write_new TEXT FILE: which nobody else may have made. What the shell cannot write cat tries, which says why.
write_new() {
    { printf '%s\n' "$1" >"$2"; } 2>/dev/null || { rm -f "$2" && printf '%s\n' "$1" | cat >"$2"; }
}

# write LINE FILE: whole or not at all, and never readable by others before it is there.
write() {
    write_new "$1" "$2.ionet-new" && settle "$2.ionet-new" && mv -f "$2.ionet-new" "$2"
}

# clear PATH...: those that are there are removed.
clear() {
    for path in "$@"; do
        if [ -e "$path" ] || [ -L "$path" ]; then rm -f "$path" || return; fi
    done
}

copy() {
    clear "$2" && cat <"$1" >"$2"
}

# unpack FORM FILE TO: the form is the name of its program.
unpack() {
    exec "$1" -dc <"$2" >"$3"
}

# stage_beside PATH: $new becomes the name under which its new content waits, in a directory that will be there.
stage_beside() {
    new=$root$1.ionet-new
    need_directory "${new%/*}"
    staged=$staged$new$nl
}

# put PATH: what waits beside it takes its place.
put() {
    if [ -d "$root$1" ]; then
        if [ ! -L "$root$1" ]; then
            echo "$1 is a directory"
            return 1
        fi
        rm -f "$root$1" || return
    fi
    mv -f "$root$1.ionet-new" "$root$1"
}

# move_aside PATH
move_aside() {
    if [ ! -e "$root$1" ] && [ ! -L "$root$1" ]; then return; fi
    aside=${aside:-$our/replaced/$(date -u +%Y%m%dT%H%M%SZ)}
    ensure mkdir -p "$aside${1%/*}"
    ensure mv -f "$root$1" "$aside${1%/*}/"
}

# note_rights MODE OWNER FILE: to be set by grant_all.
note_rights() {
    rights=$rights$1$tab$2$tab$3$nl
    case " $modes " in *" $1 "*) ;; *) modes="$modes $1" ;; esac
    case " $owners " in *" $2 "*) ;; *) owners="$owners $2" ;; esac
}

# grant_all: the noted rights, with a call for all files of an owner, then for all of a mode.
grant_all() {
    for wanted in $owners; do
        grant_some chown
    done
    for wanted in $modes; do
        grant_some chmod
    done
    rights='' modes='' owners=''
}

grant_some() {
    some=''
    each_line "$rights" note_wanted
    ensure with_lines "$some" "$1" "$wanted"
}

note_wanted() {
    case $1 in
    "$wanted$tab"* | *"$tab$wanted$tab"*) some=$some${1##*"$tab"}$nl ;;
    esac
}
