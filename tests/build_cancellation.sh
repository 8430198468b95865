#!/bin/bash
# SPDX-License-Identifier: MIT
# The library calls no function of the C library that is a cancellation point of pthread_cancel(3), or may be one:
# POSIX.1-2017, System Interfaces, 2.9.5, and what glibc and musl add. lib/base/sys.h has others for them.
# tests/check_pthread_cancel.c shows the same from outside.
set -eu
cd "$(dirname "$0")/.."
"$MAKE" --no-print-directory -j"$(nproc)" library >/dev/null

points='accept accept4 aio_suspend clock_nanosleep close connect copy_file_range creat epoll_pwait epoll_pwait2
epoll_wait fdatasync fsync getmsg getpmsg getrandom lockf mq_receive mq_send mq_timedreceive mq_timedsend msgrcv
msgsnd msync nanosleep open open_by_handle_at openat pause poll ppoll pread preadv preadv2 pselect pthread_cond_wait
pthread_cond_timedwait pthread_cond_clockwait pthread_join pthread_clockjoin_np pthread_timedjoin_np
pthread_testcancel putmsg pwrite pwritev pwritev2 read readv recv recvfrom recvmmsg recvmsg select sem_wait
sem_timedwait sem_clockwait send sendmmsg sendmsg sendto sigpause sigsuspend sigtimedwait sigwait sigwaitinfo sleep
splice sync_file_range system tcdrain tee thrd_join cnd_wait usleep vmsplice wait wait3 wait4 waitid waitpid write
writev
closedir dprintf fclose fdopen fflush fgetc fgets fopen fprintf fputc fputs fread freopen fscanf fseek ftell fwrite
getaddrinfo getc getchar getdelim getline getnameinfo getpwnam getpwnam_r getpwuid getpwuid_r getgrgid_r getgrnam_r
glob mkstemp nftw opendir openlog perror popen posix_openpt printf putc putchar puts readdir rewinddir scanf syslog
vdprintf vfprintf vprintf __getdelim __isoc99_fscanf __fprintf_chk __printf_chk __dprintf_chk'

imported=$(nm -uD build/libctxring.so | awk '{print $2}' | sed 's/@.*//; s/64$//' | sort -u)
[ "$(wc -l <<<"$imported")" -gt 40 ]
found=$(comm -12 <(tr -s ' \n' '\n' <<<"$points" | sort -u) - <<<"$imported")
[ -z "$found" ] || { echo "the library calls cancellation points:" $found; exit 1; }
echo "no cancellation point among $(wc -l <<<"$imported") functions"
