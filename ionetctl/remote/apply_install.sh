# The apply's part on the changes themselves: what is staged takes its place.
# Functions only, called by apply.sh, which sets the paths.
# shellcheck shell=sh disable=SC2034,SC2154

install_files() {
    begin install
    expect_settled settle_all "$staged"
    each aside move_aside
    each program put_program
    each file put_file
    each chmod note_chmod
    grant_all
    mend_serial
}

# mend_serial: a maintenance door that does not know its last serial, or counted it by a clock that was more than an hour ahead,
# begins anew with an enrolment: what was signed before that is old.
mend_serial() {
    if [ ! -e "$our/maintenance/serial" ] || [ -n "${IONET_UNANSWERED:-}" ]; then return; fi
    now_s=$(date +%s)
    if read_serial && [ "$seen" -le $((now_s + 3600)) ]; then return; fi
    ensure write "${now_s}000000$tab$now_s" "$our/maintenance/serial"
}

put_program() {
    ensure put "$6"
}

put_file() {
    ensure put "$5"
}

note_chmod() {
    note_rights "$1" "$2" "$root$3"
}

switch() {
    begin switch
    each link put_link
    put_token
    expect_settled settle_places "$changed"
}

# put_link TARGET DEST
put_link() {
    ensure link "$root$1" "$root$2.ionet-new"
    ensure put "$2"
}

# link TARGET PATH
link() {
    clear "$2" && ln -s "$1" "$2"
}

put_token() {
    if [ -z "$token" ]; then
        ensure clear "$root$token_file"
        return
    fi
    need_directory "$root$state_dir"
    if [ -n "$missing" ]; then ensure make_state_directory; fi
    missing=''
    staged=$staged$root$token_file.ionet-new$nl
    ensure write "$token" "$root$token_file"
}

# make_state_directory: for its owner alone; what is missing above it as usual.
make_state_directory() {
    # shellcheck disable=SC2174 # that is what is wanted
    (umask 022 && mkdir -p -m 0700 "$root$state_dir")
}
