/* SPDX-License-Identifier: MIT */
/*
 * A context over libcurl: one HTTP transfer that ends when the context does.
 *
 * curl_multi_poll(3) waits for the descriptors of libcurl and for descriptors of the program. The done
 * descriptor of the context is one of these, so the wait ends when the context does. Neither CURLOPT_TIMEOUT
 * nor a progress function is needed. The function to copy is transfer(). A program that calls
 * curl_multi_socket_action(3) puts the descriptor into its own loop instead.
 *
 *	curl URL MS	prints what is answered; exits with 1 when the time was over
 */
#include <ctxring.h>
#include <curl/curl.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The result of the only transfer of multi. *ret_status is the HTTP status. */
static int result(CURLM *multi, long *ret_status)
{
	int left;
	CURLMsg *message = curl_multi_info_read(multi, &left);

	if (!message || message->msg != CURLMSG_DONE)
		return -EIO;
	if (message->data.result != CURLE_OK) {
		fprintf(stderr, "curl: %s\n", curl_easy_strerror(message->data.result));
		return -EIO;
	}
	curl_easy_getinfo(message->easy_handle, CURLINFO_RESPONSE_CODE, ret_status);
	return 0;
}

/* Runs the transfer until it is over, and returns 0 or -EIO, or until the context is, and returns its error.
 */
static int transfer(CURLM *multi, const struct ctx_context *ctx, long *ret_status)
{
	struct curl_waitfd done = {.fd = ctx_done_fd(ctx), .events = CURL_WAIT_POLLIN};
	int running, error;

	if (done.fd < 0)
		return done.fd;
	for (;;) {
		/* Which descriptor is ready does not matter: ctx_err tells whether the context has ended. */
		error = ctx_err(ctx);
		if (error)
			return error;
		if (curl_multi_perform(multi, &running) != CURLM_OK)
			return -EIO;
		if (!running)
			return result(multi, ret_status);
		/* libcurl ends this wait in time for its own next timer. */
		if (curl_multi_poll(multi, &done, 1, INT_MAX, NULL) != CURLM_OK)
			return -EIO;
	}
}

/* Runs one GET, whose body goes to standard output. */
static int get(const char *url, const struct ctx_context *ctx, long *ret_status)
{
	CURLM *multi = curl_multi_init();
	CURL *easy = curl_easy_init();
	int error = -ENOMEM;

	if (!multi || !easy || curl_easy_setopt(easy, CURLOPT_URL, url) != CURLE_OK)
		goto out;
	/* Without this some builds of libcurl use SIGALRM for name lookups. */
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	if (curl_multi_add_handle(multi, easy) != CURLM_OK)
		goto out;
	error = transfer(multi, ctx, ret_status);
	/*
	 * Ends a transfer that still runs and closes its connection. After this call libcurl calls no
	 * function of ours for it, so the data of CURLOPT_WRITEDATA may be freed. There is one exception: a
	 * libcurl that looks names up with getaddrinfo(3), in a thread, waits for that thread here. It needs
	 * an address by CURLOPT_RESOLVE or CURLOPT_CONNECT_TO, from a lookup that can be ended (resolve.c),
	 * or to have been built with c-ares.
	 */
	curl_multi_remove_handle(multi, easy);
out:
	curl_easy_cleanup(easy);
	curl_multi_cleanup(multi);
	return error;
}

int main(int argc, char **argv)
{
	CTX_AUTO_FINISH struct ctx_context *ctx = NULL;
	struct ctx_cause cause;
	long status = 0;
	int error;

	if (argc != 3) {
		fprintf(stderr, "Usage: curl URL MS\n");
		return 2;
	}
	/* Called while there is one thread: the first deadline starts a thread of ctxring. */
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		return 2;
	error = ctx_with_timeout(ctx_background(), strtoul(argv[2], NULL, 10) * UINT64_C(1000000), "get",
				 &ctx);
	if (error) {
		fprintf(stderr, "curl: %s\n", strerror(-error));
		return 2;
	}
	ctx_set_deadline_cause(ctx, 0, "no answer within %s ms", argv[2]);
	error = get(argv[1], ctx, &status);
	if (!error) {
		fprintf(stderr, "curl: answered with status %ld\n", status);
	} else if (error == ctx_err(ctx)) {
		ctx_get_cause(ctx, &cause);
		fprintf(stderr, "curl: ended: %s (%s)\n", strerror(-error), cause.text);
	}
	curl_global_cleanup();
	return !error ? 0 : error == -ETIME ? 1 : 2;
}
