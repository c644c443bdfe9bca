# Fetching packed programs from a URL, each under its digest, for obtain.sh and the maintenance door. Functions, and what limits them.
# shellcheck shell=sh disable=SC2034,SC2154

# A source that sends less than 10 kB/s for so long is given up, one that cannot be connected to sooner.
stall_s=15
connect_s=5
fetch_s=600
# What python3 does where there is neither curl nor wget. A redirection is an error.
fetch_program='
import shutil, sys, urllib.request
class Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), Stay)
with opener.open(sys.stdin.readline().strip(), timeout=float(sys.argv[1])) as answer:
    shutil.copyfileobj(answer, sys.stdout.buffer)
'

# fetch URL: its content on standard output. Redirections are not followed, proxies and settings of users not heeded. The URL
# goes through a pipe, since bash before 5.1 keeps here-documents as files in /tmp; printf is the shell's own.
fetch() {
    case $tool in
    curl)
        printf 'url = "%s"\n' "$1" | curl -q -sS -f --noproxy '*' --proto '=http,https' --connect-timeout "$connect_s" \
            --speed-limit 10000 --speed-time "$stall_s" --max-time "$fetch_s" -K -
        ;;
    wget)
        printf '%s\n' "$1" | within "$fetch_s" wget --no-config -nv --no-proxy --max-redirect=0 --tries=1 \
            --connect-timeout="$connect_s" --timeout="$stall_s" -O - -i -
        ;;
    python3)
        printf '%s\n' "$1" | within "$fetch_s" python3 -I -c "$fetch_program" "$stall_s"
        ;;
    esac
}

choose_tool() {
    tool=
    if has curl; then
        tool=curl
    elif has wget && wget --version 2>/dev/null | head -n 1 | grep -q 'GNU Wget'; then
        tool=wget # busybox has one that checks no certificate and follows every redirection
    elif has python3; then
        tool=python3
    fi
}

# missed DIGEST CODE TEXT
missed() {
    case $3 in
    *'No space'* | *quota* | *Read-only*) set -- "$1" no_room "$3" ;;
    esac
    printf 'missed\t%s\t%s\t%.200s\n' "$1" "$2" "$(printf %s "$3" | tail -n 1 | tr '\t' ' ')"
}

# take DIGEST BYTES: what comes on standard input becomes the file, if it is that. One byte more is read than it has.
take() {
    if ! why=$(head -c "$(($2 + 1))" 2>&1 >"$new"); then
        missed "$1" no_room "$why"
        return 1
    fi
}

# keep DIGEST: the file that was taken, checked, in its place.
keep() {
    sum=$(sha256sum <"$new") || sum=
    if [ "${sum%% *}" != "$1" ]; then return 1; fi
    mv -f "$new" "$store/$1"
}

# has_file DIGEST: whether it lies there already, whole.
has_file() {
    if [ ! -f "$store/$1" ] || [ -L "$store/$1" ]; then return 1; fi
    sum=$(sha256sum <"$store/$1") || sum=
    [ "${sum%% *}" = "$1" ]
}

# fetch_file DIGEST BYTES URL
fetch_file() {
    if has_file "$1"; then
        printf 'got\t%s\t0\n' "$1"
        return
    fi
    if [ -z "$tool" ]; then
        missed "$1" no_tool 'there is no curl, GNU wget or python3'
        return
    fi
    # A program that has done its work says so too, with the URL.
    { fetch "$3/$1" 2>"$new.why" && : >"$new.why"; } | take "$1" "$2" || return 0
    if keep "$1"; then
        printf 'got\t%s\t%s\n' "$1" "$2"
    else
        why=
        # More than the file has is cut off, of which the program complains.
        if [ "$(wc -c <"$new")" -le "$2" ]; then why=$(tail -n 1 "$new.why" | sed 's|[A-Za-z]*://[^ ]*|URL|g'); fi
        missed "$1" fetch_failed "${why:-what came has another digest}"
    fi
}
