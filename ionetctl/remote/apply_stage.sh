# The apply's part before any change: everything is staged beside its destination, verified and validated.
# Functions only, called by apply.sh, which sets the paths.
# shellcheck shell=sh disable=SC2034,SC2154

# sweep: what an apply that was killed may have left beside a destination.
sweep() {
    set +f
    set -- "$root$config_dir"/*.ionet-new "$root$tls_dir"/*.ionet-new "$root$releases_dir"/*/*.ionet-new \
        "$root$plugin_dir"/*.ionet-new "$root$nomad_link.ionet-new" "$root$unit_dir"/*.ionet-new \
        "$root$state_dir"/*.ionet-new "$our"/*.ionet-new
    set -f
    ensure clear "$@"
}

# plan_program PACKED DIGEST SIZE MODE OWNER DEST VERSION FORM
plan_program() {
    stage_beside "$6"
    programs_dir=${new%/*}
    packed=$packed$1$nl
    programs_kib=$((programs_kib + $3 / 1024))
    sums="$sums$2  $new$nl"
    note_rights "$4" "$5" "$new"
}

# plan_file N DIGEST MODE OWNER DEST
plan_file() {
    stage_beside "$5"
    sums="$sums$2  $new$nl"
    note_rights "$3" "$4" "$new"
}

plan_link() {
    stage_beside "$2"
}

# stage_programs: what was received of them is checked before it is unpacked.
stage_programs() {
    if [ -z "$packed" ]; then return; fi
    check_room
    seen=$(cd "$kept" && with_lines "$packed" sha256sum 2>&1) || :
    each program check_packed
    each program unpack_program
}

# check_room: for all programs, which lie on one file system.
check_room() {
    room=$(df -Pk "$programs_dir" 2>/dev/null) || :
    room=${room#*"$nl"}
    # shellcheck disable=SC2086 # the second line, up to the share that is used; before that comes what is free
    set -- ${room%%\%*}
    if [ $# -lt 5 ]; then return; fi
    shift $(($# - 2))
    case $1 in *[!0-9]*) return ;; esac
    if [ "$1" -lt "$programs_kib" ]; then fail disk_full "No space left for programs: $1 of $programs_kib KiB"; fi
}

check_packed() {
    case $nl$seen$nl in
    *"$nl$1  $1$nl"*) ;;
    *) fail payload_corrupt "what was received of $6 has another digest" ;;
    esac
}

unpack_program() {
    ensure clear "$root$6.ionet-new"
    try payload_corrupt unpack "$8" "$kept/$1" "$root$6.ionet-new"
}

copy_file() {
    ensure copy "f/$1" "$root$5.ionet-new"
}

# drop_programs FILE...: what was received of programs, once it is installed, or is of no use; and those files.
drop_programs() {
    if [ -z "$packed" ] || [ ! -d "$kept" ]; then
        clear "$@"
        return
    fi
    (cd "$kept" && with_lines "$packed" rm -f "$@")
    rmdir "$kept" 2>/dev/null || :
}

# check_sums: of all contents that are staged, by what sha256sum prints of them.
check_sums() {
    seen=$(with_lines "$contents" sha256sum 2>&1) || :
    wrong=''
    each_line "$sums" check_sum
    if [ -n "$wrong" ]; then fail payload_corrupt "digests differ: $wrong"; fi
}

check_sum() {
    case $nl$seen$nl in *"$nl$1$nl"*) ;; *) wrong="$wrong${1#*  }: FAILED$nl" ;; esac
}

# ask_program PROGRAM ARGUMENT...: $said becomes its output; fails as the program does. A busy host may take long to read it.
ask_program() {
    status=0
    said=$(within "$start_deadline_s" "$@" 2>&1) || status=$?
    if [ "$status" = 124 ]; then fail apply_failed "$1 $2 did not end within $start_deadline_s s; is the host overloaded?"; fi
    return "$status"
}

check_program() {
    check_executable "$root$6.ionet-new" "$6" "$7"
}

# check_executable FILE DEST VERSION: it is made for this machine, and is the version it should be. A shell would take a
# foreign executable for a script, so the header is looked at first: ELF, 64 bits, and the machine in bytes 18 and 19.
check_executable() {
    machine=${machine:-$(uname -m)}
    read_header "$1"
    case $machine.$header in
    'x86_64.7f 45 4c 46 02 '*' 3e 00' | 'aarch64.7f 45 4c 46 02 '*' b7 00' | *'.23 21'*) ;;
    *) fail wrong_architecture "$2 is not made for $machine" ;;
    esac
    if [ "${2##*/}" != nomad ]; then return; fi
    if ! ask_program "$1" version; then
        case $said in
        *'Exec format'*) fail wrong_architecture "$said" ;;
        *) fail no_exec "$2 does not run: $said" ;;
        esac
    fi
    case "${said%%"$nl"*} " in
    "Nomad v$3 "*) ;;
    *) fail wrong_version "$2 says that it is ${said%%"$nl"*}, not $3" ;;
    esac
}

# read_header FILE: $header becomes its first 20 bytes in hexadecimal, a space between.
read_header() {
    # shellcheck disable=SC2046 # a word each
    set -- $(od -An -tx1 -N20 "$1")
    header=$*
}

verify() {
    begin verify
    sweep
    each program plan_program
    each file plan_file
    contents=$staged
    each link plan_link
    if [ -n "$validator" ]; then missing=$missing$stage/candidate$nl$stage/candidate-tls$nl; fi
    make_directories
    stage_programs
    each file copy_file
    check_sums
    grant_all
    each program check_program
}

# candidate SOURCE DEST: SOURCE as the agent would read it from DEST, its TLS files taken from where they are now.
candidate() {
    case $2 in
    "$config_dir"/*/*) ;;
    "$config_dir"/*.hcl | "$config_dir"/*.json) sed "$now_at" "$1" >|"candidate/${2##*/}" ;;
    esac
}

candidate_file() {
    ensure candidate "f/$1" "$5"
}

candidate_kept() {
    ensure candidate "$root$1" "$1"
}

note_tls_file() {
    case $5 in "$tls_dir"/*) now_at="s#\"$5\"#\"$quoted/f/$1\"#g$nl$now_at" ;; esac
}

note_tls_kept() {
    case $1 in "$tls_dir"/*) tls_kept=$tls_kept$root$1$nl ;; esac
}

# validate: with TLS files as they were received, and copies of those that are kept; any other is missing.
# Nomad only warns where one cannot be read, and would start all the same: a warning is a failure here.
validate() {
    if [ -z "$validator" ]; then return; fi
    begin validate
    case $stage in
    *[\\\&#]*) quoted=$(printf '%s' "$stage" | sed 's/[\\&#]/\\&/g') ;;
    *) quoted=$stage ;;
    esac
    now_at="s#\"$tls_dir/#\"$quoted/candidate-tls/#g"
    tls_kept=''
    each file note_tls_file
    each keep note_tls_kept
    ensure with_lines "$tls_kept" into candidate-tls cp
    each file candidate_file
    each keep candidate_kept
    program=$root$validator
    if [ -e "$program.ionet-new" ]; then program=$program.ionet-new; fi
    if ! ask_program "$program" config validate "$stage/candidate"; then fail config_invalid "$said"; fi
    case $said in *WARNING*) fail config_invalid "$said" ;; esac
}
