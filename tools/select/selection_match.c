/* SPDX-License-Identifier: MIT */
/* Evaluates expressions. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "ctxring.h"
#include "pattern.h"
#include "selection_parts.h"
#include "table_format.h"
#include "terminal.h"

/* Whether the text is the value, or has it as a part. */
static bool text_fits(const struct selection_test *test, const struct selection_value *value,
		      const char *text)
{
	char pattern[SELECTION_TEXT_MAX + 3];

	if (test->relation != RELATION_CONTAINS)
		return value->wild ? pattern_matches(value->text, text) : strcmp(value->text, text) == 0;
	if (!value->wild)
		return strstr(text, value->text) != NULL;
	snprintf(pattern, sizeof(pattern), "*%s*", value->text);
	return pattern_matches(pattern, text);
}

static bool any_text_fits(const struct selection *selection, const struct selection_test *test,
			  const char *text)
{
	for (uint32_t i = 0; i < test->value_count; i++)
		if (text_fits(test, &selection->values[test->first_value + i], text))
			return true;
	return false;
}

/* Whether the text, or its form in a listing, fits. */
static bool shown_text_fits(const struct selection *selection, const struct selection_test *test,
			    const char *text)
{
	char escaped[ESCAPED_SIZE];

	if (any_text_fits(selection, test, text))
		return true;
	for (const char *byte = text; *byte; byte++)
		if (*byte < ' ' || *byte > '~' || *byte == '\\')
			return any_text_fits(selection, test, escape(text, escaped, sizeof(escaped)));
	return false;
}

static bool any_number_fits(const struct selection *selection, const struct selection_test *test,
			    uint64_t number)
{
	for (uint32_t i = 0; i < test->value_count; i++) {
		uint64_t wanted = selection->values[test->first_value + i].number;

		switch (test->relation) {
		case RELATION_EQUAL:
		case RELATION_CONTAINS:
			if (number == wanted)
				return true;
			break;
		case RELATION_LESS:
			if (number < wanted)
				return true;
			break;
		case RELATION_LESS_EQUAL:
			if (number <= wanted)
				return true;
			break;
		case RELATION_GREATER:
			if (number > wanted)
				return true;
			break;
		case RELATION_GREATER_EQUAL:
			if (number >= wanted)
				return true;
			break;
		}
	}
	return false;
}

static bool user_fits(const struct selection *selection, const struct selection_test *test,
		      const struct selection_facts *facts)
{
	for (uint32_t i = 0; i < test->value_count; i++) {
		const struct selection_value *value = &selection->values[test->first_value + i];

		if (value->is_number ? value->number == facts->uid
				     : text_fits(test, value, facts->user_name(facts->uid)))
			return true;
	}
	return false;
}

static bool id_fits(const struct selection *selection, const struct selection_test *test,
		    const struct selection_facts *facts)
{
	for (uint32_t i = 0; i < test->value_count; i++) {
		const struct selection_value *value = &selection->values[test->first_value + i];

		if (value->slot == facts->slot && value->generation == facts->generation &&
		    (!value->pid || value->pid == (uint32_t)facts->pid))
			return true;
	}
	return false;
}

static bool in_set(const struct selection_test *test, unsigned number)
{
	return number < 256 && test->set[number / 64] >> number % 64 & 1;
}

static bool is_stuck(const struct selection_facts *facts)
{
	struct selection_operation operation;
	uint32_t position = 0;

	while (facts->operation_count && facts->next_operation(facts, &position, &operation))
		if (operation.flags & CTX_TABLE_OP_STUCK)
			return true;
	return false;
}

static bool state_fits(const struct selection_test *test, const struct selection_facts *facts)
{
	enum selection_state state = facts->live		  ? STATE_LIVE
				     : facts->error == -ECANCELED ? STATE_CANCELLED
				     : facts->error == -ETIME	  ? STATE_EXPIRED
								  : STATE_DONE;

	return in_set(test, state) || (in_set(test, STATE_DUE) && facts->live && !facts->left_ns) ||
	       (in_set(test, STATE_DRAINING) && !facts->live && facts->operation_count) ||
	       (in_set(test, STATE_STUCK) && is_stuck(facts));
}

