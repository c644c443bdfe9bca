# Preparing: miners, and all that starts them, are stopped so that restore-miner can put them back.
# Functions only, called by prepare.sh, which sets the paths and how to fail.
# shellcheck shell=sh disable=SC2034,SC2154

# What was done is written down before it is done, so that restore-miner undoes an interrupted run as well, and the next
# run takes nothing that this one changed for what was there at first.
prepare_stop_miner() {
    quiet_s=${IONET_QUIET_S:-$watch_s}
    try prepare_failed mkdir -p "$miners_dir"
    try prepare_failed chmod 0700 "$miners_dir"
    # While it is there the controller knows that this is to be gone on with, even where nothing starts a miner any more.
    try prepare_failed write_text stop_miner "$miners_dir/pending"
    try prepare_failed write_copy restore-miner "$our/restore-miner"
    try prepare_failed chmod 0755 "$our/restore-miner"
    learn_homes
    find_units
    for_each_unit remember_unit
    stop_its_own_way
    for_each_table take_lines
    forget_homes
    let_live_on
    reset_by_x
    for_each_unit stop_unit
    end_processes
    # A boot that was under way may have installed its crontab anew.
    for_each_table take_lines
    expect_fed_cards
    reset_by_driver
    watch
    rm -f "$miners_dir/pending"
}

# learn_homes: without a mining system, the directories from which miners run: units and lines that lead there start them.
# Those in which others live as well are left out; what else runs from them is not ended.
learn_homes() {
    is_learned=no
    if [ -n "$homes" ]; then return; fi
    is_learned=yes
    see_processes
    while IFS=$tab read -r pid _; do
        learned=$(readlink "$root/proc/$pid/exe" 2>/dev/null || :)
        learned=${learned#"$root"}
        learned=${learned%/*}/
        case $learned in
        /bin/* | /sbin/* | /lib*/* | /usr/* | /var/* | /tmp/* | /dev/*) continue ;;
        /home/*/*/ | /root/*/ | /opt/*/) ;;
        /home/* | /root/ | /opt/) continue ;;
        /*/*/) ;;
        *) continue ;;
        esac
        case $nl$homes in *"$nl$learned$nl"*) ;; *) homes=$homes$learned$nl ;; esac
    done <"$stage/processes"
}

forget_homes() {
    if [ "$is_learned" = yes ]; then homes=; fi
}

# remember RECORD: once.
remember() {
    if grep -qsxF "$1" "$miners_dir/undo"; then return; fi
    said=$({ cat "$miners_dir/undo" 2>/dev/null || :; } && printf '%s\n' "$1") || said=$1
    try prepare_failed write_text "$said" "$miners_dir/undo"
    settle "$miners_dir" 2>/dev/null || fail prepare_failed "$unsettled"
}

