# Closing a host's SSH to the key that logged in: whether that key can be taken out of the account's authorized_keys, and
# taking it out, of all files or of none. Other lines, owner, mode and context stay as they are; nothing is left where it fails.
# It travels with the functions of programs.sh, lock.sh and settle.sh before it.
# Usage: sh -s -- NONCE account                                       as the account: how it is connected
#        sh -s -- NONCE look TYPE BLOB ACCOUNT [ADDRESSES]            as root, changes nothing: where the key stands
#        sh -s -- NONCE remove TYPE BLOB FILE...                      as the owner of the files
# shellcheck shell=sh disable=SC2034,SC2154
set -eu
umask 077
export LC_ALL=C
PATH=${PATH:+$PATH:}/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
root=${IONET_ROOT:-}
blank=$(printf ' \t') ends=$(printf ' \t\r')
newline='
'
grace_s=5
copies=''

# refuse CODE TEXT: it cannot be done here, and nothing was changed.
refuse() {
    printf '%s' "$copies" | while IFS= read -r copy; do rm -f "$copy"; done
    printf 'refused\t%s\t%s\nionet-close-end\t%s\n' "$1" "$(printf '%.900s' "$2" | tr '\n\t' '  ')" "$nonce"
    exit 0
}

# refuse_held: another run that is at work on the host may connect once more. Who is not root cannot see it.
refuse_held() {
    find_holder
    if [ -n "$holder" ]; then refuse busy "$holder_owner (rollout $holder) is at work on this host"; fi
}

# --- lines of authorized_keys (sshd(8), "AUTHORIZED_KEYS FILE FORMAT") ---

# skip_blanks: $text without those that it begins with.
skip_blanks() {
    text=${text#"${text%%[!"$blank"]*}"}
}

# skip_options: $text from the first blank outside of quotes; $bare is what was skipped, without what is quoted.
skip_options() {
    bare='' quoted=''
    while [ -n "$text" ]; do
        if [ -n "$quoted" ]; then part=${text%%[\"\\]*}; else part=${text%%["$blank"\"\\]*} bare=$bare$part; fi
        text=${text#"$part"}
        case $text in
        \\\"*) text=${text#??} ;;
        \\*) text=${text#?} ;;
        \"*)
            text=${text#?}
            if [ -n "$quoted" ]; then quoted=''; else quoted=yes; fi
            ;;
        *) return 0 ;;
        esac
    done
}

# is_key LINE: whether the line lets the key in, and not those that it has signed.
is_key() {
    text=$1
    skip_blanks
    case $text in
    '' | '#'*) return 1 ;;
    "$type"[$blank]*) ;;
    *)
        skip_options
        case $bare in *[Cc][Ee][Rr][Tt]-[Aa][Uu][Tt][Hh][Oo][Rr][Ii][Tt][Yy]*) return 1 ;; esac
        skip_blanks
        case $text in "$type"[$blank]*) ;; *) return 1 ;; esac
        ;;
    esac
    text=${text#"$type"}
    skip_blanks
    text=${text%%["$ends"]*}
    [ "$text" = "$blob" ]
}

# find_key FILE: $count lines have the key, $bytes long; $numbers has sed delete them.
find_key() {
    numbers='' count=0 bytes=0 number=0 end=1
    while IFS= read -r line || { end=0 && [ -n "$line" ]; }; do
        number=$((number + 1))
        if is_key "$line"; then
            numbers="$numbers${number}d;" count=$((count + 1)) bytes=$((bytes + ${#line} + end))
        fi
    done <"$1"
}

# --- what sshd reads ---

# serving_sshd: $sshd and $options are those of the server that this session is from, as far as they show.
serving_sshd() {
    sshd=$(command -v sshd) || sshd=''
    options='' process=$$
    if [ -n "$root" ]; then return; fi
    while [ "$process" -gt 1 ]; do
        name='' parent=0
        while read -r field value; do
            case $field in
            Name:) name=$value ;;
            PPid:) parent=$value && break ;;
            esac
        done <"/proc/$process/status"
        if [ "$name" = sshd ]; then
            found=$(readlink "/proc/$process/exe") || found=''
            case $found in */sshd) sshd=$found ;; esac
            options='' takes=''
            for word in $(tr '\0' ' ' <"/proc/$process/cmdline"); do
                if [ -n "$takes" ]; then
                    options="$options $takes$word" takes=''
                    continue
                fi
                case $word in
                -f | -o) takes=$word ;;
                -f* | -o*) options="$options $word" ;;
                esac
            done
        fi
        process=$parent
    done
}

