# Preparing: what runs containers and drives GPUs.
# Functions only, called by prepare.sh, which sets the paths and how to fail.
# shellcheck shell=sh disable=SC2034,SC2154

prepare_docker() {
    if ! has docker || is_podman; then
        choose docker-ce docker.io
        case $picked in
        docker-ce) install 800 docker-ce docker-ce-cli containerd.io ;;
        *) install 800 "$picked" ;;
        esac
    fi
    run_unit docker.service
    expect_docker
}

expect_docker() {
    if ! said=$(within 60 docker info 2>&1); then fail prepare_failed "Docker does not answer: $said"; fi
}

# prepare_docker_userns: a key of Docker's configuration that only a restart takes in; the daemon makes the user that it names.
prepare_docker_userns() {
    if docker_maps_users; then return; fi
    if ! has docker || is_podman; then fail prepare_failed 'there is no Docker whose containers could have users of their own'; fi
    first_line "$root/proc/sys/user/max_user_namespaces"
    if [ "$got" = 0 ]; then fail prepare_failed 'the kernel allows no user namespaces (user.max_user_namespaces is 0)'; fi
    expect_open_cards
    expect_no_containers
    copy=$stage/daemon.json
    name_users "$copy"
    # A Docker before 23 cannot say what it would make of it.
    if has dockerd && ! within 30 dockerd --validate "--config-file=$copy" >"$stage/said" 2>&1 &&
        ! grep -q 'unknown flag' "$stage/said"; then
        fail prepare_failed "Docker refuses its new configuration: $(head -n 3 "$stage/said")"
    fi
    old=
    if ! cmp -s "$copy" "$root$docker_config"; then
        old=$stage/daemon.json.old
        rm -f "$old"
        if [ -e "$root$docker_config" ]; then try prepare_failed cp -p "$root$docker_config" "$old"; fi
        keep_old "$docker_config"
        try prepare_failed write_copy "$copy" "$root$docker_config"
        changed "gave containers users of their own in $docker_config"
    fi
    if ! said=$(service restart docker.service 2>&1); then
        said=$(last_log docker.service)
        if [ -n "$old" ]; then put_back_docker; fi
        fail prepare_failed "$said"
    fi
    changed 'restarted docker.service'
    expect_docker
    if ! docker_maps_users; then fail prepare_failed 'Docker was restarted and does not map the users of containers'; fi
}

# put_back_docker: $old is its configuration as it was, and not there where there was none; $said becomes what was done as well.
put_back_docker() {
    if [ ! -e "$old" ]; then
        rm -f "$root$docker_config"
    elif ! write_copy "$old" "$root$docker_config" 2>/dev/null; then
        said="$said; $docker_config could not be put back"
        return
    fi
    said="$said; $docker_config was put back"
    # After a few failures in a row systemd starts it no more.
    service reset-failed docker.service >/dev/null 2>&1 || :
    service restart docker.service >/dev/null 2>&1 || said="$said, and Docker does not start with that either"
}

docker_maps_users() {
    # shellcheck disable=SC2016 # a template of Docker's
    case " $(within 30 docker info --format '{{range .SecurityOptions}}{{.}} {{end}}' 2>/dev/null)" in
    *' name=userns'*) return 0 ;;
    *) return 1 ;;
    esac
}

# expect_open_cards: what a container's root opens it opens as one of the host's nobodies then. The NVIDIA runtime gives it
# the device files as they are.
expect_open_cards() {
    for device in "$root"/dev/nvidia[0-9]* "$root"/dev/nvidiactl "$root"/dev/nvidia-uvm; do
        if [ ! -e "$device" ]; then continue; fi
        case $(stat -c %a "$device") in
        *6 | *7) ;;
        *) fail prepare_failed "${device#"$root"} is closed to others than its owner: containers with users of their own could use no card" ;;
        esac
    done
}

expect_no_containers() {
    status=0
    containers=$(within 30 docker ps -q 2>/dev/null) || status=$?
    if [ -n "$containers" ] || [ "$status" = 124 ]; then
        fail containers_running 'Docker must be restarted, and containers run'
    fi
}

