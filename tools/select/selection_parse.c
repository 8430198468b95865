/* SPDX-License-Identifier: MIT */
/* Reads expressions, by recursive descent: a function for each rule of the grammar in selection.h. */
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "duration.h"
#include "pattern.h"
#include "selection_parts.h"
#include "terminal.h"

struct parser {
	const char *text;
	size_t at;
	unsigned depth;
	struct selection *selection;
	struct selection_error *error;
};

/* What the values of a key are. */
enum value_type {
	VALUE_NUMBER,
	VALUE_TEXT,
	VALUE_USER,
	VALUE_ID,
	VALUE_NAME, /* one of selection_name() */
	VALUE_DURATION,
	VALUE_COUNT,
};

/* Which operators a key takes. */
#define TAKES_EQUAL 0x01u
#define TAKES_NOT_EQUAL 0x02u
#define TAKES_CONTAINS 0x04u /* and its negation */
#define TAKES_ORDER 0x08u
#define TAKES_TEXT (TAKES_EQUAL | TAKES_NOT_EQUAL | TAKES_CONTAINS)

struct word_of_key {
	const char *name;
	enum selection_key key;
	enum value_type type;
	unsigned takes;
};

static const struct word_of_key words[] = {
	{"pid", SELECTION_PID, VALUE_NUMBER, TAKES_EQUAL | TAKES_NOT_EQUAL},
	{"comm", SELECTION_COMM, VALUE_TEXT, TAKES_TEXT},
	{"user", SELECTION_USER, VALUE_USER, TAKES_TEXT},
	{"id", SELECTION_ID, VALUE_ID, TAKES_EQUAL | TAKES_NOT_EQUAL},
	{"label", SELECTION_LABEL, VALUE_TEXT, TAKES_TEXT},
	{"state", SELECTION_STATE, VALUE_NAME, TAKES_EQUAL | TAKES_NOT_EQUAL},
	{"kind", SELECTION_KIND, VALUE_NAME, TAKES_EQUAL | TAKES_NOT_EQUAL},
	{"cause", SELECTION_CAUSE, VALUE_NAME, TAKES_TEXT},
	{"error", SELECTION_ERROR, VALUE_NAME, TAKES_EQUAL | TAKES_NOT_EQUAL},
	{"age", SELECTION_AGE, VALUE_DURATION, TAKES_ORDER},
	{"older", SELECTION_AGE, VALUE_DURATION, TAKES_EQUAL},
	{"younger", SELECTION_AGE, VALUE_DURATION, TAKES_EQUAL},
	{"left", SELECTION_LEFT, VALUE_DURATION, TAKES_ORDER | TAKES_EQUAL | TAKES_NOT_EQUAL},
	{"op", SELECTION_OP, VALUE_NAME, TAKES_EQUAL | TAKES_NOT_EQUAL},
	{"ops", SELECTION_OPS, VALUE_COUNT, TAKES_ORDER | TAKES_EQUAL | TAKES_NOT_EQUAL},
	{"fd", SELECTION_FD, VALUE_NUMBER, TAKES_TEXT},
};
#define WORDS (sizeof(words) / sizeof(words[0]))

/* ---- complaints */

int selection_fail(struct selection_error *error, size_t offset, const char *format, ...)
{
	va_list arguments;

	error->offset = offset;
	va_start(arguments, format);
	vsnprintf(error->message, sizeof(error->message), format, arguments);
	va_end(arguments);
	return -EINVAL;
}

#define SHOWN_SIZE 64

/* Escapes the beginning of a part of the text. */
static const char *shown(const char *text, size_t length, char buffer[SHOWN_SIZE])
{
	char part[SHOWN_SIZE / 4];

	length = length < sizeof(part) - 1 ? length : sizeof(part) - 1;
	memcpy(part, text, length);
	part[length] = '\0';
	return escape(part, buffer, SHOWN_SIZE);
}

static const char *word_at(size_t index, void *data)
{
	(void)data;
	return index < WORDS ? words[index].name : NULL;
}

static int fail_by_key(struct parser *parser, size_t offset, const char *name)
{
	char buffer[SHOWN_SIZE];
	size_t closest = closest_name(name, word_at, NULL);

	shown(name, strlen(name), buffer);
	if (closest != SIZE_MAX)
		return selection_fail(parser->error, offset, "unknown key '%s'; did you mean '%s'?", buffer,
				      words[closest].name);
	return selection_fail(parser->error, offset,
			      "unknown key '%s'; there are pid, comm, user, id, label, state, kind, cause, "
			      "error, age, older, younger, left, op, ops and fd",
			      buffer);
}

