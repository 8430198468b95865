/* SPDX-License-Identifier: MIT */
/*
 * Serves the metrics by libmicrohttpd, in one thread: its descriptor for epoll(7) is waited for together with
 * signals. A look at the processes is made when metrics are asked for and the last look is a second old, so
 * that any number of scrapers costs one look a second.
 */
#include "stats_listen.h"

#include <stdio.h>

#ifdef HAVE_MICROHTTPD

#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "library.h"
#include "monotonic.h"
#include "stats.h"
#include "usage.h"

/* The functions of libmicrohttpd that are used here. */
#define FOR_EACH_FUNCTION(apply)                                                              \
	apply(add_response_header) apply(create_response_from_buffer) apply(destroy_response) \
		apply(get_daemon_info) apply(get_timeout) apply(lookup_connection_value)      \
			apply(queue_response) apply(run) apply(start_daemon) apply(stop_daemon)

#define DECLARE_POINTER(function) __typeof__(&MHD_##function) function;
static struct {
	FOR_EACH_FUNCTION(DECLARE_POINTER)
} http;

#define ADDRESS_DEFAULT "127.0.0.1"
#define CONNECTIONS_MAX 64u
/* A connection on which nothing happens for so many seconds is closed. */
#define IDLE_MAX_S 30u
/* Of one request with its answer's head; a longer request is refused. */
#define REQUEST_MAX ((size_t)16 * 1024)
#define LOOK_NS UINT64_C(1000000000)

static const char *const types[STATS_FORMATS] = {
	[STATS_OPENMETRICS] = "application/openmetrics-text; version=1.0.0; charset=utf-8",
	[STATS_PLAIN] = "text/plain; version=0.0.4; charset=utf-8",
};

/* What one look found. Responses keep their text themselves when the next look is made. */
struct exporter {
	const struct view_options *options;
	uint64_t looked_ns; /* CLOCK_MONOTONIC; 0: there was no look yet */
	struct MHD_Response *metrics[STATS_FORMATS];
};

static bool load_library(void)
{
#define NAME(function) "MHD_" #function,
	static const char *const names[] = {FOR_EACH_FUNCTION(NAME)};

	return library_load("libmicrohttpd.so.12", names, sizeof(names) / sizeof(names[0]), &http);
}

/* ---- answers */

/* Takes the text, which malloc(3) made. NULL: no memory. */
static struct MHD_Response *response_of(char *text, size_t size, const char *type)
{
	struct MHD_Response *response = http.create_response_from_buffer(size, text, MHD_RESPMEM_MUST_FREE);

	if (!response)
		free(text);
	else
		http.add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
	return response;
}

static enum MHD_Result send_line(struct MHD_Connection *connection, unsigned status, const char *line,
				 const char *allow)
{
	char *text = strdup(line);
	struct MHD_Response *response =
		text ? response_of(text, strlen(text), "text/plain; charset=utf-8") : NULL;
	enum MHD_Result result;

	if (!response)
		return MHD_NO;
	if (allow)
		http.add_response_header(response, MHD_HTTP_HEADER_ALLOW, allow);
	result = http.queue_response(connection, status, response);
	http.destroy_response(response);
	return result;
}

static struct MHD_Response *write_metrics(const struct stats *stats, enum stats_format format)
{
	char *text = NULL;
	size_t size;
	FILE *to = open_memstream(&text, &size);

	if (!to)
		return NULL;
	stats_write_metrics(stats, format, to);
	bool failed = ferror(to);
	if (fclose(to) || failed) {
		free(text);
		return NULL;
	}
	return response_of(text, size, types[format]);
}

static void discard_metrics(struct exporter *exporter)
{
	for (int i = 0; i < STATS_FORMATS; i++) {
		if (exporter->metrics[i])
			http.destroy_response(exporter->metrics[i]);
		exporter->metrics[i] = NULL;
	}
}

/* Makes the metrics anew if they are old. What cannot be read is a number in them. 0 or -errno. */
static int look(struct exporter *exporter)
{
	struct survey survey;
	struct stats stats;
	int result;

	if (exporter->metrics[0] && monotonic_ns() - exporter->looked_ns < LOOK_NS)
		return 0;
	result = view_survey(exporter->options, &survey);
	if (result)
		return result;
	view_select_counted(exporter->options, &survey);
	result = stats_collect(&survey, true, &stats);
	if (result) {
		survey_free(&survey);
		return result;
	}
	discard_metrics(exporter);
	for (int i = 0; i < STATS_FORMATS; i++) {
		exporter->metrics[i] = write_metrics(&stats, (enum stats_format)i);
		result = exporter->metrics[i] ? result : -ENOMEM;
	}
	exporter->looked_ns = monotonic_ns();
	stats_free(&stats);
	survey_free(&survey);
	if (result)
		discard_metrics(exporter);
	return result;
}

