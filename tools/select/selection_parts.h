/* SPDX-License-Identifier: MIT */
/* What an expression has become after it was read, for those files that read and those that evaluate it. */
#ifndef TOOL_SELECTION_PARTS_H
#define TOOL_SELECTION_PARTS_H

#include "selection.h"

#define SELECTION_NONE UINT32_MAX

/* The states of state=, as bits of the set of a test. The first four are those of the column STATE. */
enum selection_state {
	STATE_LIVE,
	STATE_CANCELLED,
	STATE_EXPIRED,
	STATE_DONE,
	STATE_DUE,
	STATE_DRAINING,
	STATE_STUCK,
};

enum selection_relation {
	RELATION_EQUAL,
	RELATION_CONTAINS,
	RELATION_LESS,
	RELATION_LESS_EQUAL,
	RELATION_GREATER,
	RELATION_GREATER_EQUAL,
};

struct selection_value {
	uint64_t number; /* of a process, a user or a descriptor, a count, or nanoseconds */
	uint32_t pid;	 /* of an id; 0: any */
	uint32_t slot, generation;
	const char *text; /* a pattern if it is wild, else what is compared */
	bool wild;
	bool is_number; /* of user=: number is valid */
	bool none;	/* of left=: no deadline */
};

/* Values, of which one must fit. */
struct selection_test {
	enum selection_key key;
	enum selection_relation relation;
	size_t offset;	 /* in the text of the expression */
	uint64_t set[4]; /* of keys whose values have names: the numbers of those that fit */
	bool has_set;	 /* the set counts, and not the values */
	uint32_t first_value, value_count;
};

enum selection_node_type {
	NODE_TEST,
	NODE_ALL, /* each child must hold */
	NODE_ANY,
};

struct selection_node {
	enum selection_node_type type;
	bool negated;
	uint32_t test;
	uint32_t first_child, last_child, next_sibling; /* SELECTION_NONE: there is none */
};

struct selection {
	uint32_t root;
	unsigned asked; /* a mask of the keys */
	uint32_t test_count, node_count, value_count;
	struct selection_test tests[SELECTION_TESTS_MAX];
	struct selection_node nodes[2 * SELECTION_TESTS_MAX]; /* each that is no test has two children */
	struct selection_value *values;
	char *bytes; /* of the texts of values */
	size_t byte_count;
};

/* Returns the name of the value of that number, "" for a number without a name; NULL: there are no more. */
const char *selection_name(enum selection_key key, unsigned number, char *buffer, size_t size);

/* Returns the name of a key. */
const char *selection_key_name(enum selection_key key);

/* Writes the message, and where the mistake is. Returns -EINVAL. */
int selection_fail(struct selection_error *error, size_t offset, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

#endif
