# Brings a host to what its payload says, in the conversation of docs/explanation/host-protocol.md: sh ./apply.sh in the staging.
#
# Everything is staged beside its destination and judged before the controller is asked for the token; what follows is
# renames. /var/lib/ionet/pending stands from before the first change until after the last, beside a whole backup, so
# that an apply that was cut off is known as such and a later one still finds the state before both.
# shellcheck disable=SC2329 # many functions are called by name, through each and try
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
backup=$our/rollback
start_deadline_s=${IONET_START_DEADLINE_S:-90}
answer_deadline_s=${IONET_ANSWER_DEADLINE_S:-1800}
tab=$(printf '\t')
nl='
'
rollout='' wants_token=no start=no validator=''
changed=''  # every path about to change, one a line
staged=''   # what lies beside its destination, one a line
made=''     # directories made here, deepest first
step=receive
phase=untouched # then changing
touched=no      # whether the service was
token=''

# say TEXT: one line to the controller, who may be gone.
say() {
    { printf '%.4000s\n' "$1" || :; } 2>/dev/null
}

begin() {
    step=$1
    say "step$tab$1"
}

# flat TEXT: on one line.
flat() {
    printf '%.900s' "$1" | tr '\n\t' '  '
}

has() {
    command -v "$1" >/dev/null 2>&1
}

# within SECONDS COMMAND...: the command, ended when it takes longer.
within() {
    seconds=$1
    shift
    if has timeout; then set -- timeout -k 5 "$seconds" "$@"; fi
    "$@"
}

# each KIND FUNCTION: calls it with the fields of every record of that kind.
each() {
    while IFS=$tab read -r kind one two three four five six seven; do
        if [ "$kind" = "$1" ]; then "$2" "$one" "$two" "$three" "$four" "$five" "$six" "$seven"; fi
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

# try CODE COMMAND...: the apply fails with CODE when the command does, or with what its words tell better.
try() {
    code=$1
    shift
    if ! said=$("$@" 2>&1); then fail "$code" "$said"; fi
}

# fail CODE SAID: puts the host back, says why, and ends.
fail() {
    trap - EXIT
    trap '' HUP INT TERM
    set +e
    code=$1 said=$2
    case $said in
    *'No space left'* | *'quota exceeded'*) code=disk_full ;;
    *'Read-only file system'*) code=read_only ;;
    esac
    keep=forget
    if [ $phase = changing ]; then
        if ! roll_back; then
            keep=keep
            said="$said; and putting the old files back failed: run enroll again"
        fi
    elif [ -e "$our/pending" ]; then
        keep=keep
    fi
    each_line "$staged" remove
    each_line "$made" remove_directory
    clean $keep
    say "error$tab$code$tab$(flat "$said")"
    exit 1
}

# fail_start CODE SAID: as fail, after the agent's last words.
fail_start() {
    tail_journal
    fail "$1" "$2"
}

