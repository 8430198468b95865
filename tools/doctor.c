/* SPDX-License-Identifier: MIT */
/*
 * ctxtool doctor: says what io_uring can do here, and for each obstacle what to type against it.
 */
#include "doctor.h"
#include "commands.h"
#include "ctxring.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <liburing.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "probe.h"
#include "terminal.h"
#include "usage.h"

static const char help[] =
	"Usage: ctxtool doctor [OPTION...]\n"
	"Try whether io_uring can be used here, list what this kernel can do, and say what\n"
	"stands in the way and what to type against it. Where this host belongs to a fleet: examine its\n"
	"engine too, the rights there, versions, and whether the grace outlasts a failover.\n"
	"\n"
	"  -j, --json  print JSON\n"
	"  -h, --help  print this text\n"
	"\n"
	"Exit codes: 0 io_uring is usable; 1 it is not, or there is a fleet that does not work; 2 wrong\n"
	"usage; 4 the output failed.\n";

#define ADVICE_MAX 16

/* An obstacle or a limit, and what to do about it. */
struct advice {
	bool blocks; /* io_uring is not usable because of the problem */
	char problem[320];
	char remedy[900]; /* the first line is a command to type, the others say more */
};

struct diagnosis {
	struct probe_report report;
	struct advice advices[ADVICE_MAX];
	size_t count;
	bool usable;
	struct fleet_diagnosis fleet;
};

static __attribute__((format(printf, 4, 5))) void advise(struct diagnosis *diagnosis, bool blocks,
							 const char *problem, const char *remedy, ...)
{
	struct advice *advice;
	va_list arguments;

	if (diagnosis->count == ADVICE_MAX)
		return;
	advice = &diagnosis->advices[diagnosis->count++];
	advice->blocks = blocks;
	snprintf(advice->problem, sizeof(advice->problem), "%s", problem);
	va_start(arguments, remedy);
	vsnprintf(advice->remedy, sizeof(advice->remedy), remedy, arguments);
	va_end(arguments);
}

/* Writes the name of the unit of systemd in whose cgroup this process is, for which systemctl(1) can be
 * called. */
static bool find_unit(char unit[128])
{
	char line[512];
	FILE *file = fopen("/proc/self/cgroup", "re");
	bool found = false;

	while (file && !found && fgets(line, sizeof(line), file)) {
		const char *name = strrchr(line, '/');
		size_t length = name ? strcspn(++name, "\n") : 0;

		found = length > 8 && length < 128 && strncmp(name + length - 8, ".service", 8) == 0 &&
			strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:_.@-") ==
				length;
		if (found)
			snprintf(unit, 128, "%.*s", (int)length, name);
	}
	if (file)
		fclose(file);
	return found;
}