# The system's own commands expect its programs in PATH.
stop_its_own_way() {
    if [ -n "$hold_file" ] && [ ! -e "$root$hold_file" ]; then remember "hold$tab$hold_file"; fi
    see_processes
    rest=$own_stops
    while [ -n "$rest" ] && [ -s "$stage/processes" ]; do
        own=${rest%%"$nl"*}
        rest=${rest#*"$nl"}
        set -f
        # shellcheck disable=SC2086 # a program and its arguments
        set -- $own
        set +f
        own_program=$root$1
        shift
        if [ ! -x "$own_program" ]; then continue; fi
        within 60 env "PATH=$(home_path)" "$own_program" "$@" </dev/null >/dev/null 2>&1 || :
        changed "ran $own"
    done
    if [ -n "$hold_file" ] && [ ! -e "$root$hold_file" ]; then
        try prepare_failed write_text stop "$root$hold_file"
        changed "made $hold_file"
    fi
}

# home_path: PATH, with the system's own directories before it.
home_path() {
    printf '%s' "$homes" | while IFS= read -r home; do printf '%s' "$root${home}bin:$root${home}sbin:"; done
    printf '%s' "$PATH"
}

# --- units ---

# find_units: $units becomes all that the controller named, that lead into the system, and that an earlier run changed.
find_units() {
    units=$(
        { units_that_mine && printf '%s' "$units" && sed -n "s/^unit$tab\([^$tab]*\).*/\1/p" "$miners_dir/undo" 2>/dev/null; } |
            awk '$0 != "" && !seen[$0]++'
    )
    if [ -n "$units" ]; then units=$units$nl; fi
}

# for_each_unit COMMAND: with every one that may be stopped; the processes of others are ended one by one.
for_each_unit() {
    left=$units$nl
    while [ -n "$left" ]; do
        one_unit=${left%%"$nl"*}
        left=${left#*"$nl"}
        if [ -n "$one_unit" ] && ! carries_more "$one_unit"; then "$1" "$one_unit"; fi
    done
}

# remember_unit UNIT: as it was at first, with the target of its link, which to disable a linked unit removes.
remember_unit() {
    if ! has_unit "$1" || grep -qs "^unit$tab$1$tab" "$miners_dir/undo"; then return; fi
    enabled=$(within 10 systemctl is-enabled "$1" 2>/dev/null || :)
    if is_running "$1"; then active=active; else active=inactive; fi
    if [ "$enabled$active" = maskedinactive ]; then return; fi
    target=$(readlink "$root/etc/systemd/system/$1" || :)
    remember "unit$tab$1$tab${enabled:-unknown}$tab$active$tab${target:--}"
}

# stop_unit UNIT: now and for good. A unit whose file an admin wrote below /etc cannot be masked.
stop_unit() {
    # A linked one that an earlier run disabled is unknown until it is put back: it is masked all the same.
    if ! has_unit "$1" && ! grep -qs "^unit$tab$1$tab" "$miners_dir/undo"; then return; fi
    case $(within 10 systemctl is-enabled "$1" 2>/dev/null) in
    enabled* | linked*)
        unit disable "$1"
        changed "disabled $1"
        ;;
    esac
    if is_running "$1"; then
        unit stop "$1"
        changed "stopped $1"
    fi
    if [ -e "$root/etc/systemd/system/$1" ] || [ -L "$root/etc/systemd/system/$1" ]; then return; fi
    unit mask "$1"
    changed "masked $1"
    if is_running "$1"; then unit stop "$1"; fi
}

is_running() {
    case $(within 10 systemctl is-active "$1" 2>/dev/null) in active | activating | reloading) return 0 ;; *) return 1 ;; esac
}

# --- lines of crontabs and start files ---

# take_lines FILE KIND: those that start a miner become comments of ours.
take_lines() {
    if ! starts_miner "$1" "$2"; then return; fi
    file=$(readlink -f "$1")
    remember "$2$tab${1#"$root"}"
    new=${file%/*}/.ionet-${file##*/}
    # Beside it, by a name that cron passes over, and with its owner and mode.
    try prepare_failed cp -p "$file" "$new"
    try prepare_failed mark_lines "$2" "$1" "$new"
    expect_syntax "$2" "$file" "$new"
    try prepare_failed mv -f "$new" "$file"
    changed "took the miner out of ${1#"$root"}"
}

# mark_lines KIND FILE NEW: a line of a start file leaves one that does nothing, so that what is around it stays valid.
mark_lines() {
    signs_awk "$is_taken"'
        !is_taken($0) { print; next }
        { print "#ionet# " $0 }
        kind == "crontab" { next }
        /^[ \t]*(el)?if[ \t].*then[ \t]*$/ { print ($1 == "elif" ? "elif" : "if") " false; then #ionet"; next }
        /^[ \t]*(while|until|for)[ \t].*do[ \t]*$/ { print "while false; do #ionet"; next }
        { print ": #ionet" }' "kind=$1" "path=${2#"$root"}" "$2" >"$3" && settle "$3"
}

# expect_syntax KIND FILE NEW: a login that fails would lock people out.
expect_syntax() {
    if [ "$1" = crontab ]; then return; fi
    checker='sh'
    if has bash; then checker='bash'; fi
    if within 10 "$checker" -n "$3" 2>/dev/null || ! within 10 "$checker" -n "$2" 2>/dev/null; then return; fi
    rm -f "$3"
    fail prepare_failed "the lines of ${2#"$root"} that start the miner hold more together: take them out by hand"
}

# --- processes ---

