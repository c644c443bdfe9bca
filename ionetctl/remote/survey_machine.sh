# The survey's part on the machine: what it is, what its kernel offers, what would run containers and drive GPUs.
# Functions only, called by survey.sh, which sets root, tab and nl.
# shellcheck shell=sh disable=SC2154

machine() {
    kernel_arch=$(uname -rm)
    known kernel "${kernel_arch% *}"
    known arch "${kernel_arch##* }"
    first_line "$root/proc/1/comm"
    known init "$got"
    fact uid "$(id -u)"
    fact time "$(date +%s)"
    first_line "$root/etc/machine-id"
    known machine-id "$got"
    first_line "$root/proc/sys/kernel/random/boot_id"
    boot=$got
    known boot-id "$boot"
    first_line "$root/proc/sys/kernel/hostname"
    if [ -z "$got" ]; then first_line "$root/etc/hostname"; fi
    known hostname "$got"
    product
    resources
    packages
    modules "${kernel_arch% *}"
    mitigations
    if has python3; then fact python 1; else fact python 0; fi
}

product() {
    first_line "$root/sys/class/dmi/id/sys_vendor"
    vendor=$got
    first_line "$root/sys/class/dmi/id/product_name"
    if [ -n "$got" ]; then fact product "${vendor:+$vendor }$got"; fi
}

# Both files are long on a machine of many cores, and slow to make: each is read once.
resources() {
    set --
    for file in "$root/proc/cpuinfo" "$root/proc/meminfo"; do
        if [ -r "$file" ]; then set -- "$@" "$file"; fi
    done
    if [ $# = 0 ]; then return; fi
    awk -F '[ \t]*:[ \t]*' '
        { sub(/ kB$/, "", $2) }
        $1 == "processor" { cores++ }
        $1 == "model name" { model = substr($2, 1, 200) }
        $1 ~ /^(MemTotal|SwapTotal|HugePages_Total|Hugepagesize|Hugetlb)$/ && $2 ~ /^[0-9]+$/ { of[$1] = $2 }
        END {
            if (cores) print "cpu.cores\t" cores
            if (model != "") print "cpu.model\t" model
            if ("MemTotal" in of) print "memory.kib\t" of["MemTotal"]
            if ("SwapTotal" in of) print "swap.kib\t" of["SwapTotal"]
            if ("Hugetlb" in of) print "hugepages.kib\t" of["Hugetlb"]
            else if ("HugePages_Total" in of) printf "hugepages.kib\t%.0f\n", of["HugePages_Total"] * of["Hugepagesize"]
        }' "$@"
}

packages() {
    for manager in apt-get dnf yum zypper pacman apk; do
        if ! has "$manager"; then continue; fi
        fact packages "${manager%-get}"
        break
    done
    # Only the Debian families leave such a mark; its absence means nothing elsewhere.
    if [ -e "$root/run/reboot-required" ] || [ -e "$root/var/run/reboot-required" ]; then
        fact reboot 1
    elif has apt-get; then
        fact reboot 0
    fi
}

# modules KERNEL: those that matter here, loaded or built in.
modules() {
    set -- "$root/proc/modules" "$root/lib/modules/$1/modules.builtin" "$root/usr/lib/modules/$1/modules.builtin"
    if [ ! -r "$1" ] && [ ! -d "$root/sys/module" ]; then return; fi
    present=" $(grep -shoE '(^|/)(bridge|br_netfilter|overlay|nvidia|nouveau)( |\.ko)' "$@" | tr -s '/.\n' '   ') "
    found=
    for module in bridge br_netfilter overlay nvidia nouveau; do
        case $present in
        *" $module "*) found="$found $module" ;;
        *) if [ -d "$root/sys/module/$module" ]; then found="$found $module"; fi ;;
        esac
    done
    fact modules "${found# }"
}

