/* SPDX-License-Identifier: MIT */
/* ctxd-fleet: options, signals, and one turn of the bridge after another. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>
#ifdef HAVE_SYSTEMD
#include <systemd/sd-daemon.h>
#endif

#include "clock.h"
#include "fleet_bridge.h"
#include "log.h"
#ifdef HAVE_HIREDIS
#include "engine_redis.h"
#endif

struct options {
	const char *socket, *config, *state;
	uint32_t log_level; /* 0: the level of the configuration. */
	bool check_config;
};

struct program {
	struct options options;
	struct config config;
	struct bridge *bridge;
	int signal_fd;
	bool stopping;
};

static const char help[] =
	"Usage: ctxd-fleet [OPTION...]\n"
	"Connect ctxd with those of other hosts, by Redis or Valkey: contexts that are shared with the "
	"fleet\n"
	"end on all hosts that joined them. ctxd-fleet runs in the foreground until SIGTERM; SIGHUP makes "
	"it\n"
	"read the configuration again. It reads that of ctxd, which has to set fleet_engine.\n"
	"\n"
	"  -s, --socket=PATH      the socket of ctxd; without it $CTXD_SOCKET, $XDG_RUNTIME_DIR/ctxd.sock "
	"or\n"
	"                         /run/ctxd.sock\n"
	"  -c, --config=FILE      read FILE, see ctxd.conf(5); without it /etc/ctxd.conf for root, else\n"
	"                         $XDG_CONFIG_HOME/ctxd.conf or ~/.config/ctxd.conf\n"
	"      --state=DIRECTORY  keep there what helps after a crash; without it in $STATE_DIRECTORY, else\n"
	"                         $XDG_STATE_HOME/ctxd-fleet if that exists\n"
	"  -l, --log-level=LEVEL  how much to log: error, warning, info or debug\n"
	"      --check-config     say whether the configuration is valid, and exit\n"
	"  -V, --version          print the version\n"
	"  -h, --help             print this text\n"
	"\n"
	"Exit codes: 0 ended by SIGTERM or SIGINT; 1 cannot run; 2 wrong usage; 3 wrong configuration, or\n"
	"ctxd refuses this bridge; 4 another bridge has the name of this host.\n";

static void notify_systemd(const char *state)
{
#ifdef HAVE_SYSTEMD
	sd_notify(0, state);
#else
	(void)state;
#endif
}

/* ---- options and configuration */

static int usage_error(const char *what, const char *value)
{
	fprintf(stderr, "ctxd-fleet: %s '%s'. Try 'ctxd-fleet --help'.\n", what, value);
	return BRIDGE_USAGE;
}

