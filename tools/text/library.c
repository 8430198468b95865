/* SPDX-License-Identifier: MIT */
#include "library.h"

#include <dlfcn.h>
#include <string.h>

bool library_load(const char *file, const char *const *names, size_t count, void *ret_functions)
{
	void *library = dlopen(file, RTLD_NOW | RTLD_LOCAL);

	for (size_t i = 0; library && i < count; i++) {
		void *function = dlsym(library, names[i]);

		if (!function)
			return false;
		memcpy((char *)ret_functions + i * sizeof(function), &function, sizeof(function));
	}
	return library != NULL;
}