# Of the kernel's command line no more is told: it may hold secrets.
mitigations() {
    first_line "$root/proc/cmdline"
    case " $got " in
    '  ') ;;
    *' mitigations=off '*) fact mitigations 0 ;;
    *) fact mitigations 1 ;;
    esac
}

# A controller that is mounted read-only is of no use to an agent. Of several mounts at one place the last one counts.
cgroups() {
    mounts=$root/proc/mounts
    if [ ! -r "$mounts" ]; then mounts=/proc/mounts; fi
    if [ ! -r "$mounts" ]; then return; fi
    answer=$(awk '
        $2 ~ /^\/sys\/fs\/cgroup/ { kind[$2] = $3; options[$2] = $4 }
        END {
            for (at in kind) {
                count = split(options[at], option, ",")
                if (kind[at] == "cgroup2") {
                    if (at == "/sys/fs/cgroup") { v2 = 1; writable = (option[1] == "rw") } else beside = 1
                }
                if (kind[at] != "cgroup") continue
                v1 = 1
                for (i = 2; i <= count && option[1] == "rw"; i++)
                    if (option[i] ~ /^(cpu|cpuacct|cpuset|memory|pids|freezer|devices|blkio|net_cls|net_prio|hugetlb|perf_event|rdma)$/)
                        names = names " " option[i]
            }
            # As Nomad does: the root decides, whatever somebody has mounted below it.
            if (v2) print "v2" (writable ? " rw" : "")
            else if (v1) print (beside ? "hybrid" : "v1") names
        }' "$mounts")
    controllers=${answer#"${answer%% *}"}
    if [ "$answer" = "v2 rw" ]; then
        first_line "$root/sys/fs/cgroup/cgroup.controllers"
        controllers=$got
    fi
    if [ -z "$answer" ]; then return; fi
    fact cgroups "${answer%% *}"
    fact cgroup.controllers "${controllers# }"
}

# What only systemd's own programs report; on other systems they are not there.
systemd() {
    if has systemctl; then
        # shellcheck disable=SC2046 # the words of its first line: systemd 255 (255.4-1ubuntu8)
        set -- $(answer 5 systemctl --version 2>/dev/null | head -n 1)
        case ${1:-}.${2:-} in
        systemd.[0-9]*) fact systemd "${2%%[!0-9]*}" ;;
        esac
    fi
    if has systemd-detect-virt; then
        # It ends with 1 where it prints "none".
        known virtualization "$(answer 5 systemd-detect-virt 2>/dev/null || :)"
    fi
    if has timedatectl; then
        said=$nl$(answer 5 timedatectl show -p NTP -p NTPSynchronized 2>/dev/null || :)
        case $said in
        *"${nl}NTP=yes"*) fact time.service 1 ;;
        *"${nl}NTP=no"*) fact time.service 0 ;;
        esac
        case $said in
        *"${nl}NTPSynchronized=yes"*) fact time.synchronized 1 ;;
        *"${nl}NTPSynchronized=no"*) fact time.synchronized 0 ;;
        esac
    fi
}

# --- what would run containers ---

# The cgroup version comes last: a Docker that does not know it yet stops printing there.
# shellcheck disable=SC2016 # a template of Docker's
docker_format='{{.ServerVersion}}|{{.CgroupDriver}}|{{.DockerRootDir}}|{{.DefaultRuntime}}|'
# shellcheck disable=SC2016
docker_format=$docker_format'{{range $name, $_ := .Runtimes}}{{$name}} {{end}}|{{.CgroupVersion}}'

containers() {
    if has docker; then docker_daemon; fi
    if has nvidia-ctk; then
        said=$(answer 5 nvidia-ctk --version 2>/dev/null || :)
        said=${said%%"$nl"*}
        known toolkit "${said##* }"
    fi
    cni_plugins
}

