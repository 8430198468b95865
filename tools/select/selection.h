/* SPDX-License-Identifier: MIT */
/*
 * The language in which the user says which contexts a command is about: "comm=nginx* and left<1s". It is the
 * same in every command. ctxtool(1) describes it under SELECTION.
 *
 *	expression  all { "or" all }
 *	all         one { ["and"] one }
 *	one         { "not" | "!" } ( "(" expression ")" | KEY OPERATOR VALUE { "," VALUE } | WORD )
 *
 * A word is an id, the number of a process, or a label. What is asked is a struct selection_facts, which the
 * caller fills: of a context in a table, of a past end, of what the service tells.
 *
 * This folder, select/, reads such expressions and tests contexts; it may use read/ and text/.
 */
#ifndef TOOL_SELECTION_H
#define TOOL_SELECTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Longer expressions are refused, and so are those with more tests, or nested deeper. */
#define SELECTION_TEXT_MAX 4096
#define SELECTION_TESTS_MAX 256
#define SELECTION_DEPTH_MAX 32

struct selection;

struct selection_error {
	size_t offset;	   /* of the byte where the mistake is; the length of the text: at its end */
	char message[240]; /* what is wrong, and what would be right there; escaped */
};

/*
 * Reads an expression. 0, and the caller calls selection_free(); -EINVAL: *ret_error says what is wrong, and
 * where; or -ENOMEM. A text of blanks alone is no expression.
 */
int selection_parse(const char *text, struct selection **ret_selection, struct selection_error *ret_error);
void selection_free(struct selection *selection);

/*
 * Makes one text of the operands of a command, for selection_parse(): joined by blanks when one of them is
 * the beginning of a test, a parenthesis or "not". Otherwise each operand is a word, and what any of them
 * names is selected. The caller frees the text; NULL: no memory.
 */
char *selection_join(char *const *operands, int count);

/* Whether the operand is a word and no part of an expression. */
bool selection_is_word(const char *operand);

/* Says on standard error what is wrong with the text, after "program: ", and points at the place. */
void selection_complain(const char *program, const char *text, const struct selection_error *error);

/* What can be asked for. */
enum selection_key {
	SELECTION_PID,
	SELECTION_COMM,
	SELECTION_USER,
	SELECTION_ID,
	SELECTION_LABEL,
	SELECTION_STATE,
	SELECTION_KIND,
	SELECTION_CAUSE,
	SELECTION_ERROR,
	SELECTION_AGE, /* also older and younger */
	SELECTION_LEFT,
	SELECTION_OP,
	SELECTION_OPS,
	SELECTION_FD,
};
#define SELECTION_KEYS 14
#define SELECTION_ALL_KEYS ((1u << SELECTION_KEYS) - 1)

/*
 * Refuses a selection that asks for something else than the keys in known, a mask of 1u << SELECTION_...: for
 * things of which not all facts are known. 0; or -EINVAL, and *ret_error points at the first such test and
 * says that it is not known of what, "an end" for example.
 */
int selection_check_keys(const struct selection *selection, unsigned known, const char *what,
			 struct selection_error *ret_error);

/* Whether the selection asks for the key. */
bool selection_asks(const struct selection *selection, enum selection_key key);

/* An operation in flight, as in struct ctx_table_operation. */
struct selection_operation {
	unsigned opcode, flags;
	int fd; /* below 0, or with CTX_TABLE_OP_FIXED_FILE in flags: it has no descriptor */
};

#define SELECTION_NO_DEADLINE UINT64_MAX

/* What is known of a context. Facts whose keys selection_check_keys() refuses need not be filled. */
struct selection_facts {
	pid_t pid;
	uid_t uid;
	const char *comm, *label; /* not escaped */
	uint32_t slot, generation;
	bool live;
	int error;		/* the negative errno of a context that is done */
	uint64_t age_ns;	/* since it was made */
	uint64_t left_ns;	/* to its deadline; 0: that has passed; SELECTION_NO_DEADLINE: it has none */
	unsigned kind;		/* enum ctx_table_kind */
	unsigned cause;		/* enum ctx_cause_kind; CTX_CAUSE_NONE: live, or not known */
	const char *cause_text; /* not escaped; NULL or "": none */
	uint32_t operation_count;
	/* Returns the name of a user, or its number as text. */
	const char *(*user_name)(uid_t uid);
	/* Fills in the operation after the one that *position names, 0 at first. false: there are no more. */
	bool (*next_operation)(const struct selection_facts *facts, uint32_t *position,
			       struct selection_operation *ret_operation);
	/* Says what a descriptor is, escaped, as in a listing of operations; called only for fd~ and fd!~. */
	const char *(*describe_fd)(const struct selection_facts *facts, int fd);
	/* For the functions. */
	void *process;
	const void *context;
};

/* Whether that is selected. A selection of NULL selects everything. */
bool selection_matches(const struct selection *selection, const struct selection_facts *facts);

#endif