/* Whether one of the operations fits. */
static bool operations_fit(const struct selection *selection, const struct selection_test *test,
			   const struct selection_facts *facts)
{
	struct selection_operation operation;
	uint32_t position = 0;

	while (facts->operation_count && facts->next_operation(facts, &position, &operation)) {
		if (test->key == SELECTION_OP) {
			if (in_set(test, operation.opcode))
				return true;
			continue;
		}
		if (operation.fd < 0 || operation.flags & CTX_TABLE_OP_FIXED_FILE)
			continue;
		if (test->relation == RELATION_CONTAINS
			    ? any_text_fits(selection, test, facts->describe_fd(facts, operation.fd))
			    : any_number_fits(selection, test, (uint64_t)operation.fd))
			return true;
	}
	return false;
}

static bool left_fits(const struct selection *selection, const struct selection_test *test,
		      const struct selection_facts *facts)
{
	if (test->relation == RELATION_EQUAL || facts->left_ns == SELECTION_NO_DEADLINE)
		return test->relation == RELATION_EQUAL && facts->left_ns == SELECTION_NO_DEADLINE;
	return any_number_fits(selection, test, facts->left_ns);
}

static bool test_holds(const struct selection *selection, const struct selection_test *test,
		       const struct selection_facts *facts)
{
	switch (test->key) {
	case SELECTION_PID:
		return any_number_fits(selection, test, (uint64_t)facts->pid);
	case SELECTION_COMM:
		return shown_text_fits(selection, test, facts->comm);
	case SELECTION_USER:
		return user_fits(selection, test, facts);
	case SELECTION_ID:
		return id_fits(selection, test, facts);
	case SELECTION_LABEL:
		return shown_text_fits(selection, test, facts->label);
	case SELECTION_STATE:
		return state_fits(test, facts);
	case SELECTION_KIND:
		return in_set(test, facts->kind);
	case SELECTION_CAUSE:
		return test->has_set
			       ? in_set(test, facts->cause)
			       : shown_text_fits(selection, test, facts->cause_text ? facts->cause_text : "");
	case SELECTION_ERROR:
		return !facts->live && in_set(test, (unsigned)-facts->error);
	case SELECTION_AGE:
		return any_number_fits(selection, test, facts->age_ns);
	case SELECTION_LEFT:
		return left_fits(selection, test, facts);
	case SELECTION_OPS:
		return any_number_fits(selection, test, facts->operation_count);
	case SELECTION_OP:
	case SELECTION_FD:
		return operations_fit(selection, test, facts);
	}
	return false;
}

/* Recursion goes no deeper than parentheses do, and twice. */
static bool node_holds(const struct selection *selection, uint32_t index, const struct selection_facts *facts)
{
	const struct selection_node *node = &selection->nodes[index];
	bool holds = node->type == NODE_ALL;

	if (node->type == NODE_TEST)
		return test_holds(selection, &selection->tests[node->test], facts) != node->negated;
	for (uint32_t i = node->first_child; i != SELECTION_NONE; i = selection->nodes[i].next_sibling) {
		holds = node_holds(selection, i, facts);
		if (holds == (node->type == NODE_ANY))
			break;
	}
	return holds != node->negated;
}

bool selection_matches(const struct selection *selection, const struct selection_facts *facts)
{
	return !selection || node_holds(selection, selection->root, facts);
}

bool selection_asks(const struct selection *selection, enum selection_key key)
{
	return selection && selection->asked >> key & 1;
}

int selection_check_keys(const struct selection *selection, unsigned known, const char *what,
			 struct selection_error *ret_error)
{
	for (uint32_t i = 0; selection && i < selection->test_count; i++) {
		const struct selection_test *test = &selection->tests[i];

		if (!(known >> test->key & 1))
			return selection_fail(ret_error, test->offset, "'%s' is not known of %s",
					      selection_key_name(test->key), what);
	}
	return 0;
}
