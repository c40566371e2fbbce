// SPDX-License-Identifier: GPL-2.0
/*
 * The one writer, to standard output. A value is handed over once. As JSON it
 * is written at once; as text it is kept until the object ends, for the lines
 * and the columns that name it.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tool.h"

#define MAX_DEPTH	8
#define MAX_COLUMNS	20
#define BYTES_WIDTH	13
#define MIN_BAR		7
#define MAX_BAR		32
#define MIN_NAME	8

enum form {
	FORM_NULL,
	FORM_NUMBER,
	FORM_SIGNED,
	FORM_REAL,
	FORM_BYTES,
	FORM_PAGES,
	FORM_RATE,
	FORM_ADDRESS,
	FORM_STRING,
	FORM_BOOL,
	FORM_STRIP,
};

struct field {
	const char *group;	/* the object within the object, or NULL */
	const char *key;
	enum form form;
	__u64 number;
	double real;
	const char *text;	/* lives as long as the object is open */
};

struct level {
	char bracket;
	const char *key;
	bool more;		/* JSON: something is in it already */
	int fields;		/* how many there were before */
	bool row;
	bool hidden;
	/* Of a table: what there is room for */
	struct column columns[MAX_COLUMNS];
	int nr_columns;
};

struct out out = { .eol = "\n" };

static struct field *fields;
static int nr_fields;
static struct level levels[MAX_DEPTH];
static int depth;
static bool written;

/* --- JSON --- */

static void newline(void)
{
	int i;

	if (out.one_line)
		return;
	putchar('\n');
	for (i = 0; i < depth; i++)
		fputs("  ", stdout);
}

static unsigned int code_point(const unsigned char *s, int len)
{
	unsigned int c = len == 1 ? s[0] : s[0] & (0xff >> (len + 1));
	int i;

	for (i = 1; i < len; i++)
		c = c << 6 | (s[i] & 0x3f);
	return c;
}

/* What a terminal might obey is escaped; JSON is looked at, too. */
static void escaped(unsigned int c)
{
	if (c >= 0x10000)
		printf("\\u%04x\\u%04x", 0xd7c0 + (c >> 10),
		       0xdc00 + (c & 0x3ff));
	else
		printf("\\u%04x", c);
}

static void quoted(const char *text)
{
	const unsigned char *s = (const unsigned char *)text;
	unsigned int c;
	int len;

	putchar('"');
	for (; *s; s += len ? len : 1) {
		len = utf8_length(s);
		c = len ? code_point(s, len) : 0xfffd;
		if (c == '"' || c == '\\')
			printf("\\%c", c);
		else if (!len || c < 0x20 || (c >= 0x7f && c < 0xa0) ||
			 is_format_character(c))
			escaped(c);
		else
			fwrite(s, 1, len, stdout);
	}
	putchar('"');
}

static void json_key(const char *key)
{
	if (depth) {
		if (levels[depth - 1].more)
			putchar(',');
		levels[depth - 1].more = true;
		newline();
	}
	if (key) {
		quoted(key);
		fputs(out.one_line ? ":" : ": ", stdout);
	}
}

static void json_field(const struct field *f)
{
	json_key(f->key);
	switch (f->form) {
	case FORM_NULL:
		fputs("null", stdout);
		break;
	case FORM_SIGNED:
		printf("%lld", (long long)f->number);
		break;
	case FORM_REAL:
		printf("%.3f", f->real);
		break;
	case FORM_RATE:
		printf("%.1f", isfinite(f->real) ? f->real : 0.0);
		break;
	case FORM_STRING:
	case FORM_STRIP:
		quoted(f->text);
		break;
	case FORM_BOOL:
		fputs(f->number ? "true" : "false", stdout);
		break;
	default:
		printf("%llu", f->number);
	}
}

/* --- text --- */

static bool is(const char *text, const char *name, size_t len)
{
	return text && strlen(text) == len && !memcmp(text, name, len);
}

/* "KEY" of the object that is open, or "OBJECT.KEY" of one within it */
static const struct field *find_field(const char *name, size_t len)
{
	const char *group = depth && levels[depth - 1].bracket == '{' &&
			    !levels[depth - 1].row && depth > 1 ?
			    levels[depth - 1].key : NULL;
	const char *dot = memchr(name, '.', len), *key = name;
	const struct field *f;
	int i;

	if (dot) {
		key = dot + 1;
		len -= key - name;
	}
	for (i = nr_fields; i--;) {
		f = &fields[i];
		if (!is(f->key, key, len))
			continue;
		if (dot ? is(f->group, name, dot - name) : f->group == group)
			return f;
	}
	complain("no value for '%.*s'", (int)len, name);
	abort();
}

static __u64 field_bytes(const struct field *f)
{
	return f->form == FORM_PAGES ? f->number * page_size() : f->number;
}

