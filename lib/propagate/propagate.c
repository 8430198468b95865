/* SPDX-License-Identifier: MIT */
/*
 * Contexts as text, and back. The identity of a request is a value under a key of the library's own, which
 * ctx_extract sets. A context without that value gets an identity computed from a number of the process and
 * from its own id or address.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "carrier.h"
#include "clock.h"
#include "debug.h"
#include "global.h"
#include "identity.h"
#include "memory.h"
#include "node.h"
#include "sys.h"
#include "table.h"
#include "text_file.h"
#include "thread.h"

#define VARIABLE "CTXRING_CONTEXT"
#define VALUE_PREFIX "val."
/* The member of tracestate that is the library's: a global id, see ctxd_global_id_of(). */
#define STATE_MEMBER "ctxring"

/* ---- carriers */

/* Headers with the time left in milliseconds, beside grpc-timeout. */
static const struct {
	unsigned flag;
	const char *name;
} millisecond_headers[] = {
	{CTX_CARRIER_ENVOY, "x-envoy-expected-rq-timeout-ms"},
	{CTX_CARRIER_CONNECT, "connect-timeout-ms"},
};

#define MILLISECOND_HEADERS (sizeof(millisecond_headers) / sizeof(millisecond_headers[0]))
#define HEADER_FLAGS ((unsigned)CTX_CARRIER_ENVOY | CTX_CARRIER_CONNECT)

static bool is_environment(unsigned carrier)
{
	return (carrier & ~(unsigned)CTX_CARRIER_NO_JOIN) == CTX_CARRIER_ENVIRONMENT;
}

/* Whether this is the environment, or the headers, with any of the flags that they can have. */
static bool is_carrier(unsigned carrier)
{
	return is_environment(carrier) ||
	       (carrier & ~(HEADER_FLAGS | CTX_CARRIER_NO_JOIN)) == CTX_CARRIER_HEADERS;
}

/* ---- identity */

/* The identity of the request that the work below an extracted context is for. */
struct identity {
	struct carrier_trace trace; /* span: the sender's; all zero: the trace began here */
	uint64_t sender_id;
	/* What was joined by the global id in the tracestate, a parent of this: as long as work is below it,
	 * it has this reference. NULL: nothing was joined. */
	struct ctx_context *joined;
	char tracestate[]; /* the tracestate that came with it, or "" */
};

static void release_identity(void *value)
{
	struct identity *identity = value;

	ctx_unref(identity->joined);
	memory_release(identity);
}

static const struct ctx_key identity_key = {.name = "identity", .release = release_identity};

/* A number of this process; a forked child has another. The table shows it. */
static uint64_t process_number(void)
{
	static _Atomic uint64_t number;
	uint64_t known = atomic_load_explicit(&number, memory_order_relaxed), made = 0;

	if (!known) {
		if (sys_random(&made, sizeof(made)) != sizeof(made))
			/* The kernel has no randomness yet, early at boot. */
			made = identity_mix(clock_read_ns(CLOCK_REALTIME));
		made |= 1;
		known = atomic_compare_exchange_strong(&number, &known, made) ? made : known;
	}
	made = identity_mix(known ^ (uint64_t)getpid() << 32);
	struct ctx_table_header *header = table_map.header;
	if (header && !atomic_load_explicit(&header->identity_number, memory_order_relaxed))
		atomic_store_explicit(&header->identity_number, made, memory_order_relaxed);
	return made;
}

/*
 * A number of this context. The id has a generation; an address is used again, and serves only where there is
 * no id.
 */
static uint64_t own_number(const struct ctx_context *ctx)
{
	uint64_t id = ctx_id(ctx);

	return id ? id : (uintptr_t)ctx;
}

/* The trace of ctx, with ctx's own span. Returns the identity that was extracted; NULL: there is none. */
static const struct identity *identity_of(const struct ctx_context *ctx, struct carrier_trace *ret_trace)
{
	uint64_t process = process_number(), own = own_number(ctx);
	void *value;

	if (ctx_value(ctx, &identity_key, &value) == 0) {
		*ret_trace = ((const struct identity *)value)->trace;
	} else {
		value = NULL;
		identity_trace(process, own, ret_trace->id);
		ret_trace->sampled = true; /* set where a trace begins; else it is passed on */
	}
	identity_span(process, own, ret_trace->span);
	return value;
}

