# The apply's part on the changes themselves: what is staged takes its place.
# Functions only, called by apply.sh, which sets the paths.
# shellcheck shell=sh disable=SC2034,SC2154

install_files() {
    begin install
    settle_all "$staged"
    each aside move_aside
    each program put_program
    each file put_file
    each chmod set_rights
}

put_program() {
    put "$6"
}

put_file() {
    put "$5"
}

switch() {
    begin switch
    each link put_link
    put_token
    settle_places "$changed"
}

# put_link TARGET DEST
put_link() {
    try apply_failed ln -s "$root$1" "$root$2.ionet-new"
    put "$2"
}

put_token() {
    if [ -z "$token" ]; then
        try apply_failed rm -f "$root$token_file"
        return
    fi
    make_directory "$root$state_dir" 0700
    staged=$staged$root$token_file.ionet-new$nl
    try apply_failed write "$token" "$root$token_file"
}
