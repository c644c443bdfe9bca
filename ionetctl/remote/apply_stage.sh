# The apply's part before any change: everything is staged beside its destination, verified and validated.
# Functions only, called by apply.sh, which sets the paths.
# shellcheck shell=sh disable=SC2034,SC2154

# sweep: what an apply that was killed may have left beside a destination.
sweep() {
    try apply_failed rm -f "$root$config_dir"/*.ionet-new "$root$tls_dir"/*.ionet-new \
        "$root$releases_dir"/*/*.ionet-new "$root$plugin_dir"/*.ionet-new "$root$nomad_link.ionet-new" \
        "$root$unit_dir"/*.ionet-new "$root$state_dir"/*.ionet-new "$our"/*.ionet-new
}

# stage_program PACKED DIGEST SIZE MODE OWNER DEST VERSION FORM
stage_program() {
    stage_beside "$6"
    room=$(df -Pk "${new%/*}" | sed -n '2s/^[^ ]* *[0-9]* *[0-9]* *\([0-9]*\) .*/\1/p')
    if [ "${room:-$3}" -lt $(($3 / 1024)) ]; then fail disk_full "No space left for $6: $room of $(($3 / 1024)) KiB"; fi
    packed=$(sha256sum "$kept/$1" 2>&1) || :
    if [ "${packed%% *}" != "$1" ]; then fail payload_corrupt "what was received of $6 has another digest"; fi
    try payload_corrupt unpack "$8" "$kept/$1" "$new"
    try apply_failed append "$2  $new" sums
}

# stage_file N DIGEST MODE OWNER DEST
stage_file() {
    stage_beside "$5"
    try apply_failed copy "f/$1" "$new"
    try apply_failed append "$2  $new" sums
}

# drop_programs: what was received of programs, once it is installed, or is of no use.
drop_programs() {
    each program drop_program
    rmdir "$kept" 2>/dev/null || :
}

drop_program() {
    rm -f "$kept/$1"
}

check_sums() {
    if [ ! -e sums ]; then return; fi
    if ! said=$(sha256sum -c sums 2>/dev/null); then
        fail payload_corrupt "digests differ: $(printf '%s\n' "$said" | grep -v ': OK$')"
    fi
}

grant_program() {
    try apply_failed grant "$4" "$5" "$root$6.ionet-new"
    check_program "$root$6.ionet-new" "$6" "$7"
}

grant_file() {
    try apply_failed grant "$3" "$4" "$root$5.ionet-new"
}

# ask_program PROGRAM ARGUMENT...: $said becomes its output; fails as the program does. A busy host may take long to read it.
ask_program() {
    status=0
    said=$(within "$start_deadline_s" "$@" 2>&1) || status=$?
    if [ "$status" = 124 ]; then fail apply_failed "$1 $2 did not end within $start_deadline_s s; is the host overloaded?"; fi
    return "$status"
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
        sed "s#\"$tls_dir/#\"$(printf '%s' "$stage" | sed 's/[\\&#]/\\&/g')/candidate-tls/#g" "$1" >"candidate/${2##*/}"
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
    if ! ask_program "$program" config validate "$stage/candidate"; then fail config_invalid "$said"; fi
    case $said in *WARNING*) fail config_invalid "$said" ;; esac
}