int ctx_get_identity(const struct ctx_context *ctx, struct ctx_identity *ret_identity)
{
	static const uint8_t none[8];
	char text[CARRIER_TRACEPARENT_SIZE];
	struct carrier_trace trace;

	if (!ctx || !ret_identity)
		return debug_invalid(NULL, ctx, ret_identity);
	const struct identity *from = identity_of(ctx, &trace);
	*ret_identity = (struct ctx_identity){.sender_id = from ? from->sender_id : 0};
	carrier_write_traceparent(&trace, text);
	memcpy(ret_identity->trace, text + 3, 32);
	memcpy(ret_identity->span, text + 36, 16);
	if (from && memcmp(from->trace.span, none, sizeof(none)) != 0) {
		carrier_write_traceparent(&from->trace, text);
		memcpy(ret_identity->sender, text + 36, 16);
	}
	return 0;
}

/* ---- writing */

/*
 * Writes a value as text into buffer. 0; -ENOENT: there is no value to send; -EMSGSIZE; or what format
 * returned.
 */
static int format_value(const struct ctx_context *ctx, const struct ctx_key *key, char *buffer, size_t size)
{
	void *value;

	if (!key->format || ctx_value(ctx, key, &value) || !value)
		return -ENOENT;
	int length = key->format(value, buffer, size);
	return length < 0 ? length : (size_t)length < size ? 0 : -EMSGSIZE;
}

/*
 * Puts a text of format_value into the list. Baggage has to be UTF-8, so it is repaired in the second half of
 * buffer, which has twice CTX_CARRIER_MAX bytes.
 */
static int put_value(struct carrier_text *text, char *buffer, bool utf8)
{
	struct carrier_text repaired = {.bytes = buffer + CTX_CARRIER_MAX, .size = CTX_CARRIER_MAX};

	if (utf8) {
		*repaired.bytes = '\0';
		carrier_put_utf8(&repaired, buffer);
		buffer = repaired.bytes;
	}
	carrier_put_encoded(text, buffer);
	return repaired.too_long ? -EMSGSIZE : 0;
}

/* Puts the values into the list, as name=text with a separator before it, and in the environment a prefix. */
static int put_values(const struct ctx_context *ctx, enum ctx_carrier carrier,
		      const struct ctx_carried *carried, unsigned count, struct carrier_text *text)
{
	bool headers = carrier == CTX_CARRIER_HEADERS;
	char *buffer = memory_allocate(2 * CTX_CARRIER_MAX);
	int result = buffer ? 0 : -ENOMEM;

	for (unsigned i = 0; i < count && !result; i++) {
		result = format_value(ctx, carried[i].key, buffer, CTX_CARRIER_MAX);
		if (result == -ENOENT) {
			result = 0;
			continue;
		}
		if (result)
			break;
		carrier_put_string(text, !text->length ? "" : headers ? "," : ";");
		carrier_put_string(text, headers ? "" : VALUE_PREFIX);
		carrier_put_string(text, carried[i].key->name);
		carrier_put_string(text, "=");
		result = put_value(text, buffer, headers);
	}
	memory_release(buffer);
	return result ? result : text->too_long ? -EMSGSIZE : 0;
}

/* The first 16 digits of the kernel's boot id. 0: not known. */
static uint64_t boot_number(void)
{
	char digits[17] = "";
	char text[64];
	size_t length = 0;

	if (text_file_read("/proc/sys/kernel/random/boot_id", text, sizeof(text)) < 0)
		return 0;
	for (const char *at = text; length < 16 && *at; at++)
		if (*at != '-')
			digits[length++] = *at;
	return strtoull(digits, NULL, 16);
}

/*
 * A number of this CLOCK_MONOTONIC, which belongs to this boot and to this time namespace, see
 * time_namespaces(7); the clocks of two namespaces may be days apart. 0: not known.
 */
static uint64_t clock_number(void)
{
	uint64_t boot = boot_number();
	struct stat space;

	/* Before Linux 5.6 there are no time namespaces. */
	return boot && !stat("/proc/self/ns/time", &space) ? identity_mix(boot ^ space.st_ino) : boot;
}

