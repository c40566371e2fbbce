#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# check.sh PROGRAM: what can be seen of devmem(1) without a device and without
# root. Above all: the program, its help, the man page and the completion know
# the same subcommands and options. Says what is wrong, or nothing.
set -euo pipefail

here=$(dirname "$(readlink -f "$0")")
tool=$(readlink -f "$1")
page=$here/devmem.1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export LC_ALL=C.UTF-8 TERM=dumb
failed=0

wrong()
{
	echo "$*"
	failed=1
}

# STATUS COMMAND...: output in $work/out, messages in $work/err
runs()
{
	local rc=0

	"$tool" "${@:2}" >"$work/out" 2>"$work/err" </dev/null || rc=$?
	[[ $rc == "$1" ]] ||
		wrong "devmem ${*:2}: status $rc, not $1: $(head -n 3 "$work/err")"
}

# --- the four places ---

commands_of_help()
{
	"$tool" --help | sed -n 's/^  \([a-z][a-z]*\)  .*/\1/p'
}

# COMMAND: "--NAME" or "-X --NAME" per line
options_of_help()
{
	"$tool" "$1" --help |
		sed -nE 's/^  (-[a-zA-Z]), (--[a-z-]+).*/\1 \2/p; s/^      (--[a-z-]+).*/\1/p'
}

# Man page: the subsection of a command, to the next one
section()
{
	awk -v head=".Ss devmem $1" '
		/^\.S[sh] / { inside = $0 == head }
		inside' "$page"
}

# The part of the synopsis that is the command's
synopsis()
{
	awk -v name=".Cm $1" '
		/^\.Sh / { synopsis = $2 == "SYNOPSIS" }
		/^\.Nm/ { inside = 0 }
		synopsis && $0 == name { inside = 1 }
		inside' "$page"
}

# "-X --NAME" as man page items say them
options_of_section()
{
	section "$1" | sed -nE \
		's/^\.It Fl ([a-zA-Z]) , -([a-z-]+).*/-\1 --\2/p; s/^\.It Fl -([a-z-]+).*/--\1/p' |
		sort -u
}

options_of_synopsis()
{
	synopsis "$1" | grep -oE 'Fl -[a-z-]+' | sed 's/Fl -/--/' | sort -u
}

