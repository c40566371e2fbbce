// SPDX-License-Identifier: GPL-2.0
/* The terminal, and everything that is drawn: sizes, bars, strips, names. */
#include <langinfo.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>
#include <wctype.h>

#include "tool.h"

#define DEFAULT_WIDTH	80
#define DEFAULT_HEIGHT	24
#define MIN_WIDTH	20

struct terminal term;

static bool dumb(void)
{
	const char *name = getenv("TERM");

	return !name || !*name || !strcmp(name, "dumb");
}

/* Whether what was written to it can be changed again */
bool term_can_draw(int fd)
{
	return isatty(fd) && !dumb();
}

static int env_number(const char *name)
{
	const char *text = getenv(name);
	unsigned long value;

	if (!text || parse_number(text, 10000, &value))
		return 0;
	return value;
}

int term_width(int fd)
{
	struct winsize ws;
	int width = env_number("COLUMNS");

	if (!width && !ioctl(fd, TIOCGWINSZ, &ws))
		width = ws.ws_col;
	if (!width)
		width = DEFAULT_WIDTH;
	return width < MIN_WIDTH ? MIN_WIDTH : width;
}

void term_measure(void)
{
	struct winsize ws;

	term.width = term_width(STDOUT_FILENO);
	term.height = env_number("LINES");
	if (!term.height && !ioctl(STDOUT_FILENO, TIOCGWINSZ, &ws))
		term.height = ws.ws_row;
	if (!term.height)
		term.height = DEFAULT_HEIGHT;
}

void term_init(void)
{
	const char *no_color = getenv("NO_COLOR");

	setlocale(LC_CTYPE, "");
	term.tty = isatty(STDOUT_FILENO);
	term.utf8 = term.tty && !dumb() &&
		    !strcmp(nl_langinfo(CODESET), "UTF-8");
	term.color = term.tty && !dumb() && !(no_color && *no_color);
	term_measure();
}

const char *color(enum color color)
{
	static const char * const codes[] = {
		[COLOR_DEVICE] = "\033[32m",
		[COLOR_SYSTEM] = "\033[34m",
		[COLOR_SWAP] = "\033[33m",
		[COLOR_WARN] = "\033[31m",
		[COLOR_TITLE] = "\033[1m",
		[COLOR_FAINT] = "\033[2m",
		[COLOR_NONE] = "\033[0m",
	};

	return term.color ? codes[color] : "";
}

/* At most five characters: 0, 4.0K, 1023M, 1.5G. Return: @buf */
const char *size_text(char *buf, __u64 bytes)
{
	static const char units[] = "\0KMGTPE";
	int unit = 0;
	__u64 divisor = 1;
	__u64 tenths;

	while (bytes / divisor >= 1024) {
		divisor <<= 10;
		unit++;
	}
	tenths = bytes / divisor * 10 + (bytes % divisor) * 10 / divisor;
	if (unit && tenths < 100)
		snprintf(buf, SIZE_TEXT, "%llu.%llu%c", tenths / 10,
			 tenths % 10, units[unit]);
	else
		snprintf(buf, SIZE_TEXT, "%llu%c", bytes / divisor, units[unit]);
	return buf;
}

/* The same, or all digits with --bytes */
const char *number_text(char *buf, __u64 bytes)
{
	if (!out.bytes)
		return size_text(buf, bytes);
	snprintf(buf, SIZE_TEXT, "%llu", bytes);
	return buf;
}

const char *rate_text(char *buf, double bytes)
{
	bool negative = bytes < 0;

	buf[0] = '-';
	number_text(buf + negative, negative ? -bytes : bytes);
	return buf;
}

static void repeat(FILE *f, const char *what, int times)
{
	while (times-- > 0)
		fputs(what, f);
}

static void bar_utf8(FILE *f, double part, int width)
{
	static const char * const eighths[] = {
		"", "▏", "▎", "▍", "▌", "▋", "▊", "▉",
	};
	int filled = part * width * 8 + 0.5;
	int cells = filled / 8;

	/* What isn't quite nothing, or all, shouldn't look so. */
	if (!filled && part > 0)
		filled = 1;
	repeat(f, "█", cells);
	if (filled % 8) {
		fputs(eighths[filled % 8], f);
		cells++;
	}
	repeat(f, " ", width - cells);
}

static void bar_ascii(FILE *f, double part, int width)
{
	int cells = part * width + 0.5;

	if (!cells && part > 0)
		cells = 1;
	repeat(f, "#", cells);
	repeat(f, ".", width - cells);
}

/* @width with the brackets */
void print_bar(FILE *f, double part, int width)
{
	part = part < 0 ? 0 : part > 1 ? 1 : part;
	width = width < 5 ? 3 : width - 2;
	fprintf(f, "[%s", color(part > 0.95 ? COLOR_WARN : COLOR_DEVICE));
	if (term.utf8)
		bar_utf8(f, part, width);
	else
		bar_ascii(f, part, width);
	fprintf(f, "%s]", color(COLOR_NONE));
}

