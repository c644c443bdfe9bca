# Preparing: what mines on this host, and what would start it: units, lines of crontabs and start files, processes.
# Functions only, called by prepare.sh, which sets the paths and how to fail.
# shellcheck shell=sh disable=SC2016,SC2034,SC2154

# note_rig KIND ONE TWO: a record of the controller about the mining system, for prepare_stop_miner.
note_rig() {
    case $1 in
    miner) if [ "$3" != - ]; then units=$units$3$nl; fi ;;
    home) homes=$homes$2$nl ;;
    spare) spared=$spared$2$nl ;;
    screen) screens=$screens$2$nl ;;
    own_stop) own_stops=$own_stops$2$nl ;;
    start_file) start_files=$start_files$2$nl ;;
    hold) hold_file=$2 ;;
    card) cards=$cards$2$tab$3$nl ;;
    vpn) vpn_unit=$2 ;;
    gpu_modules) loads_modules=yes ;;
    overclocks) overclocks=$2 ;;
    watch) watch_s=$2 ;;
    esac
}

# signs_awk PROGRAM ARGUMENT...: awk, with the functions of mining_lines.sh.
signs_awk() {
    program=$mining_awk$nl$1
    shift
    HOMES=$homes SPARED=$spared MINERS=$miner_names DOOMED=$doomed SCREENS=$sessions ROOT=$root SELF=$$ awk "$program" "$@"
}

# --- units ---

# carries_more UNIT: others need it too, or we do.
carries_more() {
    case $1 in
    *.scope | *.slice | user@* | session-* | ssh* | cron* | atd* | docker* | containerd* | systemd-* | dbus*) return 0 ;;
    nomad* | ionet-* | getty* | serial-getty* | *@tty* | rc-local* | rc.local* | network* | NetworkManager*) return 0 ;;
    *) return 1 ;;
    esac
}

# --- lines of crontabs and start files ---

