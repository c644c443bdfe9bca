"""Taking a key out of ``authorized_keys``: exactly that key, and nothing else of the file, in every shell that hosts have."""

from __future__ import annotations

import fcntl
import getpass
import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from ionetctl.facts.close_output import CloseOutput, KeyFile, parse_close
from ionetctl.facts.report_lines import AwaitToken
from ionetctl.remote import close_ssh_script
from tests.remote.rehearsal import ROLLOUT, Host, first_payload, shim
from tests.support.programs import needs

if TYPE_CHECKING:
    from pathlib import Path

    from ionetctl.facts.report_lines import Report

ACCOUNT = getpass.getuser()
KEY = "AAAAC3NzaC1lZDI1NTE5AAAAIKEY"
OTHER = "AAAAC3NzaC1lZDI1NTE5AAAAIOTHER"
KEYS = f"/home/{ACCOUNT}/.ssh/authorized_keys"
SECOND = f"{KEYS}2"
ADDRESSES = "10.0.0.1 50000 10.0.0.2 22"
SETTINGS = "authorizedkeyscommand none\nauthorizedkeysfile .ssh/authorized_keys .ssh/authorized_keys2\n"
LINES = f"ssh-ed25519 {KEY} ops@ctl\n"


def ask(host: Host, task: str, *arguments: str, **variables: str) -> CloseOutput:
    """What the script says to a task."""
    run = subprocess.run(
        host.argv("-s", "--", "n0nce", task, *arguments),
        input=close_ssh_script(),
        capture_output=True,
        env={**host.environ(), **variables},
        check=True,
        timeout=60,
    )
    assert run.stderr == b""
    return parse_close(run.stdout, "n0nce")


def look(host: Host, addresses: str = ADDRESSES) -> CloseOutput:
    return ask(host, "look", "ssh-ed25519", KEY, ACCOUNT, addresses)


def remove(host: Host, *places: str) -> CloseOutput:
    paths = (str(host.path(place)) for place in places or (KEYS,))
    return ask(host, "remove", "ssh-ed25519", KEY, *paths)


@pytest.fixture
def keyed(host: Host) -> Host:
    """A host whose sshd has the usual settings, and whose account has the key."""
    says(host, SETTINGS)
    give(host, LINES)
    return host


def says(host: Host, settings: str) -> None:
    host.write("/standin/sshd", settings)
    shim(host, "sshd", f"cat '{host.path('/standin/sshd')}'")


def give(host: Host, content: str | bytes, place: str = KEYS) -> None:
    host.write(place, content, mode=0o600)
    host.path(place).parent.chmod(0o700)


def found(host: Host, lines: int = 1, place: str = KEYS) -> KeyFile:
    return KeyFile(str(host.path(place)), is_accounts=True, lines=lines)


# --- which lines have the key ---

KEPT = {
    "a comment": f"# ssh-ed25519 {KEY} ops@ctl",
    "an indented comment": f"   # ssh-ed25519 {KEY}",
    "another key": f"ssh-ed25519 {OTHER} ops@ctl",
    "a longer key": f"ssh-ed25519 {KEY}2 ops@ctl",
    "the key as a comment": f"ssh-ed25519 {OTHER} ssh-ed25519 {KEY}",
    "the key in an option": f'command="echo ssh-ed25519 {KEY} x" ssh-rsa {OTHER}',
    "the key in an option with quotes": f'command="a \\"b\\" ssh-ed25519 {KEY} c" ssh-rsa {OTHER}',
    "a CA": f"cert-authority ssh-ed25519 {KEY}",
    "a CA with options": f'from="10.0.0.1",CERT-AUTHORITY ssh-ed25519 {KEY}',
    "no type": f"no-pty {KEY}",
    "another type": f"ssh-rsa {KEY}",
    "an empty line": "",
    "blanks": " \t",
    "a backslash": "command=\"printf '\\\\n'\" ssh-rsa " + OTHER,
}
TAKEN = {
    "alone": f"ssh-ed25519 {KEY}",
    "with a comment": f"ssh-ed25519 {KEY} ops@ctl with # more",
    "indented": f" \tssh-ed25519 \t{KEY}",
    "with options": f"no-pty,no-agent-forwarding ssh-ed25519 {KEY} x",
    "with quoted options": f'from="10.0.0.0/8,!10.0.0.9",command="a \\"b c\\" d" ssh-ed25519 {KEY}',
    "with an option that says cert-authority": f'environment="X=cert-authority" ssh-ed25519 {KEY}',
    "with the end of a line of Windows": f"ssh-ed25519 {KEY}\r",
}


