# The survey's part on the machine: what it is, what its kernel offers, what would run containers and drive GPUs.
# Functions only, called by survey.sh, which sets root, tab and nl.
# shellcheck shell=sh disable=SC2034,SC2154

machine() {
    kernel_arch=$(uname -rm)
    release=${kernel_arch% *}
    known kernel "$release"
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
    packages
    mitigations
    if has python3; then fact python 1; else fact python 0; fi
}

product() {
    first_line "$root/sys/class/dmi/id/sys_vendor"
    vendor=$got
    first_line "$root/sys/class/dmi/id/product_name"
    if [ -n "$got" ]; then fact product "${vendor:+$vendor }$got"; fi
    first_line "$root/sys/class/dmi/id/product_uuid"
    known product-uuid "$got"
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

# Of the kernel's command line no more is told: it may hold secrets.
mitigations() {
    first_line "$root/proc/cmdline"
    case " $got " in
    '  ') ;;
    *' mitigations=off '*) fact mitigations 0 ;;
    *) fact mitigations 1 ;;
    esac
}

# fences: what the kernel offers to keep jobs from the host's files.
fences() {
    # In a mount namespace that ends with the trial. Whoever is not root cannot try.
    ask 10 unshare --mount --propagation private sh -c "$refuse_links" || :
    case $said in
    nosymfollow*) fact nosymfollow 1 ;;
    *) if [ "$(id -u)" = 0 ]; then fact nosymfollow 0; fi ;;
    esac
    # The kernel names Landlock only where it tells of its security modules at all. A container's filter may refuse it nevertheless.
    first_line "$root/sys/kernel/security/lsm"
    case ",$got," in
    ,,) ;;
    *,landlock,*) if has python3 && ask 10 python3 -I -S -c "$ask_landlock" && [ "$said" = 0 ]; then fact landlock 0; else fact landlock 1; fi ;;
    *) fact landlock 0 ;;
    esac
}

# shellcheck disable=SC2016 # for another shell
# As templates/start_agent.sh.j2 does it with the agent's directory.
refuse_links='
refuses() { grep -q " /tmp [^ ]*nosymfollow" /proc/self/mountinfo; }
mount --bind /tmp /tmp || exit 1
mount -o remount,bind,nosymfollow /tmp
by_python() { python3 -I -S -c "import ctypes; ctypes.CDLL(None).mount(None, b\"/tmp\", None, 4390, None)"; }
if refuses || { by_python && refuses; }; then echo nosymfollow; fi'

# As Nomad asks for it: landlock_create_ruleset, the same number on every machine, for the version that the kernel offers.
ask_landlock='import ctypes; print(int(ctypes.CDLL(None).syscall(444, None, ctypes.c_size_t(0), 1) > 0))'

