/* SPDX-License-Identifier: MIT */
/* ctxd: options, signals, setting up, and one turn of the loop after another. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#ifdef HAVE_SYSTEMD
#include <systemd/sd-daemon.h>
#endif

#include "clock.h"
#include "config.h"
#include "connection.h"
#include "listener.h"
#include "log.h"

/* How long the service, when it ends, waits for the connections to be gone. */
#define GONE_NS 2000000000ull
/* How long it then waits for the closers. */
#define CLOSED_NS 100000000ull

enum exit_code {
	EXIT_OK = 0,
	EXIT_TROUBLE = 1,
	EXIT_USAGE = 2,
	EXIT_CONFIGURATION = 3,
};

struct options {
	const char *socket, *config;
	enum loop_kind loop;
	uint32_t log_level; /* 0: the level of the configuration. */
	bool check_config;
};

struct daemon {
	struct loop_group group; /* First in the structure, for casts. The group of the signals. */
	struct loop_entry signals;
	struct options options;
	struct config config;
	struct loop *loop;
	struct broker *broker;
	struct listener listener;
	struct connections connections;
	struct closers closers;
	int signal_fd;
	/*
	 * Draining: the service was told to end; it takes no more clients and waits for cancels under way.
	 * Stopping: it hangs up on all clients.
	 */
	bool draining, stopping;
	bool signals_gone;
	uint64_t stop_ns; /* The latest end of the current one of these two. */
};

static const char help[] =
	"Usage: ctxd [OPTION...]\n"
	"Share contexts between processes: give them names, ids and rights, pass on requests to cancel,\n"
	"and keep the context tables of processes that died. ctxd runs in the foreground until SIGTERM;\n"
	"SIGHUP makes it read the configuration again.\n"
	"\n"
	"  -s, --socket=PATH      listen at PATH; without it at $CTXD_SOCKET, $XDG_RUNTIME_DIR/ctxd.sock or\n"
	"                         /run/ctxd.sock, or on the socket that systemd gives\n"
	"  -c, --config=FILE      read FILE, see ctxd.conf(5); without it /etc/ctxd.conf for root, else\n"
	"                         $XDG_CONFIG_HOME/ctxd.conf or ~/.config/ctxd.conf, if that exists\n"
	"  -l, --log-level=LEVEL  how much to log: error, warning, info or debug\n"
	"      --loop=KIND        wait with a ring or with poll(2); without it a ring if io_uring works\n"
	"      --check-config     say whether the configuration is valid, and exit\n"
	"  -V, --version          print the version\n"
	"  -h, --help             print this text\n"
	"\n"
	"Exit codes: 0 ended by SIGTERM or SIGINT; 1 cannot run; 2 wrong usage; 3 wrong configuration.\n";

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
	fprintf(stderr, "ctxd: %s '%s'. Try 'ctxd --help'.\n", what, value);
	return EXIT_USAGE;
}

/* -1: go on. Otherwise the exit code. */
static int parse_options(int argc, char **argv, struct options *options)
{
	enum {
		OPTION_LOOP = 256,
		OPTION_CHECK
	};
	static const struct option names[] = {
		{"socket", required_argument, NULL, 's'},
		{"config", required_argument, NULL, 'c'},
		{"log-level", required_argument, NULL, 'l'},
		{"loop", required_argument, NULL, OPTION_LOOP},
		{"check-config", no_argument, NULL, OPTION_CHECK},
		{"version", no_argument, NULL, 'V'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};

	for (int option; (option = getopt_long(argc, argv, "s:c:l:Vh", names, NULL)) != -1;) {
		switch (option) {
		case 's':
			options->socket = optarg;
			break;
		case 'c':
			options->config = optarg;
			break;
		case 'l':
			if (!log_parse_level(optarg, &options->log_level))
				return usage_error("--log-level must be error, warning, info or debug, not",
						   optarg);
			break;
		case OPTION_LOOP:
			if (strcmp(optarg, "ring") != 0 && strcmp(optarg, "poll") != 0)
				return usage_error("--loop must be ring or poll, not", optarg);
			options->loop = optarg[0] == 'r' ? LOOP_RING : LOOP_POLL;
			break;
		case OPTION_CHECK:
			options->check_config = true;
			break;
		case 'V':
			printf("ctxd %d.%d\n", CTXRING_VERSION_MAJOR, CTXRING_VERSION_MINOR);
			return EXIT_OK;
		case 'h':
			fputs(help, stdout);
			return EXIT_OK;
		default:
			fputs("Try 'ctxd --help'.\n", stderr);
			return EXIT_USAGE;
		}
	}
	if (optind < argc)
		return usage_error("there must be no operand, but there is", argv[optind]);
	return -1;
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
	if (options->log_level)
		loaded.log_level = options->log_level;
	log_set_level((enum log_level)loaded.log_level);
	if (config_complete_fleet(&loaded.fleet, reason, sizeof(reason)))
		log_event(LOG_LEVEL_WARNING, "fleet", "reason=%s", log_quote(reason, quoted, sizeof(quoted)));
	*config = loaded;
	return true;
}

/* ---- descriptors */

static void raise_fd_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

/*
 * Warns if the quota fds lets one user take all descriptors of the service: those that it holds, and as many
 * that wait to be closed. Then no other user could connect.
 */
static void check_fd_limit(const struct config *config)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
	    limit.rlim_cur < (rlim_t)config->fds_max * 2 + OWN_FDS)
		log_event(LOG_LEVEL_WARNING, "descriptors",
			  "limit=%ju fds=%u remedy=\"raise LimitNOFILE= or ulimit -Hn, or lower fds in the "
			  "configuration\"",
			  (uintmax_t)limit.rlim_cur, config->fds_max);
}