static int fail_by_operator(struct parser *parser, size_t offset, const struct word_of_key *word)
{
	if (word->takes == TAKES_EQUAL)
		return selection_fail(parser->error, offset, "'%s' is followed by =", word->name);
	return selection_fail(parser->error, offset, "'%s' is followed by %s%s%s%s", word->name,
			      word->takes & TAKES_ORDER ? "< <= > or >=" : "",
			      word->takes & TAKES_ORDER && word->takes & TAKES_EQUAL ? ", or " : "",
			      word->takes & TAKES_EQUAL ? "= or !=" : "",
			      word->takes & TAKES_CONTAINS ? ", or ~ or !~ for a part of it" : "");
}

struct names {
	enum selection_key key;
	char buffer[40];
};

static const char *name_at(size_t index, void *data)
{
	struct names *names = data;

	return selection_name(names->key, (unsigned)index, names->buffer, sizeof(names->buffer));
}

/* Says that no value of the key has this name, and which there are. */
static int fail_by_name(struct parser *parser, size_t offset, enum selection_key key, const char *name)
{
	struct names names = {.key = key};
	char buffer[SHOWN_SIZE], list[160] = "", one[40];
	size_t closest = closest_name(name, name_at, &names), length = 0;
	const char *value;

	shown(name, strlen(name), buffer);
	if (closest != SIZE_MAX)
		return selection_fail(parser->error, offset, "'%s' is no %s; did you mean '%s'?", buffer,
				      selection_key_name(key), name_at(closest, &names));
	if (key == SELECTION_OP)
		return selection_fail(parser->error, offset,
				      "'%s' is no operation; give a name such as RECV or POLL_*", buffer);
	if (key == SELECTION_ERROR)
		return selection_fail(parser->error, offset,
				      "'%s' is no error; give a name such as ECONNRESET", buffer);
	for (unsigned i = 0; (value = selection_name(key, i, one, sizeof(one))); i++)
		if (*value && length < sizeof(list))
			length += (size_t)snprintf(list + length, sizeof(list) - length, "%s%s",
						   length ? ", " : "", value);
	return selection_fail(parser->error, offset, "'%s' is no %s; there are %s", buffer,
			      selection_key_name(key), list);
}

/* ---- words */

static bool is_blank(char byte)
{
	return byte == ' ' || byte == '\t' || byte == '\n' || byte == '\r';
}

static void skip_blanks(struct parser *parser)
{
	while (is_blank(parser->text[parser->at]))
		parser->at++;
}

static size_t letters_at(const char *text)
{
	size_t length = 0;

	while (isalpha((unsigned char)text[length]) ||
	       (length && (text[length] == '_' || text[length] == '-')))
		length++;
	return length;
}

/* Whether "and", "or" or "not" stands here, as a word of its own. */
static bool is_keyword(const char *text, const char *keyword)
{
	size_t length = strlen(keyword);

	return strncasecmp(text, keyword, length) == 0 &&
	       (!text[length] || is_blank(text[length]) || strchr("()!", text[length]));
}

static bool is_operator(const char *text)
{
	return *text == '=' || *text == '<' || *text == '>' || *text == '~' ||
	       (*text == '!' && (text[1] == '=' || text[1] == '~'));
}

/* Returns the length of the key when a key and an operator stand here; 0: something else does. */
static size_t key_at(const char *text)
{
	size_t length = letters_at(text), end = length;

	while (is_blank(text[end]))
		end++;
	return length && is_operator(text + end) ? length : 0;
}

bool selection_is_word(const char *operand)
{
	while (is_blank(*operand))
		operand++;
	return *operand && !strchr("()!\"'", *operand) && !is_operator(operand) && !key_at(operand) &&
	       !is_keyword(operand, "and") && !is_keyword(operand, "or") && !is_keyword(operand, "not");
}

/*
 * Appends an operand, in quotes where a word would else be more than one. Beside parts of an expression
 * parentheses and commas may be part of it too, and only blanks tell a label.
 */
static char *append_operand(char *end, const char *operand, bool words_only)
{
	bool quoted =
		selection_is_word(operand) && strpbrk(operand, words_only ? " \t\n\r()\"',|\\" : " \t\n\r");

	if (!quoted)
		return stpcpy(end, operand);
	*end++ = '"';
	for (; *operand; operand++) {
		if (*operand == '"' || *operand == '\\')
			*end++ = '\\';
		*end++ = *operand;
	}
	*end++ = '"';
	return end;
}

