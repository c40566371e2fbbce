// SPDX-License-Identifier: GPL-2.0
/* JSON to a stream. The caller keeps brackets in pairs. */
#include <math.h>
#include <string.h>

#include "tool.h"

static void newline(struct json *j)
{
	int i;

	if (j->one_line)
		return;
	fputc('\n', j->f);
	for (i = 0; i < j->depth; i++)
		fputs("  ", j->f);
}

/*
 * Return: length of the UTF-8 sequence at @s, 0 if it isn't one (overlong,
 * surrogate, beyond Unicode or cut)
 */
static int utf8_length(const unsigned char *s)
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

static void quoted(struct json *j, const char *text)
{
	const unsigned char *s = (const unsigned char *)text;
	int len;

	fputc('"', j->f);
	for (; *s; s += len ? len : 1) {
		len = utf8_length(s);
		if (!len)
			fputs("\\ufffd", j->f);
		else if (*s == '"' || *s == '\\')
			fprintf(j->f, "\\%c", *s);
		else if (*s < 0x20 || *s == 0x7f)
			fprintf(j->f, "\\u%04x", *s);
		else
			fwrite(s, 1, len, j->f);
	}
	fputc('"', j->f);
}

/* @key is NULL in an array */
static void value(struct json *j, const char *key)
{
	if (j->more)
		fputc(',', j->f);
	if (j->depth)
		newline(j);
	j->more = true;
	if (key) {
		quoted(j, key);
		fputs(j->one_line ? ":" : ": ", j->f);
	}
}

void json_open(struct json *j, const char *key, char bracket)
{
	value(j, key);
	fputc(bracket, j->f);
	j->depth++;
	j->more = false;
}

void json_close(struct json *j, char bracket)
{
	j->depth--;
	if (j->more)
		newline(j);
	fputc(bracket, j->f);
	j->more = true;
}

void json_end(struct json *j)
{
	fputc('\n', j->f);
	j->more = false;
}

void json_string(struct json *j, const char *key, const char *text)
{
	value(j, key);
	quoted(j, text);
}

void json_number(struct json *j, const char *key, __u64 number)
{
	value(j, key);
	fprintf(j->f, "%llu", number);
}

void json_signed(struct json *j, const char *key, long long number)
{
	value(j, key);
	fprintf(j->f, "%lld", number);
}

void json_real(struct json *j, const char *key, double number)
{
	value(j, key);
	fprintf(j->f, "%.1f", isfinite(number) ? number : 0.0);
}

void json_null(struct json *j, const char *key)
{
	value(j, key);
	fputs("null", j->f);
}
