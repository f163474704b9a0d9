#!/bin/sh
# Grid Engine's qmaster asks this program about every job that is submitted (jsv(1)): line by line on stdin, answers on stdout. A job that says
# `-l vm=TYPE` gets WNOD_TYPE=TYPE and a place in a queue whose jobs run in VWNs (`vm=any`); a type that does not exist is refused while its owner
# looks on. So does a job that asks for room for one, `-l vm_TYPE=1`. Any other job passes as it is. Beside the path that we are called by,
# wnod-gridengine.env says WNOD_TYPES, the types that there are, and WNOD_RESOURCES, words of RESOURCE=TYPE.
set -f
IFS=' '

# For each job anew: qmaster keeps this program for as long as it lives.
read_settings() {
	WNOD_TYPES= WNOD_RESOURCES=
	while read -r line; do
		case $line in
		WNOD_TYPES=*) WNOD_TYPES=${line#*=} ;;
		WNOD_RESOURCES=*) WNOD_RESOURCES=${line#*=} ;;
		esac
	done <"${0%/*}/wnod-gridengine.env"
}

say() { printf '%s\n' "$*"; }
one_of() {
	for each in $2; do [ "$each" = "$1" ] && return; done
	return 1
}

# The type in the list of resources $1, and in `rest` the list without it; where only room for one is asked for, the type that has it.
take_type() {
	type= rest= by_room=
	IFS=,
	for item in $1; do
		case $item in
		vm=*) type=${item#vm=} ;;
		*)
			rest=${rest:+$rest,}$item
			case $item in vm_*) set_by_room "${item%%=*}" ;; esac
			;;
		esac
	done
	IFS=' '
	type=${type:-$by_room}
}

set_by_room() {
	IFS=' '
	for pair in $WNOD_RESOURCES; do [ "${pair%%=*}" != "$1" ] || by_room=${pair#*=}; done
	IFS=,
}

judge() {
	take_type "$soft"
	[ -z "$type" ] || { say "RESULT STATE REJECT say -hard -l vm=$type: a job runs in a VWN of its type or not at all"; return; }
	take_type "$hard"
	if [ -z "$type" ]; then
		say 'RESULT STATE ACCEPT'
	elif one_of "$type" "$WNOD_TYPES"; then
		say "PARAM l_hard ${rest:+$rest,}vm=any"
		say "ENV ADD WNOD_TYPE $type"
		say 'RESULT STATE CORRECT'
	else
		say "RESULT STATE REJECT there is no VWN type $type; there are: $WNOD_TYPES"
	fi
}

while read -r word name value; do
	case $word in
	START) hard= soft= && read_settings && say STARTED ;;
	PARAM) case $name in l_hard) hard=$value ;; l_soft) soft=$value ;; esac ;;
	BEGIN) judge ;;
	QUIT) exit 0 ;;
	esac
done
