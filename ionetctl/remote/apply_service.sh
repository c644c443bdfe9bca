# The apply's part on the service: its state, its start, and the id of its node.
# Functions only, called by apply.sh, which sets the paths.
# shellcheck shell=sh disable=SC2034,SC2154

# ask_service: $was and $is_enabled become its states, before it is touched.
ask_service() {
    was=unknown is_enabled=unknown
    states=$(within 10 systemctl show -p ActiveState -p UnitFileState "$unit" 2>/dev/null) || :
    each_line "$states" note_state
}

note_state() {
    case $1 in
    ActiveState=*) was=${1#*=} ;;
    UnitFileState=?*) is_enabled=${1#*=} ;;
    esac
}

# service SECONDS VERB...: systemctl. For it and what it starts the signals that are ignored here are as usual, and the
# descriptors of the dialogue are closed.
service() {
    (
        trap - HUP INT PIPE TERM
        limit_s=$1
        shift
        within "$limit_s" systemctl "$@" >|"$stage/systemctl.said" 2>&1 3<&- 4>&-
    )
}

systemd_said() {
    head -n 1 "$stage/systemctl.said"
}

start_agent() {
    begin start
    if [ "$start" != no ]; then start_service "$start"; fi
}

# start_service VERB: by systemd, which reads all units anew when it enables one, and waits until the agent reports
# that it is ready.
start_service() {
    touched=yes
    service 30 enable "$unit" || fail start_failed "systemctl enable $unit: $(systemd_said)"
    status=0
    service "$start_deadline_s" "$1" "$unit" || status=$?
    case $status in
    0) ;;
    124) fail_start start_timeout "systemctl $1 $unit did not end within $start_deadline_s s" ;;
    *) fail_start start_failed "systemctl $1 $unit: $(systemd_said)" ;;
    esac
    expect_active
}

expect_active() {
    state=$(within 10 systemctl is-active "$unit" 2>/dev/null) || :
    if [ "$state" != active ]; then fail_start start_failed "$unit is ${state:-unknown} after its start"; fi
}

# end_door PATH: with the path unit of a maintenance door go the directories that it was about. Its serial stays: should the
# host have a door again, no old word counts.
end_door() {
    if [ "$1" != "$unit_dir/ionet-maintenance.path" ]; then return; fi
    service 30 stop "${1##*/}" || :
    rm -rf "$our/drop" "$our/answers" || :
}

# report_node: the node's id, which a new agent generates within 15 s. Where it took some time, the agent is still active.
report_node() {
    begin node
    id='' waited=0
    while :; do
        { IFS= read -r id <"$root$state_dir/client-id" || :; } 2>/dev/null
        case $id in ????????-????-????-????-????????????) break ;; esac
        if [ $waited -ge 75 ]; then fail_start no_node_id "no node id in $state_dir/client-id within 15 s"; fi
        if sleep 0.2 2>/dev/null; then waited=$((waited + 1)); else sleep 1 && waited=$((waited + 5)); fi
    done
    if [ "$start" != no ] && [ $waited -gt 0 ]; then expect_active; fi
    say "node$tab$id"
}
