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

#include "table_format.h"

/* Writes the stem of label, of which up to CTX_TABLE_LABEL_SIZE - 1 bytes count, filled up with NULs. */
void table_stem_of(const char *label, char ret_stem[CTX_TABLE_LABEL_SIZE]);

#endif
