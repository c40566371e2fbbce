// SPDX-License-Identifier: GPL-2.0
/*
 * Prints the part of page_owner that is about given page frames:
 * page_owner_read START END [START END ...], END excluded.
 *
 * All of page_owner takes minutes to read. The file position is a page frame
 * number, and each read returns the record of the next allocated page.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PAGE_OWNER	"/sys/kernel/debug/page_owner"

/* A record has a line "PFN 0x<number> type ..."; 6.12 and older may say decimal */
static int record_pfn(const char *record, unsigned long *pfn)
{
	const char *line = strstr(record, "\nPFN ");

	if (!line)
		return -1;
	*pfn = strtoul(line + strlen("\nPFN "), NULL, 0);

	return 0;
}

static int print_range(int fd, unsigned long start, unsigned long end)
{
	char record[4096 + 1];
	unsigned long pfn;
	ssize_t len;

	/* Position 0 means "from the first page there is". */
	if (lseek(fd, start, SEEK_SET) < 0)
		return -errno;
	for (;;) {
		len = read(fd, record, sizeof(record) - 1);
		if (len < 0 && errno == EINTR)
			continue;
		if (len <= 0)
			return len ? -errno : 0;
		record[len] = '\0';
		if (record_pfn(record, &pfn))
			return -EPROTO;
		if (pfn >= end)
			return 0;
		fputs(record, stdout);
	}
}

int main(int argc, char **argv)
{
	int i, rc, fd = open(PAGE_OWNER, O_RDONLY);

	if (fd < 0) {
		perror(PAGE_OWNER);
		return 2;
	}
	for (i = 1; i + 1 < argc; i += 2) {
		rc = print_range(fd, strtoul(argv[i], NULL, 0),
				 strtoul(argv[i + 1], NULL, 0));
		if (rc) {
			fprintf(stderr, "%s: %s\n", PAGE_OWNER, strerror(-rc));
			return 2;
		}
	}

	return fflush(stdout) ? 2 : 0;
}
