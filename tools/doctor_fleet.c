/* SPDX-License-Identifier: MIT */
/* ctxtool doctor: the engine of the fleet, its rights and versions, and its failover against the grace. */
#include "doctor.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fleet_hosts.h"
#include "json_values.h"
#include "names.h"
#include "service.h"
#include "terminal.h"

static const char start_remedy[] =
	"sudo systemctl start ctxd-fleet\n"
	"or ctxd-fleet -c /etc/ctxd.conf; why it ended or is not let in: journalctl -u "
	"ctxd-fleet";
/* Of a finding that comes without a remedy. */
static const char log_remedy[] = "journalctl -u ctxd-fleet -n 20";

void print_problem(bool blocks, const char *problem, const char *remedy)
{
	char shown[4 * 900], part[900];
	const char *before = "try: ";

	printf("%s%s%s\n", colour(blocks ? COLOUR_RED : COLOUR_YELLOW), problem, colour(COLOUR_PLAIN));
	while (*remedy) {
		size_t length = strcspn(remedy, "\n");

		snprintf(part, sizeof(part), "%.*s", (int)length, remedy);
		printf("    %s%s\n", before, escape(part, shown, sizeof(shown)));
		before = "     ";
		remedy += length + (remedy[length] == '\n');
	}
}

static int add_finding(const struct ctxd_finding *finding, void *data)
{
	struct fleet_diagnosis *diagnosis = data;
	struct ctxd_finding *larger = realloc(diagnosis->findings, (diagnosis->count + 1) * sizeof(*larger));

	if (!larger)
		return -ENOMEM;
	diagnosis->findings = larger;
	larger[diagnosis->count++] = *finding;
	if (finding->severity == CTXD_FINDING_ERROR)
		diagnosis->works = false;
	return 0;
}

void fleet_diagnose(struct fleet_diagnosis *ret_diagnosis)
{
	*ret_diagnosis = (struct fleet_diagnosis){.works = true};
	if (!service_client())
		return;
	int error = ctxd_fleet_engine(service_client(), add_finding, ret_diagnosis);
	ret_diagnosis->configured = error != -ENOTSUP;
	ret_diagnosis->error = ret_diagnosis->configured ? error : 0;
	if (ret_diagnosis->error)
		ret_diagnosis->works = false;
}

static void print_value(const struct ctxd_finding *finding)
{
	enum colour shade = finding->severity == CTXD_FINDING_ERROR	? COLOUR_RED
			    : finding->severity == CTXD_FINDING_WARNING ? COLOUR_YELLOW
									: COLOUR_PLAIN;
	char key[ESCAPED_SIZE], value[4 * sizeof(finding->value)];

	printf("  %-26s %s%s%s\n", escape(finding->key, key, sizeof(key)), colour(shade),
	       escape(finding->value, value, sizeof(value)), colour(COLOUR_PLAIN));
}

static const char *remedy_of_error(int error)
{
	return error == -EPERM ? "sudo ctxtool doctor" : start_remedy;
}

static const char *remedy_of(const struct ctxd_finding *finding)
{
	return finding->severity == CTXD_FINDING_OK || finding->remedy[0] ? finding->remedy : log_remedy;
}

void fleet_diagnosis_print(const struct fleet_diagnosis *diagnosis)
{
	char problem[700], error[40], key[ESCAPED_SIZE], value[4 * sizeof(diagnosis->findings->value)];

	if (!diagnosis->configured)
		return;
	printf("\n%sthe fleet %s%s\n", colour(diagnosis->works ? COLOUR_GREEN : COLOUR_RED),
	       diagnosis->works ? "works" : "does not work", colour(COLOUR_PLAIN));
	for (size_t i = 0; i < diagnosis->count; i++)
		print_value(&diagnosis->findings[i]);
	if (diagnosis->error == -EHOSTUNREACH) {
		putchar('\n');
		print_problem(true, "ctxd-fleet does not run on this host, or is not connected to ctxd",
			      start_remedy);
	} else if (diagnosis->error) {
		snprintf(problem, sizeof(problem), "ctxd-fleet cannot be asked (%s)",
			 errno_text(diagnosis->error, error, sizeof(error)));
		putchar('\n');
		print_problem(true, problem, remedy_of_error(diagnosis->error));
	}
	for (size_t i = 0; i < diagnosis->count; i++) {
		const struct ctxd_finding *finding = &diagnosis->findings[i];
		if (finding->severity == CTXD_FINDING_OK)
			continue;
		snprintf(problem, sizeof(problem), "%.60s: %.600s", escape(finding->key, key, sizeof(key)),
			 escape(finding->value, value, sizeof(value)));
		putchar('\n');
		print_problem(finding->severity == CTXD_FINDING_ERROR, problem, remedy_of(finding));
	}
}

json_t *json_first_line(const char *remedy)
{
	char line[900];

	snprintf(line, sizeof(line), "%.*s", (int)strcspn(remedy, "\n"), remedy);
	return escaped_json(line);
}

json_t *fleet_diagnosis_json(const struct fleet_diagnosis *diagnosis)
{
	static const char *const severities[] = {"ok", "warning", "error"};
	json_t *object, *findings;
	char name[40];

	if (!diagnosis->configured)
		return json_null();
	object = json_object();
	findings = json_array();
	for (size_t i = 0; i < diagnosis->count; i++) {
		const struct ctxd_finding *finding = &diagnosis->findings[i];
		json_t *one = json_object();
		json_object_set_new(one, "key", escaped_json(finding->key));
		json_object_set_new(one, "severity",
				    json_string(severities[finding->severity - CTXD_FINDING_OK]));
		json_object_set_new(one, "value", escaped_json(finding->value));
		const char *remedy = remedy_of(finding);
		json_object_set_new(one, "command", remedy[0] ? json_first_line(remedy) : json_null());
		json_object_set_new(one, "remedy", remedy[0] ? escaped_json(remedy) : json_null());
		json_array_append_new(findings, one);
	}
	json_object_set_new(object, "works", json_boolean(diagnosis->works));
	json_object_set_new(object, "error",
			    diagnosis->error ? json_string(errno_text(diagnosis->error, name, sizeof(name)))
					     : json_null());
	json_object_set_new(object, "command",
			    diagnosis->error ? json_first_line(remedy_of_error(diagnosis->error))
					     : json_null());
	json_object_set_new(object, "findings", findings);
	return object;
}

void fleet_diagnosis_free(struct fleet_diagnosis *diagnosis)
{
	free(diagnosis->findings);
	diagnosis->findings = NULL;
}