/* ---- content negotiation */

/* Whether a part of an Accept header, up to its comma, is of a type that we have; with its weight. */
static bool parse_range(const char *range, size_t length, const char *type, double *ret_weight)
{
	size_t name = strcspn(range, ",; \t");
	const char *end = range + length;

	if (name != strlen(type) || strncasecmp(range, type, name) != 0)
		return false;
	*ret_weight = 1;
	for (const char *at = range + name; (at = memchr(at, ';', (size_t)(end - at)));) {
		at++;
		at += strspn(at, " \t");
		if (at < end && strncasecmp(at, "q=", 2) == 0)
			*ret_weight = strtod(at + 2, NULL);
		/* Whoever asks for another version alone gets the older format. */
		if (at < end && strncasecmp(at, "version=", 8) == 0 && strncmp(at + 8, "1.0.0", 5) != 0 &&
		    strcasecmp(type, "application/openmetrics-text") == 0)
			return false;
	}
	return *ret_weight > 0;
}

/* The greatest weight that an Accept header gives to a type; 0: it does not name it. */
static double weight_of(const char *accept, const char *type)
{
	double best = 0, weight;

	for (const char *at = accept; *at;) {
		at += strspn(at, " \t,");
		size_t length = strcspn(at, ",");
		if (parse_range(at, length, type, &weight) && weight > best)
			best = weight;
		at += length;
	}
	return best;
}

static enum stats_format choose_format(struct MHD_Connection *connection)
{
	const char *accept =
		http.lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_ACCEPT);
	double openmetrics, plain;

	if (!accept)
		return STATS_PLAIN;
	openmetrics = weight_of(accept, "application/openmetrics-text");
	plain = weight_of(accept, "text/plain");
	return openmetrics > 0 && openmetrics >= plain ? STATS_OPENMETRICS : STATS_PLAIN;
}

/* ---- requests */

static enum MHD_Result send_metrics(struct exporter *exporter, struct MHD_Connection *connection)
{
	char line[200];
	int result = look(exporter);

	if (!result)
		return http.queue_response(connection, MHD_HTTP_OK,
					   exporter->metrics[choose_format(connection)]);
	snprintf(line, sizeof(line), "ctxtool: cannot look for processes: %s\n", strerror(-result));
	fputs(line, stderr);
	return send_line(connection, MHD_HTTP_SERVICE_UNAVAILABLE, line, NULL);
}

static enum MHD_Result answer(void *data, struct MHD_Connection *connection, const char *path,
			      const char *method, const char *version, const char *body, size_t *body_size,
			      void **request)
{
	static char seen;

	(void)version;
	(void)body;
	if (strcmp(path, "/") != 0 && strcmp(path, "/metrics") != 0)
		return send_line(connection, MHD_HTTP_NOT_FOUND, "There is /metrics here.\n", NULL);
	if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
		return send_line(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "There is GET and HEAD here.\n",
				 "GET, HEAD");
	/* The first call is made when the head was read, the last one when all was. */
	if (!*request || *body_size) {
		*request = &seen;
		*body_size = 0;
		return MHD_YES;
	}
	if (strcmp(path, "/") == 0)
		return send_line(connection, MHD_HTTP_OK,
				 "The metrics of ctxring, by ctxtool stats, are at /metrics.\n", NULL);
	return send_metrics(data, connection);
}

/* ---- the socket */

/* Divides "[ADDRESS:]PORT"; an IPv6 address stands in brackets. false: it is not of that form. */
static bool divide_address(const char *text, char host[256], char port[8])
{
	const char *colon = strrchr(text, ':');
	const char *digits = colon ? colon + 1 : text;
	size_t length = colon ? (size_t)(colon - text) : 0;

	if (strspn(digits, "0123456789") != strlen(digits) || !*digits || strlen(digits) > 5 ||
	    atoi(digits) > 65535)
		return false;
	strcpy(port, digits);
	if (!colon) {
		strcpy(host, ADDRESS_DEFAULT);
		return true;
	}
	if (length > 1 && text[0] == '[' && text[length - 1] == ']') {
		text++;
		length -= 2;
	} else if (memchr(text, ':', length)) {
		return false;
	}
	if (!length || length > 255)
		return false;
	memcpy(host, text, length);
	host[length] = '\0';
	return true;
}

