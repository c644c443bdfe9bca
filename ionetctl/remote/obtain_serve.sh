# Serving files to neighbours for a while: by a transient unit of a user that exists for it alone, which sees nothing of ours
# but these files, and ends by itself when nobody asks or its time is over. Once it has the files open, their folder goes, so that
# nothing is left of them however it ends. Functions only, for obtain.sh.
# shellcheck shell=sh disable=SC2154

# not_serving TEXT
not_serving() {
    printf 'not-serving\t%.200s\n' "$(printf %s "$1" | tr '\n\t' '  ')"
}

# remove_old: what was left behind where the machine, or this script, ended before the folder went.
remove_old() {
    for old in "$serve_dir"/*; do
        if [ -d "$old" ] && ! within 10 systemctl is-active "${old##*/}.service" >/dev/null 2>&1; then
            rm -rf "$old"
        fi
    done
}

# serve DIGEST...: by $unit, for those who know $token. $addresses have commas between; the first that is the host's counts.
serve() {
    for program in systemd-run systemctl python3; do
        if ! has "$program"; then
            not_serving "there is no $program"
            return
        fi
    done
    folder=$serve_dir/$unit port_file=$root/run/$unit/port
    if ! why=$(shelve "$@" 2>&1) || ! why=$(start_unit 2>&1); then
        remove_folder
        not_serving "$why"
        return
    fi
    tries=50
    while [ ! -s "$port_file" ] && [ "$tries" -gt 0 ]; do
        sleep 0.1 2>/dev/null || sleep 1
        tries=$((tries - 1))
    done
    remove_folder
    address='' port=''
    { read -r address port <"$port_file" || :; } 2>/dev/null
    if [ -n "$port" ]; then
        printf 'serving\t%s\t%s\n' "$address" "$port"
    else
        within 20 systemctl stop "$unit.service" >/dev/null 2>&1 || :
        not_serving 'its server did not start'
    fi
}

remove_folder() {
    rm -rf "$folder"
    rmdir "$serve_dir" 2>/dev/null || :
}

# shelve DIGEST...: a folder with the files under their second names, the token and the server. Others than root come to it within the
# unit alone, since it lies in a directory of root's.
shelve() {
    mkdir -p "$folder" && chmod 755 "$folder" && printf '%s\n' "$seed_server" >"$folder/server.py" || return
    printf '%s\n' "$token" >"$folder/token" || return
    for digest in "$@"; do
        ln "$store/$digest" "$folder/$digest" || return
    done
    chmod 644 "$folder"/*
}

start_unit() {
    # shellcheck disable=SC2046 # addresses are words of their own
    within 30 systemd-run --quiet --collect --unit="$unit.service" \
        -p Description='ionetctl: programs for the hosts beside this one, while they are enrolled' \
        -p DynamicUser=yes -p RuntimeDirectory="$unit" \
        -p BindReadOnlyPaths="$folder:$our_dir" -p WorkingDirectory="$our_dir" \
        -p RuntimeMaxSec="$limit_s" \
        -p PrivateDevices=yes -p CapabilityBoundingSet= -p MemoryMax=256M -p TasksMax=64 -p Nice=10 \
        python3 -I server.py "$port_file" "$limit_s" "$idle_s" "$slots" $(printf %s "$addresses" | tr , ' ') \
        </dev/null
}