/* Return: @buf, or the field's own text */
static const char *field_as_text(const struct field *f, char *buf)
{
	switch (f->form) {
	case FORM_NULL:
		return "-";
	case FORM_SIGNED:
		snprintf(buf, SIZE_TEXT, "%lld", (long long)f->number);
		return buf;
	case FORM_REAL:
		snprintf(buf, SIZE_TEXT, "%.10g",
			 (long long)(f->real * 10 + 0.5) / 10.0);
		return buf;
	case FORM_BYTES:
	case FORM_PAGES:
		return number_text(buf, field_bytes(f));
	case FORM_RATE:
		return rate_text(buf, f->real);
	case FORM_ADDRESS:
		snprintf(buf, SIZE_TEXT, "%llx", f->number);
		return buf;
	case FORM_STRING:
	case FORM_STRIP:
		return f->text;
	case FORM_BOOL:
		return f->number ? "yes" : "no";
	default:
		snprintf(buf, SIZE_TEXT, "%llu", f->number);
		return buf;
	}
}

static void print_field(const struct field *f, int width)
{
	const char *text;
	char buf[SIZE_TEXT];

	text = field_as_text(f, buf);
	if (f->form == FORM_STRIP)
		print_strip(stdout, text);
	else if (f->form == FORM_STRING)
		print_name(stdout, text, 0);
	else
		printf("%*s", width, text);
}

/* Text with "{KEY}" or "{KEY:WIDTH}" for values; nothing if JSON is written */
void out_text(const char *format)
{
	size_t len;
	int width;

	if (out.json)
		return;
	for (; *format; format++) {
		if (*format == '\n') {
			fputs(out.eol, stdout);
		} else if (*format == '{') {
			format++;
			len = strcspn(format, ":}");
			width = format[len] == ':' ? atoi(format + len + 1) : 0;
			print_field(find_field(format, len), width);
			format += strcspn(format, "}");
		} else {
			putchar(*format);
		}
	}
}

static int min_width(const struct column *c)
{
	int title = strlen(c->title);
	int width = c->width;

	if (c->how == COL_SIZE && out.bytes && width < BYTES_WIDTH)
		width = BYTES_WIDTH;
	if (c->how == COL_BAR)
		width = MIN_BAR;
	if (c->how == COL_NAME)
		width = MIN_NAME;
	/* The bar's may be cut, and "%" is at the right. */
	return c->how != COL_BAR && width < title ? title : width;
}

static int total_width(const struct column *columns, int nr)
{
	int i, sum = -2;

	for (i = 0; i < nr; i++)
		sum += columns[i].width + 2;
	return sum;
}

/* Return: the columns that are left when the line is no more than @width */
static int fit(struct column *columns, int nr, int width)
{
	int i, worst;

	while (total_width(columns, nr) > width) {
		worst = 0;
		for (i = 1; i < nr; i++) {
			if (columns[i].drop > columns[worst].drop)
				worst = i;
		}
		if (!columns[worst].drop)
			break;
		nr--;
		memmove(&columns[worst], &columns[worst + 1],
			(nr - worst) * sizeof(*columns));
	}
	return nr;
}

/* In a pipe all columns are there, unless COLUMNS says otherwise. */
static int line_width(void)
{
	return term.tty || getenv("COLUMNS") ? term.width : 1000;
}

static int lay_out(struct column *to, const struct column *columns, int nr)
{
	int i, rest, width = line_width();

	for (i = 0; i < nr; i++) {
		to[i] = columns[i];
		to[i].width = min_width(&columns[i]);
	}
	nr = fit(to, nr, width);
	rest = width - total_width(to, nr);
	for (i = 0; i < nr && rest > 0; i++) {
		if (to[i].how == COL_NAME)
			to[i].width += rest;
		if (to[i].how != COL_BAR)
			continue;
		if (rest > MAX_BAR - MIN_BAR)
			rest = MAX_BAR - MIN_BAR;
		to[i].width += rest;
		rest = width - total_width(to, nr);
	}
	return nr;
}

/* How many columns of the terminal a line of a table leaves */
int out_room(const struct column *columns, int nr)
{
	struct column all[MAX_COLUMNS];
	int i;

	for (i = 0; i < nr; i++) {
		all[i] = columns[i];
		all[i].width = min_width(&columns[i]);
	}
	nr = fit(all, nr, line_width());
	return line_width() - total_width(all, nr);
}

static bool at_left(const struct column *c)
{
	return c->how == COL_LEFT || c->how == COL_NAME || c->how == COL_BAR;
}

static void print_title(const struct level *table)
{
	const struct column *c;
	int i;

	fputs(color(COLOR_TITLE), stdout);
	for (i = 0; i < table->nr_columns; i++) {
		c = &table->columns[i];
		if (i)
			fputs("  ", stdout);
		if (at_left(c) && i + 1 == table->nr_columns)
			fputs(c->title, stdout);
		else if (at_left(c))
			printf("%-*.*s", c->width, c->width, c->title);
		else
			printf("%*s", c->width, c->title);
	}
	fputs(color(COLOR_NONE), stdout);
	fputs(out.eol, stdout);
}

static double part_of(const struct column *c)
{
	__u64 all = field_bytes(find_field(c->of, strlen(c->of)));
	const struct field *f = find_field(c->key, strlen(c->key));

	return all ? (double)field_bytes(f) / all : 0;
}

