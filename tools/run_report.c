/* SPDX-License-Identifier: MIT */
/* The report of ctxtool run: how the command ended and why, in one line. */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <string.h>
#include <sys/wait.h>

#include "json_values.h"
#include "names.h"
#include "run.h"
#include "signals.h"
#include "terminal.h"

static uint64_t time_ns(struct timeval time)
{
	return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_usec * 1000;
}

static const char *result_name(const struct run_outcome *outcome)
{
	if (outcome->start_error && !outcome->error)
		return "not started";
	if (outcome->error == -ETIME)
		return "deadline";
	if (outcome->error)
		return "cancelled";
	return WIFSIGNALED(outcome->how.status) ? "signalled" : "exited";
}

/* ---- JSON */

static json_t *cause_json(const struct ctx_cause *cause)
{
	char name[40];
	json_t *object = json_object();

	json_object_set_new(object, "kind", json_string(ctx_cause_kind_name(cause->kind)));
	json_object_set_new(object, "error", json_string(errno_text(cause->error, name, sizeof(name))));
	json_object_set_new(object, "text", escaped_json(cause->text));
	json_object_set_new(object, "inherited", json_boolean(cause->inherited));
	json_object_set_new(object, "pid", number_json((uint64_t)cause->pid));
	json_object_set_new(object, "uid", number_json(cause->uid));
	return object;
}

static void report_json(const struct run_options *options, const struct run_outcome *outcome)
{
	const struct ctx_exit *how = &outcome->how;
	json_t *object = json_object();
	char name[40], signal[16];
	bool started = !outcome->start_error, signalled = started && WIFSIGNALED(how->status);

	json_object_set_new(object, "command", escaped_json(options->command[0]));
	json_object_set_new(object, "label", escaped_json(options->label));
	json_object_set_new(object, "pid", started ? json_integer(outcome->pid) : json_null());
	json_object_set_new(object, "result", json_string(result_name(outcome)));
	json_object_set_new(object, "error",
			    started ? json_null()
				    : json_string(errno_text(outcome->start_error, name, sizeof(name))));
	json_object_set_new(object, "status",
			    started && !signalled ? json_integer(WEXITSTATUS(how->status)) : json_null());
	json_object_set_new(object, "signal",
			    signalled ? json_string(signal_name(WTERMSIG(how->status), signal))
				      : json_null());
	json_object_set_new(object, "stopped", json_boolean(how->stopped));
	json_object_set_new(object, "killed", json_boolean(how->killed));
	json_object_set_new(object, "left_behind", number_json(how->left_behind));
	json_object_set_new(object, "cause", outcome->error ? cause_json(&how->cause) : json_null());
	json_object_set_new(object, "elapsed_ns", number_json(outcome->ended_ns - outcome->started_ns));
	json_object_set_new(object, "user_ns", number_json(time_ns(how->usage.ru_utime)));
	json_object_set_new(object, "system_ns", number_json(time_ns(how->usage.ru_stime)));
	json_object_set_new(object, "max_rss_kib", number_json((uint64_t)how->usage.ru_maxrss));
	json_object_set_new(object, "exit", number_json((uint64_t)outcome->code));
	json_dumpf(object, options->report, JSON_COMPACT);
	fputc('\n', options->report);
	json_decref(object);
}

/* ---- text */

static void print_cause(FILE *to, const struct ctx_cause *cause)
{
	char name[40], text[ESCAPED_SIZE];

	if (cause->kind == CTX_CAUSE_DEADLINE)
		fprintf(to, "deadline%s", cause->inherited ? " of the run around it" : "");
	else
		fprintf(to, "%s %s", ctx_cause_kind_name(cause->kind),
			errno_text(cause->error, name, sizeof(name)));
	if (cause->text[0])
		fprintf(to, " \"%s\"", escape(cause->text, text, sizeof(text)));
}

static void print_status(FILE *to, int status)
{
	char name[16];

	if (WIFSIGNALED(status))
		fprintf(to, "ended by SIG%s", signal_name(WTERMSIG(status), name));
	else
		fprintf(to, "exited with %d", WEXITSTATUS(status));
}

static void report_text(const struct run_options *options, const struct run_outcome *outcome)
{
	const struct ctx_exit *how = &outcome->how;
	char label[ESCAPED_SIZE], elapsed[16], user[16], system[16], name[16], words[400];
	FILE *to = options->report;

	fprintf(to, "ctxtool run: %s: ", escape(options->label, label, sizeof(label)));
	if (outcome->start_error) {
		struct ctx_spawn_options spawn = {.argv = options->command};
		ctx_spawn_explain(outcome->start_error, &spawn, words, sizeof(words));
		fprintf(to, "%s\n", escape(words, label, sizeof(label)));
		return;
	}
	if (outcome->error) {
		fputs("stopped: ", to);
		print_cause(to, &how->cause);
		fprintf(to, "; %s%s%s; ", options->signal ? "SIG" : "",
			options->signal ? signal_name(options->signal, name) : "no signal",
			how->killed && options->signal != SIGKILL ? ", after the grace SIGKILL" : "");
	}
	print_status(to, how->status);
	fprintf(to, " after %s (user %s, system %s)",
		duration_text(outcome->ended_ns - outcome->started_ns, elapsed),
		duration_text(time_ns(how->usage.ru_utime), user),
		duration_text(time_ns(how->usage.ru_stime), system));
	if (how->left_behind)
		fprintf(to, "; left %u process%s behind, ended%s", how->left_behind,
			how->left_behind == 1 ? "" : "es", how->killed ? " by SIGKILL" : "");
	fprintf(to, "; exit code %d\n", outcome->code);
}

bool run_report(const struct run_options *options, const struct run_outcome *outcome)
{
	if (!options->report)
		return true;
	if (options->json)
		report_json(options, outcome);
	else
		report_text(options, outcome);
	bool failed = fflush(options->report) || ferror(options->report);
	if (failed)
		fprintf(stderr, "ctxtool run: the report cannot be written: %s\n", strerror(errno));
	return !failed;
}