# for_each_table COMMAND: with every crontab, and the kind of its record; then every start file.
for_each_table() {
    for table in "$root"/var/spool/cron/crontabs/* "$root"/var/spool/cron/* "$root"/etc/crontab "$root"/etc/cron.d/*; do
        if [ -f "$table" ]; then "$1" "$table" crontab; fi
    done
    rest=$start_files
    while [ -n "$rest" ]; do
        table=$root${rest%%"$nl"*}
        rest=${rest#*"$nl"}
        if [ -f "$table" ]; then "$1" "$table" start_file; fi
    done
}

# starts_miner FILE KIND: whether a line of a crontab or start file does.
starts_miner() {
    signs_awk "$is_taken"'
        is_taken($0) { found = 1; exit }
        END { exit !found }' "kind=$2" "path=${1#"$root"}" "$1"
}

is_taken='
function is_taken(line) {
    return kind == "crontab" ? runs_mining(line, path) : starts_mining(line, directory_of(path))
}'

# --- processes ---

# see_processes: the file processes in the staging gets a line for each that mines: PID, START, PARENT, KIND, NAME. KIND
# is miner where only its name shows it. A script counts by the first words of its interpreter. Left out are ourselves and
# whom we descend from, sshd, and what is spared.
see_processes() {
    sessions=$(mining_sessions | sed "s/$tab.*//" | tr '\n' ' ')
    within 20 cat "$root"/proc/[0-9]*/stat >"$stage/states" 2>/dev/null || :
    # Not one that is stuck in a driver: its command line waits for locks.
    within 20 ls -l "$root"/proc/[0-9]*/exe "$root"/proc/[0-9]*/cwd >"$stage/links" 2>/dev/null || :
    printf '\n\001\n' >"$stage/mark"
    awk 'part == 1 { pid = $1; sub(/^.*\) /, ""); if ($1 ~ /[DZ]/) is_stuck[pid] = 1; next }
        match($0, /\/proc\/[0-9]+\/exe -> /) {
            pid = substr($0, RSTART + 6) + 0
            sub(/.*\//, "")
            if (pid in is_stuck || !/^([a-z]*sh|busybox|sudo|(python|perl|node|nodejs|php|ruby|lua)[0-9.]*)$/) next
            print pid
        }' part=1 "$stage/states" part=2 "$stage/links" >"$stage/pids"
    set --
    while read -r pid; do
        set -- "$@" "$stage/mark" "$root/proc/$pid/stat" "$root/proc/$pid/cmdline"
    done <"$stage/pids"
    : >"$stage/commands"
    if [ $# -gt 0 ]; then within 20 cat "$@" 2>/dev/null | tr '\000' '\t' >"$stage/commands" || :; fi
    signs_awk '
        function look(path,   i) {
            if (index(path, ENVIRON["ROOT"]) == 1) path = substr(path, length(ENVIRON["ROOT"]) + 1)
            sub(/ [(]deleted[)]$/, "", path)
            for (i = 1; i <= spares; i++) if (spare[i] != "" && index(path "/", spare[i])) never[pid] = 1
            if (!is_mining_path(path)) return
            kind[pid] = "home"
            label[pid] = base_name(path)
        }
        part == 1 {
            rest = $0
            sub(/^.*\) /, "", rest)
            split(rest, field, " ")
            pid = $1
            called = substr($0, index($0, "(") + 1)
            called = label[pid] = substr(called, 1, length(called) - length(rest) - 2)
            parent[pid] = field[2]; start[pid] = field[20]
            order[++all] = pid
            if (called ~ /^sshd/ || pid == 1 || field[1] == "Z") never[pid] = 1
            if (called ~ miner) kind[pid] = "miner"
            is_screen[pid] = tolower(called) == "screen"
        }
        part == 2 && match($0, /\/proc\/[0-9]+\/(exe|cwd) -> /) {
            pid = substr($0, RSTART + 6) + 0
            path = substr($0, RSTART + RLENGTH)
            if (substr($0, RSTART, RLENGTH) ~ /exe/) look(path)
            else cwd[pid] = path
        }
        part == 3 && $0 == "\001" { expected = "state"; next }
        part == 3 && expected == "state" { pid = $1; expected = "command"; next }
        part == 3 && expected == "command" {
            expected = ""
            words = split($0, word, "\t")
            seen = 0
            for (k = 1; k <= words && seen < 3; k++) {
                if (word[k] == "" || (k > 1 && word[k] ~ /^-/)) continue
                seen++
                if (k > 1 && word[k] !~ /^\//) word[k] = cwd[pid] "/" word[k]
                look(word[k])
            }
        }
        END {
            for (pid = ENVIRON["SELF"]; pid > 1; pid = parent[pid]) never[pid] = 1
            count = split(ENVIRON["SCREENS"], session, " ")
            for (i = 1; i <= count; i++) if (is_screen[session[i]]) tree[session[i]] = 1
            count = split(ENVIRON["DOOMED"], one, " ")
            for (i = 1; i <= count; i++) is_doomed[one[i]] = 1
            for (i = 1; i <= all; i++) if (order[i] ":" start[order[i]] in is_doomed) tree[order[i]] = 1
            do {
                grew = 0
                for (i = 1; i <= all; i++) {
                    pid = order[i]
                    if (!(pid in tree) && !(pid in never) && parent[pid] in tree) tree[pid] = grew = 1
                }
            } while (grew)
            for (i = 1; i <= all; i++) {
                pid = order[i]
                if (pid in tree) kind[pid] = "tree"
                if (pid in kind && !(pid in never))
                    print pid "\t" start[pid] "\t" parent[pid] "\t" kind[pid] "\t" label[pid]
            }
        }' part=1 "$stage/states" part=2 "$stage/links" part=3 "$stage/commands" >"$stage/processes"
}

# name_of PID: $got becomes the name by which the kernel knows it.
name_of() {
    first_line "$root/proc/$1/comm"
}

# describe PID PARENT NAME: $described becomes what it is, and what started it, where that shows.
describe() {
    described="$3 (process $1"
    name_of "$2"
    if [ "$2" -gt 1 ] && [ -n "$got" ]; then described="$described, started by $got, process $2"; fi
    in_unit=$(sed -n 's|.*/\([^/]*\.service\).*|\1|p' "$root/proc/$1/cgroup" 2>/dev/null | head -n 1)
    described="$described${in_unit:+, in $in_unit})"
}