/*
 * The nearest context that is in the table. A value without a label is not: then it is the context that the
 * value was added to.
 */
static const struct ctx_context *nearest_listed(const struct ctx_context *ctx)
{
	while (ctx->flags & NODE_VALUE && !ctx_id(ctx) && ctx->parent)
		ctx = ctx->parent;
	return ctx;
}

/*
 * The tracestate to send: the one that came in, with the global id of the context in the library's member.
 * Where the context has none, the id that came in goes on. Without CTX_CARRIER_NO_JOIN; with it, no id is
 * sent.
 */
static const char *outgoing_state(const struct ctx_context *ctx, const struct identity *from,
				  unsigned carrier, char buffer[CARRIER_TRACESTATE_SIZE])
{
	const char *state = from ? from->tracestate : "";
	char id[CTXD_GLOBAL_ID_TEXT];

	if (!(carrier & CTX_CARRIER_NO_JOIN)) {
		if (!client_global_id(ctx, id))
			return state;
	} else if (!carrier_find_state(state, STATE_MEMBER, id, sizeof(id))) {
		return state;
	}
	carrier_write_tracestate(state, STATE_MEMBER, carrier & CTX_CARRIER_NO_JOIN ? NULL : id, buffer);
	return buffer;
}

static void put_fields(const struct ctx_context *ctx, unsigned carrier, struct carrier_text *text)
{
	uint64_t deadline_ns = ctx_deadline_ns(ctx), now_ns = clock_now_ns(), clock = clock_number();
	char label[CTX_LABEL_MAX + 1], traceparent[CARRIER_TRACEPARENT_SIZE], buffer[CARRIER_TRACESTATE_SIZE];
	struct carrier_trace trace;

	carrier_put_string(text, "v=1;id=");
	carrier_put_hex(text, ctx_id(nearest_listed(ctx)));
	context_label(nearest_listed(ctx), label);
	if (label[0]) {
		carrier_put_string(text, ";label=");
		carrier_put_encoded(text, label);
	}
	if (deadline_ns != CTX_FOREVER) {
		carrier_put_string(text, ";left=");
		carrier_put_number(text, deadline_ns > now_ns ? deadline_ns - now_ns : 0);
		carrier_put_string(text, ";at=");
		carrier_put_number(text, now_ns);
		if (clock) {
			carrier_put_string(text, ";boot=");
			carrier_put_hex(text, clock);
		}
	}
	const struct identity *from = identity_of(ctx, &trace);
	carrier_write_traceparent(&trace, traceparent);
	carrier_put_string(text, ";trace=");
	carrier_put_string(text, traceparent);
	const char *state = outgoing_state(ctx, from, carrier, buffer);
	if (state[0]) {
		carrier_put_string(text, ";state=");
		carrier_put_encoded(text, state);
	}
}

static int inject_environment(const struct ctx_context *ctx, unsigned carrier,
			      const struct ctx_carried *carried, unsigned count, struct carrier_text *text,
			      ctx_inject_fn set, void *data)
{
	put_fields(ctx, carrier, text);
	int result = put_values(ctx, CTX_CARRIER_ENVIRONMENT, carried, count, text);
	return result ? result : set(VARIABLE, text->bytes, data);
}

/* Sends the time left as grpc-timeout, and in the other headers that the carrier has. */
static int inject_time_left(uint64_t left_ns, unsigned carrier, ctx_inject_fn set, void *data)
{
	char timeout[CARRIER_TIMEOUT_SIZE], milliseconds[CARRIER_MILLISECONDS_SIZE];

	carrier_write_timeout(left_ns, timeout);
	carrier_write_milliseconds(left_ns, milliseconds);
	int result = set("grpc-timeout", timeout, data);
	for (size_t i = 0; i < MILLISECOND_HEADERS && !result; i++)
		if (carrier & millisecond_headers[i].flag)
			result = set(millisecond_headers[i].name, milliseconds, data);
	return result;
}

