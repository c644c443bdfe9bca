# The apply's part on the way back: the copies made before the first change, putting them back, and removing them.
# Functions only, called by apply.sh, which sets the paths.
# shellcheck shell=sh disable=SC2034,SC2154

back_up() {
    trap '' HUP INT TERM
    begin backup
    if [ -e "$our/pending" ] && [ -e "$backup/index" ]; then
        touched=yes
    else
        try apply_failed rm -rf "$backup"
        try apply_failed mkdir "$backup"
        try apply_failed append "$(service_state is-active) $(service_state is-enabled)" "$backup/service"
        try apply_failed append '' "$backup/index"
    fi
    saved=$nl$(cat "$backup/index")$nl
    copies=$backup/index$nl$backup/service$nl
    each_line "$changed" save
    settle_all "$copies"
    try apply_failed write "$rollout" "$our/pending"
    settle "$our"
    phase=changing
}

# save PATH: a copy in the backup, unless an apply that was cut off has one: that one is older than its changes.
save() {
    case $saved in *"$nl$1$nl"*) return ;; esac
    if [ -L "$root$1" ] || [ -e "$root$1" ]; then
        try apply_failed save_copy "$root$1" "$backup/tree$1"
        copies=$copies$backup/tree$1$nl
    fi
    try apply_failed append "$1" "$backup/index"
}

save_copy() {
    mkdir -p "${2%/*}" && rm -rf "$2" && cp -pP "$1" "$2"
}

# roll_back: every path as the backup has it, the service as it was; fails when a path could not be put back.
roll_back() {
    broken=no
    rm -rf "$stage/f" "$stage/candidate" "$stage/candidate-tls"
    each_line "$staged" remove # room for what is put back
    was=unknown is_enabled=unknown
    read -r was is_enabled <"$backup/service" || :
    if [ "$touched" = yes ]; then
        if [ "$was" != active ]; then service "$start_deadline_s" stop "$unit"; fi
        if [ "$is_enabled" != enabled ]; then service 30 disable "$unit"; fi
    fi
    each_line "$(cat "$backup/index")$nl" restore
    if [ -n "${aside:-}" ]; then rm -rf "$aside"; fi
    settle_places "$(cat "$backup/index")$nl"
    if [ "$touched" = yes ]; then
        service 30 daemon-reload
        if [ "$was" = active ]; then service "$start_deadline_s" restart "$unit"; fi
    fi
    [ $broken = no ]
}

restore() {
    old=$backup/tree$1
    if [ ! -L "$old" ] && [ ! -e "$old" ]; then
        rm -f "$root$1" || broken=yes
        return
    fi
    rm -f "$root$1.ionet-new"
    if ! { cp -pP "$old" "$root$1.ionet-new" && mv -f "$root$1.ionet-new" "$root$1"; }; then broken=yes; fi
}

# clean forget|keep: nothing of this run stays but what it installed. With the backup its index goes first, since a
# torn backup must not be restored; the marker goes after all but the lock, so that whatever is left is known.
clean() {
    if [ "$1" = forget ]; then
        rm -f "$backup/index"
        rm -rf "$backup"
    fi
    cd /
    rm -rf "$stage"
    if [ "$1" = forget ]; then rm -f "$our/pending"; fi
    rm -f "$our/lock"
}
