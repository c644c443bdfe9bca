# The apply's part on the way back: the copies made before the first change, putting them back, and removing them.
# Functions only, called by apply.sh, which sets the paths.
# shellcheck shell=sh disable=SC2034,SC2154

back_up() {
    trap '' HUP INT TERM
    begin backup
    saved=$nl entries='' copies='' copy_places=''
    if [ -e "$our/pending" ] && [ -e "$backup/index" ]; then
        touched=yes
        saved=$nl$(cat "$backup/index")$nl
    else
        if [ -e "$backup" ]; then ensure rm -rf "$backup"; fi
        ask_service
    fi
    each_line "$changed" save
    staged=$staged$our/pending.ionet-new$nl
    ensure make_backup
    fresh=$copy_places$backup/index$nl$backup/service$nl$our/pending.ionet-new$nl
    each_line "$copies" note_copy
    expect_settled settle_all "$fresh"
    # An index that is in force names a path when its copy is on disk: what it names and has no copy of, roll_back removes.
    if [ "$touched" = yes ] && [ -n "$entries" ]; then ensure write "${saved#"$nl"}" "$backup/index"; fi
    ensure mv -f "$our/pending.ionet-new" "$our/pending"
    phase=changing
    expect_settled settle "$our" "$backup"
}

# save PATH: to be copied, unless an apply that was cut off has a copy: that one is older than its changes.
save() {
    case $saved in *"$nl$1$nl"*) return ;; esac
    saved=$saved$1$nl entries=$entries$1$nl
    if [ ! -L "$root$1" ] && [ ! -e "$root$1" ]; then return; fi
    copies=$copies$1$nl
    case $nl$copy_places in *"$nl$backup/tree${1%/*}$nl"*) ;; *) copy_places=$copy_places$backup/tree${1%/*}$nl ;; esac
}

# make_backup: the copies, then the list of paths where there is none, and the marker under another name.
make_backup() {
    each_line "$copies" clear_copy && with_lines "$backup$nl$copy_places" mkdir -p &&
        each_line "$copy_places" save_place && list_saved && write_new "$rollout" "$our/pending.ionet-new"
}

# clear_copy PATH: what an attempt that broke off has left, and the index does not name.
clear_copy() {
    clear "$backup/tree$1"
}

# save_place DIRECTORY: the copies that belong there.
save_place() {
    place=$1 of_place=''
    each_line "$copies" note_of_place
    with_lines "$of_place" into "$place" cp -pP
}

note_of_place() {
    if [ "$backup/tree${1%/*}" = "$place" ]; then of_place=$of_place$root$1$nl; fi
}

note_copy() {
    fresh=$fresh$backup/tree$1$nl
}

list_saved() {
    if [ "$touched" = yes ]; then return; fi
    write_new "$was $is_enabled" "$backup/service" && write_new "$entries" "$backup/index"
}

# roll_back: every path as the backup has it, the service as it was; fails when a path could not be put back.
roll_back() {
    broken=no
    rm -rf "$stage/f" "$stage/candidate" "$stage/candidate-tls"
    with_lines "$staged" rm -f # room for what is put back
    was=unknown is_enabled=unknown
    read -r was is_enabled <"$backup/service" || :
    if [ "$touched" = yes ]; then
        if [ "$was" != active ]; then service "$start_deadline_s" stop "$unit"; fi
        if [ "$is_enabled" != enabled ]; then service 30 disable "$unit"; fi
    fi
    each_line "$(cat "$backup/index")$nl" restore
    if [ -n "${aside:-}" ]; then rm -rf "$aside"; fi
    settle_places "$(cat "$backup/index")$nl" 2>/dev/null || broken=yes
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
    cd /
    if [ "$1" = forget ]; then set -- "$backup/index" "$backup" "$stage" "$our/pending"; else set -- "$stage"; fi
    rm -rf "$@" "$our/lock"
}