/* ---- signals */

static void reload_config(struct daemon *daemon)
{
	notify_systemd("RELOADING=1");
	if (load_config(&daemon->options, &daemon->config)) {
		broker_configure(daemon->broker, &daemon->config);
		log_event(LOG_LEVEL_INFO, "reload", "clients=%u", daemon->connections.count);
		check_fd_limit(&daemon->config);
	}
	notify_systemd("READY=1");
}

static void signals_gone(struct loop_group *group)
{
	((struct daemon *)group)->signals_gone = true;
}

static void hang_up_all(struct daemon *daemon)
{
	daemon->stopping = true;
	daemon->stop_ns = clock_now_ns() + GONE_NS;
	broker_answer_all(daemon->broker);
	connections_end(&daemon->connections, -ESHUTDOWN);
	loop_group_end(&daemon->group, signals_gone);
}

/* Whether nobody waits for an answer any more, or drain_ns is over. */
static bool is_daemon_drained(const struct daemon *daemon, uint64_t now_ns)
{
	return now_ns >= daemon->stop_ns || (!broker_is_busy(daemon->broker) && !daemon->connections.owed);
}

static void begin_stop(struct daemon *daemon, uint32_t signal)
{
	if (daemon->stopping)
		return;
	log_event(LOG_LEVEL_INFO, "stop", "signal=%u clients=%u%s", signal, daemon->connections.count,
		  daemon->draining ? " again=1" : "");
	if (daemon->draining) {
		hang_up_all(daemon);
		return;
	}
	daemon->draining = true;
	daemon->stop_ns = clock_now_ns() + daemon->config.drain_ns;
	notify_systemd("STOPPING=1");
	listener_stop(&daemon->listener);
	if (is_daemon_drained(daemon, clock_now_ns()))
		hang_up_all(daemon);
}

static void signals_ready(struct loop_entry *entry, short revents)
{
	struct daemon *daemon = (struct daemon *)entry->group;
	struct signalfd_siginfo info;

	(void)revents;
	while (!daemon->stopping && read(daemon->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		if (info.ssi_signo != SIGHUP)
			begin_stop(daemon, info.ssi_signo);
		else if (!daemon->draining)
			reload_config(daemon);
	}
	loop_arm(entry, POLLIN);
}

/* ---- running */

static void connection_closed(struct connections *connections)
{
	struct daemon *daemon = (struct daemon *)((char *)connections - offsetof(struct daemon, connections));

	if (!daemon->draining)
		listener_resume(&daemon->listener);
}

static uint64_t daemon_next_ns(const struct daemon *daemon)
{
	uint64_t times[] = {broker_next_ns(daemon->broker),
			    connections_next_ns(&daemon->connections),
			    closers_next_ns(&daemon->closers),
			    daemon->listener.paused_until_ns ? daemon->listener.paused_until_ns : UINT64_MAX,
			    daemon->draining ? daemon->stop_ns : UINT64_MAX,
			    log_next_ns()};
	uint64_t next = UINT64_MAX;

	for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++)
		next = times[i] < next ? times[i] : next;
	return next;
}

