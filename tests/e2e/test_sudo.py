"""Becoming root on real hosts: sudo as Debian has it, and sudo-rs, with the sudoers that admins write.

Each case writes its own lines into sudoers. How many attempts PAM counted is what a module says that locks accounts.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pytest

from tests.e2e.base_root import sudo_rs_root
from tests.e2e.become_root import Ending, Login, become_root
from tests.e2e.machines import PASSWORD, PASSWORD_USER, USER, Fleet
from tests.e2e.site import site_of
from tests.e2e.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.e2e.machines import Machine

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

WRONG: Final = "wrong horse"
ROOTS: Final = "root's own horse"
STRANGER: Final = "stranger"
"""Logs in with the controller's key, and is not named in sudoers."""
SETTINGS: Final = 'pwfeedback, use_pty, timestamp_timeout=0, passprompt="Kennwort, bitte: "'
"""None of them keeps a password from being taken."""
ROOT: Final = Ending(("0\npayload\nof two lines\nnoise\n",) * 2)

_PAM: Final = """\
auth required pam_faillock.so preauth silent deny=100
auth sufficient pam_unix.so nodelay
auth required pam_faillock.so authfail deny=100
auth required pam_deny.so
account required pam_faillock.so
account required pam_unix.so
session required pam_permit.so
"""


@dataclass(frozen=True, slots=True)
class Case:
    """Lines of sudoers, what is done before, who logs in, what answers sudo, and how it ends: as root, or by code and words."""

    sudoers: str = ""
    before: str = "true"
    user: str = PASSWORD_USER
    password: str | None = PASSWORD
    code: str = ""
    words: str = ""
    hint: str = ""
    attempts: int = 0
    """How many failed ones PAM has counted afterwards, which a right one takes back."""
    sudo_timeout_s: float = 30.0


@dataclass(frozen=True, slots=True)
class Guest:
    """A host, and the fleet that it is of."""

    machine: Machine
    fleet: Fleet

    def become_root(self, case: Case) -> Ending:
        """How two commands as root end."""
        self.write(case.sudoers, case.before)
        machine = self.machine
        login = Login(
            machine.address,
            machine.host_key,
            str(self.fleet.identity),
            case.user,
            case.password,
            case.sudo_timeout_s,
        )
        ending = become_root(self.fleet, login)
        wait_until(lambda: machine.enter("pgrep -x sudo", check=False).returncode != 0, "no sudo runs")
        return ending

    def write(self, sudoers: str, before: str = "true") -> None:
        """Lines of sudoers for this case, and nothing that is left of others: tickets, attempts, lectures, expiries."""
        script = (
            f"for user in root {PASSWORD_USER}; do chage -d $(($(date +%s) / 86400)) -E -1 $user; done;"
            f"printf '%s\\n' {shlex.quote(sudoers)} > /etc/sudoers.d/zz-case; chmod 0440 /etc/sudoers.d/zz-case;"
            f"rm -rf /run/sudo/ts /run/sudo-rs /var/run/sudo-rs /var/lib/sudo/lectured /var/run/faillock/{PASSWORD_USER};"
            f"rm -rf /var/log/sudo-io; {before}"
        )
        self.machine.enter(script)

    @property
    def attempts(self) -> int:
        """How many failed attempts count against the user."""
        listed = self.machine.enter(f"faillock --user {PASSWORD_USER}").stdout
        return sum(line.endswith(" V") for line in listed.splitlines())


def _furnish(machine: Machine) -> None:
    (machine.root / "etc/pam.d/sudo").write_text(_PAM)


def _set_up(fleet: Fleet) -> Guest:
    machine = fleet.machines[0]
    home = f"/home/{STRANGER}"
    machine.run(
        f"useradd -m -s /bin/bash {STRANGER}; echo '{STRANGER}:{PASSWORD}' | chpasswd; "
        f'echo "root:{ROOTS}" | chpasswd; cp -r /root/.ssh {home}; chown -R {STRANGER}: {home}/.ssh'
    )
    return Guest(machine, fleet)


