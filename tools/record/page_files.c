/* SPDX-License-Identifier: MIT */
/* The files of the page, as they are in this folder, within the program. */

#define INCLUDE_FILE(name, path)                         \
	__asm__(".section .rodata\n"                     \
		".globl " #name "\n"                     \
		".globl " #name "_end\n"                 \
		".hidden " #name "\n"                    \
		".hidden " #name "_end\n" #name ":\n"    \
		".incbin \"" path "\"\n" #name "_end:\n" \
		".byte 0\n"                              \
		".previous\n")

INCLUDE_FILE(page_html, "tools/record/page.html");
INCLUDE_FILE(page_css, "tools/record/page.css");
INCLUDE_FILE(page_js, "tools/record/page.js");