char *selection_join(char *const *operands, int count)
{
	bool words_only = true;
	size_t size = 1;
	char *text, *end;

	for (int i = 0; i < count; i++) {
		words_only &= selection_is_word(operands[i]);
		size += 2 * strlen(operands[i]) + sizeof("\"\" or ");
	}
	text = end = malloc(size);
	if (!text)
		return NULL;
	*end = '\0';
	for (int i = 0; i < count; i++) {
		if (i)
			end = stpcpy(end, words_only ? " or " : " ");
		end = append_operand(end, operands[i], words_only);
	}
	*end = '\0';
	return text;
}

/* ---- values */

/*
 * Reads a value, or a word: up to a blank, a comma, a "|" or a parenthesis. Quotes hold these together, and a
 * backslash before them, or before a quote, a backslash, "*" or "?", takes their meaning away. The bytes are
 * kept, as a pattern if "*" or "?" has a meaning.
 */
static int parse_text(struct parser *parser, struct selection_value *value, bool *ret_quoted)
{
	char *bytes = parser->selection->bytes + parser->selection->byte_count, *end = bytes;
	size_t open_at = 0;
	char quote = '\0';

	*value = (struct selection_value){.text = bytes};
	*ret_quoted = false;
	for (;; parser->at++) {
		char byte = parser->text[parser->at], next = byte ? parser->text[parser->at + 1] : '\0';

		if (!byte || (!quote && (is_blank(byte) || strchr(",|)", byte))))
			break;
		if (byte == quote) {
			quote = '\0';
		} else if (!quote && (byte == '"' || byte == '\'')) {
			quote = byte;
			*ret_quoted = true;
			open_at = parser->at;
		} else if (!quote && byte == '(') {
			return selection_fail(parser->error, parser->at,
					      "a parenthesis within a value is quoted");
		} else if (byte == '\\' && next && (is_blank(next) || strchr("\\\"'*?,|()", next))) {
			parser->at++;
			if (strchr("\\*?", next))
				*end++ = '\\';
			*end++ = next;
		} else {
			value->wild |= byte == '*' || byte == '?';
			/* A backslash that takes no meaning away stands for itself. */
			if (byte == '\\')
				*end++ = '\\';
			*end++ = byte;
		}
	}
	if (quote)
		return selection_fail(parser->error, open_at, "the quote is not closed");
	*end = '\0';
	if (!value->wild) {
		char *to = bytes;

		for (const char *from = bytes; *from; from++) {
			from += *from == '\\';
			*to++ = *from;
		}
		*to = '\0';
		end = to;
	}
	parser->selection->byte_count += (size_t)(end - bytes) + 1;
	return 0;
}

static bool parse_digits(const char *text, uint64_t max, uint64_t *ret_number)
{
	char *end;

	if (!isdigit((unsigned char)*text))
		return false;
	errno = 0;
	*ret_number = strtoull(text, &end, 10);
	return !errno && !*end && *ret_number <= max;
}

/* Reads "PID:SLOT.GENERATION" or "SLOT.GENERATION". */
static bool parse_id(const char *text, struct selection_value *value)
{
	unsigned long numbers[3] = {0};
	unsigned count = 0;
	char *end;

	for (;;) {
		if (!isdigit((unsigned char)*text))
			return false;
		errno = 0;
		numbers[count] = strtoul(text, &end, 10);
		if (errno || numbers[count] > (count || *end == '.' ? UINT32_MAX : INT32_MAX))
			return false;
		if (!count && *end == '.')
			numbers[++count] = numbers[0], numbers[0] = 0;
		else if (*end != (count == 0 ? ':' : '.'))
			break;
		if (++count == 3)
			return false;
		text = end + 1;
	}
	value->pid = (uint32_t)numbers[0];
	value->slot = (uint32_t)numbers[1];
	value->generation = (uint32_t)numbers[2];
	return count == 2 && !*end;
}

/* As names are compared: in small letters, and with "-" for a blank. */
static void fold_name(const char *name, char *folded, size_t size)
{
	size_t i = 0;

	for (; name[i] && i < size - 1; i++)
		folded[i] = name[i] == ' ' ? '-' : (char)tolower((unsigned char)name[i]);
	folded[i] = '\0';
}