static bool is_daemon_over(const struct daemon *daemon)
{
	return daemon->stopping && !daemon->connections.count && daemon->signals_gone &&
	       daemon->listener.fd < 0;
}

/*
 * Whether the closers are done, or CLOSED_NS is over. A closer that is stuck stays behind; it closes what is
 * left when it ends.
 */
static bool are_closers_over(struct daemon *daemon, uint64_t now_ns)
{
	if (!daemon->closers.ending) {
		broker_empty(daemon->broker);
		closers_end(&daemon->closers);
		daemon->stop_ns = now_ns + CLOSED_NS;
	}
	return !daemon->closers.count || now_ns >= daemon->stop_ns;
}

static int run_daemon(struct daemon *daemon)
{
	while (!is_daemon_over(daemon) || !are_closers_over(daemon, clock_now_ns())) {
		uint64_t next = daemon_next_ns(daemon), now_ns = clock_now_ns();
		int error = loop_run(daemon->loop, next == UINT64_MAX ? CTX_FOREVER
						   : next > now_ns    ? next - now_ns
								      : 0);
		if (error) {
			log_event(LOG_LEVEL_ERROR, "loop", "error=%s", strerrorname_np(-error));
			return EXIT_TROUBLE;
		}
		now_ns = clock_now_ns();
		connections_tick(&daemon->connections, now_ns);
		broker_tick(daemon->broker, clock_now_ns());
		listener_tick(&daemon->listener, now_ns);
		closers_tick(&daemon->closers, now_ns);
		log_tick(now_ns);
		if (daemon->draining && !daemon->stopping && is_daemon_drained(daemon, now_ns))
			hang_up_all(daemon);
		if (daemon->stopping && now_ns >= daemon->stop_ns && !is_daemon_over(daemon)) {
			log_event(LOG_LEVEL_ERROR, "stop", "reason=\"some clients are not gone\" clients=%u",
				  daemon->connections.count);
			return EXIT_TROUBLE;
		}
	}
	return EXIT_OK;
}

/* ---- setting up */

/*
 * Blocks the signals, also for the threads of the library that start later, and opens the descriptor by which
 * they come.
 */
static int open_signal_fd(char *reason, size_t reason_size)
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
	signal(SIGXFSZ, SIG_IGN); /* The table of a dead process can be larger than a file may be here. */
	int error = sigprocmask(SIG_BLOCK, &set, NULL) ? errno : 0;
	int fd = error ? -1 : signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0)
		snprintf(reason, reason_size, "signals cannot be received: %s",
			 strerror(error ? error : errno));
	return fd;
}

/*
 * A number that services before this one did not have. It is no secret, so the clock serves if a filter
 * forbids getrandom(2).
 */
static uint64_t new_epoch(void)
{
	uint64_t epoch = 0;
	ssize_t size;

	do
		size = getrandom(&epoch, sizeof(epoch), 0);
	while ((size < 0 && errno == EINTR) || (size == (ssize_t)sizeof(epoch) && !epoch));
	if (size != (ssize_t)sizeof(epoch)) {
		struct timespec time = {0};
		clock_gettime(CLOCK_REALTIME, &time);
		epoch = (uint64_t)time.tv_sec * 1000000000ull + (uint64_t)time.tv_nsec;
	}
	return epoch ? epoch : 1;
}

/*
 * Tries the system calls without which no client could be served, in such a way that they do nothing. False:
 * a filter forbids one. Without this, a service manager would start the service again and again.
 */
static bool try_calls(char *reason, size_t reason_size)
{
	const char *call = NULL;
	struct stat status;
	int ends[2];
	char byte;

#define TRY(name, ...)                                                             \
	if (!call && name(__VA_ARGS__) < 0 && (errno == EPERM || errno == ENOSYS)) \
	call = #name
	TRY(read, -1, &byte, sizeof(byte));
	TRY(poll, NULL, 0, 0); /* Closers wait with poll(2), also if the loop is a ring. */
	TRY(stat, "/", &status);
	TRY(openat, AT_FDCWD, "", O_RDONLY | O_CLOEXEC);
	TRY(fcntl, -1, F_GETFD);
	TRY(pipe2, ends, ~0);
	TRY(getsockopt, -1, SOL_SOCKET, SO_PEERCRED, NULL, NULL);
	TRY(accept4, -1, NULL, NULL, SOCK_CLOEXEC);
	TRY(recvmsg, -1, &(struct msghdr){0}, 0);
	TRY(sendmsg, -1, &(struct msghdr){0}, 0);
#undef TRY
	if (call)
		snprintf(reason, reason_size,
			 "the system call %s is refused (%s), most likely by a seccomp profile: allow it "
			 "there",
			 call, strerror(errno));
	return !call;
}