static int inject_headers(const struct ctx_context *ctx, unsigned carrier, const struct ctx_carried *carried,
			  unsigned count, struct carrier_text *text, ctx_inject_fn set, void *data)
{
	char traceparent[CARRIER_TRACEPARENT_SIZE], buffer[CARRIER_TRACESTATE_SIZE];
	struct carrier_trace trace;
	int result = put_values(ctx, CTX_CARRIER_HEADERS, carried, count, text);

	if (!result && ctx_deadline_ns(ctx) != CTX_FOREVER)
		result = inject_time_left(ctx_time_left_ns(ctx), carrier, set, data);
	const struct identity *from = identity_of(ctx, &trace);
	if (!result) {
		carrier_write_traceparent(&trace, traceparent);
		result = set("traceparent", traceparent, data);
	}
	const char *tracestate = result ? "" : outgoing_state(ctx, from, carrier, buffer);
	if (!result && tracestate[0])
		result = set("tracestate", tracestate, data);
	if (!result && text->length)
		result = set("baggage", text->bytes, data);
	return result;
}

static bool are_carriable(const struct ctx_carried *carried, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		if (!carried || !carried[i].key || !carried[i].key->name ||
		    !carrier_is_token(carried[i].key->name, strlen(carried[i].key->name)))
			return false;
	return true;
}

int ctx_inject(const struct ctx_context *ctx, enum ctx_carrier carrier, const struct ctx_carried *carried,
	       unsigned count, ctx_inject_fn set, void *data)
{
	struct carrier_text text = {.size = CTX_CARRIER_MAX + 1};

	if (!ctx || !set || !is_carrier(carrier) || !are_carriable(carried, count))
		return debug_invalid("carrier is unknown, or carried has a key whose name is not a token",
				     ctx, set);
	text.bytes = memory_allocate(text.size);
	if (!text.bytes)
		return -ENOMEM;
	int state = thread_hold();
	int result = is_environment(carrier)
			     ? inject_environment(ctx, carrier, carried, count, &text, set, data)
			     : inject_headers(ctx, carrier, carried, count, &text, set, data);
	thread_release(state);
	memory_release(text.bytes);
	return debug_result(
		result, "the values take more than CTX_CARRIER_MAX bytes, or the set or a format function "
			"returned this");
}

/* ---- reading */

/* What another process has sent. */
struct received {
	bool any, has_trace, has_timeout, may_join;
	struct carrier_trace trace;
	char tracestate[CARRIER_TRACESTATE_SIZE]; /* has a meaning only with a trace */
	uint64_t deadline_ns;			  /* set if has_timeout */
	uint64_t sender_id;
	char label[CTX_LABEL_MAX + 1];
	const struct ctx_carried *carried;
	unsigned count;
	bool utf8;		       /* values are UTF-8 */
	bool cut;		       /* text was too long, and is not all that was sent */
	char *text;		       /* the list that values point into; owned */
	char *decoded;		       /* room for the text of any value, twice; owned */
	struct carrier_member *values; /* one for each of carried; with name NULL it was not sent; owned */
};

/*
 * Keeps a value that the caller asks for, well-formed or not. Of several of one name the first counts. Other
 * values are ignored, also malformed ones.
 */
static void note_value(struct received *received, const struct carrier_member *member, size_t prefix)
{
	struct carrier_member value = *member;

	value.name += prefix;
	value.name_length -= prefix;
	for (unsigned i = 0; i < received->count; i++)
		if (received->carried[i].parse && !received->values[i].name &&
		    carrier_is_named(&value, received->carried[i].key->name)) {
			received->values[i] = value;
			return;
		}
}

/* The fields of the environment variable that bound the time of the work. */
struct timing {
	bool left, at, boot;
	uint64_t left_ns, at_ns, clock_number;
};

/* Refuses a field that was read before, as seen says, which is set here. */
static int read_once(bool *seen, int result)
{
	if (*seen)
		return -EINVAL;
	*seen = true;
	return result;
}

static void read_label(struct received *received, const struct carrier_member *member)
{
	if (!received->label[0] && !carrier_decode(member, received->decoded))
		snprintf(received->label, sizeof(received->label), "%s", received->decoded);
}

static void read_tracestate(struct received *received, const struct carrier_member *member)
{
	if (!received->tracestate[0] && !carrier_decode(member, received->decoded))
		carrier_read_tracestate(received->decoded, received->tracestate);
}