/* Adds the numbers of the names that fit to the set of the test. */
static int add_names(struct parser *parser, struct selection_test *test, const struct selection_value *value,
		     size_t offset)
{
	char wanted[64], folded[64], buffer[40];
	const char *name;
	bool found = false;

	fold_name(value->text, wanted, sizeof(wanted));
	for (unsigned i = 0; (name = selection_name(test->key, i, buffer, sizeof(buffer))); i++) {
		fold_name(name, folded, sizeof(folded));
		if (!*name || !(value->wild ? pattern_matches(wanted, folded) : strcmp(wanted, folded) == 0))
			continue;
		test->set[i / 64] |= 1ull << i % 64;
		found = true;
	}
	/* What is done is cancelled, expired, or done by another error. */
	if (test->key == SELECTION_STATE && test->set[0] & 1u << STATE_DONE)
		test->set[0] |= 1u << STATE_CANCELLED | 1u << STATE_EXPIRED;
	return found ? 0 : fail_by_name(parser, offset, test->key, value->text);
}

/* Reads one value of a test. */
static int parse_value(struct parser *parser, const struct word_of_key *word, struct selection_test *test)
{
	struct selection_value *value = &parser->selection->values[parser->selection->value_count];
	size_t offset = parser->at;
	char buffer[SHOWN_SIZE];
	bool quoted;
	int result = parse_text(parser, value, &quoted);

	if (result)
		return result;
	/* "label= and" is a mistake, and means no label "and". */
	const char *text = parser->text + offset;
	if (parser->at == offset ||
	    (is_blank(text[-1]) && (is_keyword(text, "and") || is_keyword(text, "or"))))
		return selection_fail(parser->error, offset, "a value is missing here; \"\" is an empty one");
	shown(value->text, strlen(value->text), buffer);
	parser->selection->value_count++;
	test->value_count++;
	/* A part of a text: one of the description of a descriptor, or of a cause, too. */
	if (word->type == VALUE_TEXT || test->relation == RELATION_CONTAINS)
		return 0;
	switch (word->type) {
	case VALUE_USER:
		value->is_number = parse_digits(value->text, UINT32_MAX, &value->number);
		return 0;
	case VALUE_NAME:
		test->has_set = true;
		return add_names(parser, test, value, offset);
	case VALUE_ID:
		if (parse_id(value->text, value))
			return 0;
		return selection_fail(parser->error, offset,
				      "'%s' is no id as ls prints it: PID:SLOT.GENERATION", buffer);
	case VALUE_DURATION:
		if (test->relation == RELATION_EQUAL && test->key == SELECTION_LEFT) {
			value->none = strcmp(value->text, "none") == 0;
			return value->none
				       ? 0
				       : selection_fail(parser->error, offset,
							"after 'left=' stands none; times are compared by < "
							"or >");
		}
		if (!duration_parse(value->text, &value->number))
			return 0;
		return selection_fail(parser->error, offset,
				      "'%s' is no duration; write it as 250ms, 5s or 1m30s", buffer);
	default:
		if (parse_digits(value->text, word->type == VALUE_NUMBER ? INT32_MAX : UINT64_MAX,
				 &value->number))
			return 0;
		return selection_fail(parser->error, offset, "'%s' is no number", buffer);
	}
}

/* ---- tests */

static struct selection_test *add_test(struct parser *parser, enum selection_key key, size_t offset)
{
	struct selection *selection = parser->selection;
	struct selection_test *test;

	if (selection->test_count == SELECTION_TESTS_MAX) {
		selection_fail(parser->error, offset, "more than %d tests", SELECTION_TESTS_MAX);
		return NULL;
	}
	test = &selection->tests[selection->test_count++];
	*test = (struct selection_test){.key = key, .offset = offset, .first_value = selection->value_count};
	selection->asked |= 1u << key;
	return test;
}

static uint32_t add_node(struct selection *selection, enum selection_node_type type, bool negated)
{
	selection->nodes[selection->node_count] = (struct selection_node){.type = type,
									  .negated = negated,
									  .test = selection->test_count - 1,
									  .first_child = SELECTION_NONE,
									  .last_child = SELECTION_NONE,
									  .next_sibling = SELECTION_NONE};
	return selection->node_count++;
}