static bool daemon_set_up(struct daemon *daemon)
{
	char reason[400], why[400], quoted[1000], name[LISTENER_NAME_SIZE];
	int error;

	daemon->signal_fd = open_signal_fd(why, sizeof(why));
	if (daemon->signal_fd < 0 || !try_calls(why, sizeof(why))) {
		log_event(LOG_LEVEL_ERROR, "start", "reason=%s", log_quote(why, quoted, sizeof(quoted)));
		return false;
	}
	errno = ENOMEM;
	daemon->broker = broker_new(&daemon->config, new_epoch());
	if (!daemon->broker) {
		log_event(LOG_LEVEL_ERROR, "start", "reason=%s",
			  log_quote(strerror(errno), quoted, sizeof(quoted)));
		return false;
	}
	error = loop_open(daemon->options.loop, &daemon->loop, reason, sizeof(reason));
	if (error) {
		log_event(LOG_LEVEL_ERROR, "start", "reason=%s", log_quote(reason, quoted, sizeof(quoted)));
		return false;
	}
	error = listener_open(&daemon->listener, daemon->options.socket, why, sizeof(why));
	if (error) {
		log_event(LOG_LEVEL_ERROR, "start", "reason=%s", log_quote(why, quoted, sizeof(quoted)));
		return false;
	}
	daemon->connections = (struct connections){.loop = daemon->loop,
						   .broker = daemon->broker,
						   .closers = &daemon->closers,
						   .config = &daemon->config,
						   .closed = connection_closed};
	connections_init(&daemon->connections);
	closers_open(&daemon->closers, daemon->loop, daemon->listener.fd, !daemon->listener.path[0]);
	const struct disposal disposal = closers_disposal(&daemon->closers);
	broker_set_disposal(daemon->broker, &disposal);
	error = loop_group_begin(daemon->loop, &daemon->group, "signals");
	if (!error)
		error = loop_group_begin(daemon->loop, &daemon->listener.group, "listener");
	if (error) {
		log_event(LOG_LEVEL_ERROR, "start", "reason=%s",
			  log_quote(strerror(-error), quoted, sizeof(quoted)));
		return false;
	}
	loop_entry_init(&daemon->signals, &daemon->group, daemon->signal_fd, signals_ready);
	loop_arm(&daemon->signals, POLLIN);
	listener_start(&daemon->listener, &daemon->connections);
	log_event(LOG_LEVEL_INFO, "start", "socket=%s loop=%s%s%s", listener_name(&daemon->listener, name),
		  loop_is_ring(daemon->loop) ? "ring" : "poll", reason[0] ? " reason=" : "",
		  reason[0] ? log_quote(reason, quoted, sizeof(quoted)) : "");
	notify_systemd("READY=1");
	return true;
}

int main(int argc, char **argv)
{
	struct daemon daemon = {.config = config_default, .listener = {.fd = -1}};
	int code = parse_options(argc, argv, &daemon.options);

	if (code >= 0)
		return code;
	if (!load_config(&daemon.options, &daemon.config))
		return EXIT_CONFIGURATION;
	if (daemon.options.check_config) {
		puts("ctxd: the configuration is valid");
		return EXIT_OK;
	}
	/* The service is not its own client. */
	unsetenv("CTXRING_PUBLISH");
	raise_fd_limit();
	check_fd_limit(&daemon.config);
	if (!daemon_set_up(&daemon))
		return EXIT_TROUBLE;
	code = run_daemon(&daemon);
	if (code)
		return code;
	closers_fail_jobs(&daemon.closers);
	broker_free(daemon.broker);
	log_finish();
	if (daemon.closers.count)
		_exit(EXIT_OK); /* The loop still has groups of stuck closers, so it cannot be closed. */
	loop_close(daemon.loop);
	close(daemon.signal_fd);
	return EXIT_OK;
}