static bool is_loopback(const struct sockaddr_storage *address)
{
	const struct sockaddr_in *v4 = (const void *)address;
	const struct sockaddr_in6 *v6 = (const void *)address;

	if (address->ss_family == AF_INET)
		return ntohl(v4->sin_addr.s_addr) >> 24 == 127;
	return address->ss_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr);
}

/* Says where it listens, with the port that the kernel chose, and warns where everybody may read. */
static void print_address(int fd)
{
	struct sockaddr_storage address;
	socklen_t size = sizeof(address);
	char host[64] = "?", port[8] = "?", shown[80];
	bool is_v6;

	if (getsockname(fd, (struct sockaddr *)&address, &size))
		return;
	getnameinfo((struct sockaddr *)&address, size, host, sizeof(host), port, sizeof(port),
		    NI_NUMERICHOST | NI_NUMERICSERV);
	is_v6 = address.ss_family == AF_INET6;
	snprintf(shown, sizeof(shown), "%s%s%s:%s", is_v6 ? "[" : "", host, is_v6 ? "]" : "", port);
	if (!is_loopback(&address))
		fprintf(stderr,
			"ctxtool: warning: %s is no loopback address: whoever reaches it reads names of "
			"processes and labels of contexts, without encryption or password\n",
			shown);
	printf("listening on http://%s/metrics\n", shown);
	fflush(stdout);
}

/* Returns a listening socket, or -1 after it said what is wrong. */
static int open_socket(const char *host, const char *port)
{
	struct addrinfo hints = {.ai_flags = AI_PASSIVE | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM};
	struct addrinfo *found;
	char shown[ESCAPED_SIZE];
	int result = getaddrinfo(host, port, &hints, &found), fd, saved;

	escape(host, shown, sizeof(shown));
	if (result) {
		fprintf(stderr, "ctxtool: cannot find the address %s: %s\n", shown, gai_strerror(result));
		return -1;
	}
	fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd >= 0) {
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
		if (bind(fd, found->ai_addr, found->ai_addrlen) || listen(fd, CONNECTIONS_MAX)) {
			saved = errno;
			close(fd);
			errno = saved;
			fd = -1;
		}
	}
	saved = errno;
	freeaddrinfo(found);
	if (fd < 0)
		fprintf(stderr, "ctxtool: cannot listen on %s port %s: %s\n", shown, port, strerror(saved));
	return fd;
}

static void run_loop(struct MHD_Daemon *daemon)
{
	const union MHD_DaemonInfo *info = http.get_daemon_info(daemon, MHD_DAEMON_INFO_EPOLL_FD);
	MHD_UNSIGNED_LONG_LONG wait_ms;

	do {
		http.run(daemon);
		if (http.get_timeout(daemon, &wait_ms) != MHD_YES || wait_ms > 60000)
			wait_ms = 60000;
	} while (!terminal_wait_fd_for(info->epoll_fd, (uint64_t)wait_ms * 1000000));
}

int stats_listen(const struct view_options *options)
{
	struct exporter exporter = {.options = options};
	char host[256], port[8];
	struct MHD_Daemon *daemon;
	int fd;

	if (!divide_address(options->listen, host, port)) {
		complain_of_usage("ctxtool stats", "not a port, nor an address and port with a colon between",
				  options->listen);
		return EXIT_USAGE;
	}
	if (!load_library()) {
		fprintf(stderr,
			"ctxtool stats: --listen needs libmicrohttpd: install the package libmicrohttpd12\n");
		return EXIT_TROUBLE;
	}
	fd = open_socket(host, port);
	if (fd < 0)
		return EXIT_TROUBLE;
	terminal_catch();
	daemon = http.start_daemon(MHD_USE_EPOLL, 0, NULL, NULL, answer, &exporter, MHD_OPTION_LISTEN_SOCKET,
				   (MHD_socket)fd, MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS_MAX,
				   MHD_OPTION_CONNECTION_TIMEOUT, IDLE_MAX_S,
				   MHD_OPTION_CONNECTION_MEMORY_LIMIT, REQUEST_MAX, MHD_OPTION_END);
	if (!daemon) {
		close(fd);
		fprintf(stderr, "ctxtool: the HTTP server cannot be started: %s\n", strerror(errno));
		return EXIT_TROUBLE;
	}
	print_address(fd);
	run_loop(daemon);
	http.stop_daemon(daemon);
	discard_metrics(&exporter);
	return EXIT_OK;
}

#else

int stats_listen(const struct view_options *options)
{
	(void)options;
	fprintf(stderr, "ctxtool: this ctxtool was built without libmicrohttpd, so it cannot serve metrics; "
			"'ctxtool stats --openmetrics' prints them\n");
	return EXIT_TROUBLE;
}

#endif