# end_processes: all that mine, however often something starts them, for a while; then by force.
end_processes() {
    signal=TERM waited=0 doomed=
    while see_processes && [ -s "$stage/processes" ]; do
        if [ "$waited" -ge "$settle_s" ]; then
            if [ "$signal" = KILL ]; then
                IFS=$tab read -r pid start parent kind name <"$stage/processes"
                describe "$pid" "$parent" "$name"
                fail miner_returns "$described still runs, or runs again"
            fi
            signal=KILL waited=0 doomed=
        fi
        while IFS=$tab read -r pid start parent kind name; do
            case " $doomed " in *" $pid:$start "*) continue ;; esac
            doomed="$doomed $pid:$start"
            if [ "$kind" = miner ]; then remember_process "$pid" "$name"; fi
            if kill "-$signal" "$pid" 2>/dev/null; then changed "sent SIG$signal to $name (process $pid)"; fi
        done <"$stage/processes"
        sleep 1
        waited=$((waited + 1))
    done
    doomed=
}

# remember_process PID NAME: nobody can start it again for sure; restore-miner shows its command line.
remember_process() {
    if grep -qsxF "process$tab$2" "$miners_dir/undo"; then return; fi
    command_line=$(within 5 tr '\000' ' ' <"$root/proc/$1/cmdline" 2>/dev/null || :)
    remember "process$tab$2"
    remember "command$tab$(flat "$command_line")"
}

# --- the watch ---

# watch: for as long as the slowest restart takes nothing may mine, nor anything be left that starts a miner.
watch() {
    pause=5 looks=0
    if [ "$quiet_s" -lt 30 ]; then pause=1; fi
    see_gpu_users
    users_before=$gpu_users
    read_clock
    quiet_until=$((now + quiet_s * 100))
    while :; do
        read_clock
        is_last=no
        if [ "$now" -ge "$quiet_until" ] || [ $((looks * pause)) -ge "$quiet_s" ]; then is_last=yes; fi
        expect_no_process
        # These cost more, and what they start shows as a process.
        if [ "$is_last" = yes ] || [ $((looks % 6)) = 0 ]; then
            for_each_table expect_no_line
            units=$(units_that_mine)$nl
            for_each_unit expect_stopped
            expect_no_gpu_user
        fi
        if [ "$is_last" = yes ]; then return; fi
        looks=$((looks + 1))
        sleep "$pause"
    done
}

expect_no_process() {
    see_processes
    if [ ! -s "$stage/processes" ]; then return; fi
    IFS=$tab read -r pid start parent kind name <"$stage/processes"
    describe "$pid" "$parent" "$name"
    fail miner_returns "$described runs again"
}

expect_no_line() {
    if starts_miner "$1" "$2"; then fail miner_returns "${1#"$root"} starts it again"; fi
}

expect_stopped() {
    if is_running "$1" || is_enabled "$1"; then fail miner_returns "$1 is active or enabled again"; fi
}

# see_gpu_users: $gpu_users becomes the processes that compute on GPUs, as " PID ".
see_gpu_users() {
    gpu_users=
    if ! has nvidia-smi || [ "$asks_gpus" = no ]; then return; fi
    # One that hangs once is not asked again.
    if ! within 20 nvidia-smi --query-compute-apps=pid,process_name --format=csv,noheader \
        >"$stage/gpu-users" 2>/dev/null; then
        asks_gpus=no
        return
    fi
    gpu_users=" $(sed -n 's/^ *\([0-9][0-9]*\),.*/\1/p' "$stage/gpu-users" | tr '\n' ' ')"
}

# A miner may have any name. What runs in a container or in a job of Nomad is somebody's work.
expect_no_gpu_user() {
    see_gpu_users
    for pid in $gpu_users; do
        case $users_before in *" $pid "*) continue ;; esac
        if grep -qs 'docker\|containerd\|kubepods\|libpod\|nomad' "$root/proc/$pid/cgroup"; then continue; fi
        name_of "$pid"
        if [ -z "$got" ]; then continue; fi
        name=$got
        parent=$(sed -n "s/^PPid:[^0-9]*//p" "$root/proc/$pid/status" 2>/dev/null) || :
        describe "$pid" "${parent:-0}" "$name"
        fail miner_returns "$described began to use the GPUs"
    done
}