static int read_field(struct received *received, const struct carrier_member *member, struct timing *timing)
{
	const size_t prefix = strlen(VALUE_PREFIX);

	if (carrier_is_named(member, "v"))
		return -EINVAL; /* it may stand at the beginning only */
	if (carrier_is_named(member, "left"))
		return read_once(&timing->left, carrier_read_number(member, &timing->left_ns));
	if (carrier_is_named(member, "at"))
		return read_once(&timing->at, carrier_read_number(member, &timing->at_ns));
	if (carrier_is_named(member, "boot"))
		return read_once(&timing->boot, carrier_read_hex(member, &timing->clock_number));
	if (carrier_is_named(member, "label"))
		read_label(received, member);
	else if (carrier_is_named(member, "state"))
		read_tracestate(received, member);
	else if (carrier_is_named(member, "id") && !received->sender_id)
		carrier_read_hex(member, &received->sender_id);
	else if (carrier_is_named(member, "trace") && !received->has_trace)
		received->has_trace =
			!carrier_read_traceparent(member->value, member->value_length, &received->trace);
	else if (member->name_length > prefix && memcmp(member->name, VALUE_PREFIX, prefix) == 0)
		note_value(received, member, prefix);
	return 0;
}

static int read_variable(struct received *received)
{
	struct carrier_member member;
	struct timing timing = {0};
	const char *at = received->text;
	int more = carrier_next_field(&at, &member), result = 0;

	if (more <= 0 || !carrier_is_named(&member, "v") || member.value_length != 1 ||
	    member.value[0] != '1')
		return -EINVAL;
	while (!result && (more = carrier_next_field(&at, &member)) > 0)
		result = read_field(received, &member, &timing);
	if (result || more < 0)
		return -EINVAL;
	if (timing.left) {
		uint64_t now_ns = clock_now_ns(), from_ns = now_ns;
		/*
		 * The sender read the same clock, so the time that has passed since then is known and counts.
		 */
		if (timing.at && timing.boot && timing.clock_number == clock_number() &&
		    timing.at_ns < now_ns)
			from_ns = timing.at_ns;
		received->has_timeout = true;
		received->deadline_ns = clock_after_ns(from_ns, timing.left_ns);
	}
	return 0;
}

/*
 * Copies what get returns, up to CTX_CARRIER_MAX bytes, since the next call of get may overwrite it. 0 with
 * received->text NULL: nothing was sent.
 */
static int copy_received(struct received *received, ctx_extract_fn get, void *data, const char *name)
{
	const char *text = get(name, data);

	if (!text)
		return 0;
	size_t length = strnlen(text, CTX_CARRIER_MAX + 1);
	received->any = true;
	received->cut = length > CTX_CARRIER_MAX;
	length -= received->cut;
	received->text = memory_allocate(length + 1);
	if (!received->text)
		return -ENOMEM;
	memcpy(received->text, text, length);
	received->text[length] = '\0';
	return 0;
}

/* Reads the members of baggage. If it was cut, the last one is left out, for half of it may be missing. */
static void read_baggage(struct received *received)
{
	struct carrier_member member;
	const char *at = received->text;

	while (carrier_next_baggage(&at, &member) && (*at || !received->cut))
		note_value(received, &member, 0);
}

/* Reads one header with the time left. Of several the shortest counts. */
static int read_time_left(const char *text, int (*read)(const char *text, uint64_t *ret_ns),
			  struct received *received, uint64_t *left_ns)
{
	uint64_t sent_ns;

	if (!text)
		return 0;
	if (read(text, &sent_ns))
		return -EINVAL;
	if (!received->has_timeout || sent_ns < *left_ns)
		*left_ns = sent_ns;
	received->any = received->has_timeout = true;
	return 0;
}

/* Reads grpc-timeout, and the other headers with the time left that the carrier has. */
static int read_times_left(struct received *received, unsigned carrier, ctx_extract_fn get, void *data)
{
	uint64_t left_ns = 0;
	int result = read_time_left(get("grpc-timeout", data), carrier_read_timeout, received, &left_ns);

	for (size_t i = 0; i < MILLISECOND_HEADERS && !result; i++)
		if (carrier & millisecond_headers[i].flag)
			result = read_time_left(get(millisecond_headers[i].name, data),
						carrier_read_milliseconds, received, &left_ns);
	if (received->has_timeout)
		received->deadline_ns = clock_after_ns(clock_now_ns(), left_ns);
	return result;
}

