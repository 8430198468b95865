/* SPDX-License-Identifier: MIT */
/*
 * The stem of a label: what is left when that which counts or names a single case is "*". Counters are kept
 * by stem, since a program may have any number of labels.
 *
 * A word is a row of letters, digits and bytes above 127. Everything else parts words, and stays. What
 * becomes "*", tried in this order where a word may begin:
 *
 *   - Nothing of an address: "127.0.0.1" and "[::1]" stay. "127.0.0.1:52144" is "127.0.0.1:*".
 *   - What follows "?", up to a blank: "/slow?x=1" is "/slow?*".
 *   - A UUID, or the beginning of one that the label's length has cut.
 *   - A word that begins with a digit, with its decimals: "conn 17" is "conn *", "1.5s left" is "* left".
 *   - A word of eight or more hexadecimal digits, of which one is a decimal one: "4bf92f35" is "*".
 *   - Within any other word more than two digits in a row: "conn1234" is "conn*". One or two stay, as they
 *     do in "h2", "v1" and "utf8".
 *
 * "*" that are parted only by one of "-", "_", ".", ",", ":" or a blank are folded: "2026-12-01 10:15" is
 * "*". A stem is never longer than its label.
 */
#ifndef CTX_STEM_H
#define CTX_STEM_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "table_format.h"

/* Copies as much of label as a table holds, filled up with NULs. */
static inline void table_copy_label(const char *label, char ret_label[CTX_TABLE_LABEL_SIZE])
{
	memset(ret_label, 0, CTX_TABLE_LABEL_SIZE);
	memcpy(ret_label, label, strnlen(label, CTX_TABLE_LABEL_SIZE - 1));
}

/*
 * Writes the stem of a label that table_copy_label() has written, filled up with NULs, and the numbers in the
 * label: 0x0f for each decimal digit that is not in the stem, and 0 for each other byte. The rules ask
 * whether a byte is a digit, and not which one. So another label that differs only in numbers has the same
 * stem.
 */
void table_stem_with_numbers(const char label[CTX_TABLE_LABEL_SIZE], char ret_stem[CTX_TABLE_LABEL_SIZE],
			     char ret_numbers[CTX_TABLE_LABEL_SIZE]);

/* Whether a label, filled up with NULs, differs from other in nothing but those numbers of other. */
static inline bool table_label_differs_in_numbers(const char label[CTX_TABLE_LABEL_SIZE],
						  const char other[CTX_TABLE_LABEL_SIZE],
						  const char numbers[CTX_TABLE_LABEL_SIZE])
{
	uint64_t differences = 0;

	for (unsigned i = 0; i < CTX_TABLE_LABEL_SIZE; i += 8) {
		uint64_t bytes, before, digits;
		memcpy(&bytes, label + i, sizeof(bytes));
		memcpy(&before, other + i, sizeof(before));
		memcpy(&digits, numbers + i, sizeof(digits));
		differences |= (bytes ^ before) & ~digits;
		/* A digit has at most 9 in its low half: 6 more does not reach the next bit. */
		differences |= ((bytes & digits) + 0x0606060606060606u) & 0x1010101010101010u;
	}
	return !differences;
}

/* Writes the stem of label, of which up to CTX_TABLE_LABEL_SIZE - 1 bytes count, filled up with NULs. */
void table_stem_of(const char *label, char ret_stem[CTX_TABLE_LABEL_SIZE]);

#endif
