# Preparing: miners are stopped so that restore-miner can put them back.
# Functions only, called by prepare.sh, which sets the paths and how to fail.
# shellcheck shell=sh disable=SC2034,SC2154

# note_miner NAME UNIT: a record of the controller; the lists are for prepare_stop_miner.
note_miner() {
    names=$names$1$nl
    if [ "$2" != - ]; then units=$units$2$nl; fi
}

# What was done is written down before it is done, so that restore-miner undoes an interrupted run as well.
prepare_stop_miner() {
    try prepare_failed mkdir -p "$miners_dir"
    try prepare_failed chmod 0700 "$miners_dir"
    try prepare_failed write_copy restore-miner "$our/restore-miner"
    try prepare_failed chmod 0755 "$our/restore-miner"
    stop_hive
    stop_units
    take_from_crontabs
    end_processes TERM
    if wait_for_end; then return; fi
    end_processes KILL
    if ! wait_for_end; then fail miner_returns "$running still runs"; fi
}

# remember RECORD: once.
remember() {
    if grep -qsxF "$1" "$miners_dir/undo"; then return; fi
    try prepare_failed append "$1" "$miners_dir/undo"
}

append() {
    printf '%s\n' "$1" | cat >>"$2" && { sync "$2" 2>/dev/null || sync; }
}

# HiveOS keeps its miner in a screen of its own, and its agent starts it again.
stop_hive() {
    if [ ! -x "$root/hive/bin/miner" ]; then return; fi
    remember hive
    within 60 "$root/hive/bin/miner" stop >/dev/null 2>&1 || :
    changed 'stopped the miner of HiveOS'
    if has_unit hive.service; then stop_unit hive.service; fi
}

stop_units() {
    rest=$units
    while [ -n "$rest" ]; do
        stop_unit "${rest%%"$nl"*}"
        rest=${rest#*"$nl"}
    done
}

# stop_unit UNIT: but for those that carry more than a miner: its processes are ended one by one.
stop_unit() {
    case $1 in
    *.scope | *.slice | user@* | session-* | ssh* | cron* | docker* | containerd* | systemd-* | dbus* | nomad* | getty* | *@tty*) return ;;
    esac
    if ! has_unit "$1"; then return; fi
    enabled=$(within 10 systemctl is-enabled "$1" 2>/dev/null || :)
    remember "unit$tab$1$tab${enabled:-unknown}"
    if [ "$enabled" = enabled ]; then
        unit disable "$1"
        changed "disabled $1"
    fi
    if is_running "$1"; then
        unit stop "$1"
        changed "stopped $1"
    fi
}

is_running() {
    case $(within 10 systemctl is-active "$1" 2>/dev/null) in active | activating | reloading) return 0 ;; *) return 1 ;; esac
}

# take_from_crontabs: lines that start one of them become comments of ours.
take_from_crontabs() {
    for table in "$root"/var/spool/cron/crontabs/* "$root"/var/spool/cron/* "$root"/etc/crontab "$root"/etc/cron.d/*; do
        if [ ! -f "$table" ] || ! starts_miner "$table"; then continue; fi
        remember "crontab$tab${table#"$root"}"
        try prepare_failed comment_out "$table"
        changed "took the miner out of ${table#"$root"}"
    done
}

# starts_miner FILE: whether a line that is no comment has one of the names as a program.
starts_miner() {
    # shellcheck disable=SC2094 # cmp only reads as well
    ! mark_miners <"$1" | cmp -s - "$1"
}

# mark_miners: standard input with our mark before lines that start a miner.
mark_miners() {
    # Names are passed in the environment: awk would take backslashes in a -v for escapes.
    MINERS=$names awk '
        BEGIN { count = split(ENVIRON["MINERS"], name, "\n") }
        function is_named(line,   i, word, words, part) {
            words = split(line, part, /[ \t;&|"()=]+/)
            for (word = 1; word <= words; word++) {
                sub(/.*\//, "", part[word])
                for (i = 1; i <= count; i++)
                    # The kernel keeps fifteen characters of a name.
                    if (name[i] != "" && substr(part[word], 1, 15) == name[i]) return 1
            }
            return 0
        }
        /^[ \t]*#/ || !is_named($0) { print; next }
        { print "#ionet# " $0 }'
}

# comment_out FILE: in place, so that its owner and mode stay.
comment_out() {
    mark_miners <"$1" >"$stage/crontab" && cat "$stage/crontab" >"$1"
}

# runs PID: $name becomes the name of the miner that it runs, where it is one.
runs() {
    first_line "$1/comm"
    rest=$names
    while [ -n "$rest" ]; do
        name=${rest%%"$nl"*}
        rest=${rest#*"$nl"}
        if [ -n "$name" ] && [ "$name" = "$got" ]; then return; fi
    done
    return 1
}

# end_processes SIGNAL: those left, by their names, whoever started them.
end_processes() {
    for process in "$root"/proc/[0-9]*; do
        if ! runs "$process"; then continue; fi
        if ! grep -qsxF "process$tab$name" "$miners_dir/undo"; then
            command_line=$(tr '\000' ' ' <"$process/cmdline" 2>/dev/null || :)
            remember "process$tab$name"
            append "command$tab$(flat "$command_line")" "$miners_dir/undo"
        fi
        kill "-$1" "${process##*/}" 2>/dev/null || continue
        changed "sent SIG$1 to $name (process ${process##*/})"
    done
}

# wait_for_end: whether all have ended, and stay away for a while; $running becomes the name of one that has not.
wait_for_end() {
    waited=0 quiet=0
    while [ "$waited" -lt "$settle_s" ]; do
        running=
        for process in "$root"/proc/[0-9]*; do
            if runs "$process" && ! is_zombie "$process"; then running=$name; fi
        done
        if [ -z "$running" ]; then quiet=$((quiet + 1)); else quiet=0; fi
        if [ "$quiet" -ge "$quiet_s" ]; then return; fi
        sleep 1
        waited=$((waited + 1))
    done
    return 1
}

is_zombie() {
    case $(cat "$1/stat" 2>/dev/null) in *') Z '* | '') return 0 ;; *) return 1 ;; esac
}
