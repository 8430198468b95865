/* SPDX-License-Identifier: MIT */
/* Built against an installed copy: the owners of ctxring.hpp do what their scopes say. */
#include <ctxring.hpp>

#include <cstdio>
#include <cstdlib>

#include <sys/socket.h>
#include <unistd.h>

#define EXPECT(condition)                                                               \
	do {                                                                            \
		if (!(condition)) {                                                     \
			std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
			std::exit(1);                                                   \
		}                                                                       \
	} while (0)

static const ctx_key key = {"number", nullptr, nullptr};

static void scopes()
{
	ctx::reference kept;
	{
		ctx::context outer(ctx::background(), "outer");
		ctx::context moved(std::move(outer));
		ctx::context inner(moved, std::chrono::hours(1), "inner");
		kept = ctx::reference(inner);
		EXPECT(ctx::view(kept));
		EXPECT(inner->deadline_ns() != CTX_FOREVER);
		EXPECT(!inner->text().empty());
	}
	EXPECT(!ctx::view(kept));
	EXPECT(kept->error() == std::errc::operation_canceled);
}

static void causes()
{
	ctx::context ctx(ctx::background());
	bool ran = false;
	ctx::callback callback(ctx, [&](ctx::view done) { ran = !done; });
	EXPECT(ctx.cancel(-EPIPE, "peer left"));
	EXPECT(!ctx.cancel());
	EXPECT(ran);
	EXPECT(ctx->cause().error == -EPIPE && std::string(ctx->cause().text) == "peer left");
	EXPECT(ctx->wait());
}

static void values_and_errors()
{
	static int number = 7;
	ctx::reference value = ctx::with_value(ctx::background(), key, &number);
	EXPECT(value->value(key) == &number);
	EXPECT(ctx::without_cancel(value)->value(key) == &number);

	bool thrown = false;
	try {
		ctx::context child{ctx::view(nullptr)};
	} catch (const std::system_error &error) {
		thrown = error.code() == std::errc::invalid_argument;
	}
	EXPECT(thrown);
}

static void rings()
{
	try {
		ctx::ring ring(8);
		ctx::ring moved(std::move(ring));
		ctx::ring &same = moved;
		moved = std::move(same);
		EXPECT(moved.get());
		moved.run();
		EXPECT(moved.close(std::chrono::seconds(5)));
	} catch (const std::system_error &error) {
		std::fprintf(stderr, "no ring here: %s\n", error.what());
	}
}

static void sources()
{
	int fds[2];
	EXPECT(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
	ctx::context peer = ctx::with_hangup(ctx::background(), fds[0]);
	close(fds[1]);
	EXPECT(peer->wait(std::chrono::seconds(20)));
	EXPECT(peer->cause().kind == CTX_CAUSE_HANGUP);

	bool thrown = false;
	try {
		ctx::with_process(ctx::background(), fds[0]);
	} catch (const std::system_error &error) {
		thrown = error.code() == std::errc::bad_file_descriptor;
	}
	EXPECT(thrown);
	close(fds[0]);
}

int main()
{
	scopes();
	sources();
	causes();
	values_and_errors();
	rings();
}