tail_journal() {
    if ! has journalctl; then return; fi
    within 10 journalctl -u "$unit" -n 40 -o cat --no-pager 2>/dev/null | tail -n 40 | tr '\t' ' ' |
        while IFS= read -r line; do say "log$tab$line"; done || :
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

remove() {
    rm -f "$1"
}

remove_directory() {
    rmdir "$1" 2>/dev/null || :
}

# settle FILE...: on disk. An old sync knows no files and takes everything.
settle() {
    sync "$@" 2>/dev/null || sync
}

# settle_all LIST: those of its paths that are there, a line each. A link is on disk with its directory.
settle_all() {
    rest=$1
    set --
    while [ -n "$rest" ]; do
        if [ -e "${rest%%"$nl"*}" ] && [ ! -L "${rest%%"$nl"*}" ]; then set -- "$@" "${rest%%"$nl"*}"; fi
        rest=${rest#*"$nl"}
    done
    if [ $# -gt 0 ]; then settle "$@"; fi
}

# note_place PATH: $places becomes the list of it and its directory.
note_place() {
    places=$places$root$1$nl$root${1%/*}$nl
}

# settle_places LIST: paths below the root, with the directories that name them.
settle_places() {
    places=''
    each_line "$1" note_place
    settle_all "$places"
}

# make_directory PATH MODE: with whatever is missing above it.
make_directory() {
    if [ -z "$1" ] || [ -d "$1" ]; then return; fi
    make_directory "${1%/*}" 0755
    try apply_failed mkdir -m "${2:-0755}" "$1"
    made=$1$nl$made
}

# --- before any change ---

read_steps() {
    while IFS=$tab read -r kind one two three four five six seven; do
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

# sweep: what an apply that was killed may have left beside a destination.
sweep() {
    try apply_failed rm -f "$root$config_dir"/*.ionet-new "$root$tls_dir"/*.ionet-new \
        "$root$releases_dir"/*/*.ionet-new "$root$plugin_dir"/*.ionet-new "$root$nomad_link.ionet-new" \
        "$root$unit_dir"/*.ionet-new "$root$state_dir"/*.ionet-new "$our"/*.ionet-new
}

# stage_beside PATH: $new becomes the name under which its new content waits.
stage_beside() {
    new=$root$1.ionet-new
    make_directory "${new%/*}"
    try apply_failed rm -f "$new"
    staged=$staged$new$nl
}

unpack() {
    (set -C && gzip -dc <"$1" >"$2")
}

copy() {
    (set -C && cat <"$1" >"$2")
}

# stage_program N DIGEST SIZE MODE OWNER DEST VERSION
stage_program() {
    stage_beside "$6"
    room=$(df -Pk "${new%/*}" | sed -n '2s/^[^ ]* *[0-9]* *[0-9]* *\([0-9]*\) .*/\1/p')
    if [ "${room:-$3}" -lt $(($3 / 1024)) ]; then fail disk_full "No space left for $6: $room of $(($3 / 1024)) KiB"; fi
    try payload_corrupt unpack "f/$1" "$new"
    try apply_failed append "$2  $new" sums
}

# stage_file N DIGEST MODE OWNER DEST
stage_file() {
    stage_beside "$5"
    try apply_failed copy "f/$1" "$new"
    try apply_failed append "$2  $new" sums
}

check_sums() {
    if [ ! -e sums ]; then return; fi
    if ! said=$(sha256sum -c sums 2>/dev/null); then
        fail payload_corrupt "digests differ: $(printf '%s\n' "$said" | grep -v ': OK$')"
    fi
}

# grant MODE OWNER FILE
grant() {
    chown "$2" "$3" && chmod "$1" "$3"
}

grant_program() {
    try apply_failed grant "$4" "$5" "$root$6.ionet-new"
    check_program "$root$6.ionet-new" "$6" "$7"
}

grant_file() {
    try apply_failed grant "$3" "$4" "$root$5.ionet-new"
}

# check_program FILE DEST VERSION: it is made for this machine, and is the version it should be. A shell would take a
# foreign executable for a script, so the header is looked at first: ELF, 64 bits, and the machine in bytes 18 and 19.
check_program() {
    header=$(od -An -tx1 -N20 "$1" | tr -d ' \n')
    case $(uname -m).$header in
    x86_64.7f454c4602*3e00 | aarch64.7f454c4602*b700 | *.2321*) ;;
    *) fail wrong_architecture "$2 is not made for $(uname -m)" ;;
    esac
    if [ "${2##*/}" != nomad ]; then return; fi
    if ! said=$(within 10 "$1" version 2>&1); then
        case $said in
        *'Exec format'*) fail wrong_architecture "$said" ;;
        *) fail no_exec "$2 does not run: $said" ;;
        esac
    fi
    case "${said%%"$nl"*} " in
    "Nomad v$3 "*) ;;
    *) fail payload_corrupt "$2 says that it is ${said%%"$nl"*}, not $3" ;;
    esac
}

make_link_directory() {
    stage_beside "$2"
}

verify() {
    begin verify
    sweep
    each program stage_program
    each file stage_file
    check_sums
    each file grant_file
    each program grant_program
    each link make_link_directory
}