docker_daemon() {
    snap=0
    case $(command -v docker) in "$root"/snap/*) snap=1 ;; esac
    IFS='|' read -r version driver directory default runtimes cgroup_version <<END
$(answer 15 docker info --format "$docker_format" 2>/dev/null || :)
END
    if [ -z "$version" ] && is_podman; then
        fact podman 1
        return
    fi
    fact docker "$version" "$driver" "$cgroup_version" "$directory" "$runtimes" "$default" "$snap"
    case $directory in
    '' | [!/]* | *[!!-~]*) directory=/var/lib/docker ;;
    esac
    disks "$directory"
    if [ -n "$version" ]; then ionet_containers; fi
}

cni_plugins() {
    if [ ! -d "$root/opt/cni/bin" ]; then return; fi
    found='' count=0
    for file in "$root"/opt/cni/bin/*; do
        # A line holds no more.
        if [ "$count" = 128 ] || [ "${#found}" -gt 3000 ]; then break; fi
        name=${file##*/}
        case $name in *[!0-9A-Za-z._-]*) continue ;; esac
        if [ ! -f "$file" ] || [ ! -x "$file" ]; then continue; fi
        found="$found $name" count=$((count + 1))
    done
    fact cni "${found# }"
}

# --- GPUs as bus, files and kernel show them ---

driver() {
    gpus_on_bus
    known gpu.bus "$count"
    module=$(module_version)
    known driver.module "$module"
    library=$(library_file)
    known driver.library "${library##*/libnvidia-ml.so.}"
    if [ "$count.$module$library" != 0. ]; then
        driver_package
        run_file "$library"
    fi
    secure_boot
}

# gpus_on_bus: $count becomes the number of NVIDIA display devices that the kernel sees, empty where it is unknown.
gpus_on_bus() {
    count=
    if [ ! -d "$root/sys/bus/pci/devices" ]; then return; fi
    count=0
    for device in "$root"/sys/bus/pci/devices/*; do
        first_line "$device/vendor"
        if [ "$got" != 0x10de ]; then continue; fi
        first_line "$device/class"
        case $got in 0x03*) count=$((count + 1)) ;; esac
    done
}

# module_version: the first word that looks like one in "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.14 …".
module_version() {
    first_line "$root/proc/driver/nvidia/version"
    set -f
    # shellcheck disable=SC2086 # the words of the line
    set -- $got
    set +f
    for word in "$@"; do
        case $word in [0-9]*.[0-9]*) echo "$word" && return ;; esac
    done
}

# library_file: the libnvidia-ml which programs load, by its real name, which ends with its version.
library_file() {
    for directory in /usr/lib/x86_64-linux-gnu /usr/lib/aarch64-linux-gnu /usr/lib64 /usr/lib /run/opengl-driver/lib; do
        library=$root$directory/libnvidia-ml.so.1
        if [ -e "$library" ]; then break; fi
    done
    if [ ! -e "$library" ] && has ldconfig; then
        library=$(answer 5 ldconfig -p 2>/dev/null | sed -n '/libnvidia-ml\.so\.1 .*=>/{s/.*=> //p;q;}')
        library=$root$library
    fi
    if library=$(readlink -f "$library" 2>/dev/null); then
        case $library in */libnvidia-ml.so.[0-9]*.[0-9]*) echo "$library" ;; esac
    fi
}