@pytest.mark.parametrize("line", KEPT.values(), ids=KEPT)
def test_line_that_does_not_let_the_key_in_stays(keyed: Host, line: str) -> None:
    """Whatever it says of the key."""
    give(keyed, f"{line}\n{LINES}{line}")
    assert look(keyed).files == (found(keyed),)
    assert remove(keyed).removed == 1
    assert keyed.path(KEYS).read_bytes() == f"{line}\n{line}".encode()


@pytest.mark.parametrize("line", TAKEN.values(), ids=TAKEN)
def test_line_that_lets_the_key_in_goes(keyed: Host, line: str) -> None:
    """In any form in which sshd takes it, every time that it stands there."""
    give(keyed, f"ssh-rsa {OTHER}\n{line}\n# end\n{line}")
    assert look(keyed).files == (found(keyed, 2),)
    assert remove(keyed).removed == 2
    assert keyed.path(KEYS).read_bytes() == f"ssh-rsa {OTHER}\n# end\n".encode()


@pytest.mark.parametrize("rest", [b"# r\xe9sum\xe9 \xff\xfe\r\nlast", b"\n\n\t\n", b""])
def test_other_bytes_stay(keyed: Host, rest: bytes) -> None:
    """No line break is added, none is changed, and what is no text is kept."""
    give(keyed, rest + (b"" if not rest or rest.endswith(b"\n") else b"\n") + LINES.encode() + rest)
    remove(keyed)
    expected = rest + (b"" if not rest or rest.endswith(b"\n") else b"\n") + rest
    assert keyed.path(KEYS).read_bytes() == expected


def test_bytes_that_a_shell_cannot_keep_are_refused_or_kept(keyed: Host) -> None:
    """Never lost."""
    give(keyed, b"# a\x00b\n" + LINES.encode())
    said = remove(keyed)
    kept = keyed.path(KEYS).read_bytes()
    assert (said.refused, kept) in [
        ("", b"# a\x00b\n"),
        ("keys_file", b"# a\x00b\n" + LINES.encode()),
    ]


def test_second_run_finds_nothing_to_do(keyed: Host) -> None:
    """The file is left alone then, and the key is said to stand nowhere."""
    remove(keyed)
    before = keyed.path(KEYS).stat()
    assert remove(keyed).removed == 0
    after = keyed.path(KEYS).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert look(keyed).refused == "key_not_found"


def test_mode_owner_and_everything_beside_the_file_stay(keyed: Host) -> None:
    """Nothing is left in the directory, and the mode is the same."""
    keyed.path(KEYS).chmod(0o640)
    os.chown(keyed.path(KEYS), -1, 12345) if os.getuid() == 0 else None
    before = keyed.path(KEYS).stat()
    remove(keyed)
    after = keyed.path(KEYS).stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert [path.name for path in keyed.path(KEYS).parent.iterdir()] == ["authorized_keys"]


# --- which files sshd reads ---


def test_account_says_how_it_is_connected(host: Host) -> None:
    """As sshd has told it."""
    assert ask(host, "account", SSH_CONNECTION=ADDRESSES).addresses == ADDRESSES


def test_sshd_is_asked_for_that_account_from_there(keyed: Host) -> None:
    """A Match block may give it other files."""
    shim(keyed, "sshd", f'echo "$@" >"{keyed.path("/standin/asked")}"; cat "{keyed.path("/standin/sshd")}"')
    look(keyed)
    asked = keyed.read("/standin/asked").strip()
    assert asked == f"-T -C user={ACCOUNT},host=10.0.0.1,addr=10.0.0.1,laddr=10.0.0.2,lport=22"


def test_every_file_that_sshd_reads_is_looked_at(keyed: Host) -> None:
    """The key is taken out of each that has it."""
    give(keyed, LINES * 2, SECOND)
    assert look(keyed).files == (found(keyed), found(keyed, 2, SECOND))
    assert remove(keyed, KEYS, SECOND).removed == 3
    assert (keyed.read(KEYS), keyed.read(SECOND)) == ("", "")


