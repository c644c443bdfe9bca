# Brings a host to what its payload says, in the dialogue of docs/explanation/host-protocol.md: sh ./apply.sh in the staging.
#
# Everything is staged beside its destination and checked before the controller is asked for the token; what follows is
# renames. /var/lib/ionet/pending stands from before the first change until after the last, beside a whole backup, so
# that an apply that was cut off is known as such and a later one still finds the state before both.
# It travels with the functions of report.sh and the other apply_*.sh before it.
# shellcheck disable=SC2034,SC2154,SC2329 # variables and functions of the parts, called by name through each and try
set -euCf
umask 077
export LC_ALL=C
PATH=${PATH:+$PATH:}/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
root=${IONET_ROOT:-}
config_dir=/etc/nomad.d
tls_dir=/etc/nomad.d/tls
data_dir=/opt/nomad/data
releases_dir=/opt/nomad/releases
plugin_dir=/opt/nomad/plugins
nomad_link=/usr/local/bin/nomad
unit=nomad.service
unit_dir=/etc/systemd/system
our_dir=/var/lib/ionet
state_dir=$data_dir/client
token_file=$state_dir/intro_token.jwt
our=$root$our_dir
stage=$our/staging
kept=$our/artifacts
backup=$our/rollback
start_deadline_s=${IONET_START_DEADLINE_S:-90}
answer_deadline_s=${IONET_ANSWER_DEADLINE_S:-1800}
tab='	'
nl='
'
grace_s=5
rollout='' wants_token=no start=no validator=''
changed=''  # every path about to change, one a line
staged=''   # what lies beside its destination, one a line
missing=''  # directories to make, the highest first
made=''     # directories made here, deepest first
packed=''   # the programs' names where they were received, one a line
programs_kib=0 programs_dir=''
sums=''     # what sha256sum must print of all contents that are staged
rights='' modes='' owners=''
step=receive
phase=untouched # then changing
touched=no      # whether the service was
token=''

# read_step KIND FIELD...
read_step() {
    case $1 in
    rollout) rollout=$2 ;;
    token) wants_token=$2 ;;
    start) start=$2 ;;
    validate) validator=$2 ;;
    program) changed=$changed$7$nl ;;
    file) changed=$changed$6$nl ;;
    own_pair) changed=$changed$4$nl$7$nl ;;
    link) changed=$changed$3$nl ;;
    chmod) changed=$changed$4$nl ;;
    aside) changed=$changed$2$nl ;;
    esac
}

read_record() {
    with_fields read_step "$1"
}

ask_token() {
    if [ "$wants_token" != yes ]; then return; fi
    begin token
    await token
    if ! take_token; then fail abandoned 'the controller gave up, or is gone; nothing was changed'; fi
}

await_verdict() {
    while :; do
        await verdict
        case $answer in
        confirmed) return ;;
        journal) tail_journal ;;
        *)
            if ! take_token; then abandon; fi
            put_token
            start_service restart
            report_node
            ;;
        esac
    done
}

# abandon: the controller gave up, or is gone. The agent is left as it is, unless only what is confirmed may stay.
abandon() {
    if [ "${IONET_UNANSWERED:-}" = restore ]; then fail abandoned 'it was not confirmed; the host was put back as it was'; fi
    finish
    say "error${tab}abandoned${tab}the controller gave up, or is gone; the agent goes on"
    exit 1
}

finish() {
    trap - EXIT
    token=''
    each aside end_door
    drop_programs "$root$token_file"
    clean forget
}

main() {
    exec 3<&0 4>&1 </dev/null
    cd "$stage"
    trap 'fail apply_failed "it ended unexpectedly during $step"' EXIT
    trap '' PIPE
    trap 'fail abandoned "a signal ended it during $step; nothing was changed"' HUP INT TERM
    aside=''
    steps=$(cat steps)
    each_line "$steps" read_record
    changed=$changed$token_file$nl
    each own_pair obtain_certificate
    verify
    validate
    ask_token
    back_up
    install_files
    switch
    start_agent
    report_node
    await_verdict
    begin finish
    finish
    say 'done'
}

# All of it is read before any of it runs: it removes itself.
main
exit 0