/*
 * Reads the headers. A timeout that cannot be read refuses the request, whose sender wanted it bounded. A
 * traceparent that cannot be read is ignored, as the standard demands.
 */
static int read_headers(struct received *received, unsigned carrier, ctx_extract_fn get, void *data)
{
	if (read_times_left(received, carrier, get, data))
		return -EINVAL;
	const char *traceparent = get("traceparent", data);
	if (traceparent) {
		size_t length = strnlen(traceparent, CARRIER_TRACEPARENT_SIZE);
		received->any = true;
		received->has_trace = !carrier_read_traceparent(traceparent, length, &received->trace);
	}
	const char *tracestate = received->has_trace ? get("tracestate", data) : NULL;
	if (tracestate)
		carrier_read_tracestate(tracestate, received->tracestate);
	int result = copy_received(received, get, data, "baggage");
	if (!result && received->text)
		read_baggage(received);
	received->utf8 = true;
	return result;
}

static int read_environment(struct received *received, ctx_extract_fn get, void *data)
{
	int result = copy_received(received, get, data, VARIABLE);

	if (!result && received->cut)
		result = -EINVAL;
	return result || !received->text ? result : read_variable(received);
}

/* ---- making */

/* Makes a context with the value below *ctx, which it replaces. Takes over the value, also on failure. */
static int add_value(const struct ctx_context **ctx, const struct ctx_key *key, void *value)
{
	const struct ctx_context *outer = *ctx;
	int result = ctx_with_value(outer, key, value, NULL, ctx);

	if (result && key->release)
		key->release(value);
	if (!result)
		ctx_unref(outer);
	return result;
}

/*
 * Joins the context whose global id was sent, and goes on below that join. Without one, or when it cannot be
 * joined, *ctx stays as it is. Returns the join, with a reference for the identity, or NULL.
 */
static struct ctx_context *join_sent(const struct ctx_context **ctx, const struct received *received,
				     const void *site)
{
	char id[CTXD_GLOBAL_ID_TEXT];

	if (!received->may_join || !received->has_trace ||
	    !carrier_find_state(received->tracestate, STATE_MEMBER, id, sizeof(id)))
		return NULL;
	struct ctx_context *joined = client_join_sent(*ctx, id, site);
	if (joined) {
		ctx_unref(*ctx);
		*ctx = ctx_ref(joined);
	}
	return joined;
}

static int add_identity(const struct ctx_context **ctx, const struct received *received, const void *site)
{
	const char *tracestate = received->has_trace ? received->tracestate : "";
	struct identity *identity = memory_allocate(sizeof(*identity) + strlen(tracestate) + 1);

	if (!identity)
		return -ENOMEM;
	*identity = (struct identity){.trace = received->trace,
				      .sender_id = received->sender_id,
				      .joined = join_sent(ctx, received, site)};
	strcpy(identity->tracestate, tracestate);
	if (!received->has_trace) {
		uint64_t process = process_number();
		identity_put(identity->trace.id, process);
		identity_put(identity->trace.id + 8,
			     identity_mix(process ^ (uintptr_t)identity ^ clock_now_ns()));
		identity->trace.sampled = true;
	}
	return add_value(ctx, &identity_key, identity);
}

/* Decodes a value that the caller asks for into received->decoded. */
static int decode_value(struct received *received, const struct carrier_member *value)
{
	char *raw = received->decoded + CTX_CARRIER_MAX + 1;
	struct carrier_text text = {.bytes = received->decoded, .size = CTX_CARRIER_MAX + 1};

	if (!received->utf8)
		return carrier_decode(value, received->decoded);
	if (value->malformed || carrier_decode(value, raw))
		return -EINVAL;
	*text.bytes = '\0';
	/*
	 * It always fits: each byte that U+FFFD, of three bytes, replaces was written with three characters
	 * in baggage.
	 */
	carrier_put_utf8(&text, raw);
	return text.too_long ? -EINVAL : 0;
}