# candidate SOURCE DEST: SOURCE as the agent would read it from DEST, its TLS files taken from where they are staged.
candidate() {
    case $2 in
    "$tls_dir"/*) cp "$1" "candidate-tls/${2##*/}" ;;
    "$config_dir"/*/*) ;;
    "$config_dir"/*.hcl | "$config_dir"/*.json)
        sed "s#\"$tls_dir/#\"$(printf '%s' "$stage" | sed 's/[\\&#]/\\&/g')/candidate-tls/#g" "$1" | cat >"candidate/${2##*/}"
        ;;
    esac
}

candidate_file() {
    try apply_failed candidate "f/$1" "$5"
}

candidate_kept() {
    try apply_failed candidate "$root$1" "$1"
}

# Nomad only warns where a file of TLS cannot be read, and would start all the same: a warning is a failure here.
validate() {
    if [ -z "$validator" ]; then return; fi
    begin validate
    try apply_failed mkdir candidate candidate-tls
    each file candidate_file
    each keep candidate_kept
    program=$root$validator
    if [ -e "$program.ionet-new" ]; then program=$program.ionet-new; fi
    if ! said=$(within 30 "$program" config validate "$stage/candidate" 2>&1); then fail config_invalid "$said"; fi
    case $said in *WARNING*) fail config_invalid "$said" ;; esac
}

# await WHAT: $answer becomes the controller's next line; empty when it is gone, or silent for too long.
await() {
    say "await$tab$1"
    answer=$(within "$answer_deadline_s" head -n 1 <&3) || answer=''
}

# take_token: $token becomes what stands in the answer "token JWT", empty for "token -"; no program is ever handed it.
take_token() {
    case $answer in token?*) token=${answer#token?} ;; *) return 1 ;; esac
    answer=''
    case $token in
    -) token='' ;;
    '' | *[!A-Za-z0-9._-]*) return 1 ;;
    esac
}

ask_token() {
    if [ "$wants_token" != yes ]; then return; fi
    begin token
    await token
    if ! take_token; then fail abandoned 'the controller gave up, or is gone; nothing was changed'; fi
}

# --- changes ---

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

# append LINE FILE: by cat, which says why it cannot.
append() {
    printf '%s\n' "$1" | cat >>"$2"
}

# write LINE FILE: whole or not at all, and never readable by others before it is there.
write() {
    rm -f "$2.ionet-new"
    if (set -C && printf '%s\n' "$1" | cat >"$2.ionet-new") && settle "$2.ionet-new"; then
        mv -f "$2.ionet-new" "$2"
    else
        rm -f "$2.ionet-new"
        return 1
    fi
}

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

service_state() {
    within 10 systemctl "$1" "$unit" 2>/dev/null || :
}