# A package that is on hold stays at its version, whatever is asked of the package manager. Those asked for are those of
# which a preparation of the driver leaves any alone.
driver_package() {
    if has dpkg-query; then
        # shellcheck disable=SC2016 # the format of dpkg-query
        answer 5 dpkg-query -W -f '${db:Status-Abbrev} ${Package}\n' 'nvidia-*' 'libnvidia-*' 'cuda-drivers*' \
            'linux-modules-nvidia-*' 2>/dev/null | awk '
                /^h/ && ++holds <= 16 { held = held " " substr($NF, 1, 100) }
                /^.i/ && $NF ~ /^(nvidia-driver(-[0-9].*)?|nvidia-headless-[0-9].*|nvidia-open|cuda-drivers)$/ {
                    if (name == "" || ($NF ~ /^nvidia-driver/ && name !~ /^nvidia-driver/)) name = $NF
                }
                END {
                    if (name != "") print "driver.package\t" substr(name, 1, 100)
                    if (NR) print "driver.held\t" substr(held, 2)
                }'
    elif has rpm; then
        # It names those that are not there too, in a sentence.
        known driver.package "$(answer 5 rpm -q --qf '%{NAME}\n' nvidia-driver nvidia-open xorg-x11-drv-nvidia \
            kmod-nvidia akmod-nvidia 2>/dev/null | grep -m 1 -v ' ' || :)"
    fi
}

# run_file LIBRARY: whether the driver is from NVIDIA's installer, which leaves an uninstaller: unless a package that came
# later owns the library.
run_file() {
    if [ ! -e "$root/usr/bin/nvidia-uninstall" ]; then
        if [ -n "$module$1" ]; then fact driver.run-file 0; fi
        return
    fi
    set -- "${1#"$root"}"
    if [ -z "$1" ]; then
        set -- false
    elif has dpkg-query; then
        set -- dpkg-query -S "$1"
    elif has rpm; then
        set -- rpm -qf "$1"
    else
        set -- false
    fi
    if owner=$(answer 5 "$@" 2>/dev/null) && [ -n "$owner" ]; then
        fact driver.run-file 0
    else
        fact driver.run-file 1
    fi
}

secure_boot() {
    if has mokutil; then
        case $(answer 5 mokutil --sb-state 2>/dev/null || :) in
        *'SecureBoot enabled'*) fact secure-boot 1 && return ;;
        *'SecureBoot disabled'*) fact secure-boot 0 && return ;;
        esac
    fi
    # The variable's value is the byte after its four bytes of attributes.
    variable=$root/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c
    if [ -r "$variable" ]; then
        case $(od -An -tu1 -j4 -N1 "$variable" 2>/dev/null) in
        *1) fact secure-boot 1 ;;
        *0) fact secure-boot 0 ;;
        esac
    fi
}

# The driver's errors of this boot. The kernel's own log may have lost its beginning by now; the journal has it all.
kernel_log() {
    status=0
    rows=$(answer 5 dmesg 2>/dev/null | xids) || status=$?
    case $status in
    1 | 2)
        whole=0
        more=$(answer 5 journalctl -k -b -q --no-pager -o short-monotonic 2>/dev/null | xids) || whole=$?
        case $whole in 0 | 3) rows=$more status=$whole ;; esac
        ;;
    esac
    if [ -n "$rows" ]; then printf '%s\n' "$rows"; fi
    case $status in 0 | 1) fact looked xids ;; esac
}

# xids: the xid records of a log on standard input, whatever card or part of one they name. Ends with 3 where a line
# could not be read or counted, 2 for an empty log, 1 for one that lacks its beginning.
xids() {
    awk '
        NR == 1 { is_whole = /^\[ *[0-9]?\./ }
        /NVRM: Xid/ {
            unread++
            if (!match($0, /NVRM: Xid [^,]*: [0-9]+/)) next
            card = code = substr($0, RSTART, RLENGTH)
            sub(/.*: /, "", code)
            if (length(code) > 4) next
            bus = match(card, /[0-9A-Fa-f]+:[0-9A-Fa-f]+:[0-9A-Fa-f.]+/) ? substr(card, RSTART, RLENGTH) : ""
            key = code "\t" (length(bus) > 16 ? "" : bus)
            if (!(key in times) && ++kinds > 64) next
            times[key]++
            unread--
        }
        END {
            for (key in times) if (times[key] > 0) print "xid\t" key "\t" times[key]
            exit NR == 0 ? 2 : unread ? 3 : is_whole ? 0 : 1
        }'
}