@pytest.mark.parametrize(
    ("pattern", "place"),
    [
        ("%h/.keys/%u", f"/home/{ACCOUNT}/.keys/{ACCOUNT}"),
        ("/etc/ssh/keys/%u", f"/etc/ssh/keys/{ACCOUNT}"),
        ("/etc/%%ssh/%U", f"/etc/%ssh/{os.getuid()}"),
    ],
)
def test_tokens_are_what_sshd_makes_of_them(keyed: Host, pattern: str, place: str) -> None:
    """See sshd_config(5), TOKENS."""
    says(keyed, f"authorizedkeyscommand none\nauthorizedkeysfile {pattern}\n")
    give(keyed, LINES, place)
    assert look(keyed).files == (found(keyed, place=place),)


# --- what is refused ---


def refused(host: Host) -> tuple[str, str]:
    """Why it cannot be done; the file is what it was then."""
    before = host.path(KEYS).read_bytes()
    said = look(host)
    assert (said.files, host.path(KEYS).read_bytes()) == ((), before)
    return said.refused, said.reason


def test_keys_command_is_refused(keyed: Host) -> None:
    """It may give the key another time."""
    says(keyed, SETTINGS.replace("none", "/usr/bin/keys %u"))
    assert refused(keyed)[0] == "keys_command"


def test_sshd_that_says_nothing_is_refused(keyed: Host) -> None:
    """Without its settings nobody knows what it reads."""
    shim(keyed, "sshd", "echo '/etc/ssh/sshd_config: Permission denied' >&2; exit 1")
    assert refused(keyed) == ("sshd_unknown", "sshd -T: /etc/ssh/sshd_config: Permission denied")


def test_session_that_says_nothing_of_its_connection_is_refused(keyed: Host) -> None:
    """The settings may depend on it."""
    assert look(keyed, "").refused == "sshd_unknown"


def test_key_that_stands_elsewhere_is_refused(keyed: Host) -> None:
    """The account's file is not what lets it in."""
    says(keyed, "authorizedkeyscommand none\nauthorizedkeysfile /etc/ssh/none\n")
    assert refused(keyed)[0] == "key_not_found"


def test_account_that_is_unknown_is_refused(keyed: Host) -> None:
    """Nothing is made of its name."""
    assert ask(keyed, "look", "ssh-ed25519", KEY, "nobody-here", ADDRESSES).refused == "account_unknown"
    assert ask(keyed, "look", "ssh-ed25519", KEY, "$(id)", ADDRESSES).refused == "account_unknown"


def test_symbolic_link_is_refused(keyed: Host) -> None:
    """It may be another account's, or the image's."""
    elsewhere = keyed.path("/etc/keys")
    elsewhere.parent.mkdir()
    keyed.path(KEYS).rename(elsewhere)
    keyed.path(KEYS).symlink_to(elsewhere)
    assert "symbolic link" in refused(keyed)[1]


def test_linked_directory_is_refused(keyed: Host) -> None:
    """Accounts may share it."""
    folder = keyed.path(KEYS).parent
    shared = folder.rename(keyed.path("/etc-ssh"))
    folder.symlink_to(shared)
    assert "symbolic link" in refused(keyed)[1]


def test_read_only_file_is_refused(keyed: Host) -> None:
    """Somebody wants it to stay as it is."""
    keyed.path(KEYS).chmod(0o400)
    assert "read-only" in refused(keyed)[1]


def test_immutable_file_is_refused(keyed: Host) -> None:
    """Whether lsattr shows it or only the attempt."""
    shim(keyed, "lsattr", 'echo "----i---------e------- $2"')
    assert "immutable" in refused(keyed)[1]


def test_network_home_is_refused(keyed: Host) -> None:
    """Other hosts have the same file."""
    real = shutil.which("stat")
    shim(keyed, "stat", f'if [ "$1" = -f ]; then echo nfs; else exec {real} "$@"; fi')
    assert "network file system" in refused(keyed)[1]


def test_foreign_owner_is_refused(keyed: Host) -> None:
    """Neither the account nor root."""
    if os.getuid() != 0:
        pytest.skip("only root can give a file away")
    os.chown(keyed.path(KEYS), 12345, -1)
    assert "belongs neither" in refused(keyed)[1]


