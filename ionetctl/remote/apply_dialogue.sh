# The apply's part on the dialogue with the controller: reports, failures and answers.
# Functions only, called by apply.sh, which sets the paths.
# shellcheck shell=sh disable=SC2034,SC2154

begin() {
    step=$1
    say "step$tab$1"
}

# fail CODE MESSAGE: puts the host back, reports why, and ends.
fail() {
    trap - EXIT
    trap '' HUP INT TERM
    set +e
    exec >&4 # a signal may have come amid a command that is not listened to
    code=$1 said=$2
    case $said in
    *'No space left'* | *'quota exceeded'*) code=disk_full ;;
    *'Read-only file system'*) code=read_only ;;
    esac
    keep=forget
    if [ "$phase" = changing ]; then
        if ! roll_back; then
            keep=keep
            said="$said; and putting the old files back failed: run enroll again"
        fi
    elif [ -e "$our/pending" ]; then
        keep=keep
    fi
    with_lines "$staged" rm -f
    with_lines "$made" rmdir 2>/dev/null
    case $code in payload_corrupt | disk_full) drop_programs ;; esac
    clean $keep
    say "error$tab$code$tab$(flat "$said")"
    exit 1
}

# fail_start CODE MESSAGE: as fail, after the end of the agent's log.
fail_start() {
    tail_journal
    fail "$1" "$2"
}

tail_journal() {
    log_of "$unit" 40 | tr '\t' ' ' | while IFS= read -r line; do say "log$tab$line"; done || :
}

# await WHAT: $answer becomes the controller's next line; empty when it is gone, or does not answer in time.
await() {
    say "await$tab$1"
    answer=$(within "$answer_deadline_s" head -n 1 <&3 2>/dev/null) || answer=''
}

# take_token: $token becomes the JWT of the answer "token JWT", empty for "token -"; no program gets it as an argument.
take_token() {
    case $answer in token?*) token=${answer#token?} ;; *) return 1 ;; esac
    answer=''
    case $token in
    -) token='' ;;
    '' | *[!A-Za-z0-9._-]*) return 1 ;;
    esac
}