/* BRIDGE_GO_ON, or the exit code. */
static int parse_options(int argc, char **argv, struct options *options)
{
	enum {
		OPTION_STATE = 256,
		OPTION_CHECK
	};
	static const struct option names[] = {
		{"socket", required_argument, NULL, 's'},
		{"config", required_argument, NULL, 'c'},
		{"state", required_argument, NULL, OPTION_STATE},
		{"log-level", required_argument, NULL, 'l'},
		{"check-config", no_argument, NULL, OPTION_CHECK},
		{"version", no_argument, NULL, 'V'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};

	for (int option; (option = getopt_long(argc, argv, "s:c:l:Vh", names, NULL)) != -1;) {
		switch (option) {
		case 's':
			if (strlen(optarg) > 107)
				return usage_error("--socket must have at most 107 bytes, unlike", optarg);
			options->socket = optarg;
			break;
		case 'c':
			options->config = optarg;
			break;
		case OPTION_STATE:
			options->state = optarg;
			break;
		case 'l':
			if (!log_parse_level(optarg, &options->log_level))
				return usage_error("--log-level must be error, warning, info or debug, not",
						   optarg);
			break;
		case OPTION_CHECK:
			options->check_config = true;
			break;
		case 'V':
			printf("ctxd-fleet %d.%d\n", CTXRING_VERSION_MAJOR, CTXRING_VERSION_MINOR);
			return BRIDGE_OK;
		case 'h':
			fputs(help, stdout);
			return BRIDGE_OK;
		default:
			fputs("Try 'ctxd-fleet --help'.\n", stderr);
			return BRIDGE_USAGE;
		}
	}
	if (optind < argc)
		return usage_error("there must be no operand, but there is", argv[optind]);
	return BRIDGE_GO_ON;
}

/* Where the incarnation is kept. NULL: nowhere. */
static const char *state_directory(const struct options *options, char *buffer, size_t size)
{
	const char *given = secure_getenv("STATE_DIRECTORY"), *home = secure_getenv("XDG_STATE_HOME");

	if (options->state)
		return options->state;
	if (given && given[0] == '/')
		/* systemd separates several by colons. */
		snprintf(buffer, size, "%.*s", (int)strcspn(given, ":"), given);
	else if (home && home[0] == '/')
		snprintf(buffer, size, "%s/ctxd-fleet", home);
	else
		return NULL;
	return access(buffer, W_OK) == 0 ? buffer : NULL;
}

static void log_reason(const char *event, const char *reason)
{
	char quoted[1200];

	log_event(LOG_LEVEL_ERROR, event, "reason=%s", log_quote(reason, quoted, sizeof(quoted)));
}

/* The files that are read when they are needed exist and can be read now. */
static bool check_file(const char *setting, const char *path)
{
	char reason[CONFIG_TEXT_MAX + 100];

	if (!path[0] || access(path, R_OK) == 0)
		return true;
	snprintf(reason, sizeof(reason), "%s: %s: %s", setting, path, strerror(errno));
	log_reason("config", reason);
	return false;
}

static bool check_fleet(const struct config *config)
{
	char name[64];

	if (!config->fleet.engine[0]) {
		log_reason("config", "fleet_engine is not set, so there is no fleet");
		return false;
	}
	if (bridge_host_name(config, name)) {
		log_reason("config",
			   "the kernel's host name is no name of a host of a fleet: set fleet_host");
		return false;
	}
#ifdef HAVE_HIREDIS
	char why[300], reason[320];

	if (engine_redis_check(config->fleet.engine, why, sizeof(why))) {
		snprintf(reason, sizeof(reason), "fleet_engine: %s", why);
		log_reason("config", reason);
		return false;
	}
#endif
	return check_file("fleet_password_file", config->fleet.password_file) &&
	       check_file("fleet_key_file", config->fleet.key_file);
}

/* False: the error has been logged, and config is unchanged. */
static bool load_config(const struct options *options, struct config *config)
{
	char buffer[4096], reason[256], quoted[600], path[1200];
	const char *file = options->config ? options->config : config_default_path(buffer, sizeof(buffer));
	struct config loaded = config_default;

	if (file && config_load(file, &loaded, reason, sizeof(reason))) {
		log_event(LOG_LEVEL_ERROR, "config", "file=%s reason=%s", log_quote(file, path, sizeof(path)),
			  log_quote(reason, quoted, sizeof(quoted)));
		return false;
	}
	if (!check_fleet(&loaded))
		return false;
	if (options->log_level)
		loaded.log_level = options->log_level;
	log_set_level((enum log_level)loaded.log_level);
	*config = loaded;
	return true;
}

/* ---- signals */

static void reload_config(struct program *program)
{
	notify_systemd("RELOADING=1");
	if (load_config(&program->options, &program->config)) {
		bridge_configure(program->bridge, &program->config);
		log_event(LOG_LEVEL_INFO, "reload", "level=%u", program->config.log_level);
	}
	notify_systemd("READY=1");
}

static void signals_ready(void *data)
{
	struct program *program = data;
	struct signalfd_siginfo info;

	while (read(program->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		if (info.ssi_signo == SIGHUP) {
			if (!program->stopping)
				reload_config(program);
			continue;
		}
		log_event(LOG_LEVEL_INFO, "stop", "signal=%u", info.ssi_signo);
		program->stopping = true;
	}
}

/* -1: the error has been logged. */
static int open_signal_fd(void)
{
	struct sigaction action;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGHUP);
	/* A shell script has SIGINT ignored for a command that it starts with "&". It stays ignored. */
	if (!sigaction(SIGINT, NULL, &action) && action.sa_handler != SIG_IGN)
		sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	signal(SIGPIPE, SIG_IGN);
	int fd = sigprocmask(SIG_BLOCK, &set, NULL) ? -1 : signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0)
		log_reason("start", strerror(errno));
	return fd;
}

