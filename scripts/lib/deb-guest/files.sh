#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The files that packages, and what these call, may make; not those that a machine
# changes by running, nor what the tests themselves set, nor what
# mmdebstrap puts there while it is at work. Sorted, for comm(1).
set -euo pipefail

root=${1:-}

cd "$root/"
# Not all of these are there.
{ find boot etc opt srv usr var/lib/dpkg/info var/lib/initramfs-tools -xdev 2>/dev/null || true; } |
	grep -vE '^etc/(machine-id|\.pwd\.lock|resolv\.conf|mtab|adjtime|ld\.so\.cache|hostname)$' |
	grep -vE '^etc/systemd/(system\.control|system/check-packages\.service|system/multi-user\.target\.wants)' |
	grep -vE '^etc/systemd/system/[^/]*\.slice' |
	grep -vE '^usr/sbin/(policy-rc\.d|start-stop-daemon(\.REAL)?)$' |
	grep -vE '__pycache__|^usr/share/(man|doc)$' | LC_ALL=C sort