/* Writes the command that starts the container, or whatever has the filter, without it. */
static void write_unconfined(char command[320])
{
	const char *engine = access("/.dockerenv", F_OK) == 0	       ? "docker"
			     : access("/run/.containerenv", F_OK) == 0 ? "podman"
								       : NULL;
	char host[65] = "", unit[128];

	if (gethostname(host, sizeof(host) - 1) ||
	    host[strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-")])
		engine = NULL;
	/* By default the name of the host in a container is its id. */
	if (engine)
		snprintf(command, 320,
			 "%s run --security-opt seccomp=unconfined \"$(%s inspect -f '{{.Config.Image}}' "
			 "%s)\"",
			 engine, engine, host);
	else if (find_unit(unit))
		snprintf(command, 320, "systemctl show -p SystemCallFilter %s", unit);
	else
		snprintf(command, 320, "grep Seccomp /proc/self/status");
}

static void advise_seccomp(struct diagnosis *diagnosis)
{
	char command[320];

	write_unconfined(command);
	advise(diagnosis, true, "a seccomp filter, as containers have by default, forbids io_uring_setup(2)",
	       "%s\n"
	       "Docker:     docker run --security-opt seccomp=unconfined ..., or a copy of its default "
	       "profile with\n"
	       "            io_uring_setup, io_uring_enter and io_uring_register added\n"
	       "Podman:     podman run --security-opt seccomp=unconfined ...\n"
	       "Kubernetes: securityContext: {seccompProfile: {type: Unconfined}}, or Localhost with such a "
	       "profile\n"
	       "systemd:    SystemCallFilter=io_uring_setup io_uring_enter io_uring_register in the unit",
	       command);
}

static void diagnose_denied(struct diagnosis *diagnosis)
{
	const struct probe_report *report = &diagnosis->report;
	bool explained = false;

	if (report->disabled == 2) {
		advise(diagnosis, true, "kernel.io_uring_disabled is 2: io_uring is off for everybody",
		       "sudo sysctl -w kernel.io_uring_disabled=0\n"
		       "for good: echo kernel.io_uring_disabled=0 | sudo tee /etc/sysctl.d/60-io_uring.conf");
		explained = true;
	} else if (report->disabled == 1 && geteuid() != 0) {
		advise(diagnosis, true,
		       "kernel.io_uring_disabled is 1: only CAP_SYS_ADMIN and members of "
		       "kernel.io_uring_group may",
		       "sudo sysctl -w kernel.io_uring_group=%u\n"
		       "which is your group; or for everybody: sudo sysctl -w kernel.io_uring_disabled=0",
		       (unsigned)getgid());
		explained = true;
	}
	/* A filter is named whenever there is one: it may be a second reason. */
	if (report->seccomp > 0)
		advise_seccomp(diagnosis);
	else if (!explained)
		advise(diagnosis, true,
		       "io_uring_setup(2) is denied, and neither sysctl nor seccomp explains it",
		       "sudo dmesg | grep -iE 'denied|avc'\n"
		       "look for a security module: AppArmor; of SELinux: sudo ausearch -m avc -ts recent");
}

static void diagnose_memory(struct diagnosis *diagnosis)
{
	advise(diagnosis, true,
	       "no memory for a ring: RLIMIT_MEMLOCK, which counts all rings of the user, or a memory cgroup",
	       "ulimit -l unlimited\n"
	       "as root, or with the hard limit in place of unlimited\n"
	       "for good: '* - memlock 65536' in /etc/security/limits.d/io_uring.conf and a new login\n"
	       "systemd:  LimitMEMLOCK=infinity in the unit;  Docker: --ulimit memlock=-1");
}

static void diagnose_error(struct diagnosis *diagnosis, int error)
{
	char problem[160];

	switch (error) {
	case EPERM:
	case EACCES:
		diagnose_denied(diagnosis);
		return;
	case ENOSYS:
		if (diagnosis->report.seccomp > 0)
			advise_seccomp(diagnosis);
		advise(diagnosis, true, "io_uring_setup(2) does not exist here: the kernel has no io_uring",
		       "grep CONFIG_IO_URING \"/boot/config-$(uname -r)\"\n"
		       "boot Linux 6.1 or newer, built with CONFIG_IO_URING=y; gVisor and WSL1 have none");
		return;
	case ENOMEM:
		diagnose_memory(diagnosis);
		return;
	case EMFILE:
		advise(diagnosis, true, "no file descriptor left in this process (RLIMIT_NOFILE)",
		       "ulimit -n 65536");
		return;
	case ENFILE:
		advise(diagnosis, true, "no file descriptor left on this system",
		       "sudo sysctl -w fs.file-max=1000000");
		return;
	default:
		snprintf(problem, sizeof(problem), "io_uring does not work: %s", strerror(error));
		advise(diagnosis, true, problem,
		       "sudo dmesg | tail -n 20\nsee io_uring_setup(2) for this error");
	}
}

static void diagnose_opcodes(struct diagnosis *diagnosis)
{
	static const unsigned needed[] = {IORING_OP_POLL_ADD, IORING_OP_TIMEOUT, IORING_OP_ASYNC_CANCEL,
					  IORING_OP_LINK_TIMEOUT, IORING_OP_READ};
	char problem[160];

	if (diagnosis->report.ring_error || diagnosis->report.use_error)
		return;
	for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++) {
		if (probe_has(&diagnosis->report, needed[i]))
			continue;
		snprintf(problem, sizeof(problem), "this kernel lacks IORING_OP_%s, which ctxring needs",
			 ctx_opcode_name(needed[i]));
		advise(diagnosis, true, problem, "uname -r\nboot Linux 6.1 or newer");
	}
}

static void diagnose_limits(struct diagnosis *diagnosis)
{
	const struct probe_report *report = &diagnosis->report;
	char problem[200];

	/* The limit does not bind root. A ring takes 8 KiB and more. */
	if (geteuid() != 0 && report->memlock.rlim_cur < 1048576) {
		snprintf(problem, sizeof(problem),
			 "RLIMIT_MEMLOCK is %" PRIu64 " KiB: room for about %" PRIu64
			 " small ring(s) of this user",
			 (uint64_t)report->memlock.rlim_cur / 1024,
			 (uint64_t)report->memlock.rlim_cur / 8192);
		advise(diagnosis, false, problem, "ulimit -l 65536\nor LimitMEMLOCK= in the unit");
	}
	if (report->nofile.rlim_cur < 1024) {
		snprintf(problem, sizeof(problem),
			 "RLIMIT_NOFILE is %" PRIu64 ", so a process may have only that many descriptors",
			 (uint64_t)report->nofile.rlim_cur);
		advise(diagnosis, false, problem, "ulimit -n 65536\nor LimitNOFILE= in the unit");
	}
	if (report->table_error) {
		snprintf(problem, sizeof(problem),
			 "the context table cannot be made (%s): ctxtool will see nothing",
			 strerror(report->table_error));
		advise(diagnosis, false, problem,
		       "ulimit -f unlimited\n"
		       "if RLIMIT_FSIZE is set; else boot Linux 5.1 or newer with CONFIG_MEMFD_CREATE=y");
	}
	if (getenv("CTXRING_TABLE") && strcmp(getenv("CTXRING_TABLE"), "0") == 0)
		advise(diagnosis, false,
		       "CTXRING_TABLE=0 is in the environment: programs started here are not seen",
		       "unset CTXRING_TABLE");
}

static void diagnose(struct diagnosis *diagnosis)
{
	memset(diagnosis, 0, sizeof(*diagnosis));
	probe_system(&diagnosis->report);
	if (diagnosis->report.ring_error)
		diagnose_error(diagnosis, diagnosis->report.ring_error);
	else if (diagnosis->report.use_error)
		diagnose_error(diagnosis, diagnosis->report.use_error);
	diagnose_opcodes(diagnosis);
	diagnose_limits(diagnosis);
	diagnosis->usable = true;
	for (size_t i = 0; i < diagnosis->count; i++)
		if (diagnosis->advices[i].blocks)
			diagnosis->usable = false;
	fleet_diagnose(&diagnosis->fleet);
}

static const char *seccomp_name(int mode)
{
	return mode == 0 ? "none" : mode == 1 ? "strict" : mode == 2 ? "filter" : "unknown";
}

static char *limit_text(rlim_t limit, char buffer[32])
{
	if (limit == RLIM_INFINITY)
		return strcpy(buffer, "unlimited");
	snprintf(buffer, 32, "%" PRIu64, (uint64_t)limit);
	return buffer;
}

static void print_flags(const char *title, const struct probe_flag *flags, bool present)
{
	bool any = false;

	printf("  %-26s", title);
	for (; flags->name; flags++) {
		if (flags->present != present)
			continue;
		printf(" %s", flags->name);
		any = true;
	}
	printf("%s\n", any ? "" : " none");
}

static void print_opcodes(const struct probe_report *report)
{
	char name[16];
	unsigned last = report->last_opcode < 255 ? report->last_opcode : 255;
	bool any = false;

	if (!report->opcodes_known) {
		printf("  %-26s the kernel does not tell\n", "opcodes");
		return;
	}
	printf("  %-26s NOP to %s\n", "opcodes", opcode_text(last, name, sizeof(name)));
	printf("  %-26s", "opcodes lacking");
	for (unsigned i = 0; i <= last || i < NAMES_OPCODES; i++) {
		if (report->opcodes[i])
			continue;
		printf(" %s", opcode_text(i, name, sizeof(name)));
		any = true;
	}
	printf("%s\n", any ? "" : " none");
}

static void print_kernel(const struct probe_report *report)
{
	print_opcodes(report);
	print_flags("features", report->features, true);
	print_flags("features lacking", report->features, false);
	print_flags("setup flags", report->setup_flags, true);
	print_flags("setup flags lacking", report->setup_flags, false);
	print_flags("cancel and wait", report->abilities, true);
	print_flags("cancel and wait lacking", report->abilities, false);
}

static void print_settings(const struct probe_report *report)
{
	static const char *const meanings[] = {"everybody may use io_uring",
					       "only CAP_SYS_ADMIN and members of kernel.io_uring_group may",
					       "nobody may"};
	char soft[32], hard[32];

	if (report->disabled >= 0 && report->disabled <= 2)
		printf("  %-26s %ld: %s\n", "kernel.io_uring_disabled", report->disabled,
		       meanings[report->disabled]);
	else
		printf("  %-26s not there (before Linux 6.6, everybody may)\n", "kernel.io_uring_disabled");
	if (report->group >= 0)
		printf("  %-26s %ld\n", "kernel.io_uring_group", report->group);
	printf("  %-26s %s\n", "seccomp of this process", seccomp_name(report->seccomp));
	printf("  %-26s soft %s, hard %s bytes\n", "RLIMIT_MEMLOCK",
	       limit_text(report->memlock.rlim_cur, soft), limit_text(report->memlock.rlim_max, hard));
	printf("  %-26s soft %s, hard %s\n", "RLIMIT_NOFILE", limit_text(report->nofile.rlim_cur, soft),
	       limit_text(report->nofile.rlim_max, hard));
	printf("  %-26s %s\n", "context table",
	       report->table_error ? strerror(report->table_error) : "works");
}

static void print_text(const struct diagnosis *diagnosis)
{
	const struct probe_report *report = &diagnosis->report;
	int error = report->ring_error ? report->ring_error : report->use_error;

	if (diagnosis->usable)
		printf("%sio_uring is usable here%s (%s)\n", colour(COLOUR_GREEN), colour(COLOUR_PLAIN),
		       report->kernel);
	else
		printf("%sio_uring is not usable here%s (%s)%s%s\n", colour(COLOUR_RED), colour(COLOUR_PLAIN),
		       report->kernel, error ? ": " : "", error ? strerror(error) : "");
	print_settings(report);
	if (!error)
		print_kernel(report);
	for (size_t i = 0; i < diagnosis->count; i++) {
		putchar('\n');
		print_problem(diagnosis->advices[i].blocks, diagnosis->advices[i].problem,
			      diagnosis->advices[i].remedy);
	}
	if (!diagnosis->usable)
		printf("\nWithout io_uring, contexts, done descriptors and blocking calls work; rings "
		       "cannot be opened.\n");
	fleet_diagnosis_print(&diagnosis->fleet);
}

static json_t *flags_json(const struct probe_flag *flags)
{
	json_t *object = json_object();

	for (; flags->name; flags++)
		json_object_set_new(object, flags->name, json_boolean(flags->present));
	return object;
}

static json_t *opcodes_json(const struct probe_report *report)
{
	json_t *object = json_object();
	char name[16];

	for (unsigned i = 0; i < NAMES_OPCODES || (i <= report->last_opcode && i < 256); i++)
		json_object_set_new(object, opcode_text(i, name, sizeof(name)),
				    json_boolean(report->opcodes[i]));
	return object;
}

static json_t *number_or_null(long value)
{
	return value < 0 ? json_null() : json_integer(value);
}

static json_t *limit_json(rlim_t limit)
{
	return limit > INT64_MAX ? json_null() : json_integer((json_int_t)limit);
}

static json_t *advices_json(const struct diagnosis *diagnosis)
{
	json_t *list = json_array();

	for (size_t i = 0; i < diagnosis->count; i++) {
		json_t *object = json_object();

		json_object_set_new(object, "blocks", json_boolean(diagnosis->advices[i].blocks));
		json_object_set_new(object, "problem", json_string(diagnosis->advices[i].problem));
		json_object_set_new(object, "command", json_first_line(diagnosis->advices[i].remedy));
		json_object_set_new(object, "remedy", json_string(diagnosis->advices[i].remedy));
		json_array_append_new(list, object);
	}
	return list;
}

static int print_json(const struct diagnosis *diagnosis)
{
	const struct probe_report *report = &diagnosis->report;
	int error = report->ring_error ? report->ring_error : report->use_error, failed;
	json_t *document = json_object();
	char name[32];

	json_object_set_new(document, "usable", json_boolean(diagnosis->usable));
	json_object_set_new(document, "error",
			    error ? json_string(errno_text(error, name, sizeof(name))) : json_null());
	json_object_set_new(document, "kernel", json_string(report->kernel));
	json_object_set_new(document, "io_uring_disabled", number_or_null(report->disabled));
	json_object_set_new(document, "io_uring_group", number_or_null(report->group));
	json_object_set_new(document, "seccomp", json_string(seccomp_name(report->seccomp)));
	json_object_set_new(document, "memlock_soft", limit_json(report->memlock.rlim_cur));
	json_object_set_new(document, "memlock_hard", limit_json(report->memlock.rlim_max));
	json_object_set_new(document, "nofile_soft", limit_json(report->nofile.rlim_cur));
	json_object_set_new(document, "nofile_hard", limit_json(report->nofile.rlim_max));
	json_object_set_new(document, "table", json_boolean(!report->table_error));
	json_object_set_new(document, "opcodes", report->opcodes_known ? opcodes_json(report) : json_null());
	json_object_set_new(document, "features", error ? json_null() : flags_json(report->features));
	json_object_set_new(document, "setup_flags", error ? json_null() : flags_json(report->setup_flags));
	json_object_set_new(document, "abilities", error ? json_null() : flags_json(report->abilities));
	json_object_set_new(document, "advice", advices_json(diagnosis));
	json_object_set_new(document, "fleet", fleet_diagnosis_json(&diagnosis->fleet));
	failed = json_dumpf(document, stdout, JSON_INDENT(2));
	putchar('\n');
	json_decref(document);
	return failed;
}

int doctor_run(int argc, char **argv)
{
	static const struct option known[] = {
		{"json", no_argument, NULL, 'j'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	struct diagnosis diagnosis;
	bool json = false;
	int letter;

	while ((letter = next_option("ctxtool doctor", argc, argv, "jh", known)) != -1) {
		if (letter == 'h') {
			fputs(help, stdout);
			return EXIT_OK;
		}
		if (letter != 'j') {
			fprintf(stderr, "Try 'ctxtool doctor --help'.\n");
			return EXIT_USAGE;
		}
		json = true;
	}
	if (optind < argc) {
		complain_of_usage("ctxtool doctor", "it takes no operand", argv[optind]);
		return EXIT_USAGE;
	}
	diagnose(&diagnosis);
	int code = diagnosis.usable && diagnosis.fleet.works ? EXIT_OK : EXIT_NOTHING;
	if (json && print_json(&diagnosis)) {
		fprintf(stderr, "ctxtool doctor: cannot write the JSON, or not enough memory for it\n");
		code = EXIT_TROUBLE;
	}
	if (!json)
		print_text(&diagnosis);
	fleet_diagnosis_free(&diagnosis.fleet);
	return code;
}