static int add_values(const struct ctx_context **ctx, struct received *received)
{
	int result = 0;

	for (unsigned i = 0; i < received->count && !result; i++) {
		void *value;
		if (!received->carried[i].parse)
			continue;
		if (!received->values[i].name) {
			result = received->cut ? -EINVAL : 0; /* it may be in the part that was not read */
			continue;
		}
		result = decode_value(received, &received->values[i]);
		if (!result)
			result = received->carried[i].parse(received->decoded, &value);
		if (!result)
			result = add_value(ctx, received->carried[i].key, value);
	}
	return result;
}

/* Shows in the table the identity that the context has from ctx_extract. */
static void show_identity(const struct ctx_context *ctx)
{
	uint64_t id = ctx_id(ctx);
	void *value;

	if (!id || ctx_value(ctx, &identity_key, &value))
		return;
	const struct identity *identity = value;
	table_note_identity((uint32_t)id, (uint32_t)(id >> 32), identity->trace.id, identity->trace.span);
}

static int make_context(const struct ctx_context *parent, struct received *received, const char *label,
			const void *site, struct ctx_context **ret_ctx)
{
	const struct ctx_context *ctx = ctx_ref(parent);
	int result = received->any ? add_identity(&ctx, received, site) : 0;

	if (!label && received->label[0])
		label = received->label;
	if (!result)
		result = add_values(&ctx, received);
	if (!result)
		result = received->has_timeout
				 ? context_with_deadline(ctx, received->deadline_ns, label, site, ret_ctx)
				 : context_with_cancel(ctx, label, site, ret_ctx);
	if (!result && received->any)
		show_identity(*ret_ctx);
	ctx_unref(ctx);
	return result;
}

static int extract_context(const struct ctx_context *parent, enum ctx_carrier carrier,
			   const struct ctx_carried *carried, unsigned count, ctx_extract_fn get, void *data,
			   const char *label, const void *site, struct ctx_context **ret_ctx)
{
	struct received received = {.carried = carried, .count = count};

	if (!parent || !get || !ret_ctx || !is_carrier(carrier) || !are_carriable(carried, count))
		return debug_note(-EINVAL,
				  "parent, get or ret_ctx is NULL, carrier is unknown, or carried has a key "
				  "whose name is "
				  "not a token",
				  0, 0);
	received.decoded = memory_allocate(2 * (CTX_CARRIER_MAX + 1));
	received.values = memory_allocate((count + 1) * sizeof(*received.values));
	int result = received.decoded && received.values ? 0 : -ENOMEM;
	int state = thread_hold();
	if (!result) {
		memset(received.values, 0, count * sizeof(*received.values));
		result = is_environment(carrier) ? read_environment(&received, get, data)
						 : read_headers(&received, carrier, get, data);
		received.may_join = !(carrier & CTX_CARRIER_NO_JOIN);
	}
	if (!result)
		result = make_context(parent, &received, label, site, ret_ctx);
	thread_release(state);
	memory_release(received.text);
	memory_release(received.decoded);
	memory_release(received.values);
	return result;
}

#define MALFORMED                                                                                        \
	"the time left, CTXRING_CONTEXT or a value that is asked for is malformed, or a parse function " \
	"refused"

int ctx_extract(const struct ctx_context *parent, enum ctx_carrier carrier, const struct ctx_carried *carried,
		unsigned count, ctx_extract_fn get, void *data, const char *label,
		struct ctx_context **ret_ctx)
{
	int result = extract_context(parent, carrier, carried, count, get, data, label,
				     __builtin_return_address(0), ret_ctx);

	return debug_result(result, MALFORMED);
}

static const char *get_variable(const char *name, void *data)
{
	(void)data;
	return secure_getenv(name);
}

int ctx_from_environment(const struct ctx_carried *carried, unsigned count, const char *label,
			 struct ctx_context **ret_ctx)
{
	int result = extract_context(ctx_background(), CTX_CARRIER_ENVIRONMENT, carried, count, get_variable,
				     NULL, label, __builtin_return_address(0), ret_ctx);

	return debug_result(result, MALFORMED);
}
