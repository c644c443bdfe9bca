# Preparing: packages, by the host's own package manager or from files that came along.
# Functions only, called by prepare.sh, which sets the paths and how to fail.
# shellcheck shell=sh disable=SC2034,SC2154

# apt COMMAND...: apt-get, which asks nothing, waits a while for another's lock and keeps configuration files that
# somebody edited. Its output goes to a file.
apt() {
    within "$limit_s" apt-get -q -y -o "DPkg::Lock::Timeout=$lock_wait_s" -o Dpkg::Options::=--force-confdef \
        -o Dpkg::Options::=--force-confold -o Acquire::Retries=2 -o Acquire::http::Timeout=30 "$@" \
        >"$stage/said" 2>&1 </dev/null
}

# package_errors: the lines of a package manager's output that explain its failure.
package_errors() {
    lines=$(sed -n -e 's/^E: //p' -e '/^dpkg: error/p' -e '/ Depends: /p' -e '/ did not end within /p' "$stage/said" | head -n 6)
    if [ -z "$lines" ]; then lines=$(tail -n 3 "$stage/said"); fi
    printf '%s\n' "$lines"
}

# fail_install STATUS
fail_install() {
    said=$(package_errors)
    case $1.$said in
    124.*) fail prepare_failed "$said" ;;
    *'Unable to locate'* | *'no installation candidate'* | *'Depends:'* | *'unmet dependencies'* | *'dependency problems'*)
        fail package_missing "$said"
        ;;
    *) fail prepare_failed "$said" ;;
    esac
}

# is_installed PACKAGE
is_installed() {
    case $(dpkg-query -W -f '${db:Status-Abbrev}' "$1" 2>/dev/null) in ?i*) return 0 ;; *) return 1 ;; esac
}

# offered PACKAGE: whether apt has a version of it; $version becomes that.
offered() {
    version=$(apt-cache policy "$1" 2>/dev/null | sed -n 's/^ *Candidate: //p')
    case $version in '' | '(none)') return 1 ;; esac
}

# came_along: whether packages were brought for this preparation.
came_along() {
    [ -d "$stage/packages/$step" ]
}

# choose PACKAGE...: $picked becomes the first that apt offers; it is not used where packages came along.
choose() {
    picked=packages
    if came_along; then return; fi
    pick "$@"
    if [ -z "$picked" ]; then fail package_missing "apt offers no $(printf '%s' "$*" | sed 's/ / and no /g')"; fi
}

# pick PACKAGE...: $picked becomes the first that apt offers, after an update of its lists where it offers none.
pick() {
    if ! has apt-get; then fail package_missing "this host has no apt-get to install $1 with"; fi
    for picked in "$@"; do
        if offered "$picked"; then return; fi
    done
    if [ "$has_updated" = no ]; then
        has_updated=yes
        apt update || :
        pick "$@"
        return
    fi
    picked=
}

# refuse_held PATTERN...: nothing is done to packages that somebody put on hold.
refuse_held() {
    if ! has apt-mark; then return; fi
    for held in $(within 30 apt-mark showhold 2>/dev/null); do
        for pattern in "$@"; do
            # shellcheck disable=SC2254 # it is a pattern
            case $held in $pattern) fail package_held "$held is on hold" ;; esac
        done
    done
}

# need_room MIB: before a package manager runs out of it halfway.
need_room() {
    room=$(df -Pk "$root/var" 2>/dev/null | sed -n '2s/^[^ ]* *[0-9]* *[0-9]* *\([0-9]*\) .*/\1/p')
    if [ "${room:-$(($1 * 1024))}" -lt $(($1 * 1024)) ]; then
        fail disk_full "No space left in /var: $((room / 1024)) of $1 MiB"
    fi
}

# complete_dpkg: what a power cut left half done.
complete_dpkg() {
    for file in "$root"/var/lib/dpkg/updates/[0-9]*; do
        if [ ! -e "$file" ]; then continue; fi
        if ! within "$limit_s" dpkg --force-confdef --force-confold --configure -a >"$stage/said" 2>&1 </dev/null; then
            fail prepare_failed "$(package_errors)"
        fi
        changed 'completed an installation that was cut off'
        return
    done
}

# install MIB PACKAGE...: the files that came along for this preparation where there are any, else the packages.
install() {
    need_room "$1"
    shift
    complete_dpkg
    if came_along; then
        install_files "$stage/packages/$step"/*.deb
        return
    fi
    status=0
    apt install "$@" || status=$?
    if [ "$status" != 0 ]; then fail_install "$status"; fi
    changed "installed $*"
}

# install_files FILE...: apt is given no other source, so that it never waits for a network that is not there (its own
# --no-download does not work with files).
install_files() {
    status=0
    if has apt-get; then
        apt install -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts=/dev/null "$@" || status=$?
    elif has dpkg; then
        within "$limit_s" dpkg --force-confdef --force-confold -i "$@" >"$stage/said" 2>&1 </dev/null || status=$?
    else
        fail package_missing 'this host has neither apt-get nor dpkg'
    fi
    if [ "$status" != 0 ]; then fail_install "$status"; fi
    names=
    for file in "$@"; do
        file=${file##*/}
        names="$names ${file%%_*}"
    done
    changed "installed$names from files"
}