def for_nobody(host: Host, mode: int) -> CloseOutput:
    """Where the key of another account stands, in a directory of root's with this mode."""
    if os.getuid() != 0:
        pytest.skip("only root has files that are root's")
    says(host, "authorizedkeyscommand none\nauthorizedkeysfile /etc/ssh/keys/%u\n")
    give(host, LINES, "/etc/ssh/keys/nobody")
    host.path("/etc/ssh/keys").chmod(mode)
    return ask(host, "look", "ssh-ed25519", KEY, "nobody", ADDRESSES)


def test_file_of_roots_is_told(host: Host) -> None:
    """Root changes it then, and the account does not."""
    said = for_nobody(host, 0o755)
    assert said.files == (KeyFile(str(host.path("/etc/ssh/keys/nobody")), is_accounts=False, lines=1),)


@pytest.mark.parametrize("mode", [0o775, 0o757])
def test_directory_that_others_may_write_is_refused(host: Host, mode: int) -> None:
    """Root would work where somebody else can put links."""
    assert "others than root may write" in for_nobody(host, mode).reason


def unchanged(host: Host, said: CloseOutput) -> str:
    """Why it was not taken out; nothing was changed, and nothing is left."""
    assert host.read(KEYS) == LINES
    assert [path.name for path in host.path(KEYS).parent.iterdir()] == ["authorized_keys"]
    return said.refused


def test_failing_rename_leaves_everything(keyed: Host) -> None:
    """As for a file that is immutable where nothing shows it."""
    shim(keyed, "mv", "echo 'mv: Operation not permitted' >&2; exit 1")
    said = remove(keyed)
    assert (unchanged(keyed, said), said.reason) == ("not_writable", "mv: Operation not permitted")


def test_full_disk_leaves_everything(keyed: Host) -> None:
    """The new file is not whole then."""
    shim(keyed, "sed", "echo 'sed: No space left on device' >&2; exit 4")
    assert unchanged(keyed, remove(keyed)) == "not_writable"


def sync_fails(host: Host, pattern: str) -> None:
    """Once, as the kernel tells of a lost write once."""
    told = host.path("/standin/told")
    say = f'>"{told}"; echo "sync: error syncing: Input/output error" >&2; exit 1'
    told.parent.mkdir(exist_ok=True)
    shim(host, "sync", f'case $1 in {pattern}) if [ ! -e "{told}" ]; then {say}; fi ;; esac')


def test_copy_that_may_not_be_on_disk_is_not_put_in_place(keyed: Host) -> None:
    """After a power cut it could be empty, and nobody would get in."""
    sync_fails(keyed, "*.ionet-new")
    said = remove(keyed)
    assert (unchanged(keyed, said), said.reason) == (
        "not_writable",
        "sync: error syncing: Input/output error",
    )


def test_rename_that_may_not_be_on_disk_is_no_refusal(keyed: Host) -> None:
    """Something was changed: the answer is not whole, so that a login has to show what."""
    sync_fails(keyed, "*/.ssh")
    with pytest.raises(subprocess.CalledProcessError) as caught:
        remove(keyed)
    assert (caught.value.returncode, b"Input/output error" in caught.value.stderr) == (1, True)
    assert caught.value.stdout == b"ionet-close\t1\tn0nce\n"
    assert (keyed.read(KEYS), len(list(keyed.path(KEYS).parent.iterdir()))) == ("", 1)


def test_torn_copy_is_not_put_in_place(keyed: Host) -> None:
    """Its size must be the old one less the lines."""
    give(keyed, LINES)
    shim(keyed, "sed", "echo torn")
    assert unchanged(keyed, remove(keyed)) == "keys_file"


def test_owner_that_cannot_be_kept_leaves_everything(keyed: Host) -> None:
    """A copy with another mode is none."""
    shim(keyed, "cp", f'{shutil.which("cp")} "$@" && chmod 666 "$3"')
    assert unchanged(keyed, remove(keyed)) == "keys_file"


