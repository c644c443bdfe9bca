"""Random OpenSSH configurations that every supported ``ssh`` takes, for comparing what it reads with what we read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import random
    from pathlib import Path

ADDRESSES: Final = (
    "rig-1",
    "rig-2.farm.example",
    "RIG-3",
    "bastion.example",
    "10.0.0.7",
    "2001:DB8::1",
    "lab",
)
ENVIRON: Final = {
    "FARM": "/run/farm",
    "FARM_AGENT": "/run/farm/agent",
    "PATH": "/usr/bin:/bin",
    "SHELL": "/bin/sh",
}
_PATTERNS: Final = (
    "rig-*",
    "rig-?",
    "*.example",
    "*.farm.example",
    "RIG-*",
    "10.0.*",
    "2001:*",
    "*",
    "lab",
    "nobody",
    "rig-1",
)
_PATHS: Final = (
    "~/.ssh/farm_key",
    "/keys/%h",
    "/keys/%n/%k",
    "%d/keys/%u",
    "~/keys/%r@%h:%p",
    "/keys/a%%b",
    "${FARM}/%L/id",
    "/keys/%C",
    "/keys/with space",
    "/keys/o'brien",
    "/keys/%i-%l",
    "none",
)
_VALUES: Final[dict[str, tuple[str, ...]]] = {
    "HostName": ("%h.internal", "10.9.8.7", "Core.Example", "%h", "rig-2.farm.example", "2001:db8::0:2"),
    "User": ("miner", "DOM\\user", "root"),
    "Port": ("22", "2222", "ssh", "65535"),
    "IdentityFile": _PATHS,
    "CertificateFile": _PATHS[:-1],
    "IdentitiesOnly": ("yes", "no", "YES", "true", "false"),
    "IdentityAgent": ("none", "SSH_AUTH_SOCK", "$FARM_AGENT", "${FARM}/agent", "~/agent", "/run/%u/agent"),
    "UserKnownHostsFile": _PATHS,
    "GlobalKnownHostsFile": ("/etc/farm_known", "none", "/etc/with space"),
    "HostKeyAlias": ("rigs", "Rigs.Example"),
    "CanonicalizeHostname": ("no", "yes"),
}
_WHOLE: Final[dict[str, tuple[str, ...]]] = {
    "ProxyCommand": (
        "nc %h %p",
        "none",
        'sh -c "exec nc %h %p" # x',
        "ssh -W '[%h]:%p' bastion 2>/dev/null",
        "NONE",
    ),
    "ProxyJump": (
        "bastion.example",
        "ops@bastion:2222",
        "none",
        "a,b@c,ssh://d:24",
        "%r@gate-%h",
        "[2001:db8::9]:22",
        "None",
    ),
}
_UNUSED: Final = (
    "ServerAliveInterval 1m",
    "PubkeyAuthentication unbound",
    "ForwardAgent ask",
    "AddressFamily any",
    "SendEnv LANG LC_*",
    "ControlPath ~/.ssh/%C",
    "ControlPersist 10m",
    'LocalCommand echo "%h # x"',
    "Ciphers ^aes128-gcm@openssh.com",
    "RekeyLimit 1G 1h",
    "StrictHostKeyChecking accept-new",
    "SetEnv A=1 B=2",
    "DynamicForward 1080",
    "FarmOption anything at all",
)
_CONDITIONS: Final = (
    "host rig-*",
    "host rig-1,*.example",
    "host *,!*.internal",
    "host=*.INTERNAL",
    "originalhost RIG-3,lab",
    "!originalhost rig-*",
    "user miner",
    "user=root,mi*",
    "localuser {user}",
    "!localuser {user}",
    "exec true",
    "exec false",
    "!exec false",
    'exec "FOO=1 true"',
    'exec "FOO=1 test $FOO = 1"',
    'exec "echo %h | grep -q ^rig-1"',
    "exec \"test '%n' = lab\"",
    'exec "test %p = 2222 || test %r = miner"',
    'exec="test %k = rigs"',
    "final",
    "!final",
    "canonical",
)


@dataclass(slots=True)
class Generator:
    """Makes configurations in a folder, the same ones for the same seed. ``user`` is the local user."""

    folder: Path
    user: str
    choose: random.Random

    def write(self) -> Path:
        """A new configuration and the files that it includes."""
        included = self.folder / "included"
        included.mkdir()
        for name in self.choose.sample(["b.conf", "a.conf", "C.conf", "_.conf"], self.choose.randint(0, 3)):
            self._write(
                included / name, [self._line(may_include=False) for _ in range(self.choose.randint(1, 5))]
            )
        path = self.folder / "config"
        lines = [self._line(may_include=True) for _ in range(self.choose.randint(1, 14))]
        self._write(path, ["IgnoreUnknown Farm*", *lines])
        return path

    def _write(self, path: Path, lines: list[str]) -> None:
        end = self.choose.choice(["\n"] * 5 + ["\r\n"])
        path.write_bytes("".join(line + end for line in lines).encode("cp1251", "replace"))
        path.chmod(0o644)

    def _line(self, *, may_include: bool) -> str:
        kind = self.choose.random()
        if kind < 0.15:
            return self._styled("Host", " ".join(self._quoted(each) for each in self._patterns()))
        if kind < 0.32:
            return self._styled("Match", self._conditions())
        if kind < 0.38 and may_include:
            pattern = self.choose.choice(["*.conf", "a.conf", "[!a]*", "?.conf", "nothing", "*.conf a.conf"])
            names = (self._quoted(str(self.folder / "included" / name)) for name in pattern.split())
            return self._styled("Include", " ".join(names))
        if kind < 0.5:
            return self.choose.choice(
                ["", "# Риги фермы 2", "UserKnownHostsFile # none", "Host #", "  \t", "#Host *", *_UNUSED]
            )
        if kind < 0.6:
            keyword = self.choose.choice(list(_WHOLE))
            return self._styled(keyword, self.choose.choice(_WHOLE[keyword]), comment=False)
        keyword = self.choose.choice(list(_VALUES))
        values = [self._quoted(self.choose.choice(_VALUES[keyword]))]
        if keyword == "UserKnownHostsFile" and "none" not in values[0]:
            values += self.choose.choice([[], [], ["/keys/more"], ['"/keys/even more"', "~/x"]])
        return self._styled(keyword, " ".join(values))

    def _patterns(self) -> list[str]:
        patterns = self.choose.sample(_PATTERNS, self.choose.randint(1, 3))
        return [("!" if self.choose.random() < 0.2 else "") + pattern for pattern in patterns]

    def _conditions(self) -> str:
        if self.choose.random() < 0.1:
            return self.choose.choice(["all", "final all", "!all"])
        chosen = self.choose.sample(_CONDITIONS, self.choose.choice([1, 1, 2, 3]))
        return " ".join(chosen).format(user=self.user)

    def _quoted(self, value: str) -> str:
        style = self.choose.random()
        if '"' not in value and (" " in value or style < 0.15):
            return f'"{value}"'
        escaped = value.replace("'", "\\'")
        return f"'{value}'" if "'" not in value and "\\" not in value and style < 0.25 else escaped

    def _styled(self, keyword: str, rest: str, *, comment: bool = True) -> str:
        name = self.choose.choice([keyword, keyword, keyword.lower(), keyword.upper()])
        between = self.choose.choice([" "] * 6 + ["=", " = ", "\t", "   ", " ="])
        tail = self.choose.choice(["", "", "", "  ", " # the farm's", "\t#x"]) if comment else ""
        return self.choose.choice(["", "  ", "\t"]) + name + between + rest + tail