# read_settings: what sshd would do with another login from there: $files are its AuthorizedKeysFile, $asked its command.
read_settings() {
    serving_sshd
    if [ -z "$sshd" ]; then refuse sshd_unknown 'there is no sshd of OpenSSH'; fi
    # shellcheck disable=SC2086 # its words
    set -- $addresses
    if [ $# != 4 ]; then refuse sshd_unknown 'the session does not say from where it came (SSH_CONNECTION)'; fi
    # shellcheck disable=SC2086 # its words
    said=$(within 20 "$sshd" -T $options -C "user=$account,host=$1,addr=$1,laddr=$3,lport=$4" 2>&1) ||
        refuse sshd_unknown "sshd -T: $said"
    files='' asked=none
    while read -r name value; do
        case $name in
        authorizedkeysfile) files=$value ;;
        authorizedkeyscommand) asked=$value ;;
        esac
    done <<END
$said
END
    if [ "$asked" != none ]; then refuse keys_command "sshd also asks $asked for keys (AuthorizedKeysCommand)"; fi
}

# read_account: $home and $uid.
read_account() {
    case $account in '' | -* | *[!A-Za-z0-9._@+-]*) refuse account_unknown 'the name of the account is unusual' ;; esac
    uid=$(id -u "$account" 2>/dev/null) || refuse account_unknown "there is no account $account"
    home=$root/home/$account
    if [ -n "$root" ]; then return; fi
    if has getent; then entry=$(getent passwd "$account") || entry=''; else entry=$(grep "^$account:" /etc/passwd) || entry=''; fi
    home=${entry%:*} && home=${home##*:}
    case $home in /*) ;; *) refuse account_unknown "there is no home directory of $account" ;; esac
}

# expand PATTERN: $file is what sshd makes of it (sshd_config(5), "TOKENS").
expand() {
    rest=$1 file=''
    while :; do
        case $rest in *%*) ;; *) break ;; esac
        file=$file${rest%%%*} rest=${rest#*%}
        case $rest in
        h*) file=$file$home ;;
        u*) file=$file$account ;;
        U*) file=$file$uid ;;
        %*) file=$file% ;;
        *) refuse keys_file "AuthorizedKeysFile has an unknown token: $1" ;;
        esac
        rest=${rest#?}
    done
    file=$file$rest
    case $file in
    "$home"/*) ;;
    /*) file=$root$file ;;
    *) file=$home/$file ;;
    esac
}

# --- where the key stands ---

look() {
    account=$1 addresses=${2:-} stands=no
    read_account
    read_settings
    for pattern in $files; do
        expand "$pattern"
        if [ ! -f "$file" ]; then continue; fi
        find_key "$file"
        if [ "$count" = 0 ]; then continue; fi
        stands=yes
        name_owner "$file"
        printf 'key\t%s\t%s\t%s\n' "$owner" "$count" "$file"
    done
    if [ "$stands" = no ]; then refuse key_not_found "it stands in none of the files that sshd reads: $files"; fi
}

# name_owner FILE: $owner is whose file it is, account or root; refused is one that cannot be changed, or should not.
name_owner() {
    folder=${1%/*}
    if [ -L "$1" ] || [ -L "$folder" ]; then refuse keys_file "$1 is reached by a symbolic link"; fi
    case $(stat -f -c %T "$folder") in
    nfs* | smb* | cifs* | afs | ceph | lustre | gpfs | fuse* | v9fs)
        refuse keys_file "$1 is on a network file system: other hosts have it too"
        ;;
    esac
    for place in "$1" "$folder"; do
        if has lsattr; then attributes=$(lsattr -d "$place" 2>/dev/null) || attributes=''; else attributes=''; fi
        case ${attributes%% *} in *[ai]*) refuse keys_file "$place is immutable (chattr)" ;; esac
        if [ ! -w "$place" ]; then refuse keys_file "$place is on a read-only file system, or immutable"; fi
        case $(stat -c %a "$place") in *[0145]??) refuse keys_file "$place is read-only for its owner" ;; esac
    done
    case $(stat -c %u "$1"):$(stat -c %u:%a "$folder") in
    "$uid:$uid":*) owner=account ;;
    0:0:*[2367]? | 0:0:*[2367]) refuse keys_file "others than root may write to $folder" ;;
    0:0:*) owner=root ;;
    *) refuse keys_file "$1 belongs neither to $account nor, with its directory, to root" ;;
    esac
}

# --- taking it out ---

# take_out FILE...: of all or of none. Every copy is whole before the first is put in place: little can go wrong from there on.
take_out() {
    removed='' locked=$newline lock=3 left=$#
    while [ "$left" != 0 ]; do
        lock_folder "${1%/*}"
        copy_without "$1"
        removed="${removed}removed	$count	$1$newline"
        if [ "$count" != 0 ]; then set -- "$@" "$1" "$before"; fi
        shift
        left=$((left - 1))
    done
    refused='' why=''
    put_in_place "$@"
    if [ -n "$refused" ]; then refuse "$refused" "$why"; fi
    while [ $# != 0 ]; do
        settle "${1%/*}" # where it fails, the script does: something was changed
        shift 2
    done
    printf '%s' "$removed"
}

# lock_folder FOLDER: until the end of this run, once, by a descriptor from 3 on.
lock_folder() {
    case $locked in *"$newline$1$newline"*) return ;; esac
    eval "exec $lock<\"\$1\""
    if ! flock -n "$lock"; then refuse busy "another run is at work in $1"; fi
    locked=$locked$1$newline lock=$((lock + 1))
}

# copy_without FILE: its copy without the lines, beside it; $before is the state of what was read. No line, no copy.
# What a run that was killed has left goes.
copy_without() {
    if [ -L "$1" ]; then refuse keys_file "$1 is a symbolic link by now"; fi
    before=$(state "$1") size=$(stat -c %s "$1")
    find_key "$1"
    if [ "$count" = 0 ]; then return; fi
    copies=$copies$1.ionet-new$newline
    said=$({ start_copy "$1" && sed "$numbers" "$1" >"$1.ionet-new"; } 2>&1) || refuse not_writable "$said"
    if [ "$(rights "$1.ionet-new")" != "$(rights "$1")" ]; then
        refuse keys_file "owner, mode or context of $1 cannot be kept"
    fi
    if [ "$(stat -c %s "$1.ionet-new")" != $((size - bytes)) ]; then refuse keys_file "$1 has bytes that cannot be kept"; fi
    settle "$1.ionet-new" 2>/dev/null || refuse not_writable "$unsettled"
}

start_copy() {
    rm -f "$1.ionet-new" && (set -C && : >"$1.ionet-new") && cp -a "$1" "$1.ionet-new"
}

# put_in_place FILE STATE...: the copies of files that are still in that state; else $refused and $why say why not. What is
# replaced stays open until all are, to be put back: on the disk nothing is left of it, not even by a run that is killed.
put_in_place() {
    if [ $# = 0 ]; then return; fi
    # shellcheck disable=SC2094 # what is open is the file that the copy replaces
    {
        if [ "$(state "$1")" != "$2" ]; then
            refused=busy why="$1 was changed meanwhile"
        elif ! why=$(mv -f "$1.ionet-new" "$1" 2>&1); then
            refused=not_writable
        else
            set -- "$1" "$(state "$1")" "$@"
            put_others "$@"
            if [ -n "$refused" ]; then put_back "$1" "$2"; fi
        fi
    } 9<"$1"
}

put_others() {
    shift 4
    put_in_place "$@"
}

# put_back FILE STATE: what it held before, where nobody else has changed it since; else $why says so too.
put_back() {
    if said=$({
        start_copy "$1" && cat <&9 >"$1.ionet-new" && settle "$1.ionet-new" &&
            if [ "$(state "$1")" != "$2" ]; then echo 'it was changed meanwhile' && false; fi &&
            mv -f "$1.ionet-new" "$1" && settle "${1%/*}"
    } 2>&1); then return; fi
    why="$why; it is out of $1 by now, and cannot be put back: $said"
}

state() {
    stat -c '%i %s %y %z' "$1"
}

rights() {
    stat -c '%u %g %a' "$1"
    stat -c %C "$1" 2>/dev/null || : # there is none without SELinux
}

nonce=$1 task=$2
shift 2
printf 'ionet-close\t1\t%s\n' "$nonce"
if [ "$task" != account ]; then refuse_held; fi
set -f
case $task in
account) printf 'addresses\t%s\n' "${SSH_CONNECTION:-}" ;;
*)
    type=$1 blob=$2
    shift 2
    case $task in
    look) look "$@" ;;
    remove) take_out "$@" ;;
    esac
    ;;
esac
printf 'ionet-close-end\t%s\n' "$nonce"