# name_users COPY: Docker's configuration with the key; what stands there already is not touched.
name_users() {
    case $(cat "$root$docker_config" 2>/dev/null | tr -d ' \t\n\r') in
    '' | '{}') printf '{\n    "userns-remap": "default"\n}\n' >"$1" ;;
    # A run that wrote it was ended before the restart.
    *'"userns-remap":"default"'*) cat "$root$docker_config" >"$1" ;;
    *'"userns-remap"'*) fail prepare_failed "Docker does not go by the userns-remap in $docker_config: it must be restarted" ;;
    '{'*)
        awk '!done && sub(/\{/, "{\n    \"userns-remap\": \"default\",") { done = 1 } { print }' "$root$docker_config" >"$1"
        ;;
    *) fail prepare_failed "$docker_config is no JSON object" ;;
    esac
}

prepare_container_toolkit() {
    if ! has nvidia-ctk && ! is_installed nvidia-container-toolkit; then
        choose nvidia-container-toolkit
        install 300 "$picked"
    fi
    if has docker && ! is_podman; then enter_runtime; fi
}

docker_knows_nvidia() {
    # shellcheck disable=SC2016 # a template of Docker's
    case " $(within 30 docker info --format '{{range $name, $_ := .Runtimes}}{{$name}} {{end}}' 2>/dev/null) " in
    *' nvidia '*) return 0 ;;
    *) return 1 ;;
    esac
}

# enter_runtime: by the toolkit's own program, on a copy: keys that are not ours stay, and a torn file is never read.
enter_runtime() {
    if docker_knows_nvidia; then return; fi
    copy=$stage/daemon.json
    rm -f "$copy"
    if [ -s "$root$docker_config" ]; then try prepare_failed cp "$root$docker_config" "$copy"; fi
    if ! has nvidia-ctk; then fail prepare_failed 'there is no nvidia-ctk: this container toolkit is too old'; fi
    try prepare_failed within 60 nvidia-ctk runtime configure --runtime=docker "--config=$copy"
    if ! cmp -s "$copy" "$root$docker_config"; then
        keep_old "$docker_config"
        try prepare_failed write_copy "$copy" "$root$docker_config"
        changed "entered the runtime nvidia in $docker_config"
    fi
    reload_docker
}

write_copy() {
    write "$2" <"$1"
}

# keep_old PATH: as it was before the first preparation.
keep_old() {
    if [ ! -e "$root$1" ] || [ -e "$our/replaced/before-prepare$1" ]; then return; fi
    into=$our/replaced/before-prepare${1%/*}
    try prepare_failed mkdir -p "$into"
    try prepare_failed cp -p "$root$1" "$into/"
}

# reload_docker: a restart ends containers, a reload does not, and takes runtimes in as well.
reload_docker() {
    status=0
    containers=$(within 30 docker ps -q 2>/dev/null) || status=$?
    # One that does not say in time which containers run may run some.
    if [ -n "$containers" ] || [ "$status" = 124 ]; then
        unit reload docker.service
        if ! docker_knows_nvidia; then fail containers_running 'Docker must be restarted, and containers run'; fi
        changed 'reloaded docker.service'
        return
    fi
    unit restart docker.service
    changed 'restarted docker.service'
    expect_docker
    if ! docker_knows_nvidia; then fail prepare_failed 'Docker was restarted and does not know the runtime nvidia'; fi
}

prepare_cni() {
    source_dir=/usr/lib/cni
    if [ ! -x "$root$source_dir/bridge" ]; then
        choose containernetworking-plugins
        install 200 "$picked"
    fi
    try prepare_failed mkdir -p "$root$cni_dir"
    linked=
    for plugin in "$root$source_dir"/*; do
        place=$root$cni_dir/${plugin##*/}
        if [ -x "$place" ] || [ ! -x "$plugin" ]; then continue; fi
        try prepare_failed ln -sf "$plugin" "$place"
        linked="$linked ${plugin##*/}"
    done
    if [ -n "$linked" ]; then changed "linked into $cni_dir:$linked"; fi
}

# prepare_driver BRANCH
prepare_driver() {
    branch=$1
    if ! driver_is_installed; then
        refuse_held 'nvidia-*' 'libnvidia-*' 'cuda-drivers*' 'linux-modules-nvidia-*'
        install_driver
    fi
    load_driver
}

