# Puts packed programs where an apply finds them, each under its digest: from standard input, or from a URL with what the host
# has; then serves them to its neighbours, if it is asked to.
#
#   sh -c "$(cat start_obtain.sh)" ionet-obtain NONCE DIGEST:BYTES...    this text on standard input, what follows after it
#
# After it come a line, SOURCE [UNIT TOKEN LIMIT_S IDLE_S SLOTS ADDRESSES], then the files. SOURCE is - for the files that follow,
# else the URL that they lie below; without UNIT the host serves nobody. Tokens are in URLs too, so that neither is ever an
# argument, which every user of the host may read. programs.sh and the other obtain_*.sh travel before this text, and that of the server.
# It says what it did, and ends with 0.
# shellcheck disable=SC2034 # grace_s
set -u
umask 077
export LC_ALL=C
root=${IONET_ROOT:-}
for directory in /usr/local/sbin /usr/local/bin /usr/sbin /usr/bin /sbin /bin; do
    PATH=${PATH:+$PATH:}$root$directory
done
our_dir=$root/var/lib/ionet
store=$our_dir/artifacts
serve_dir=$our_dir/serve
grace_s=5

# exactly BYTES: so many bytes of standard input; not one more is taken from it, as busybox's head does.
exactly() {
    if [ "$1" -ge 65536 ]; then dd bs=65536 count=$(($1 / 65536)) iflag=fullblock status=none || return; fi
    if [ $(($1 % 65536)) -gt 0 ]; then dd bs=$(($1 % 65536)) count=1 iflag=fullblock status=none || return; fi
}

# receive_file DIGEST BYTES
receive_file() {
    if ! why=$(exactly "$2" 2>&1 >"$new"); then
        missed "$1" no_room "$why"
    elif keep "$1"; then
        printf 'got\t%s\t%s\n' "$1" "$2"
    else
        missed "$1" wrong_digest 'it was changed on its way'
    fi
}

get_all() {
    if ! why=$(mkdir -p "$store" 2>&1); then
        missed "${1%:*}" no_room "$why"
        return 1
    fi
    if [ "$source" != - ]; then choose_tool; fi
    for file in "$@"; do
        new=$store/.${file%:*}.$$
        if [ "$source" = - ]; then
            receive_file "${file%:*}" "${file#*:}"
        else
            fetch_file "${file%:*}" "${file#*:}" "$source"
        fi
        rm -f "$new" "$new.why"
    done
}

# has_all DIGEST...
has_all() {
    for digest in "$@"; do
        if [ ! -f "$store/$digest" ]; then return 1; fi
    done
}

obtain() {
    nonce=$1
    shift
    read -r source unit token limit_s idle_s slots addresses
    printf 'ionet-obtain\t1\t%s\n' "$nonce"
    new=$store/.none
    trap 'rm -f "$new" "$new.why"; exit 1' HUP INT PIPE TERM
    remove_old
    if get_all "$@" && [ -n "$unit" ]; then
        digests=
        for file in "$@"; do digests="$digests ${file%:*}"; done
        # shellcheck disable=SC2086 # words of their own
        if has_all $digests; then
            # shellcheck disable=SC2086
            serve $digests
        fi
    fi
    printf 'ionet-obtain-end\t%s\n' "$nonce"
}

obtain "$@"
