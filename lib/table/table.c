/* SPDX-License-Identifier: MIT */
#include "table.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "clock.h"
#include "control.h"
#include "file_id.h"
#include "lock.h"
#include "sys.h"

#define PAGE 4096ull
#define RUN_SMALLEST 64u
#define RUN_SIZES 15 /* the powers of two from 64 to 2^20 */
#define RINGS_MAX 1024u
#define COUNTERS_MAX 4096u
/* How many entries they hold: 2,700 ends, 29,000 contexts, 100,000 operations. */
#define ENDS_CHUNKS 128u
#define PAST_CHUNKS 256u
#define STEM_CELLS 256u /* a power of two, more than there are stems */
#define REFILL (TABLE_MAGAZINE_SIZE / 2)
/* Areas are added to core dumps in steps of this size. */
#define DUMP_STEP (256 * 1024ull)

enum table_phase {
	UNMADE,
	MADE,
	ABSENT /* it was not wanted, or could not be made */
};

struct table_map table_map;
__thread struct table_magazine table_magazine;
void (*_Atomic table_made)(void);

/*
 * Guards all variables below. Free records are linked through one of their fields: contexts through
 * parent_slot, runs of operations through context_slot of the first, causes through context_generation,
 * counters of one stem through reserved.
 * Readers do not look at free records.
 */
static struct lock table_lock;
static _Atomic enum table_phase phase = UNMADE; /* table_refill() and mark_exit() read it without the lock */
static int table_fd = -1;
static struct file_id table_file;
static uint32_t free_contexts, free_causes;
static uint32_t free_runs[RUN_SIZES];
static _Atomic uint32_t free_counters[CTX_TABLE_STEMS]; /* also looked at without the lock */
/*
 * Finds the slot of a stem by its text, without a lock. A cell is 0 or a slot that is published, and is
 * filled once. Loaded without table_lock, too.
 */
static _Atomic uint8_t stem_cells[STEM_CELLS];
static _Atomic uint32_t stems_found; /* the stems below this slot have cells */
_Static_assert(CTX_TABLE_STEMS <= 256, "a slot fits a cell");
static bool ring_taken[RINGS_MAX];
static bool announce; /* the table was made, and table_made() was not called yet */
static pthread_key_t exit_key;
static bool exit_key_made;

/* ---- stems by their text */

/* The high bits, since a product's depend on all of a word. */
static unsigned hash_of(const char text[CTX_TABLE_LABEL_SIZE])
{
	uint64_t words[CTX_TABLE_LABEL_SIZE / 8], hash = 0;

	memcpy(words, text, sizeof(words));
	for (unsigned i = 0; i < CTX_TABLE_LABEL_SIZE / 8; i++)
		hash = (hash ^ words[i]) * 0x9e3779b97f4a7c15ull;
	return (unsigned)(hash >> 56);
}

/* Returns the slot of a stem. 0: it cannot be found, and *ret_cell is the cell that it would go to. */
static uint32_t find_stem(const char text[CTX_TABLE_LABEL_SIZE], _Atomic uint8_t **ret_cell)
{
	for (unsigned i = hash_of(text);; i++) {
		_Atomic uint8_t *cell = &stem_cells[i % STEM_CELLS];
		uint8_t slot = atomic_load_explicit(cell, memory_order_acquire);
		*ret_cell = cell;
		if (!slot || !memcmp(table_map.stems[slot].text, text, CTX_TABLE_LABEL_SIZE))
			return slot;
	}
}

/* Lets the last stem be found. With table_lock held. */
static void remember_stem(uint32_t slot)
{
	_Atomic uint8_t *cell;

	if (!find_stem(table_map.stems[slot].text, &cell))
		atomic_store_explicit(cell, (uint8_t)slot, memory_order_release);
	atomic_store_explicit(&stems_found, slot + 1, memory_order_release);
}

/* ---- making the table */

static uint64_t page_up(uint64_t size)
{
	return (size + PAGE - 1) / PAGE * PAGE;
}

static struct ctx_table_area lay_out_area(uint64_t *offset, uint32_t count, size_t record_size)
{
	struct ctx_table_area area = {
		.offset = *offset, .record_size = (uint32_t)record_size, .count = count, .used = 1};

	*offset += page_up(count * record_size);
	return area;
}

/* The chunks of a journal are whole pages, which the first use of each takes. */
static struct ctx_table_journal lay_out_journal(uint64_t *offset, uint32_t chunks, size_t chunk_size,
						size_t entry_size)
{
	struct ctx_table_journal journal = {.area = lay_out_area(offset, chunks, chunk_size),
					    .entry_size = (uint32_t)entry_size};

	atomic_init(&journal.area.used, 0);
	return journal;
}