# WORD...: what completion offers for the last one
completes()
{
	bash -c '
		. "$1"
		shift
		COMP_WORDS=("$@")
		COMP_CWORD=$(($# - 1))
		_devmem
		printf "%s\n" "${COMPREPLY[@]}"
	' bash "$here/devmem.bash-completion" "$@" | sed '/^$/d' | sort -u
}

same()
{
	[[ $2 == "$3" ]] || wrong "$1: $(diff <(echo "$2") <(echo "$3") || :)"
}

# Every command: "help" is the program's own.
check_commands()
{
	local commands

	commands=$(commands_of_help | sort)
	[[ $commands ]] || wrong "no command in the help"
	same "commands: help, completion" "$commands" \
		"$(completes devmem '' | grep -v -e ^- -e '^help$')"
	same "commands: help, man page" "$commands" \
		"$(sed -n 's/^\.Ss devmem \([a-z]*\)$/\1/p' "$page" | sort)"
	same "commands: completion of help" "$commands" \
		"$(completes devmem help '')"
	same "general options" "$(printf -- '--help\n--version')" \
		"$(completes devmem --)"
}

# -h, and --json and --bytes with what they print, are described once for all.
check_options()
{
	local command=$1 options long

	options=$(options_of_help "$command" | sort -u)
	long=$(grep -oE -e '--[a-z-]+' <<<"$options" | sort -u)
	same "devmem $command: help, completion" "$long" \
		"$(completes devmem "$command" -- | grep -vx -e --)"
	same "devmem $command: help, man page" \
		"$(grep -v -e '--help$' -e '--json$' -e '--bytes$' <<<"$options")" \
		"$(options_of_section "$command")"
	same "devmem $command: help, synopsis" \
		"$(grep -v -e '--help$' -e '--bytes$' <<<"$long")" \
		"$(options_of_synopsis "$command")"
	check_accepted "$command" "$options"
	check_unknown "$command" "$long"
}

# The program takes what its help offers; a bad value is another matter.
check_accepted()
{
	local command=$1 name

	for name in $2; do
		"$tool" "$command" "$name" >"$work/out" 2>&1 </dev/null &&
			continue
		! grep -qE "(unrecognized|invalid) option" "$work/out" ||
			wrong "devmem $command $name: $(head -n 1 "$work/out")"
	done
}

# ... and nothing else: what others have, and what nobody has
check_unknown()
{
	local command=$1 name

	for name in --wrong $all_options; do
		! grep -qx -e "$name" <<<"$2" || continue
		runs 2 "$command" "$name"
	done
}

check_help()
{
	local command=$1

	runs 0 "$command" --help
	mv "$work/out" "$work/help"
	grep -q "^Usage: devmem $command" "$work/help" ||
		wrong "devmem $command --help: $(head -n 1 "$work/help")"
	runs 0 help "$command"
	cmp -s "$work/out" "$work/help" ||
		wrong "devmem help $command differs from devmem $command --help"
	! grep -qE '.{83}' "$work/help" ||
		wrong "devmem $command --help: longer than 82: $(grep -E '.{83}' "$work/help")"
}

# --- what they do ---

check_usage()
{
	runs 0 --help
	runs 0 help
	runs 0 --version
	grep -qxE 'devmem [0-9.]+' "$work/out" || wrong "--version: $(cat "$work/out")"
	runs 2
	runs 2 frobnicate
	runs 2 --frobnicate
	runs 2 help frobnicate
	runs 2 list argument
	runs 2 show
	runs 2 show 1 2
	runs 2 show 0
	runs 2 show -1
	runs 2 alloc --size 12Q
	runs 2 alloc --size 99999999999999999999
	runs 2 alloc --size 4097
	runs 2 alloc --size 4K --align 3
	runs 2 alloc --size 4K --exact
	runs 2 alloc --size 4K --hold=x
	runs 2 alloc --size 4K --ask --hold
	runs 2 migrate --to 1
	runs 2 migrate --pid 1
	runs 2 migrate --pid 1, --to 1
	runs 2 migrate --pid 1,x --to 1
	runs 2 migrate --pid 1,2 --to 1 --range 0-1000
	runs 2 migrate --pid 1 --to 1 --range 1000-1000
	runs 2 top --interval 0
	runs 2 top --count 0
	runs 2 wait
	runs 2 wait --free 0
	runs 2 wait --free 1M --timeout x
	runs 2 room x
	runs 2 room 1 perhaps
	runs 2 run
}

valid_json()
{
	python3 -c 'import json, sys
for line in sys.stdin.read().splitlines() if sys.argv[1] == "lines" else [sys.stdin.read()]:
    json.loads(line)' "$1" <"$work/out" 2>"$work/err" ||
		wrong "$2: not JSON: $(head -c 300 "$work/out")"
}

# Without a device they say so, in the same way; so do those that fail.
check_without_device()
{
	local command

	[[ ! -s /sys/devices/system/node/has_device_coherent ]] || return 0
	for command in "list" "top" "room" "wait --free 1M" "alloc --size 4K" \
		"migrate --pid $$ --to 0"; do
		# shellcheck disable=SC2086
		runs 1 $command --json
		[[ -s $work/err ]] || wrong "devmem $command: no message"
		valid_json whole "devmem $command --json"
		grep -q '"error":' "$work/out" ||
			wrong "devmem $command --json: no reason: $(cat "$work/out")"
		[[ $command != list && $command != top ]] ||
			grep -qE '"nodes": ?\[\]' "$work/out" ||
			wrong "devmem $command --json: no nodes: $(cat "$work/out")"
	done
	runs 125 run -- true
}

check_show()
{
	runs 0 show $$
	grep -q "process $$ (" "$work/out" || wrong "show: $(head -n 1 "$work/out")"
	runs 0 show --json --all $$
	valid_json whole "devmem show --json"
	runs 1 show 999999999
	runs 0 show --bytes $$
	grep -qE "[0-9]{6}, 0 on" "$work/out" || wrong "--bytes: $(head -n 1 "$work/out")"
}

# A name that would turn the line around, or move the cursor, is shown as "?".
check_names()
{
	local name=$'a\u202eb\ec\u200bd' pid

	cp "$(command -v sleep)" "$work/$name"
	"$work/$name" 100 &
	pid=$!
	sleep 0.2
	runs 0 show --all "$pid"
	grep -q 'a?b?c?d' "$work/out" || wrong "names: $(head -n 1 "$work/out")"
	! grep -q -e $'\u202e' -e $'\e' -e $'\u200b' "$work/out" ||
		wrong "names: passed on: $(grep -m 1 a "$work/out" | od -c | head -n 3)"
	runs 0 show --all --json "$pid"
	! grep -q -e $'\u202e' -e $'\e' -e $'\u200b' "$work/out" ||
		wrong "names: passed on in JSON"
	grep -qF 'a\u202eb\u001bc\u200bd' "$work/out" || wrong "names: lost in JSON"
	kill "$pid"
	wait "$pid" 2>/dev/null || :
}

# On a terminal of so many columns nothing wraps.
check_narrow()
{
	local columns options

	command -v script >/dev/null || return 0
	for columns in 36 40 60 80; do
		for options in "" --all; do
			script -qec "stty cols $columns; TERM=xterm '$tool' show $options $$" \
				/dev/null >"$work/out" 2>/dev/null </dev/null || :
			sed -i 's/\x1b\[[0-9;]*[A-Za-z]//g; s/\r//g' "$work/out"
			grep -q WHERE "$work/out" ||
				wrong "show, $columns columns: $(head -n 3 "$work/out")"
			# Messages, and the first lines, are sentences.
			sed '1,/WHERE/d' "$work/out" | grep -v 'smaller ones' |
				grep -E ".{$((columns + 1))}" >"$work/long" || :
			[[ ! -s $work/long ]] ||
				wrong "show $options: longer than $columns:" \
					"$(head -n 1 "$work/long")"
		done
	done
}

check_output()
{
	local rc=0

	[[ ! -w /dev/full ]] || {
		"$tool" --help >/dev/full 2>"$work/err" || rc=$?
		[[ $rc == 1 && -s $work/err ]] || wrong "full disk: status $rc"
		rc=0
		"$tool" show --json $$ >/dev/full 2>/dev/null || rc=$?
		[[ $rc == 1 ]] || wrong "full disk: status $rc of show"
	}
	# A reader that has gone: no message, and not success
	rc=0
	(trap '' PIPE; sleep 0.2; "$tool" help run 2>"$work/err" || echo $? >"$work/rc") | :
	[[ $(<"$work/rc") == 1 && ! -s $work/err ]] ||
		wrong "closed pipe: $(cat "$work/rc" "$work/err")"
	"$tool" --help >&- 2>"$work/err" && wrong "closed output: success"
	return 0
}

# "--node=" is a word and "=" for the shell; what follows has to be offered.
check_completion_of_values()
{
	local nodes

	nodes=$(completes devmem migrate --to = '')
	grep -qx system <<<"$nodes" || wrong "completion of --to=: '$nodes'"
	same "completion: --to =, --to=" "$nodes" "$(completes devmem migrate --to '=')"
	same "completion: --to, --to=" "$nodes" "$(completes devmem migrate --to '')"
	same "completion of --free=" "$(completes devmem wait --free '')" \
		"$(completes devmem wait --free = '')"
	if [[ -s /sys/devices/system/node/has_device_coherent ]]; then
		[[ $(completes devmem alloc --node = '') ]] ||
			wrong "completion of --node=: nothing"
	fi
	same "completion of room" "$(printf 'move\noff\nswap')" \
		"$(completes devmem room 1 '')"
}

# Messages, the man page, what is installed and the kernel's documentation have the
# same rule.
check_group()
{
	local rules

	# The latter may not be there, in a copy of the tool.
	rules=$(cat "$here"/*.c "$page" "$here"/60-devmem.rules \
		"$here"/../../Documentation/admin-guide/mm/device_coherent.rst \
		"$here"/../../Documentation/userspace-api/devmem.rst 2>/dev/null |
		grep -oE 'GROUP=\\?"[a-z.]*\\?", MODE=\\?"[0-9]*' |
		sed 's/\\//g' | sort -u) || :
	same "rules of udev" "$rules" 'GROUP="render", MODE="0664'
}

# No text names an option that nobody has.
check_texts()
{
	local guide=$here/../../Documentation/admin-guide/mm/device_coherent.rst
	local name

	{
		sed -n 's/^\.Dl devmem //p' "$page" | sed 's/\\-/-/g; s/ -- .*//'
		[[ ! -e $guide ]] ||
			sed -n '/``devmem list/,/^All but/p' "$guide" |
			sed 's/numactl [^`]*//'
	} | grep -oE -e '--[a-z][a-z-]*' | sort -u >"$work/named"
	[[ -s $work/named ]] || wrong "texts: no options"
	while read -r name; do
		grep -qx -e "$name" <<<"$all_options" ||
			wrong "texts: $name is no option"
	done <"$work/named"
}

check_page()
{
	local text

	if command -v mandoc >/dev/null; then
		mandoc -Tlint -Wwarning "$page" || failed=1
	elif command -v man >/dev/null; then
		text=$(MANROFFSEQ='' man --warnings -E UTF-8 -l -Tutf8 -Z \
			"$page" 2>&1 >/dev/null)
		[[ -z $text ]] || wrong "$text"
	fi
	! command -v shellcheck >/dev/null ||
		shellcheck -s bash "$here/devmem.bash-completion" || failed=1
}

all_options=$(for command in $(commands_of_help); do
	options_of_help "$command" | sed 's/.*--/--/'
done | sort -u)

check_commands
for command in $(commands_of_help); do
	check_help "$command"
	check_options "$command"
done
check_usage
check_without_device
check_show
check_names
check_narrow
check_output
check_completion_of_values
check_group
check_texts
check_page
exit $failed