/* One letter per slice of a mapping; in a terminal something to see for it */
static const struct cell {
	char letter;
	const char *block;
	const char *name;
	enum color color;
} cells[] = {
	{ 'D', "█", "device", COLOR_DEVICE },
	{ 'm', "▓", "both", COLOR_DEVICE },
	{ 's', "▒", "system", COLOR_SYSTEM },
	{ 'u', "╳", "unmovable", COLOR_FAINT },
	{ 'w', "░", "swapped", COLOR_SWAP },
	{ '.', "·", "absent", COLOR_FAINT },
};

static const struct cell *find_cell(char letter)
{
	size_t i = ARRAY_SIZE(cells) - 1;

	while (i && cells[i].letter != letter)
		i--;
	return &cells[i];
}

static void print_cell(FILE *f, const struct cell *cell)
{
	if (term.utf8)
		fputs(cell->block, f);
	else
		fputc(cell->letter, f);
}

void print_strip(FILE *f, const char *strip)
{
	const struct cell *cell;
	char last = '\0';

	for (; *strip; last = *strip++) {
		cell = find_cell(*strip);
		if (*strip != last && last)
			fputs(color(COLOR_NONE), f);
		if (*strip != last)
			fputs(color(cell->color), f);
		print_cell(f, cell);
	}
	fputs(color(COLOR_NONE), f);
}

void print_strip_legend(FILE *f)
{
	int columns = 0, width;
	char strip[2] = "";
	size_t i;

	for (i = 0; i < ARRAY_SIZE(cells); i++) {
		width = 4 + strlen(cells[i].name);
		if (columns && term.tty && columns + width > term.width + 2) {
			fputc('\n', f);
			columns = 0;
		}
		fputs(columns ? "  " : "", f);
		columns += width;
		strip[0] = cells[i].letter;
		print_strip(f, strip);
		fprintf(f, " %s", cells[i].name);
	}
	fputc('\n', f);
}

/*
 * Return: length of the UTF-8 sequence at @s, 0 if it isn't one (overlong,
 * surrogate, beyond Unicode or cut)
 */
int utf8_length(const unsigned char *s)
{
	int i, len = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;

	if (s[0] < 0x80)
		return 1;
	if (s[0] < 0xc2 || s[0] > 0xf4)
		return 0;
	for (i = 1; i < len; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	}
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
	    (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
		return 0;
	return len;
}

/*
 * What isn't seen itself but changes how other text is: direction, joining,
 * tags. The C library takes these for printable.
 */
bool is_format_character(unsigned int c)
{
	static const struct {
		unsigned int first;
		unsigned int last;
	} ranges[] = {
		{ 0xad, 0xad }, { 0x600, 0x605 }, { 0x61c, 0x61c },
		{ 0x6dd, 0x6dd }, { 0x70f, 0x70f }, { 0x180e, 0x180e },
		{ 0x200b, 0x200f }, { 0x2028, 0x202e }, { 0x2060, 0x206f },
		{ 0xfeff, 0xfeff }, { 0xfff9, 0xfffb }, { 0xe0000, 0xe0fff },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(ranges); i++) {
		if (c >= ranges[i].first && c <= ranges[i].last)
			return true;
	}
	return false;
}

/*
 * The next character of @name, with what a terminal might obey replaced.
 * Return: its length in bytes; *@columns is how wide it is
 */
static int next_character(const char *name, wchar_t *wc, int *columns)
{
	mbstate_t state = { 0 };
	size_t len = mbrtowc(wc, name, strlen(name), &state);

	if (len == (size_t)-1 || len == (size_t)-2 || !iswprint(*wc) ||
	    is_format_character(*wc)) {
		*wc = L'?';
		len = len > (size_t)-3 ? 1 : len;
	}
	*columns = wcwidth(*wc) < 0 ? 1 : wcwidth(*wc);
	return len;
}

static int name_columns(const char *name)
{
	int columns, sum = 0;
	wchar_t wc;

	while (*name) {
		name += next_character(name, &wc, &columns);
		sum += columns;
	}
	return sum;
}

/*
 * What another process called itself or its files. If @width isn't 0, no more
 * than that much of the end, which says most about a file.
 */
void print_name(FILE *f, const char *name, int width)
{
	int columns, len, left = name_columns(name);
	bool cut = width && left > width;
	wchar_t wc;

	if (cut)
		fputs(term.utf8 ? "…" : "~", f);
	for (; *name; name += len) {
		len = next_character(name, &wc, &columns);
		if (cut && left > width - 1)
			;
		else if (wc == L'?')
			fputc('?', f);
		else
			fwrite(name, 1, len, f);
		left -= columns;
	}
}