static uint32_t shrink_count(uint32_t count, unsigned shrink)
{
	return count >> shrink < 4 ? 4 : count >> shrink;
}

static void lay_out_header(struct ctx_table_header *header, unsigned shrink)
{
	uint64_t offset = PAGE;

	*header = (struct ctx_table_header){
		.version = CTX_TABLE_VERSION,
		.header_size = sizeof(*header),
		.created_ns = clock_now_ns(),
		.pid = getpid(),
		.uid = getuid(),
		.contexts = lay_out_area(&offset, 1u << 20 >> shrink, sizeof(struct ctx_table_context)),
		.operations = lay_out_area(&offset, 1u << 20 >> shrink, sizeof(struct ctx_table_operation)),
		.causes = lay_out_area(&offset, 1u << 16 >> shrink, sizeof(struct ctx_table_cause)),
		.rings = lay_out_area(&offset, RINGS_MAX, sizeof(struct ctx_table_ring)),
		.stems = lay_out_area(&offset, CTX_TABLE_STEMS, sizeof(struct ctx_table_stem)),
		.counters = lay_out_area(&offset, shrink_count(COUNTERS_MAX, shrink),
					 sizeof(struct ctx_table_counters)),
		.ends = lay_out_journal(&offset, shrink_count(ENDS_CHUNKS, shrink), CTX_TABLE_CHUNK_SIZE,
					sizeof(struct ctx_table_end)),
		.contexts_past =
			lay_out_journal(&offset, shrink_count(PAST_CHUNKS, shrink), CTX_TABLE_PAST_CHUNK_SIZE,
					sizeof(struct ctx_table_context_past)),
		.operations_past =
			lay_out_journal(&offset, shrink_count(PAST_CHUNKS, shrink), CTX_TABLE_PAST_CHUNK_SIZE,
					sizeof(struct ctx_table_operation_past)),
		.identities = lay_out_area(&offset, 1u << 20 >> shrink, sizeof(struct ctx_table_identity)),
	};
	header->file_size = offset;
}

/* How large the file may be. ftruncate(2) beyond RLIMIT_FSIZE would raise SIGXFSZ; of the address space,
 * seven eighths are left to the program. */
static uint64_t size_limit(void)
{
	struct rlimit file, space;
	uint64_t limit = UINT64_MAX;

	if (!getrlimit(RLIMIT_FSIZE, &file) && file.rlim_cur != RLIM_INFINITY)
		limit = file.rlim_cur;
	if (!getrlimit(RLIMIT_AS, &space) && space.rlim_cur != RLIM_INFINITY && space.rlim_cur / 8 < limit)
		limit = space.rlim_cur / 8;
	return limit;
}

/* Not all of it, because a core dump reads each page of shared memory, and reading a page of a sparse file
 * allocates it. */
void table_show_in_dumps(const struct ctx_table_area *area, uint64_t from, uint64_t to)
{
	uint64_t size = page_up((uint64_t)area->count * area->record_size);

	to = to > size ? size : to;
	if (from < to)
		madvise((char *)table_map.header + area->offset + from, to - from, MADV_DODUMP);
}

static void map_areas(struct ctx_table_header *memory, const struct ctx_table_header *layout)
{
	char *base = (char *)memory;
	struct ctx_table_header *header = memory;

	madvise(base, layout->file_size, MADV_DONTFORK);
	madvise(base + PAGE, layout->file_size - PAGE, MADV_DONTDUMP);
	*header = *layout;
	/* Field by field: other threads may be loading header. */
	table_map.contexts = (struct ctx_table_context *)(base + layout->contexts.offset);
	table_map.operations = (struct ctx_table_operation *)(base + layout->operations.offset);
	table_map.causes = (struct ctx_table_cause *)(base + layout->causes.offset);
	table_map.rings = (struct ctx_table_ring *)(base + layout->rings.offset);
	table_map.stems = (struct ctx_table_stem *)(base + layout->stems.offset);
	table_map.counters = (struct ctx_table_counters *)(base + layout->counters.offset);
	table_map.identities = (struct ctx_table_identity *)(base + layout->identities.offset);
	atomic_store_explicit(&table_map.header, header, memory_order_release);
	table_show_in_dumps(&layout->contexts, 0, DUMP_STEP);
	table_show_in_dumps(&layout->operations, 0, DUMP_STEP);
	table_show_in_dumps(&layout->causes, 0, DUMP_STEP);
	table_show_in_dumps(&layout->rings, 0, UINT64_MAX);
	table_show_in_dumps(&layout->stems, 0, UINT64_MAX);
	table_show_in_dumps(&layout->counters, 0, DUMP_STEP);
	table_show_in_dumps(&layout->ends.area, 0, UINT64_MAX);
	/* Slot 1 of both is there from the beginning: of all stems without a slot, and of all writers without
	 * a record. */
	strcpy(table_map.stems[CTX_TABLE_STEM_OTHER].text, "other");
	remember_stem(CTX_TABLE_STEM_OTHER);
	table_map.counters[1].stem = CTX_TABLE_STEM_OTHER;
	atomic_store_explicit(&header->stems.used, CTX_TABLE_STEM_OTHER + 1, memory_order_relaxed);
	atomic_store_explicit(&header->counters.used, 2, memory_order_relaxed);
	atomic_store_explicit(&header->magic, CTX_TABLE_MAGIC, memory_order_release);
}

