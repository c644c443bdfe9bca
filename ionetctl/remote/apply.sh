# Brings a host to what its payload says, in the dialogue of docs/explanation/host-protocol.md: sh ./apply.sh in the staging.
#
# Everything is staged beside its destination and checked before the controller is asked for the token; what follows is
# renames. /var/lib/ionet/pending stands from before the first change until after the last, beside a whole backup, so
# that an apply that was cut off is known as such and a later one still finds the state before both.
# It travels with the functions of report.sh and the other apply_*.sh before it.
# shellcheck disable=SC2034,SC2154,SC2329 # variables and functions of the parts, called by name through each and try
set -eu
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
tab=$(printf '\t')
nl='
'
grace_s=5
rollout='' wants_token=no start=no validator=''
changed=''  # every path about to change, one a line
staged=''   # what lies beside its destination, one a line
made=''     # directories made here, deepest first
step=receive
phase=untouched # then changing
touched=no      # whether the service was
token=''

# each KIND FUNCTION: calls it with the fields of every record of that kind.
each() {
    while IFS=$tab read -r kind one two three four five six seven eight; do
        if [ "$kind" = "$1" ]; then "$2" "$one" "$two" "$three" "$four" "$five" "$six" "$seven" "$eight"; fi
    done <"$stage/steps"
}

# each_line LIST FUNCTION: calls it with every line of the list.
each_line() {
    list=$1
    while [ -n "$list" ]; do
        entry=${list%%"$nl"*}
        list=${list#*"$nl"}
        if [ -n "$entry" ]; then "$2" "$entry"; fi
    done
}

read_steps() {
    while IFS=$tab read -r kind one two three four five six _; do
        case $kind in
        rollout) rollout=$one ;;
        token) wants_token=$one ;;
        start) start=$one ;;
        validate) validator=$one ;;
        program) changed=$changed$six$nl ;;
        file) changed=$changed$five$nl ;;
        link) changed=$changed$two$nl ;;
        chmod) changed=$changed$three$nl ;;
        aside) changed=$changed$one$nl ;;
        esac
    done <"$stage/steps"
    changed=$changed$token_file$nl
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

# abandon: the controller gave up, or is gone. The agent is left as it is.
abandon() {
    finish
    say "error${tab}abandoned${tab}the controller gave up, or is gone; the agent goes on"
    exit 1
}

finish() {
    trap - EXIT
    token=''
    rm -f "$root$token_file"
    drop_programs
    clean forget
}

main() {
    exec 3<&0 </dev/null
    cd "$stage"
    trap 'fail apply_failed "it ended unexpectedly during $step"' EXIT
    trap '' PIPE
    trap 'fail abandoned "a signal ended it during $step; nothing was changed"' HUP INT TERM
    aside=''
    read_steps
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