static void print_cell(const struct column *c, bool last)
{
	const struct field *f = find_field(c->key, strlen(c->key));
	const char *text;
	char buf[SIZE_TEXT];

	if (c->how == COL_BAR) {
		print_bar(stdout, part_of(c), c->width);
		return;
	}
	if (c->how == COL_PERCENT) {
		printf("%*.0f%%", c->width - 1, part_of(c) * 100);
		return;
	}
	text = field_as_text(f, buf);
	if (f->form == FORM_STRIP)
		print_strip(stdout, text);
	else if (c->how == COL_NAME)
		print_name(stdout, text, term.tty ? c->width : 0);
	else if (at_left(c) && !last)
		printf("%-*.*s", c->width, c->width, text);
	else
		printf("%*s", at_left(c) ? 0 : c->width, text);
}

static void print_row(const struct level *table)
{
	int i;

	for (i = 0; i < table->nr_columns; i++) {
		if (i)
			fputs("  ", stdout);
		print_cell(&table->columns[i], i + 1 == table->nr_columns);
	}
	fputs(out.eol, stdout);
}

/* --- both --- */

static struct level *open_level(const char *key, char bracket)
{
	struct level *level = &levels[depth], *above = level - 1;

	if (depth == MAX_DEPTH)
		abort();
	if (out.json) {
		json_key(key);
		putchar(bracket);
	}
	memset(level, 0, sizeof(*level));
	level->bracket = bracket;
	level->key = key;
	level->fields = nr_fields;
	level->row = depth && above->bracket == '[';
	depth++;
	return level;
}

void out_object(const char *key)
{
	open_level(key, '{');
}

void out_array(const char *key)
{
	open_level(key, '[');
}

/* An array of objects, each of which is a line of text */
void out_table(const char *key, const struct column *columns, int nr)
{
	struct level *table = open_level(key, '[');

	if (out.json)
		return;
	table->nr_columns = lay_out(table->columns, columns, nr);
	print_title(table);
}

/* The object that is open won't be a line of text. */
void out_hide(void)
{
	levels[depth - 1].hidden = true;
}

void out_close(void)
{
	struct level *level = &levels[depth - 1], *above = level - 1;
	bool row = level->row && level->bracket == '{';

	if (!out.json && row && above->nr_columns && !level->hidden)
		print_row(above);
	depth--;
	/* Those of an object within an object go with the outer one. */
	if (row || level->bracket == '[' || !depth)
		nr_fields = level->fields;
	if (!out.json)
		return;
	if (level->more)
		newline();
	putchar(level->bracket == '{' ? '}' : ']');
}

void out_begin(void)
{
	written = true;
	out_object(NULL);
}

/* Ends the document, with the reason if there was an error. */
void out_end(int status)
{
	const char *reason = first_complaint();

	if (!depth)
		return;
	while (depth > 1)
		out_close();
	if (status && reason)
		out_string("error", reason);
	out_close();
	if (out.json)
		putchar('\n');
}

/* Whether nothing has been written yet */
bool out_empty(void)
{
	return !written;
}

static void put(struct field f)
{
	struct level *level = &levels[depth - 1];

	if (out.json) {
		json_field(&f);
		return;
	}
	if (level->bracket == '{' && !level->row && depth > 1)
		f.group = level->key;
	if (!(nr_fields & (nr_fields - 1)))
		fields = must(realloc(fields, (nr_fields ? 2 * nr_fields : 1) *
				      sizeof(f)));
	fields[nr_fields++] = f;
}

void out_number(const char *key, __u64 value)
{
	put((struct field){ .key = key, .form = FORM_NUMBER, .number = value });
}

void out_signed(const char *key, long long value)
{
	put((struct field){ .key = key, .form = FORM_SIGNED, .number = value });
}

void out_real(const char *key, double value)
{
	put((struct field){ .key = key, .form = FORM_REAL, .real = value });
}

void out_bytes(const char *key, __u64 bytes)
{
	put((struct field){ .key = key, .form = FORM_BYTES, .number = bytes });
}

/* As JSON the number of pages, as text their size */
void out_pages(const char *key, __u64 pages)
{
	put((struct field){ .key = key, .form = FORM_PAGES, .number = pages });
}

void out_rate(const char *key, double bytes)
{
	put((struct field){ .key = key, .form = FORM_RATE, .real = bytes });
}

void out_address(const char *key, __u64 value)
{
	put((struct field){ .key = key, .form = FORM_ADDRESS, .number = value });
}

void out_string(const char *key, const char *value)
{
	put((struct field){ .key = key, .form = FORM_STRING, .text = value });
}

void out_bool(const char *key, bool value)
{
	put((struct field){ .key = key, .form = FORM_BOOL, .number = value });
}

void out_strip(const char *key, const char *strip)
{
	put((struct field){ .key = key, .form = FORM_STRIP, .text = strip });
}

void out_null(const char *key)
{
	put((struct field){ .key = key, .form = FORM_NULL });
}

void out_known(void (*put)(const char *key, __u64 value), const char *key,
	       bool known, __u64 value)
{
	if (known)
		put(key, value);
	else
		out_null(key);
}
