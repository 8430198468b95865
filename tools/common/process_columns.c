/* SPDX-License-Identifier: MIT */
#include "process_columns.h"

#include <string.h>

#include "users.h"

struct process *row_process(const void *row)
{
	return *(struct process *const *)row;
}

char *append_number(char *end, uint64_t number)
{
	char digits[20];
	size_t count = 0;

	do
		digits[count++] = (char)('0' + number % 10);
	while (number /= 10);
	while (count)
		*end++ = digits[--count];
	return end;
}

const char *number_text(uint64_t number, char buffer[TEXT_SIZE])
{
	*append_number(buffer, number) = '\0';
	return buffer;
}

const char *escaped_text(const char *text, char buffer[TEXT_SIZE])
{
	return *text ? escape(text, buffer, ESCAPED_SIZE) : "-";
}

const char *row_process_text(const void *row, char buffer[TEXT_SIZE])
{
	return escaped_text(row_process(row)->name, buffer);
}

const char *row_user_text(const void *row, char buffer[TEXT_SIZE])
{
	return escaped_text(user_name(row_process(row)->uid), buffer);
}

const char *row_pid_text(const void *row, char buffer[TEXT_SIZE])
{
	return number_text((uint64_t)row_process(row)->pid, buffer);
}

const char *row_uid_text(const void *row, char buffer[TEXT_SIZE])
{
	return number_text(row_process(row)->uid, buffer);
}

int row_compare_processes(const void *left, const void *right)
{
	return strcmp(row_process(left)->name, row_process(right)->name);
}

int row_compare_users(const void *left, const void *right)
{
	return strcmp(user_name(row_process(left)->uid), user_name(row_process(right)->uid));
}

int row_compare_pids(const void *left, const void *right)
{
	return order_numbers((uint64_t)row_process(left)->pid, (uint64_t)row_process(right)->pid);
}

int row_compare_uids(const void *left, const void *right)
{
	return order_numbers(row_process(left)->uid, row_process(right)->uid);
}