static int make_table(void)
{
	struct ctx_table_header layout;
	unsigned shrink = 0;
	uint64_t limit = size_limit();
	void *memory = NULL;

	do
		lay_out_header(&layout, shrink++);
	while (layout.file_size > limit && shrink <= 10);
	if (layout.file_size > limit)
		return -EFBIG;

	int fd = sys_memfd_create(CTX_TABLE_MEMFD_NAME, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return fd;
	int result = sys_ftruncate(fd, (off_t)layout.file_size);
	if (!result)
		result = sys_mmap(layout.file_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd,
				  &memory);
	if (result)
		goto close_fd;
	/* The mapping that exists stays writable; every later one is not. */
	result = sys_add_seals(fd, F_SEAL_FUTURE_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
	if (result)
		goto unmap;
	map_areas(memory, &layout);
	table_fd = fd;
	table_file = file_id_of(fd);
	return 0;

unmap:
	munmap(memory, layout.file_size);
close_fd:
	sys_close(fd);
	return result;
}

/* Makes the table at the first call. True: there is one. With table_lock held. */
static bool ensure_table(void)
{
	if (phase == UNMADE) {
		const char *wish = secure_getenv("CTXRING_TABLE");
		bool wanted = !wish || strcmp(wish, "0") != 0;
		phase = wanted && make_table() == 0 ? MADE : ABSENT;
		if (phase == MADE)
			control_make();
		announce = phase == MADE;
	}
	return phase == MADE;
}

/* Releases table_lock, and calls table_made() if the table was made under it. */
static void unlock_and_announce(void)
{
	bool made = announce;

	announce = false;
	lock_release(&table_lock);
	void (*hook)(void) = made ? atomic_load(&table_made) : NULL;
	if (hook)
		hook();
}

int table_descriptor(void)
{
	lock_acquire(&table_lock);
	int result = ensure_table() && file_id_matches(table_file, table_fd) ? table_fd : -ENOENT;
	unlock_and_announce();
	return result;
}

/* Takes the next count records that were never in use. Returns the first; 0: too few are left. */
static uint32_t extend_area(struct ctx_table_area *area, uint32_t count)
{
	uint32_t first = atomic_load_explicit(&area->used, memory_order_relaxed);

	if (count > area->count - first)
		return 0;
	uint64_t before = (uint64_t)first * area->record_size;
	uint64_t after = (uint64_t)(first + count) * area->record_size;
	uint64_t shown = (before + DUMP_STEP - 1) / DUMP_STEP * DUMP_STEP;
	uint64_t needed = (after + DUMP_STEP - 1) / DUMP_STEP * DUMP_STEP;
	table_show_in_dumps(area, shown ? shown : DUMP_STEP, needed);
	atomic_store_explicit(&area->used, first + count, memory_order_release);
	return first;
}

/* ---- contexts */

static void release_slots(struct table_magazine *magazine, uint32_t keep)
{
	while (magazine->count > keep) {
		uint32_t slot = magazine->slots[--magazine->count];
		table_map.contexts[slot].parent_slot = free_contexts;
		free_contexts = slot;
	}
}

static void empty_magazine(void *state)
{
	(void)state;
	lock_acquire(&table_lock);
	if (phase == MADE)
		release_slots(&table_magazine, 0);
	lock_release(&table_lock);
}

bool table_keep(void)
{
	return exit_key_made && !pthread_setspecific(exit_key, &table_magazine);
}

void table_give_back(uint32_t slot)
{
	struct table_magazine single = {.count = 1, .slots = {slot}};

	lock_acquire(&table_lock);
	release_slots(&single, 0);
	lock_release(&table_lock);
}

bool table_refill(void)
{
	struct table_magazine *magazine = &table_magazine;

	if (atomic_load_explicit(&phase, memory_order_relaxed) == ABSENT)
		return false;
	/* A thread whose end would not be noticed keeps no slots. */
	uint32_t wanted = table_keep() ? REFILL : 1;
	lock_acquire(&table_lock);
	if (ensure_table()) {
		while (free_contexts && magazine->count < wanted) {
			magazine->slots[magazine->count++] = free_contexts;
			free_contexts = table_map.contexts[free_contexts].parent_slot;
		}
		uint32_t count = wanted - magazine->count;
		uint32_t first = count ? extend_area(&table_map.header->contexts, count) : 0;
		for (uint32_t i = 0; first && i < count; i++)
			magazine->slots[magazine->count++] = first + count - 1 - i;
	}
	unlock_and_announce();
	return magazine->count > 0;
}

void table_spill(void)
{
	lock_acquire(&table_lock);
	release_slots(&table_magazine, TABLE_MAGAZINE_SIZE - REFILL);
	lock_release(&table_lock);
}

void table_note_identity(uint32_t slot, uint32_t generation, const uint8_t trace[16], const uint8_t sender[8])
{
	struct ctx_table_identity *record = &table_map.identities[slot];

	/* used is one more than the highest slot that has one. */
	struct ctx_table_area *area = &table_map.header->identities;
	uint32_t used = atomic_load_explicit(&area->used, memory_order_relaxed);
	while (used <= slot && !atomic_compare_exchange_weak(&area->used, &used, slot + 1))
		;
	atomic_store_explicit(&record->generation, 0, memory_order_relaxed);
	atomic_thread_fence(memory_order_seq_cst);
	memcpy(record->trace, trace, sizeof(record->trace));
	memcpy(record->sender, sender, sizeof(record->sender));
	/* The partner is the reader, which loads it before and after its copy. */
	atomic_store_explicit(&record->generation, generation, memory_order_release);
}

/* ---- causes, rings, operations */

uint32_t table_cause_new(void)
{
	uint32_t slot = 0;

	lock_acquire(&table_lock);
	if (ensure_table()) {
		slot = free_causes;
		if (slot)
			free_causes = table_map.causes[slot].context_generation;
		else
			slot = extend_area(&table_map.header->causes, 1);
	}
	unlock_and_announce();
	return slot;
}

void table_cause_free(uint32_t slot)
{
	struct ctx_table_cause *record = &table_map.causes[slot];

	lock_acquire(&table_lock);
	table_write_begin(&record->seq);
	record->context_slot = 0;
	record->context_generation = free_causes;
	table_write_end(&record->seq);
	free_causes = slot;
	lock_release(&table_lock);
}

int table_ring_new(uint32_t *ret_slot)
{
	uint32_t slot = 0;

	lock_acquire(&table_lock);
	if (ensure_table()) {
		for (slot = 1; slot < RINGS_MAX && ring_taken[slot]; slot++)
			;
		slot = slot < RINGS_MAX ? slot : 0;
	}
	if (slot) {
		ring_taken[slot] = true;
		struct ctx_table_area *area = &table_map.header->rings;
		if (slot >= atomic_load_explicit(&area->used, memory_order_relaxed))
			atomic_store_explicit(&area->used, slot + 1, memory_order_release);
	}
	unlock_and_announce();
	*ret_slot = slot;
	return 0;
}

void table_ring_free(uint32_t slot)
{
	if (!slot)
		return;
	lock_acquire(&table_lock);
	if (phase == MADE)
		ring_taken[slot] = false;
	lock_release(&table_lock);
}

static unsigned run_size(uint32_t count)
{
	return (unsigned)__builtin_ctz(count / RUN_SMALLEST);
}

static void put_run(uint32_t first, unsigned size)
{
	table_map.operations[first].context_slot = free_runs[size];
	free_runs[size] = first;
}

static uint32_t take_run(unsigned size)
{
	uint32_t first = free_runs[size];

	if (first)
		free_runs[size] = table_map.operations[first].context_slot;
	return first;
}

int table_operations_new(uint32_t count, uint32_t *ret_first)
{
	uint32_t first = 0;

	if (count < RUN_SMALLEST || (count & (count - 1)) || run_size(count) >= RUN_SIZES)
		return -EINVAL;
	lock_acquire(&table_lock);
	if (ensure_table()) {
		unsigned wanted = run_size(count), size = wanted;
		first = take_run(size);
		if (!first)
			first = extend_area(&table_map.header->operations, count);
		while (!first && ++size < RUN_SIZES)
			first = take_run(size);
		/* A larger run was taken: its upper halves are put back. */
		while (first && size > wanted) {
			size--;
			put_run(first + (RUN_SMALLEST << size), size);
		}
	}
	unlock_and_announce();
	*ret_first = first;
	return 0;
}

void table_operations_free(uint32_t first, uint32_t count)
{
	if (!first)
		return;
	lock_acquire(&table_lock);
	if (phase == MADE)
		put_run(first, run_size(count));
	lock_release(&table_lock);
}

/* ---- stems and counters */

uint32_t table_stem_slot(const char text[CTX_TABLE_LABEL_SIZE])
{
	struct ctx_table_area *area = &table_map.header->stems;
	/* Loaded first: when all stems can be found, this one is not among them if it is not found now. */
	bool all = atomic_load_explicit(&stems_found, memory_order_acquire) == area->count;
	_Atomic uint8_t *cell;
	uint32_t slot = find_stem(text, &cell);

	if (slot || all)
		return slot ? slot : CTX_TABLE_STEM_OTHER;
	lock_acquire(&table_lock);
	slot = find_stem(text, &cell);
	uint32_t used = atomic_load_explicit(&area->used, memory_order_relaxed);
	if (!slot && used < area->count) {
		memcpy(table_map.stems[used].text, text, CTX_TABLE_LABEL_SIZE);
		slot = extend_area(area, 1);
		remember_stem(slot);
	}
	lock_release(&table_lock);
	return slot ? slot : CTX_TABLE_STEM_OTHER;
}

uint32_t table_counters_new(uint32_t stem)
{
	struct ctx_table_area *area = &table_map.header->counters;
	_Atomic uint32_t *free = &free_counters[stem];

	/* When none is left no lock is taken to hear that. */
	if (!atomic_load_explicit(free, memory_order_relaxed) &&
	    atomic_load_explicit(&area->used, memory_order_relaxed) == area->count)
		return 0;
	lock_acquire(&table_lock);
	uint32_t slot = atomic_load_explicit(free, memory_order_relaxed);
	if (slot) {
		atomic_store_explicit(free, table_map.counters[slot].reserved, memory_order_relaxed);
	} else {
		uint32_t next = atomic_load_explicit(&area->used, memory_order_relaxed);
		if (next < area->count)
			table_map.counters[next].stem = stem;
		slot = extend_area(area, 1);
	}
	lock_release(&table_lock);
	return slot;
}

void table_counters_free(const uint16_t slots[CTX_TABLE_STEMS])
{
	lock_acquire(&table_lock);
	for (uint32_t stem = 0; phase == MADE && stem < CTX_TABLE_STEMS; stem++) {
		if (!slots[stem])
			continue;
		table_map.counters[slots[stem]].reserved =
			atomic_load_explicit(&free_counters[stem], memory_order_relaxed);
		atomic_store_explicit(&free_counters[stem], slots[stem], memory_order_relaxed);
	}
	lock_release(&table_lock);
}

/* ---- fork: the child does not inherit the mapping, and must not give out the parent's table as its own */

static void fork_prepare(void)
{
	lock_acquire(&table_lock);
}

static void fork_parent(void)
{
	lock_release(&table_lock);
}

static void fork_child(void)
{
	table_lock = (struct lock){0};
	if (table_fd >= 0 && file_id_matches(table_file, table_fd))
		sys_close(table_fd);
	table_fd = -1;
	table_map = (struct table_map){.header = NULL};
	control_forget();
	table_magazine.count = 0;
	free_contexts = free_causes = 0;
	memset(free_runs, 0, sizeof(free_runs));
	memset(free_counters, 0, sizeof(free_counters));
	memset(stem_cells, 0, sizeof(stem_cells));
	stems_found = 0;
	memset(ring_taken, 0, sizeof(ring_taken));
	announce = false;
	phase = UNMADE;
}

/* The process ends by itself: the service need not keep its table to explain its death. */
__attribute__((destructor)) static void mark_exit(void)
{
	if (atomic_load(&phase) == MADE)
		atomic_store_explicit(&table_map.header->contexts.flags, CTX_TABLE_EXITED,
				      memory_order_release);
}

__attribute__((constructor)) static void prepare_table(void)
{
	exit_key_made = pthread_key_create(&exit_key, empty_magazine) == 0;
	pthread_atfork(fork_prepare, fork_parent, fork_child);
}
