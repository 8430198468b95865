#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Every file and every make target that CONTRIBUTING.md and README.md name exists. A file is named in backquotes, by its path
# or, after its folder was named, by its name alone; NAME stands for any name. A target stands after "make", in
# backquotes or in an indented line.
set -eu
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

find include lib daemon tools tests fuzz bench examples man mk .ci -type f >"$work/files"
ls Makefile ./*.md | sed 's|^\./||' >>"$work/files"
sed 's|.*/||' "$work/files" | sort -u >"$work/names"
sed -n 's/^\.PHONY: *//p' Makefile mk/*.mk | tr ' ' '\n' | sort -u >"$work/targets"

# quoted DOCUMENT: what stands in backquotes, one a line; a block of code is not it.
quoted() {
	sed '/^```/,/^```/d' "$1" | tr '\n' ' ' | grep -o '`[^`]*`' | tr -d '`'
}

# exists NAME: in this tree; * stands for anything in it, too.
exists() {
	local pattern=${1//NAME/*} name
	case $1 in
	include/* | lib/* | daemon/* | tools/* | tests/* | fuzz/* | bench/* | examples/* | man/* | mk/* | .ci/*)
		compgen -G "${pattern%/}" >/dev/null
		;;
	*)
		while read -r name; do
			# shellcheck disable=SC2053 # a pattern
			[[ $name != $pattern ]] || return 0
		done <"$work/names"
		return 1
		;;
	esac
}

# is_target WORD: a goal of make, or a program of a test that it can build.
is_target() {
	case $1 in
	build/tests/* | build/*/tests/*) [ -e "tests/${1##*/}.c" ] ;;
	build/*) ;;
	*) grep -qxF -- "$1" "$work/targets" ;;
	esac
}

bad=0 files=0 goals=0
for document in CONTRIBUTING.md README.md; do
	while read -r name _; do
		case $name in
		build/* | *[\<\>\$\(\"]*) continue ;; # made, or no name
		include/* | lib/* | daemon/* | tools/* | tests/* | fuzz/* | bench/* | examples/* | man/* | mk/* | .ci/*) ;;
		*/* | -*) continue ;;
		*[!*.].c | *[!*.].h | *.hpp | *[!*.].sh | *.md | *.mk | Makefile) ;;
		*) continue ;;
		esac
		files=$((files + 1))
		exists "$name" || { echo "$document names $name, which is not there"; bad=1; }
	done < <(quoted "$document")
	while read -r line; do
		for word in $line; do
			case $word in
			-* | *=*) continue ;;
			'&&' | '#'* | ';') break ;;
			esac
			goals=$((goals + 1))
			is_target "$word" || { echo "$document names \"make $word\", which make does not know"; bad=1; }
		done
	done < <({ quoted "$document"; sed -n '/^    [^ ]/p' "$document"; } | grep -oE '(^|&& |sudo | {4})make .*' |
		sed -E 's/^.*make //')
done
[ $files -gt 100 ] && [ $goals -gt 10 ] ||
	{ echo "only $files files and $goals targets were found: this test reads the documents wrong"; exit 1; }
[ $bad = 0 ] && echo "$files names of files and $goals of make targets are right"
