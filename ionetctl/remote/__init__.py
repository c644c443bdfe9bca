"""The scripts that run on hosts: POSIX sh, static, parameters are arguments."""
