#!/bin/sh
# Enrols a site from CI: shows the plan first, then carries it out, and tells the job's owner what the exit code means.
set -eu

inventory=${1:?usage: enroll-in-ci.sh INVENTORY}

status=0
ionetctl enroll "$inventory" --check -o json >plan.json || status=$?
case $status in
  0) echo "every host is as it should be"; exit 0 ;;
  9) ;; # there are changes
  *) echo "the check ended with $status" >&2; exit "$status" ;;
esac

status=0
ionetctl enroll "$inventory" --yes -o json --report junit=enroll.xml >enroll.json || status=$?
case $status in
  4) echo "some hosts were unreachable; the others are enrolled" ;;
  8) echo "installed, but a region does not confirm every node" >&2 ;;
  10) echo "stopped: too many failures; go on with --resume" >&2 ;;
esac
exit "$status"