# tables: one look at all tables of the kernel, since each program that is started costs more than what it reads; and at our
# manifest. Some are long on a machine of many cores, mounts or processes, and slow to make: each is read once. $table is df's.
tables() {
    set --
    for row in cores:/proc/cpuinfo memory:/proc/meminfo modules:/proc/modules "modules:/lib/modules/$release/modules.builtin" \
        "modules:/usr/lib/modules/$release/modules.builtin" controllers:/sys/fs/cgroup/cgroup.controllers \
        routes:/proc/net/route routes:/proc/net/ipv6_route sockets:/proc/net/tcp sockets:/proc/net/tcp6 "manifest:$our_dir/manifest"; do
        if [ -r "$root${row#*:}" ]; then set -- "$@" "of=${row%%:*}" "$root${row#*:}"; fi
    done
    mounts=$root/proc/mounts
    if [ ! -r "$mounts" ]; then mounts=/proc/mounts; fi
    if [ -r "$mounts" ]; then set -- "$@" of=mounts "$mounts"; fi
    said=$(TABLE=$table PLACES=$places awk "$tables_awk" "$@" of=end /dev/null || :)
    routed=${said%%"$nl"*}
    said=${said#*"$nl"}
    present=${said%%"$nl"*}
    case $said in *"$nl"*) records=$records${said#*"$nl"}$nl ;; esac
    modules
    interfaces
}

# shellcheck disable=SC2016 # for awk
# It prints the names of the interfaces with a default route and those of modules, between spaces, and then records.
tables_awk='
    of == "cores" {
        if (!/^(processor|model name)[ \t]*:/) next
        split($0, part, /[ \t]*:[ \t]*/)
        if (part[1] == "processor") cores++
        else model = substr(part[2], 1, 200)
        next
    }
    of == "memory" {
        split($0, part, /[ \t]*:[ \t]*/)
        sub(/ kB$/, "", part[2])
        if (part[1] ~ /^(MemTotal|SwapTotal|HugePages_Total|Hugepagesize|Hugetlb)$/ && part[2] ~ /^[0-9]+$/) memory[part[1]] = part[2]
        next
    }
    # Loaded, or built in.
    of == "modules" {
        if (match($0, /(^|\/)(bridge|br_netfilter|overlay|nvidia|nouveau)( |\.ko)/)) {
            name = substr($0, RSTART, RLENGTH)
            gsub(/[\/ ]|\.ko/, "", name)
            present = present name " "
        }
        next
    }
    of == "controllers" { if (FNR == 1) { controllers = $0; gsub(/\t/, " ", controllers) } next }
    of == "routes" && $2 == "00000000" && $8 == "00000000" { has_route[$1] }
    of == "routes" && $1 == "00000000000000000000000000000000" && $2 == "00" && $10 != "lo" { has_route[$10] }
    # What listens on loopback alone; 4646 is Nomad itself.
    of == "sockets" {
        has_sockets = 1
        if ($4 == "0A" && ($2 ~ /^(0000000000000000FFFF0000)?......7F:/ || $2 ~ /^00000000000000000000000001000000:/)) {
            port = hexadecimal(substr($2, length($2) - 3))
            if (port != 4646 && !(port in listens) && listening++ < 32) {
                listens[port]
                ports = ports " " port
            }
        }
        next
    }
    of == "manifest" && substr($0, 65, 2) == "  " && substr($0, 1, 64) !~ /[^0-9a-f]/ {
        manifest = manifest "manifest\t" substr($0, 1, 64) "\t" substr($0, 67) "\n"
    }
    # Of several mounts at one point the last one is on top.
    of == "mounts" { kind[$2] = $3; options[$2] = $4 }

    # A controller that is mounted read-only is of no use to an agent.
    function tell_cgroups(    at, count, i, option, v1, v2, writable, beside, names) {
        for (at in kind) {
            if (at !~ /^\/sys\/fs\/cgroup/) continue
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
        if (v2) print "cgroups\tv2\ncgroup.controllers\t" (writable ? controllers : "")
        else if (v1) print "cgroups\t" (beside ? "hybrid" : "v1") "\ncgroup.controllers\t" substr(names, 2)
    }

    function hexadecimal(text,    at, value) {
        for (at = 1; at <= length(text); at++) value = value * 16 + index("0123456789ABCDEF", substr(text, at, 1)) - 1
        return value
    }

    function tell_disk(path, text,    column, cell, point, known) {
        split(text, cell)
        point = text
        for (column = 1; column <= 5; column++) sub(/^[^ \t]+[ \t]+/, "", point)
        gsub(/ /, "\\040", point)
        gsub(/\t/, "\\011", point)
        known = point in kind
        if (cell[4] ~ /^[0-9]+$/)
            printf "disk\t%s\t%.0f\t%s\t%s\t%s\n", path, int(cell[4] / 1024), known ? kind[point] : "unknown",
                known ? substr(options[point], 1, 500) : "unknown", substr(point, 1, 300)
    }

    END {
        for (name in has_route) routed = routed " " name " "
        print routed "\n " present
        if (cores) print "cpu.cores\t" cores
        if (model != "") print "cpu.model\t" model
        if ("MemTotal" in memory) print "memory.kib\t" memory["MemTotal"]
        if ("SwapTotal" in memory) print "swap.kib\t" memory["SwapTotal"]
        if ("Hugetlb" in memory) print "hugepages.kib\t" memory["Hugetlb"]
        else if ("HugePages_Total" in memory) printf "hugepages.kib\t%.0f\n", memory["HugePages_Total"] * memory["Hugepagesize"]
        tell_cgroups()
        if (has_sockets) print "loopback\t" substr(ports, 2)
        split(ENVIRON["PLACES"], place, "\n")
        rows = split(ENVIRON["TABLE"], row, "\n")
        for (i = 2; i <= rows; i++) tell_disk(place[i - 1], row[i])
        printf "%s", manifest
    }'

# modules: those that matter here; $present has those of the tables.
modules() {
    if [ ! -r "$root/proc/modules" ] && [ ! -d "$root/sys/module" ]; then return; fi
    found=
    for module in bridge br_netfilter overlay nvidia nouveau; do
        case $present in
        *" $module "*) found="$found $module" ;;
        *) if [ -d "$root/sys/module/$module" ]; then found="$found $module"; fi ;;
        esac
    done
    fact modules "${found# }"
}