@pytest.fixture(scope="module")
def guest(debian: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    """A host of Debian 12, with its sudo."""
    assert debian.is_dir()
    with Fleet(1, tmp_path_factory.mktemp("sudo"), furnish=_furnish) as fleet:
        yield _set_up(fleet)


@pytest.fixture(scope="module")
def rs_guest(debian: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    """A host of Debian 13, with sudo-rs."""
    assert debian.is_dir()
    try:
        sudo_rs_root()
    except RuntimeError as error:
        pytest.skip(f"no base system with sudo-rs: {error}")
    with Fleet(1, tmp_path_factory.mktemp("sudo-rs"), furnish=_furnish, base=sudo_rs_root) as fleet:
        yield _set_up(fleet)


def check(guest: Guest, case: Case) -> None:
    """Try a case."""
    ending = guest.become_root(case)
    if not case.code:
        assert (ending, guest.attempts) == (ROOT, case.attempts)
        return
    assert (ending.outputs, ending.code, ending.exit_code) == ((), case.code, 5), ending
    assert (case.words in ending.message, case.hint in ending.hint) == (True, True), ending
    assert PASSWORD not in f"{ending.message} {ending.hint}"
    assert guest.attempts == case.attempts


BOTH: Final = {
    "nopasswd": Case(user=USER, password=None),
    "password": Case(f"Defaults {SETTINGS}"),
    "rootpw": Case("Defaults rootpw", password=ROOTS),
}
CLASSIC: Final = {
    **BOTH,
    "password that nobody asks for": Case(user=USER),
    "lecture, own prompt": Case("Defaults lecture=always, passprompt_override"),
    "ticket of the user": Case("Defaults timestamp_type=global"),
    "logged": Case("Defaults log_input, log_output"),
    "authenticate off": Case(f"Defaults:{PASSWORD_USER} !authenticate", password=None),
    "targetpw": Case("Defaults targetpw", password=ROOTS),
    "no password at hand": Case(
        password=None, code="sudo_needs_password", words="required", hint="NOPASSWD: ALL"
    ),
    "wrong": Case(
        password=WRONG, code="sudo_password_wrong", words="Sorry, try again.", hint="correct", attempts=1
    ),
    "wrong, own words": Case(
        "Defaults badpass_message=Nope", password=WRONG, code="sudo_password_wrong", words="Nope", attempts=1
    ),
    "wrong, one try": Case(
        "Defaults passwd_tries=1", password=WRONG, code="sudo_password_wrong", words="1 incorrect", attempts=1
    ),
    "wrong for rootpw": Case("Defaults rootpw", code="sudo_password_wrong", hint="rootpw"),
    "requiretty": Case(
        "Defaults requiretty", code="sudo_refused", words="must have a tty", hint="!requiretty"
    ),
    "not in sudoers": Case(
        user=STRANGER, code="sudo_refused", words="not in the sudoers", hint="allow this user"
    ),
    "not in sudoers, no password": Case(user=STRANGER, password=None, code="sudo_needs_password"),
    "certain commands": Case(
        f"{STRANGER} ALL=(ALL) /usr/bin/true",
        user=STRANGER,
        code="sudo_refused",
        words="not allowed to execute",
        hint="ALL commands",
    ),
    "root's password has expired": Case(
        "Defaults rootpw",
        before="chage -d 0 root",
        password=ROOTS,
        sudo_timeout_s=8,
        code="sudo_refused",
        words="password is expired",
        hint="chage",
    ),
    "root's account has expired": Case(
        "Defaults rootpw",
        before="chage -E 0 root",
        password=ROOTS,
        code="sudo_refused",
        words="Account expired",
        hint="chage",
    ),
    "the login's password has expired": Case(
        before=f"chage -d 0 {PASSWORD_USER}", code="session_refused", words="Password change required"
    ),
    "noexec": Case("Defaults noexec", code="sudo_refused", words="Permission denied", hint="noexec"),
}
RUST: Final = {
    **BOTH,
    # sudo -n counts as one here.
    "no password at hand": Case(
        password=None, code="sudo_needs_password", words="required", hint="NOPASSWD: ALL", attempts=1
    ),
    "wrong": Case(
        password=WRONG, code="sudo_password_wrong", words="Authentication failed, try again.", attempts=2
    ),
    "wrong, one try": Case(
        "Defaults passwd_tries=1", password=WRONG, code="sudo_password_wrong", words="Maximum 1", attempts=2
    ),
    "not in sudoers": Case(user=STRANGER, code="sudo_refused", words="I'm sorry", hint="allow this user"),
    "root's account has expired": Case(
        "Defaults rootpw",
        before="chage -E 0 root",
        password=ROOTS,
        code="sudo_refused",
        words="account has expired",
        hint="chage",
    ),
    "requiretty and noexec are not known": Case("Defaults requiretty, noexec"),
}


@pytest.mark.parametrize("name", CLASSIC)
def test_sudo(guest: Guest, name: str) -> None:
    """With Debian 12's sudo both commands run as root with their payload whole, or the error says why not."""
    check(guest, CLASSIC[name])


@pytest.mark.parametrize("name", RUST)
def test_sudo_rs(rs_guest: Guest, name: str) -> None:
    """The same with sudo-rs of Debian 13."""
    check(rs_guest, RUST[name])


def holding(machine: Machine, text: str) -> set[str]:
    """Files of the host with the text in them, ``journal`` for its journal."""
    found = machine.run(
        f"grep -rlFs -e {shlex.quote(text)} /etc /home /opt /root /run /srv /tmp /usr/local /var; "
        f"if journalctl --quiet -o verbose | grep -qF -e {shlex.quote(text)}; then echo journal; fi"
    )
    return set(found.stdout.split())


def test_enrolment_by_a_password(guest: Guest, tmp_path: Path) -> None:
    """A whole rollout through sudo that asks, lectures and logs: the password is nowhere afterwards, here or there."""
    machine = guest.machine
    guest.write("Defaults lecture=always, use_pty, log_output, timestamp_timeout=0")
    secret = tmp_path / "secret"
    secret.write_text(f"{PASSWORD}\n")
    secret.chmod(0o600)
    ssh = {
        "user": PASSWORD_USER,
        "identity": str(guest.fleet.identity),
        "become_password": {"file": str(secret)},
    }
    (tmp_path / "site").mkdir()
    with site_of(guest.fleet, tmp_path / "site") as site:
        site.write([machine], ssh=ssh)
        done = site.enroll()
        assert (done.exit_code, done.outcomes) == (0, {machine.name: "enrolled"}), done.stderr
        secret.write_text(f"{WRONG}\n")
        wrong = site.run("preflight", str(site.inventory), "-o", "json")
        assert (wrong.exit_code, wrong.codes) == (5, {machine.name: "sudo_password_wrong"}), wrong.stderr
    texts = [done.stdout, done.stderr, wrong.stdout, wrong.stderr]
    texts += [path.read_text(errors="replace") for path in (tmp_path / "site").rglob("*") if path.is_file()]
    assert [text for text in texts if PASSWORD in text or WRONG in text] == []
    assert (holding(machine, PASSWORD), holding(machine, WRONG)) == (set(), set())
    machine.run(f"logger '{PASSWORD}'; echo '{PASSWORD}' > /opt/control")
    assert holding(machine, PASSWORD) >= {"journal", "/opt/control"}
