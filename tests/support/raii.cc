/* SPDX-License-Identifier: MIT */
/* Built against an installed copy: the owners of ctxring.hpp do what their scopes say. */
#include <ctxring.hpp>

#include <csignal>
#include <cstdio>
#include <cstdlib>

#include <sys/socket.h>
#include <unistd.h>

#define EXPECT(condition)                                                                    \
	do {                                                                                 \
		if (!(condition)) {                                                          \
			std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
			std::exit(1);                                                        \
		}                                                                            \
	} while (0)

static bool short_of_memory;

static void *allocate(std::size_t size, void *)
{
	return short_of_memory ? nullptr : std::malloc(size);
}

static void release(void *memory, void *)
{
	std::free(memory);
}

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

/* A text that is too long for the first buffer and, as one with a time left, shorter the second time. */
static void texts()
{
	std::size_t length = 1001;
	std::string text = ctx::detail::text("text", [&](char *buffer, std::size_t size) {
		return std::snprintf(buffer, size, "%s", std::string(--length, 'x').c_str());
	});
	EXPECT(text == std::string(999, 'x'));
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

static void deadlines_and_parents()
{
	ctx::context plain(ctx::background()), timed(ctx::background(), std::chrono::hours(1));
	EXPECT(plain->time_left() == ctx::forever);
	EXPECT(timed->time_left() > std::chrono::minutes(59) && timed->time_left() <= std::chrono::hours(1));
	EXPECT(std::string(plain->identity().trace).size() == 32);

	ctx::context merged = ctx::merge({plain, timed}, "merged");
	EXPECT(merged->deadline_ns() == timed->deadline_ns());
	plain.cancel(-EPIPE, "peer left");
	EXPECT(merged->cause().error == -EPIPE);
	EXPECT(std::string(ctx::name(plain->cause().kind)) == "call");
	EXPECT(ctx::text(plain->cause()).find("EPIPE: peer left") != std::string::npos);

	auto hour = std::chrono::steady_clock::now() + std::chrono::hours(1);
	ctx::context movable = ctx::with_movable_deadline(ctx::background(), hour);
	movable.set_grace(std::chrono::seconds(1));
	movable.set_deadline(hour + std::chrono::hours(1));
	EXPECT(movable->time_left() > std::chrono::hours(1));
	movable.set_deadline_cause(-EPIPE, "too late");
	movable.set_deadline({});
	EXPECT(movable->error() == std::errc::stream_timeout);
	EXPECT(std::string(movable->cause().text) == "too late");
}

static void taskgroups()
{
	ctx::taskgroup group(ctx::background(), 2, "group");
	auto succeed = [](ctx::view ctx) { return ctx ? 0 : -EPROTO; };
	auto fail = [](ctx::view) { return -EPIPE; };
	group.start(succeed);
	EXPECT(!group.wait() && group.context() && group.failures().empty());
	group.start(fail, "one that fails");
	EXPECT(group.wait() == std::errc::broken_pipe && !group.context());
	EXPECT(group.failures().size() == 1 && group.failures()[0].error == -EPIPE);

	short_of_memory = true;
	try {
		group.fail(-EIO, "only counted");
	} catch (const std::system_error &) {
	}
	short_of_memory = false;
	EXPECT(ctx_taskgroup_failures(group.get(), nullptr, 0) == 2 && group.failures().size() == 1);

	ctx_taskgroup_options options = {};
	options.flags = CTX_TASKGROUP_FIRST;
	options.delay_ns = CTX_FOREVER;
	ctx::taskgroup first(ctx::background(), options);
	EXPECT(!first.first());
	const auto &last = succeed;
	first.start(fail);
	first.start(last);
	first = ctx::taskgroup(std::move(first));
	EXPECT(!first.wait() && first.first() == &last);
}

static void processes()
{
	char name[] = "cat", *arguments[] = {name, nullptr};
	int fds[2];
	EXPECT(pipe(fds) == 0);
	int streams[] = {fds[0], 1, 2};
	ctx_spawn_options options = {};
	options.argv = arguments;
	options.fds = streams;
	ctx::context ctx(ctx::background());
	ctx::process process(ctx, options);
	EXPECT(process.pid() > 0 && process.fd() >= 0);
	ctx.cancel(-EPIPE, "peer left");
	ctx::process moved(std::move(process));
	ctx_exit exit = moved.wait();
	EXPECT(exit.stopped && exit.cause.error == -EPIPE);
	EXPECT(!moved.signal(SIGTERM));
	close(fds[0]);
	close(fds[1]);

	bool thrown = false;
	char none[] = "/no/program";
	arguments[0] = none;
	try {
		ctx::process missing(ctx::background(), options);
	} catch (const std::system_error &error) {
		thrown = error.code() == std::errc::no_such_file_or_directory;
	}
	EXPECT(thrown);
}

/* With a service at CTXD_SOCKET. */
static void clients()
{
	ctxd_options options = {};
	options.socket = "/no/ctxd.sock";
	bool thrown = false;
	try {
		ctx::client none(&options);
	} catch (const std::system_error &error) {
		thrown = error.code() == std::errc::no_such_file_or_directory;
	}
	EXPECT(thrown);
	if (!std::getenv("CTXD_SOCKET"))
		return;

	ctx::client owner, other;
	ctx::context ctx(ctx::background());
	ctxd_id id = owner.share(ctx, "shared");
	ctx::context joined = other.join(id), named = other.join(static_cast<uid_t>(-1), "shared");
	EXPECT(other.id(joined).number == id.number && ctx::view(joined));
	ctxd_target target = {};
	target.id = id;
	EXPECT(other.cancel(target, -EPIPE, "peer left").ended >= 1);
	EXPECT(joined->wait(std::chrono::seconds(20)) && named->wait(std::chrono::seconds(20)));
	EXPECT(ctx->cause().kind == CTX_CAUSE_SERVICE && other.cancel(target).ended == 0);
	try {
		other.join_remote("other/1-2-3");
	} catch (const std::system_error &error) {
		thrown = error.code() == std::errc::not_supported;
	}
	EXPECT(thrown);
}

int main()
{
	const ctx_allocator allocator = {allocate, release, nullptr};
	EXPECT(ctx_set_allocator(&allocator) == 0);
	texts();
	scopes();
	deadlines_and_parents();
	taskgroups();
	processes();
	clients();
	sources();
	causes();
	values_and_errors();
	rings();
}