/* ---- running */

static void raise_fd_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

static int open_engine(void *data, const char *host, const struct engine_events *events,
		       struct engine **ret_engine, char *reason, size_t reason_size)
{
#ifdef HAVE_HIREDIS
	const struct config_fleet *from = &((struct program *)data)->config.fleet;
	const struct engine_redis_config config = {
		.address = from->engine,
		.fleet = from->name,
		.host = host,
		.user = from->user,
		.password_file = from->password_file,
		.lease_ns = from->lease_ns,
	};

	return engine_redis_open(&config, events, ret_engine, reason, reason_size);
#else
	(void)data;
	(void)host;
	(void)events;
	(void)ret_engine;
	snprintf(reason, reason_size, "this ctxd-fleet was built without hiredis");
	return -ENOTSUP;
#endif
}

/*
 * Another bridge has the name. Until a lease is over nothing is tried again: if it is the lease of a bridge
 * of this host that crashed, it has ended by then, and else a service manager must not have two bridges read
 * one inbox all the time.
 */
static void wait_for_lease(const struct program *program)
{
	struct pollfd signals = {.fd = program->signal_fd, .events = POLLIN};

	poll(&signals, 1, (int)(program->config.fleet.lease_ns / 1000000 % 3600000));
}

static int run_bridge(struct program *program)
{
	char reason[400], state[4096];
	const struct bridge_options options = {
		.socket = program->options.socket,
		.config = &program->config,
		.state_directory = state_directory(&program->options, state, sizeof(state)),
		.engine_open = open_engine,
		.data = program,
		.signal_fd = program->signal_fd,
		.signals_ready = signals_ready,
	};
	int code = bridge_open(&options, &program->bridge, reason, sizeof(reason));

	if (code != BRIDGE_GO_ON) {
		log_reason("start", reason);
		return code;
	}
	log_event(LOG_LEVEL_INFO, "start", "fleet=%s engine=%s state=%s", program->config.fleet.name,
		  program->config.fleet.engine, options.state_directory ? options.state_directory : "none");
	notify_systemd("READY=1");
	while (code == BRIDGE_GO_ON && !program->stopping)
		code = bridge_turn(program->bridge, CTX_FOREVER);
	notify_systemd("STOPPING=1");
	bridge_close(program->bridge);
	if (code == BRIDGE_NAME_TAKEN && !program->stopping)
		wait_for_lease(program);
	return code == BRIDGE_GO_ON ? BRIDGE_OK : code;
}

int main(int argc, char **argv)
{
	struct program program = {.config = config_default};
	int code = parse_options(argc, argv, &program.options);

	if (code != BRIDGE_GO_ON)
		return code;
	if (!load_config(&program.options, &program.config))
		return BRIDGE_CONFIGURATION;
	if (program.options.check_config) {
		puts("ctxd-fleet: the configuration is valid");
		return BRIDGE_OK;
	}
	raise_fd_limit();
	program.signal_fd = open_signal_fd();
	if (program.signal_fd < 0)
		return BRIDGE_TROUBLE;
	code = run_bridge(&program);
	close(program.signal_fd);
	return code;
}
