/* SPDX-License-Identifier: MIT */
#include "symbols.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef HAVE_LIBDW

#include <elfutils/libdwfl.h>
#include <gelf.h>

#include "library.h"

struct symbols {
	Dwfl *dwfl;
	Dwfl_Module *module;
};

/* The functions of libdw that are used here. */
#define FOR_EACH_FUNCTION(apply)                                                                   \
	apply(dwfl_begin) apply(dwfl_end) apply(dwfl_report_begin) apply(dwfl_report_elf)          \
		apply(dwfl_report_end) apply(dwfl_module_getelf) apply(dwfl_module_build_id)       \
			apply(dwfl_module_addrinfo) apply(dwfl_module_getsrc) apply(dwfl_lineinfo) \
				apply(dwfl_build_id_find_debuginfo) apply(dwfl_offline_section_address)

#define DECLARE_POINTER(function) __typeof__(&function) function;
static struct {
	FOR_EACH_FUNCTION(DECLARE_POINTER)
} libdw;

/* The file is given to libdw open, so it never looks for one. */
static int find_no_file(Dwfl_Module *module, void **data, const char *name, Dwarf_Addr base, char **file_name,
			Elf **elf)
{
	(void)module, (void)data, (void)name, (void)base, (void)file_name, (void)elf;
	return -1;
}

static char *debug_folder = "/usr/lib/debug";
static Dwfl_Callbacks callbacks = {.find_elf = find_no_file, .debuginfo_path = &debug_folder};

static bool load_library(void)
{
#define NAME(function) #function,
	static const char *const names[] = {FOR_EACH_FUNCTION(NAME)};
	static bool tried, loaded;

	if (tried)
		return loaded;
	tried = true;
	loaded = library_load("libdw.so.1", names, sizeof(names) / sizeof(names[0]), &libdw);
	if (!loaded)
		return false;
	/* Of the callbacks of libdw this one finds files by build id, and asks no server. */
	callbacks.find_debuginfo = libdw.dwfl_build_id_find_debuginfo;
	callbacks.section_address = libdw.dwfl_offline_section_address;
	return true;
}

static void symbols_free(struct symbols *symbols)
{
	if (symbols->dwfl)
		libdw.dwfl_end(symbols->dwfl);
	free(symbols);
}

struct symbols *symbols_open(int fd)
{
	struct symbols *symbols = load_library() ? calloc(1, sizeof(*symbols)) : NULL;

	if (!symbols) {
		close(fd);
		return NULL;
	}
	symbols->dwfl = libdw.dwfl_begin(&callbacks);
	if (symbols->dwfl) {
		libdw.dwfl_report_begin(symbols->dwfl);
		/* At the base 0 an address is what the file says. */
		symbols->module = libdw.dwfl_report_elf(symbols->dwfl, "", "", fd, 0, true);
		libdw.dwfl_report_end(symbols->dwfl, NULL, NULL);
	}
	if (!symbols->module) {
		close(fd);
		symbols_free(symbols);
		return NULL;
	}
	return symbols;
}

bool symbols_match(const struct symbols *symbols, const unsigned char *build_id, unsigned size)
{
	const unsigned char *found;
	GElf_Addr address;
	int found_size = libdw.dwfl_module_build_id(symbols->module, &found, &address);

	return found_size > 0 && (unsigned)found_size == size && memcmp(found, build_id, size) == 0;
}

/* Returns the address at which the file wants to have what is at offset in it; 0: nowhere. */
static uint64_t find_address(const struct symbols *symbols, uint64_t offset)
{
	GElf_Addr bias;
	Elf *elf = libdw.dwfl_module_getelf(symbols->module, &bias);
	size_t count;

	if (!elf || elf_getphdrnum(elf, &count))
		return 0;
	for (size_t i = 0; i < count; i++) {
		GElf_Phdr program;

		if (gelf_getphdr(elf, (int)i, &program) && program.p_type == PT_LOAD &&
		    offset >= program.p_offset && offset - program.p_offset < program.p_filesz)
			return offset - program.p_offset + program.p_vaddr + bias;
	}
	return 0;
}

void symbols_find(const struct symbols *symbols, uint64_t offset, struct site_name *ret_name)
{
	uint64_t address = find_address(symbols, offset);
	GElf_Off from_function = 0;
	GElf_Sym symbol;
	const char *text;
	int line_number = 0;

	*ret_name = (struct site_name){0};
	if (!address)
		return;
	text = libdw.dwfl_module_addrinfo(symbols->module, address, &from_function, &symbol, NULL, NULL,
					  NULL);
	if (text) {
		snprintf(ret_name->function, sizeof(ret_name->function), "%s", text);
		ret_name->offset = from_function;
	}
	Dwfl_Line *line = libdw.dwfl_module_getsrc(symbols->module, address);
	text = line ? libdw.dwfl_lineinfo(line, NULL, &line_number, NULL, NULL, NULL) : NULL;
	if (text && line_number > 0) {
		snprintf(ret_name->file, sizeof(ret_name->file), "%s", text);
		ret_name->line = (uint32_t)line_number;
	}
}

#else

struct symbols *symbols_open(int fd)
{
	close(fd);
	return NULL;
}

bool symbols_match(const struct symbols *symbols, const unsigned char *build_id, unsigned size)
{
	(void)symbols, (void)build_id, (void)size;
	return false;
}

void symbols_find(const struct symbols *symbols, uint64_t offset, struct site_name *ret_name)
{
	(void)symbols, (void)offset;
	*ret_name = (struct site_name){0};
}

#endif