# driver_is_installed: one of the branch, whoever packaged it. $installed becomes its version.
driver_is_installed() {
    installed=$(
        # shellcheck disable=SC2016 # the format of dpkg-query
        dpkg-query -W -f '${db:Status-Abbrev}${Version}\n' 'nvidia-driver*' 'nvidia-headless-*' 'cuda-drivers*' \
            nvidia-open 2>/dev/null | sed -n 's/^.i[^0-9]*\([0-9]*:\)*\([0-9.]*\).*/\2/p' | grep -m 1 "^${branch%%-*}[.]" || :
    )
    [ -n "$installed" ]
}

install_driver() {
    if came_along; then
        install 3000
        return
    fi
    pick "nvidia-driver-$branch" nvidia-driver "cuda-drivers-${branch%%-*}"
    if [ "$picked" = nvidia-driver ]; then
        case ${version#*:} in
        "${branch%%-*}".*) ;;
        *)
            if ! offered "cuda-drivers-${branch%%-*}"; then
                fail package_missing "apt offers nvidia-driver $version and no driver of the branch $branch"
            fi
            picked=cuda-drivers-${branch%%-*}
            ;;
        esac
    fi
    if [ -z "$picked" ]; then
        fail package_missing "apt offers no NVIDIA driver of the branch $branch; on Debian it is in non-free"
    fi
    # The module is built for the running kernel, where it does not come built.
    headers=linux-headers-$(uname -r)
    if offered "$headers" && ! is_installed "$headers"; then
        install 3000 "$headers" "$picked"
    else
        install 3000 "$picked"
    fi
}

# load_driver: without a reboot where no other driver has the cards. One reboot is all that is tried.
load_driver() {
    first_line "$root/sys/module/nvidia/version"
    loaded=$got
    on_disk=$(within 30 modinfo -F version nvidia 2>/dev/null | head -n 1 || :)
    if [ -z "$loaded" ] && [ ! -d "$root/sys/module/nouveau" ] && within 60 modprobe nvidia >"$stage/said" 2>&1; then
        rm -f "$driver_mark"
        changed "loaded the driver ${on_disk:-nvidia}"
        return
    fi
    if [ -n "$loaded" ] && [ "$loaded" = "${on_disk:-$loaded}" ]; then
        case $loaded in "${branch%%-*}".*) rm -f "$driver_mark" && return ;; esac
    fi
    first_line "$root/proc/sys/kernel/random/boot_id"
    this_boot=$got
    first_line "$driver_mark"
    if [ -n "$got" ] && [ "${got% *}" != "$this_boot" ] && [ "${got#* }" = "${on_disk:-none}" ]; then
        fail driver_not_loaded "the host was rebooted, and the driver does not load: $(head -n 1 "$stage/said" 2>/dev/null)"
    fi
    try prepare_failed write_text "$this_boot ${on_disk:-none}" "$driver_mark"
    reboot="the NVIDIA driver ${on_disk:-$branch} takes over from ${loaded:-what drives the cards now}"
}

# The mode is lost when the driver is unloaded; the daemon keeps it, and where it does not, a unit sets it at boot.
prepare_persistence() {
    if has_unit nvidia-persistenced.service; then
        service enable nvidia-persistenced.service >/dev/null 2>&1 || :
        service start nvidia-persistenced.service >/dev/null 2>&1 || :
        if is_persistent; then
            changed 'nvidia-persistenced keeps the driver loaded'
            return
        fi
    fi
    own=ionet-persistence.service
    program=$(command -v nvidia-smi) || fail prepare_failed 'there is no nvidia-smi'
    wanted="# By ionetctl.
[Unit]
Description=Keep the NVIDIA driver loaded
After=nvidia-persistenced.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=$program -pm 1
[Install]
WantedBy=multi-user.target"
    if [ "$(cat "$root/etc/systemd/system/$own" 2>/dev/null)" != "$wanted" ]; then
        try prepare_failed write_text "$wanted" "$root/etc/systemd/system/$own"
        unit daemon-reload
        changed "wrote $own"
    fi
    unit enable "$own"
    unit restart "$own"
    if ! is_persistent; then fail prepare_failed 'persistence mode stays off'; fi
    changed "$own keeps the driver loaded"
}

is_persistent() {
    case $(within 20 nvidia-smi --query-gpu=persistence_mode --format=csv,noheader 2>/dev/null) in
    *Disabled* | '') return 1 ;;
    esac
}