# move_aside PATH
move_aside() {
    if [ ! -e "$root$1" ] && [ ! -L "$root$1" ]; then return; fi
    aside=${aside:-$our/replaced/$(date -u +%Y%m%dT%H%M%SZ)}
    into=$aside${1%/*}
    try apply_failed mkdir -p "$into"
    try apply_failed mv -f "$root$1" "$into/"
}

# put PATH: what waits beside it takes its place.
put() {
    if [ -d "$root$1" ] && [ ! -L "$root$1" ]; then fail apply_failed "$1 is a directory"; fi
    if [ -d "$root$1" ]; then try apply_failed rm -f "$root$1"; fi
    try apply_failed mv -f "$root$1.ionet-new" "$root$1"
}

put_program() {
    put "$6"
}

put_file() {
    put "$5"
}

# set_rights MODE OWNER DEST
set_rights() {
    try apply_failed grant "$1" "$2" "$root$3"
}

install_files() {
    begin install
    settle_all "$staged"
    each aside move_aside
    each program put_program
    each file put_file
    each chmod set_rights
}

# put_link TARGET DEST
put_link() {
    try apply_failed ln -s "$root$1" "$root$2.ionet-new"
    put "$2"
}

put_token() {
    if [ -z "$token" ]; then
        try apply_failed rm -f "$root$token_file"
        return
    fi
    make_directory "$root$state_dir" 0700
    staged=$staged$root$token_file.ionet-new$nl
    try apply_failed write "$token" "$root$token_file"
}

switch() {
    begin switch
    each link put_link
    put_token
    settle_places "$changed"
}

# service SECONDS VERB...: systemctl; it and what it starts get the signals back that are ignored here, and none of
# our ends of the conversation.
service() {
    (
        trap - HUP INT PIPE TERM
        limit_s=$1
        shift
        within "$limit_s" systemctl "$@" >"$stage/systemctl.said" 2>&1 3<&-
    )
}

systemd_said() {
    head -n 1 "$stage/systemctl.said"
}

# start_service VERB: by systemd, which waits until the agent says that it is ready.
start_service() {
    touched=yes
    service 30 daemon-reload || fail_start start_failed "systemctl daemon-reload: $(systemd_said)"
    service 30 enable "$unit" || fail_start start_failed "systemctl enable $unit: $(systemd_said)"
    status=0
    service "$start_deadline_s" "$1" "$unit" || status=$?
    case $status in
    0) ;;
    124 | 137 | 143) fail_start start_timeout "systemctl $1 $unit did not end within $start_deadline_s s" ;;
    *) fail_start start_failed "systemctl $1 $unit: $(systemd_said)" ;;
    esac
    expect_active
}

expect_active() {
    state=$(service_state is-active)
    if [ "$state" != active ]; then fail_start start_failed "$unit is ${state:-unknown} after its start"; fi
}

start_agent() {
    begin start
    if [ "$start" != no ]; then start_service "$start"; fi
}

# report_node: the node's id, which a new agent makes up within 15 s.
report_node() {
    begin node
    id='' waited=0
    while :; do
        { IFS= read -r id <"$root$state_dir/client-id" || :; } 2>/dev/null
        case $id in ????????-????-????-????-????????????) break ;; esac
        if [ $waited -ge 75 ]; then fail_start no_node_id "no node id in $state_dir/client-id within 15 s"; fi
        if sleep 0.2 2>/dev/null; then waited=$((waited + 1)); else sleep 1 && waited=$((waited + 5)); fi
    done
    if [ "$start" != no ]; then expect_active; fi
    say "node$tab$id"
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

# abandon: the controller gave up, or is gone. The agent goes on as it is.
abandon() {
    finish
    say "error${tab}abandoned${tab}the controller gave up, or is gone; the agent goes on"
    exit 1
}

finish() {
    trap - EXIT
    token=''
    rm -f "$root$token_file"
    clean forget
}

# --- back ---

restore() {
    old=$backup/tree$1
    if [ ! -L "$old" ] && [ ! -e "$old" ]; then
        rm -f "$root$1" || broken=yes
        return
    fi
    rm -f "$root$1.ionet-new"
    if ! { cp -pP "$old" "$root$1.ionet-new" && mv -f "$root$1.ionet-new" "$root$1"; }; then broken=yes; fi
}

# roll_back: every path as the backup has it, the service as it was; fails when a path could not be put back.
roll_back() {
    broken=no
    rm -rf "$stage/f" "$stage/candidate" "$stage/candidate-tls"
    each_line "$staged" remove # room for what is put back
    was=unknown is_enabled=unknown
    read -r was is_enabled <"$backup/service" || :
    if [ $touched = yes ]; then
        if [ "$was" != active ]; then service "$start_deadline_s" stop "$unit"; fi
        if [ "$is_enabled" != enabled ]; then service 30 disable "$unit"; fi
    fi
    each_line "$(cat "$backup/index")$nl" restore
    if [ -n "${aside:-}" ]; then rm -rf "$aside"; fi
    settle_places "$(cat "$backup/index")$nl"
    if [ $touched = yes ]; then
        service 30 daemon-reload
        if [ "$was" = active ]; then service "$start_deadline_s" restart "$unit"; fi
    fi
    [ $broken = no ]
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