def test_run_beside_another_is_refused(keyed: Host) -> None:
    """Else the later one would put the key back that the other has taken out."""
    folder = os.open(keyed.path(KEYS).parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        assert unchanged(keyed, remove(keyed)) == "busy"
    finally:
        os.close(folder)
    assert remove(keyed).removed == 1


# --- of all files or of none ---

ELSEWHERE = f"/etc/ssh/keys/{ACCOUNT}"
IN_TURN = [pytest.param(SECOND, id="same-directory"), pytest.param(ELSEWHERE, id="another-directory")]


def states(host: Host, *places: str) -> list[tuple[str, list[str]]]:
    """What files hold, and what stands beside them."""
    paths = [host.path(place) for place in places]
    return [(path.read_text(), sorted(entry.name for entry in path.parent.iterdir())) for path in paths]


@pytest.fixture(params=IN_TURN)
def second(keyed: Host, request: pytest.FixtureRequest) -> str:
    """Another file with the key, of the same host."""
    give(keyed, f"# own\n{LINES}", request.param)
    return str(request.param)


def mv_to(host: Host, place: str, instead: str) -> None:
    """What happens instead of a rename to that place."""
    real = shutil.which("mv")
    shim(host, "mv", f'if [ "$3" = "{host.path(place)}" ]; then {instead}; fi; exec {real} "$@"')


def test_several_files_are_changed_together(keyed: Host, second: str) -> None:
    """And nothing is left beside them."""
    names = [sorted({"authorized_keys", *names}) for _, names in states(keyed, KEYS)]
    assert remove(keyed, KEYS, second).removed == 2
    assert states(keyed, KEYS)[0] == ("", names[0])
    assert keyed.read(second) == "# own\n"


def test_second_file_that_cannot_be_copied_leaves_the_first_untouched(keyed: Host, second: str) -> None:
    """Not even replaced by one with the same bytes."""
    before, inode = states(keyed, KEYS, second), keyed.path(KEYS).stat().st_ino
    real = shutil.which("sed")
    full = "echo 'sed: No space left on device' >&2; exit 4"
    shim(keyed, "sed", f'if [ "$2" = "{keyed.path(second)}" ]; then {full}; fi; exec {real} "$@"')
    assert remove(keyed, KEYS, second) == CloseOutput(
        refused="not_writable", reason="sed: No space left on device"
    )
    assert (states(keyed, KEYS, second), keyed.path(KEYS).stat().st_ino) == (before, inode)


def test_second_file_that_cannot_be_replaced_has_the_first_put_back(keyed: Host, second: str) -> None:
    """With its bytes, owner and mode."""
    keyed.path(KEYS).write_bytes(b"# r\xe9sum\xe9\r\n" + LINES.encode())
    keyed.path(KEYS).chmod(0o640)
    before, mode = keyed.path(KEYS).read_bytes(), keyed.path(KEYS).stat().st_mode
    mv_to(keyed, second, "echo 'mv: Operation not permitted' >&2; exit 1")
    said = remove(keyed, KEYS, second)
    kept = keyed.path(KEYS)
    assert (kept.read_bytes(), kept.stat().st_mode, keyed.read(second)) == (before, mode, f"# own\n{LINES}")
    assert list(keyed.root.rglob("*.ionet-new")) == []
    assert said == CloseOutput(refused="not_writable", reason="mv: Operation not permitted")


def test_first_file_that_cannot_be_put_back_is_named(keyed: Host, second: str) -> None:
    """Nobody is told that nothing was changed, and what another wrote meanwhile stays."""
    mv_to(keyed, second, f'echo "# new" >>"{keyed.path(KEYS)}"; echo "mv: Not permitted" >&2; exit 1')
    said = remove(keyed, KEYS, second)
    assert said.reason == (
        f"mv: Not permitted; it is out of {keyed.path(KEYS)} by now, and cannot be put back: it was changed meanwhile"
    )
    assert (keyed.read(KEYS), keyed.read(second)) == ("# new\n", f"# own\n{LINES}")
    assert list(keyed.root.rglob("*.ionet-new")) == []


def test_file_that_is_changed_before_it_is_its_turn_has_the_first_put_back(keyed: Host, second: str) -> None:
    """It is tried again."""
    real = shutil.which("mv")
    told = keyed.path("/standin/told")
    change = f'if [ ! -e "{told}" ]; then : >"{told}"; echo "# new" >>"{keyed.path(second)}"; fi'
    told.parent.mkdir(exist_ok=True)
    shim(keyed, "mv", f'{change}; exec {real} "$@"')
    assert remove(keyed, KEYS, second).refused == "busy"
    assert (keyed.read(KEYS), keyed.read(second)) == (LINES, f"# own\n{LINES}# new\n")
    assert remove(keyed, KEYS, second).removed == 2


def test_every_directory_is_locked_before_anything_is_changed(keyed: Host) -> None:
    """Each once, and until the end: the second stays locked while the first file is put in place."""
    give(keyed, LINES, ELSEWHERE)
    seen = keyed.path("/standin/seen")
    seen.parent.mkdir(exist_ok=True)
    folders = f'"{keyed.path(KEYS).parent}" "{keyed.path(ELSEWHERE).parent}"'
    shim(
        keyed,
        "mv",
        f'for folder in {folders}; do flock -n "$folder" true || echo held >>"{seen}"; done; '
        f'exec {shutil.which("mv")} "$@"',
    )
    assert remove(keyed, KEYS, ELSEWHERE).removed == 2
    assert seen.read_text() == "held\n" * 4


def test_host_on_which_another_run_is_at_work_is_refused(keyed: Host, tmp_path: Path) -> None:
    """It may have to connect again. The control: once it has ended, its lock holds nothing."""
    seen: list[tuple[CloseOutput, CloseOutput]] = []

    def intrude(report: Report, _process: object) -> None:
        if isinstance(report, AwaitToken):
            seen.append((look(keyed), remove(keyed)))

    keyed.apply(first_payload(tmp_path), on_report=intrude)
    reason = f"ada@ops (rollout {ROLLOUT}) is at work on this host"
    busy = CloseOutput(refused="busy", reason=reason)
    assert seen == [(busy, busy)]
    assert keyed.read(KEYS) == LINES
    keyed.path("/var/lib/ionet/lock").symlink_to("gone\tada@ops\tthen\t999999999\t1\tboot")
    assert (look(keyed).refused, remove(keyed).removed) == ("", 1)


def test_rest_of_a_run_that_was_killed_is_removed(keyed: Host) -> None:
    """Its lock went with it."""
    rest = keyed.path(f"{KEYS}.ionet-new")
    rest.write_text("torn")
    assert remove(keyed).removed == 1
    assert (keyed.read(KEYS), rest.exists()) == ("", False)


def test_file_that_another_replaces_before_it_is_compared_loses_no_other_line(keyed: Host) -> None:
    """The numbers of the lines are those of the file that is compared afterwards, and not of an earlier one."""
    another = LINES.replace(KEY, KEY[::-1])
    keyed.write("/standin/new", another + LINES, mode=0o600)
    new, keys = keyed.path("/standin/new"), keyed.path(KEYS)
    shim(keyed, "stat", f'if [ -e "{new}" ]; then mv "{new}" "{keys}"; fi; exec {shutil.which("stat")} "$@"')
    assert remove(keyed).removed == 1
    assert keyed.read(KEYS) == another


def test_file_that_is_changed_meanwhile_is_left(keyed: Host) -> None:
    """Until just before it is replaced: a flush may take long. The next attempt keeps the change."""
    keys = keyed.path(KEYS)
    shim(keyed, "sync", f'case $1 in *.ionet-new) echo "# new" >>"{keys}" ;; esac')
    assert remove(keyed).refused == "busy"
    assert keyed.read(KEYS) == f"{LINES}# new\n"
    assert [path.name for path in keys.parent.iterdir()] == ["authorized_keys"]


def test_real_sshd_says_what_it_reads(one_host: Host, tmp_path: Path) -> None:
    """Its own words are understood: a Match block for our address, with a token."""
    needs("sshd", "ssh-keygen")
    key, settings, sshd = tmp_path / "key", tmp_path / "sshd_config", shutil.which("sshd", path="/usr/sbin")
    subprocess.run(("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key), check=True)
    keys = one_host.path("/keys")
    settings.write_text(
        f"HostKey {key}\nAuthorizedKeysCommand none\nMatch Address 10.0.0.1\n  AuthorizedKeysFile /keys/%u\n"
    )
    shim(one_host, "sshd", f'exec {sshd} -f {settings} "$@"')
    give(one_host, LINES, f"/keys/{ACCOUNT}")
    assert look(one_host).files == (KeyFile(f"{keys}/{ACCOUNT}", is_accounts=True, lines=1),)
    assert look(one_host, ADDRESSES.replace("10.0.0.1", "10.0.0.7")).refused == "key_not_found"