# Whether ssh-keygen checks signatures. One that does misses its arguments here, an old one does not know the option.
signatures() {
    if ! has ssh-keygen; then return; fi
    said=$(within 5 ssh-keygen -Y verify 2>&1 </dev/null) || :
    case $said in
    *option*) fact sshsig 0 ;;
    *) fact sshsig 1 ;;
    esac
}

# What only systemd's own programs report; on other systems they are not there.
systemd() {
    if has systemctl; then
        # Its first line: systemd 255 (255.4-1ubuntu8)
        ask 5 systemctl --version || :
        said=${said%%"$nl"*}
        case $said in
        'systemd '[0-9]*)
            said=${said#* }
            fact systemd "${said%%[!0-9]*}"
            ;;
        esac
    fi
    if has systemd-detect-virt; then
        # It ends with 1 where it prints "none".
        ask 5 systemd-detect-virt || :
        known virtualization "$said"
    fi
    if has timedatectl; then
        ask 5 timedatectl show -p NTP -p NTPSynchronized || :
        said=$nl$said
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
# name=userns is among the security options of one that maps its containers' users.
# shellcheck disable=SC2016 # a template of Docker's
docker_format='{{.ServerVersion}}|{{.CgroupDriver}}|{{.DockerRootDir}}|{{.DefaultRuntime}}|'
# shellcheck disable=SC2016
docker_format=$docker_format'{{range $name, $_ := .Runtimes}}{{$name}} {{end}}|{{range .SecurityOptions}}{{.}} {{end}}|{{.CgroupVersion}}'

containers() {
    if has docker; then docker_daemon; fi
    if has nvidia-ctk; then
        ask 5 nvidia-ctk --version || :
        said=${said%%"$nl"*}
        known toolkit "${said##* }"
    fi
    cni_plugins
}

docker_daemon() {
    snap=0
    case $(command -v docker) in "$root"/snap/*) snap=1 ;; esac
    ask 15 docker info --format "$docker_format" || :
    said=${said%%"$nl"*}
    IFS='|'
    set -f
    # shellcheck disable=SC2086 # the template's values
    set -- $said
    set +f
    unset IFS
    version=${1:-} driver=${2:-} directory=${3:-} default=${4:-} runtimes=${5:-} options=${6:-} cgroup_version=${7:-}
    if [ -z "$version" ] && is_podman; then
        fact podman 1
        return
    fi
    fact docker "$version" "$driver" "$cgroup_version" "$directory" "$runtimes" "$default" "$snap"
    if [ -n "$version" ]; then
        case " $options" in
        *' name=userns'*) fact docker.userns 1 ;;
        *) fact docker.userns 0 ;;
        esac
    fi
    case $directory in
    '' | [!/]* | *[!!-~]*) directory=/var/lib/docker ;;
    esac
    # Here, since a look at a mount that is dead may never return.
    nearest "$directory"
    if ask 10 df -Pk "$got"; then fact docker-dir "$directory"; fi
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
    module_version
    known driver.module "$module"
    library_file
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

# module_version: $module becomes the first word that looks like one in "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.14 …".
module_version() {
    first_line "$root/proc/driver/nvidia/version"
    set -f
    # shellcheck disable=SC2086 # the words of the line
    set -- $got
    set +f
    for module in "$@"; do
        case $module in [0-9]*.[0-9]*) return ;; esac
    done
    module=
}

# library_file: $library becomes the libnvidia-ml which programs load, by its real name, which ends with its version.
library_file() {
    for directory in /usr/lib/x86_64-linux-gnu /usr/lib/aarch64-linux-gnu /usr/lib64 /usr/lib /run/opengl-driver/lib; do
        library=$root$directory/libnvidia-ml.so.1
        if [ -e "$library" ]; then break; fi
    done
    if [ ! -e "$library" ] && has ldconfig; then
        ask 5 ldconfig -p || :
        case $said in
        *libnvidia-ml.so.1\ *=\>*)
            said=${said#*libnvidia-ml.so.1 }
            said=${said%%"$nl"*}
            library=$root${said##*=> }
            ;;
        esac
    fi
    if [ ! -e "$library" ] || ! library=$(readlink -f "$library" 2>/dev/null); then library=; fi
    case $library in */libnvidia-ml.so.[0-9]*.[0-9]*) ;; *) library= ;; esac
}