/* Reads an operator that the key takes. */
static int parse_operator(struct parser *parser, const struct word_of_key *word, struct selection_test *test,
			  bool *ret_negated)
{
	const char *text = parser->text + parser->at;
	size_t length = text[0] == '!' || text[1] == '=' ? 2 : 1;
	unsigned wanted;

	*ret_negated = text[0] == '!';
	switch (text[*ret_negated]) {
	case '=':
		wanted = *ret_negated ? TAKES_NOT_EQUAL : TAKES_EQUAL;
		test->relation = RELATION_EQUAL;
		break;
	case '~':
		wanted = TAKES_CONTAINS;
		length = *ret_negated ? 2 : 1;
		test->relation = RELATION_CONTAINS;
		break;
	case '<':
		wanted = TAKES_ORDER;
		test->relation = length == 2 ? RELATION_LESS_EQUAL : RELATION_LESS;
		break;
	default:
		wanted = TAKES_ORDER;
		test->relation = length == 2 ? RELATION_GREATER_EQUAL : RELATION_GREATER;
	}
	if (!(word->takes & wanted) || (text[0] == '=' && text[1] == '~'))
		return fail_by_operator(parser, parser->at, word);
	parser->at += length;
	return 0;
}

/* Reads KEY OPERATOR VALUE {, VALUE}. Every rule returns 0, and the index of its node. */
static int parse_test(struct parser *parser, size_t key_length, uint32_t *ret_node)
{
	size_t offset = parser->at;
	const struct word_of_key *word = NULL;
	struct selection_test *test;
	char name[SHOWN_SIZE / 4];
	bool negated;
	int result;

	snprintf(name, sizeof(name), "%.*s", (int)(key_length < sizeof(name) ? key_length : sizeof(name) - 1),
		 parser->text + offset);
	for (size_t i = 0; i < WORDS && !word; i++)
		if (strlen(words[i].name) == key_length && strcmp(words[i].name, name) == 0)
			word = &words[i];
	if (!word)
		return fail_by_key(parser, offset, name);
	parser->at += key_length;
	skip_blanks(parser);
	test = add_test(parser, word->key, offset);
	result = test ? parse_operator(parser, word, test, &negated) : -EINVAL;
	if (result)
		return result;
	do {
		skip_blanks(parser);
		result = parse_value(parser, word, test);
		if (result)
			return result;
	} while ((parser->text[parser->at] == ',' || parser->text[parser->at] == '|') && ++parser->at);
	if (strcmp(word->name, "older") == 0)
		test->relation = RELATION_GREATER_EQUAL;
	if (strcmp(word->name, "younger") == 0)
		test->relation = RELATION_LESS;
	*ret_node = add_node(parser->selection, NODE_TEST, negated);
	return 0;
}

/* Reads a word: an id, the number of a process, or a label. */
static int parse_word(struct parser *parser, uint32_t *ret_node)
{
	struct selection_test *test = add_test(parser, SELECTION_LABEL, parser->at);
	struct selection_value *value = &parser->selection->values[parser->selection->value_count];
	size_t offset = parser->at, length = letters_at(parser->text + offset);
	bool quoted;
	int result = test ? parse_text(parser, value, &quoted) : -EINVAL;

	if (result)
		return result;
	if (parser->at == offset)
		return selection_fail(parser->error, offset, "a test is missing here");
	if (parser->text[parser->at] == ',' || parser->text[parser->at] == '|')
		return selection_fail(parser->error, parser->at,
				      "several values stand behind a key: label=A,B; or write 'or'");
	for (size_t i = 0; i < WORDS; i++)
		if (strlen(words[i].name) == length && parser->at == offset + length &&
		    strncmp(words[i].name, parser->text + offset, length) == 0)
			return fail_by_operator(parser, parser->at, &words[i]);
	if (!quoted && parse_digits(value->text, INT32_MAX, &value->number))
		test->key = SELECTION_PID;
	else if (!quoted && parse_id(value->text, value))
		test->key = SELECTION_ID;
	parser->selection->asked |= 1u << test->key;
	parser->selection->value_count++;
	test->value_count = 1;
	*ret_node = add_node(parser->selection, NODE_TEST, false);
	return 0;
}

/* ---- the grammar */

static int parse_any(struct parser *parser, uint32_t *ret_node);

static int parse_group(struct parser *parser, uint32_t *ret_node)
{
	size_t offset = parser->at++;
	int result = parse_any(parser, ret_node);

	if (result)
		return result;
	if (parser->text[parser->at] != ')')
		return selection_fail(parser->error, offset, "the parenthesis is not closed");
	parser->at++;
	return 0;
}

