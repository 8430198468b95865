/* SPDX-License-Identifier: MIT */
/*
 * The columns of listings that say what process a row is of, and what other columns share. Each row begins
 * with a struct process *.
 */
#ifndef TOOL_PROCESS_COLUMNS_H
#define TOOL_PROCESS_COLUMNS_H

#include "columns.h"

struct process *row_process(const void *row);

/* The functions of the columns process, user, pid and uid. */
const char *row_process_text(const void *row, char buffer[TEXT_SIZE]);
const char *row_user_text(const void *row, char buffer[TEXT_SIZE]);
const char *row_pid_text(const void *row, char buffer[TEXT_SIZE]);
const char *row_uid_text(const void *row, char buffer[TEXT_SIZE]);
int row_compare_processes(const void *left, const void *right);
int row_compare_users(const void *left, const void *right);
int row_compare_pids(const void *left, const void *right);
int row_compare_uids(const void *left, const void *right);

/* Writes the digits of a number, and returns where they end. printf(3) takes more time than all else of a
 * line. */
char *append_number(char *end, uint64_t number);

/* Returns the number as text; the text escaped, or "-" for an empty one. */
const char *number_text(uint64_t number, char buffer[TEXT_SIZE]);
const char *escaped_text(const char *text, char buffer[TEXT_SIZE]);

#endif