# A package that is on hold stays at its version, whatever is asked of the package manager. Those asked for are those of
# which a preparation of the driver leaves any alone.
driver_package() {
    if has dpkg-query; then
        # shellcheck disable=SC2016 # the format of dpkg-query
        ask 5 dpkg-query -W -f '${db:Status-Abbrev} ${Package}\n' 'nvidia-*' 'libnvidia-*' 'cuda-drivers*' \
            'linux-modules-nvidia-*' || :
        if [ -z "$said" ]; then return; fi
        name='' held='' holds=0
        IFS=$nl
        for row in $said; do
            package=${row##* }
            case $row in
            h*) if [ "$holds" -lt 16 ]; then held="$held $package" holds=$((holds + 1)); fi ;;
            esac
            case $row in ?i*) ;; *) continue ;; esac
            case $package in
            nvidia-driver | nvidia-driver-[0-9]*) case $name in nvidia-driver*) ;; *) name=$package ;; esac ;;
            nvidia-headless-[0-9]* | nvidia-open | cuda-drivers) name=${name:-$package} ;;
            esac
        done
        unset IFS
        known driver.package "$name"
        fact driver.held "${held# }"
    elif has rpm; then
        # It names those that are not there too, in a sentence.
        name=
        ask 5 rpm -q --qf '%{NAME}\n' nvidia-driver nvidia-open xorg-x11-drv-nvidia kmod-nvidia akmod-nvidia || :
        IFS=$nl
        for name in $said; do
            case $name in *' '*) ;; *) break ;; esac
        done
        unset IFS
        case $name in *' '*) ;; *) known driver.package "$name" ;; esac
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
    if ask 5 "$@" && [ -n "$said" ]; then
        fact driver.run-file 0
    else
        fact driver.run-file 1
    fi
}

secure_boot() {
    if has mokutil; then
        ask 5 mokutil --sb-state || :
        case $said in
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
    rows=$(log_of dmesg | TORN=$torn awk "$xids_awk") || status=$?
    case $status in
    1 | 2)
        whole=0
        more=$(log_of journalctl -k -b -q --no-pager -o short-monotonic | TORN=$torn awk "$xids_awk") || whole=$?
        case $whole in 0 | 3) rows=$more status=$whole ;; esac
        ;;
    esac
    IFS=$nl
    for row in $rows; do record "$row"; done
    unset IFS
    case $status in 0 | 1) fact looked xids ;; esac
}

# log_of COMMAND...: what it prints, which may be much, and a line after what it has not said whole.
log_of() {
    status=0
    within 5 "$@" </dev/null || status=$?
    if [ "$status" -ge 124 ]; then printf '\n%s\n' "$torn"; fi
}
torn='this log is torn'

# The xid records of a log, whatever card or part of one they name. Ends with 3 where a line
# could not be read or counted, 2 for an empty log or a torn one, 1 for one that lacks its beginning.
# shellcheck disable=SC2016 # for awk
xids_awk='
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
    $0 == ENVIRON["TORN"] { is_torn = 1 }
    END {
        if (is_torn) exit 2
        for (key in times) if (times[key] > 0) print "xid\t" key "\t" times[key]
        exit NR == 0 ? 2 : unread ? 3 : is_whole ? 0 : 1
    }'