/* Reads a test, a word or a group, after any number of "not". */
static int parse_one(struct parser *parser, uint32_t *ret_node)
{
	bool negated = false;
	size_t key_length;
	int result;

	for (;;) {
		const char *text = parser->text + parser->at;

		key_length = key_at(text);
		if (!key_length && is_keyword(text, "not"))
			parser->at += 3;
		else if (*text == '!' && !is_operator(text))
			parser->at++;
		else
			break;
		negated = !negated;
		skip_blanks(parser);
	}
	const char *text = parser->text + parser->at;
	if (!*text || *text == ')' || (!key_length && (is_keyword(text, "and") || is_keyword(text, "or"))))
		return selection_fail(parser->error, parser->at, "a test is missing here");
	if (is_operator(text))
		return selection_fail(parser->error, parser->at, "a key is missing before this");
	if (*text == '(' && ++parser->depth > SELECTION_DEPTH_MAX)
		return selection_fail(parser->error, parser->at, "nested deeper than %d",
				      SELECTION_DEPTH_MAX);
	if (*text == '(') {
		result = parse_group(parser, ret_node);
		parser->depth--;
	} else {
		result = key_length ? parse_test(parser, key_length, ret_node) : parse_word(parser, ret_node);
	}
	if (!result && negated)
		parser->selection->nodes[*ret_node].negated = !parser->selection->nodes[*ret_node].negated;
	return result;
}

/* Makes node the next child of *parent, of which the first child alone needs no parent. */
static void add_child(struct selection *selection, enum selection_node_type type, uint32_t *parent,
		      bool *has_parent, uint32_t node)
{
	if (*parent == SELECTION_NONE) {
		*parent = node;
		return;
	}
	if (!*has_parent) {
		uint32_t first = *parent;

		*parent = add_node(selection, type, false);
		selection->nodes[*parent].first_child = selection->nodes[*parent].last_child = first;
		*has_parent = true;
	}
	selection->nodes[selection->nodes[*parent].last_child].next_sibling = node;
	selection->nodes[*parent].last_child = node;
}

static int parse_all(struct parser *parser, uint32_t *ret_node)
{
	bool has_parent = false, ends = false;

	*ret_node = SELECTION_NONE;
	while (!ends) {
		uint32_t node;
		int result = parse_one(parser, &node);

		if (result)
			return result;
		add_child(parser->selection, NODE_ALL, ret_node, &has_parent, node);
		skip_blanks(parser);
		const char *text = parser->text + parser->at;
		ends = !*text || *text == ')' || (is_keyword(text, "or") && !key_at(text));
		if (ends)
			break;
		if (is_keyword(text, "and") && !key_at(text)) {
			parser->at += 3;
			skip_blanks(parser);
		} else if (selection_is_word(text) || strchr("\"'", *text)) {
			/* label=GET /slow is a mistake, and means no label "/slow". */
			return selection_fail(parser->error, parser->at,
					      "'and' or 'or' is missing here; a value with blanks is quoted: "
					      "label=\"GET /\"");
		}
	}
	return 0;
}

static int parse_any(struct parser *parser, uint32_t *ret_node)
{
	bool has_parent = false;

	*ret_node = SELECTION_NONE;
	for (;;) {
		uint32_t node;

		skip_blanks(parser);
		int result = parse_all(parser, &node);
		if (result)
			return result;
		add_child(parser->selection, NODE_ANY, ret_node, &has_parent, node);
		if (!is_keyword(parser->text + parser->at, "or"))
			return 0;
		parser->at += 2;
	}
}

int selection_parse(const char *text, struct selection **ret_selection, struct selection_error *ret_error)
{
	struct parser parser = {.text = text, .error = ret_error};
	size_t length = strlen(text);
	int result;

	*ret_selection = NULL;
	*ret_error = (struct selection_error){0};
	if (length > SELECTION_TEXT_MAX)
		return selection_fail(ret_error, SELECTION_TEXT_MAX, "longer than %d bytes",
				      SELECTION_TEXT_MAX);
	parser.selection = calloc(1, sizeof(*parser.selection));
	if (!parser.selection)
		return -ENOMEM;
	/* Each byte of the text can become two, each value is a byte at least, and ends with a NUL. */
	parser.selection->values = calloc(length + 1, sizeof(*parser.selection->values));
	parser.selection->bytes = malloc(3 * length + 3);
	result = parser.selection->values && parser.selection->bytes
			 ? parse_any(&parser, &parser.selection->root)
			 : -ENOMEM;
	if (!result && text[parser.at])
		result = selection_fail(ret_error, parser.at, "this parenthesis closes nothing");
	if (result)
		selection_free(parser.selection);
	else
		*ret_selection = parser.selection;
	return result;
}

void selection_free(struct selection *selection)
{
	if (!selection)
		return;
	free(selection->values);
	free(selection->bytes);
	free(selection);
}
