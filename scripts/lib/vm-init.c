// SPDX-License-Identifier: GPL-2.0
/*
 * The guest's half of scripts/vm: process 1 of the virtual machine.
 *
 * It stands alone in a small initramfs, mounts the host's root file system
 * (9p, read-only) with writable tmpfs where programs expect to write, moves
 * there, and runs one command. It talks to scripts/vm through four virtio
 * ports, found by name:
 *
 *   devmem.ctl     what to run, then "ready", "exit STATUS OUT ERR" and "off"
 *   devmem.in      the command's standard input
 *   devmem.out     its standard output (all of the terminal with --shell)
 *   devmem.err     its standard error
 *
 * A fifth, devmem.host, is there with --hotplug-mem as /dev/devmem-host.
 *
 * A guest of another architecture has a root of its own ("the host's root" below
 * is that one), and sees the folders that it is told of from the real one.
 *
 * The command gets pipes, not the ports themselves: a port can be opened only
 * once, so that "echo > /dev/stderr" would fail on one.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define HOST	"/host"		/* the host's root, as it is */
#define OUTSIDE	"/outside"	/* the host's root where HOST is another */
#define ROOT	"/newroot"	/* the guest's root: the same, covered in places */
#define UPPER	"/upper"	/* tmpfs that holds what is written to overlays */

enum { CTL, IN, OUT, ERR, NPORTS };

static const char * const port_names[NPORTS] = {
	"devmem.ctl", "devmem.in", "devmem.out", "devmem.err",
};

static int ports[NPORTS] = { -1, -1, -1, -1 };
static int terminal = -1;		/* the command's pty, with --shell */

/* What scripts/vm sent. */
static char *args[65536], *envs[4096], *visible[64];
static int nargs, nenvs, nvisible;
static const char *cwd = "/", *modules, *share;
static struct winsize window;
static int want_terminal, foreign;

static void __attribute__((noreturn)) power_off(void)
{
	sync();
	reboot(RB_POWER_OFF);
	/* Firmware without a switch: a reset ends QEMU just as well. */
	reboot(RB_AUTOBOOT);
	for (;;)
		pause();
}

/* The boot can't go on: say why on both channels and switch off. */
static void __attribute__((noreturn, format(printf, 1, 2)))
die(const char *fmt, ...)
{
	int err = errno;
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	dprintf(2, "vm-init: %s: %s\n", text, strerror(err));
	if (ports[CTL] >= 0)
		dprintf(ports[CTL], "fail %s: %s\n", text, strerror(err));
	usleep(200 * 1000);
	power_off();
}

static void make_dir(const char *path)
{
	char part[PATH_MAX], *p;

	snprintf(part, sizeof(part), "%s", path);
	for (p = part + 1; *p; p++) {
		if (*p != '/')
			continue;
		*p = '\0';
		mkdir(part, 0755);
		*p = '/';
	}
	mkdir(part, 0755);
}

static void must_mount(const char *what, const char *where, const char *type,
		       unsigned long flags, const char *opts)
{
	if (mount(what, where, type, flags, opts))
		die("mount %s on %s (%s)", what, where, opts ? opts : "");
}

/* For what a kernel may have been built without. */
static void try_mount(const char *what, const char *where, const char *type,
		      unsigned long flags, const char *opts)
{
	if (mount(what, where, type, flags, opts))
		dprintf(2, "vm-init: no %s on %s: %s\n", type ? type : "mount",
			where, strerror(errno));
}

/* Ports appear some time after the device was found: wait for all. */
static void open_ports(void)
{
	char path[512], name[64];
	struct dirent *de;
	int tries, i, fd, n, found;
	DIR *dir;

	for (tries = 0; tries < 3000; tries++) {
		found = 0;
		dir = opendir("/sys/class/virtio-ports");
		while (dir && (de = readdir(dir))) {
			snprintf(path, sizeof(path),
				 "/sys/class/virtio-ports/%s/name", de->d_name);
			fd = open(path, O_RDONLY | O_CLOEXEC);
			if (fd < 0)
				continue;
			n = read(fd, name, sizeof(name) - 1);
			close(fd);
			if (n <= 0)
				continue;
			name[n] = '\0';
			name[strcspn(name, "\n")] = '\0';
			if (!strcmp(name, "devmem.host"))
				symlink(de->d_name, "/dev/devmem-host");
			for (i = 0; i < NPORTS; i++) {
				if (strcmp(name, port_names[i]))
					continue;
				if (ports[i] < 0) {
					snprintf(path, sizeof(path), "/dev/%s",
						 de->d_name);
					ports[i] = open(path, O_RDWR | O_CLOEXEC);
				}
			}
		}
		if (dir)
			closedir(dir);
		for (i = 0; i < NPORTS; i++)
			found += ports[i] >= 0;
		if (found == NPORTS)
			return;
		usleep(10 * 1000);
	}
	die("virtio ports did not appear");
}

static void read_all(void *buf, size_t len)
{
	ssize_t n;

	while (len) {
		n = read(ports[CTL], buf, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			die("control channel closed");
		buf = (char *)buf + n;
		len -= n;
	}
}

/* A length, then records: one letter and a string, each ended by a NUL. */
static void read_config(void)
{
	uint32_t len;
	char *buf, *p, *end;
	unsigned int rows, cols;

	read_all(&len, sizeof(len));
	buf = malloc(len + 1);
	if (!buf)
		die("%u bytes of configuration", len);
	read_all(buf, len);
	buf[len] = '\0';
	end = buf + len;
	for (p = buf; p < end; p += strlen(p) + 1) {
		switch (*p) {
		case 'A':
			if (nargs < (int)(sizeof(args) / sizeof(*args)) - 1)
				args[nargs++] = p + 1;
			break;
		case 'E':
			if (nenvs < (int)(sizeof(envs) / sizeof(*envs)) - 1)
				envs[nenvs++] = p + 1;
			break;
		case 'V':
			if (nvisible < (int)(sizeof(visible) / sizeof(*visible)))
				visible[nvisible++] = p + 1;
			break;
		case 'C':
			cwd = p + 1;
			break;
		case 'M':
			modules = p + 1;
			break;
		case 'B':
			share = p + 1;
			break;
		case 'F':
			foreign = 1;
			break;
		case 'T':
			if (sscanf(p + 1, "%ux%u", &rows, &cols) == 2) {
				window.ws_row = rows;
				window.ws_col = cols;
			}
			want_terminal = 1;
			break;
		}
	}
}

/* Writable copy of a directory of the host: what is written stays in memory. */
static int overlay(const char *dir)
{
	static int count;
	char opts[3 * PATH_MAX], up[64], work[64], where[PATH_MAX];

	snprintf(up, sizeof(up), UPPER "/%d", count);
	snprintf(work, sizeof(work), UPPER "/%d.work", count++);
	make_dir(up);
	make_dir(work);
	snprintf(opts, sizeof(opts), "lowerdir=" HOST "%s,upperdir=%s,workdir=%s",
		 dir, up, work);
	if (!*dir)
		return mount("overlay", ROOT, "overlay", 0, opts);
	snprintf(where, sizeof(where), ROOT "%s", dir);
	return mount("overlay", where, "overlay", 0, opts);
}

static const char * const covered[] = { "/tmp", "/var/tmp", "/run", "/dev" };

/*
 * A directory of the host that one of our own mounts hides (a checkout or a
 * test program under /tmp) is put back, read-only.
 */
static void uncover(const char *path)
{
	char from[PATH_MAX], to[PATH_MAX];
	struct stat host, guest;
	unsigned int i;
	size_t len;

	for (i = 0; i < sizeof(covered) / sizeof(*covered); i++) {
		len = strlen(covered[i]);
		if (!strncmp(path, covered[i], len) &&
		    (!path[len] || path[len] == '/'))
			break;
	}
	if (i == sizeof(covered) / sizeof(*covered))
		return;
	snprintf(from, sizeof(from), HOST "%s", path);
	snprintf(to, sizeof(to), ROOT "%s", path);
	if (stat(from, &host))
		return;
	if (!path[len]) {
		/* All of /tmp: keep it writable. /dev is never the host's. */
		if (strcmp(path, "/dev") && overlay(path))
			dprintf(2, "vm-init: overlay on %s: %s\n", path,
				strerror(errno));
		return;
	}
	if (!stat(to, &guest) && guest.st_dev == host.st_dev &&
	    guest.st_ino == host.st_ino)
		return;
	make_dir(to);
	try_mount(from, to, NULL, MS_BIND, NULL);
}

/*
 * A guest of another architecture: a folder of the host's that its own root doesn't
 * have, read-only. What it has is of its architecture, and stays.
 */
static void let_in(const char *path)
{
	char from[PATH_MAX], to[PATH_MAX];
	struct stat st;

	snprintf(from, sizeof(from), OUTSIDE "%s", path);
	snprintf(to, sizeof(to), ROOT "%s", path);
	if (!stat(to, &st) || stat(from, &st))
		return;
	make_dir(to);
	try_mount(from, to, NULL, MS_BIND, NULL);
}

/* The root of another architecture with what it is to see, read-only in the end. */
static void let_all_in(void)
{
	char where[PATH_MAX];
	int i;

	for (i = 0; i < nvisible; i++)
		let_in(visible[i]);
	snprintf(where, sizeof(where), ROOT "%s", share ? share : "");
	make_dir(where);
	make_dir(ROOT "/usr/lib/modules");
	must_mount(NULL, ROOT, NULL, MS_REMOUNT | MS_RDONLY, NULL);
}

static void mount_modules(void)
{
	char from[PATH_MAX];

	if (!modules)
		return;
	if (access(ROOT "/lib/modules", F_OK)) {
		if (overlay("/usr/lib"))
			return;
		make_dir(ROOT "/usr/lib/modules");
	}
	snprintf(from, sizeof(from), "%s%s", foreign ? OUTSIDE : HOST, modules);
	try_mount(from, ROOT "/lib/modules", NULL, MS_BIND, NULL);
}

static void mount_root(void)
{
	const char *opts9p = "trans=virtio,version=9p2000.L,msize=131072,";
	char opts[256], where[PATH_MAX];
	int i;

	snprintf(opts, sizeof(opts), "%scache=loose", opts9p);
	make_dir(HOST);
	make_dir(ROOT);
	make_dir(UPPER);
	must_mount("devmem.root", HOST, "9p", MS_RDONLY, opts);
	must_mount("tmpfs", UPPER, "tmpfs", 0, "mode=0755");
	if (!foreign) {
		must_mount(HOST, ROOT, NULL, MS_BIND, NULL);
	} else {
		make_dir(OUTSIDE);
		must_mount("devmem.outside", OUTSIDE, "9p", MS_RDONLY, opts);
		if (overlay(""))
			die("overlay on the root");
	}

	if (overlay("/etc"))
		dprintf(2, "vm-init: /etc stays read-only: %s\n", strerror(errno));
	if (overlay("/var"))
		dprintf(2, "vm-init: /var stays read-only: %s\n", strerror(errno));
	must_mount("/proc", ROOT "/proc", NULL, MS_MOVE, NULL);
	must_mount("/sys", ROOT "/sys", NULL, MS_MOVE, NULL);
	must_mount("/dev", ROOT "/dev", NULL, MS_MOVE, NULL);
	must_mount("tmpfs", ROOT "/tmp", "tmpfs", 0, "mode=1777");
	must_mount("tmpfs", ROOT "/var/tmp", "tmpfs", 0, "mode=1777");
	must_mount("tmpfs", ROOT "/run", "tmpfs", 0, "mode=0755");
	make_dir(ROOT "/run/lock");
	make_dir(ROOT "/dev/pts");
	make_dir(ROOT "/dev/shm");
	make_dir(ROOT "/dev/mqueue");
	try_mount("devpts", ROOT "/dev/pts", "devpts", 0, "ptmxmode=0666,mode=0620,gid=5");
	must_mount("tmpfs", ROOT "/dev/shm", "tmpfs", 0, "mode=1777");
	try_mount("mqueue", ROOT "/dev/mqueue", "mqueue", 0, NULL);
	try_mount("debugfs", ROOT "/sys/kernel/debug", "debugfs", 0, NULL);
	try_mount("tracefs", ROOT "/sys/kernel/tracing", "tracefs", 0, NULL);
	try_mount("cgroup2", ROOT "/sys/fs/cgroup", "cgroup2", 0, NULL);
	if (symlink("/proc/self/fd", ROOT "/dev/fd") ||
	    symlink("/proc/self/fd/0", ROOT "/dev/stdin") ||
	    symlink("/proc/self/fd/1", ROOT "/dev/stdout") ||
	    symlink("/proc/self/fd/2", ROOT "/dev/stderr"))
		dprintf(2, "vm-init: /dev/fd: %s\n", strerror(errno));

	for (i = 0; i < nvisible && !foreign; i++)
		uncover(visible[i]);
	if (foreign)
		let_all_in();
	mount_modules();
	if (share) {
		/* Shared while both sides write: nothing cached but mappings. */
		snprintf(opts, sizeof(opts), "%scache=mmap", opts9p);
		snprintf(where, sizeof(where), ROOT "%s", share);
		must_mount("devmem.build", where, "9p", 0, opts);
	}

	if (chdir(ROOT) || mount(".", "/", NULL, MS_MOVE, NULL) ||
	    chroot(".") || chdir("/"))
		die("change to the host's root");
}

static void loopback_up(void)
{
	struct ifreq ifr = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return;
	ioctl(fd, SIOCSIFFLAGS, &ifr);
	close(fd);
}

struct stream {
	int from, to;
	unsigned long long bytes;
	char buf[32768];
};

static int write_full(int fd, const char *buf, size_t len)
{
	ssize_t n;

	while (len) {
		n = write(fd, buf, len);
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n <= 0)
			return -1;
		buf += n;
		len -= n;
	}
	return 0;
}

static void *copy(void *arg)
{
	struct stream *s = arg;
	ssize_t n;

	for (;;) {
		n = read(s->from, s->buf, sizeof(s->buf));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)		/* EIO: a terminal that everybody left */
			break;
		if (write_full(s->to, s->buf, n))
			break;
		s->bytes += n;
	}
	if (s->to != terminal && s->from == ports[IN])
		close(s->to);		/* end of file for the command */
	return NULL;
}

/* After the start, the host sends lines: "winch ROWS COLS", "off". */
static void *control(void *arg)
{
	struct winsize ws = { 0 };
	unsigned int rows, cols;
	char line[128];
	size_t len = 0;

	(void)arg;
	for (;;) {
		if (read(ports[CTL], line + len, 1) != 1)
			break;
		if (line[len] != '\n') {
			if (len < sizeof(line) - 2)
				len++;
			continue;
		}
		line[len] = '\0';
		len = 0;
		if (!strcmp(line, "off"))
			break;
		if (terminal >= 0 && sscanf(line, "winch %u %u", &rows, &cols) == 2) {
			ws.ws_row = rows;
			ws.ws_col = cols;
			ioctl(terminal, TIOCSWINSZ, &ws);
		}
	}
	return NULL;
}

static pthread_t start(void *(*fn)(void *), void *arg)
{
	pthread_attr_t attr;
	pthread_t thread;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 65536);
	errno = pthread_create(&thread, &attr, fn, arg);
	if (errno)
		die("thread");
	return thread;
}

static void open_terminal(char *slave, size_t len)
{
	int unlock = 0, number;

	terminal = open("/dev/pts/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (terminal < 0 || ioctl(terminal, TIOCSPTLCK, &unlock) ||
	    ioctl(terminal, TIOCGPTN, &number))
		die("terminal");
	snprintf(slave, len, "/dev/pts/%d", number);
	ioctl(terminal, TIOCSWINSZ, &window);
}

static void __attribute__((noreturn)) run_child(int *fds, const char *slave)
{
	int i, fd;

	setsid();
	if (slave) {
		fd = open(slave, O_RDWR);
		if (fd < 0)
			_exit(127);
		ioctl(fd, TIOCSCTTY, 0);
		for (i = 0; i < 3; i++)
			dup2(fd, i);
		if (fd > 2)
			close(fd);
	} else {
		for (i = 0; i < 3; i++)
			dup2(fds[i], i);
	}
	if (chdir(cwd))
		dprintf(2, "vm: can't enter %s in the guest: %s\n", cwd,
			strerror(errno));
	signal(SIGPIPE, SIG_DFL);
	execvpe(args[0], args, envs);
	dprintf(2, "vm: can't run '%s' in the guest: %s\n", args[0],
		strerror(errno));
	_exit(127);
}

static int wait_thread(pthread_t thread, int seconds)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += seconds;
	return pthread_timedjoin_np(thread, NULL, &until);
}

static void run_command(void)
{
	static struct stream in, out, err;
	int stdin_pipe[2], stdout_pipe[2], stderr_pipe[2];
	char slave[64] = "";
	int status = 0, wstatus;
	pthread_t out_thread, err_thread = 0, ctl_thread;
	pid_t child, pid;

	if (want_terminal)
		open_terminal(slave, sizeof(slave));
	if (pipe2(stdin_pipe, O_CLOEXEC) || pipe2(stdout_pipe, O_CLOEXEC) ||
	    pipe2(stderr_pipe, O_CLOEXEC))
		die("pipe");

	dprintf(ports[CTL], "ready\n");
	child = fork();
	if (child < 0)
		die("fork");
	if (!child) {
		int fds[3] = { stdin_pipe[0], stdout_pipe[1], stderr_pipe[1] };

		run_child(fds, want_terminal ? slave : NULL);
	}
	close(stdin_pipe[0]);
	close(stdout_pipe[1]);
	close(stderr_pipe[1]);

	in.from = ports[IN];
	in.to = want_terminal ? terminal : stdin_pipe[1];
	out.from = want_terminal ? terminal : stdout_pipe[0];
	out.to = ports[OUT];
	err.from = stderr_pipe[0];
	err.to = ports[ERR];
	start(copy, &in);
	out_thread = start(copy, &out);
	err_thread = start(copy, &err);
	ctl_thread = start(control, NULL);

	for (;;) {
		pid = waitpid(-1, &wstatus, 0);
		if (pid == child) {
			status = WIFSIGNALED(wstatus) ? 128 + WTERMSIG(wstatus) :
							WEXITSTATUS(wstatus);
			break;
		}
		if (pid < 0 && errno != EINTR)
			break;
	}
	/* Whoever the command left behind would hold its output open. */
	kill(-1, SIGKILL);
	wait_thread(out_thread, 10);
	wait_thread(err_thread, 10);
	dprintf(ports[CTL], "exit %d %llu %llu\n", status, out.bytes, err.bytes);
	/* The host says "off" when it has taken all of the output. */
	wait_thread(ctl_thread, 60);
}

int main(void)
{
	int fd;

	make_dir("/proc");
	make_dir("/sys");
	make_dir("/dev");
	mount("devtmpfs", "/dev", "devtmpfs", 0, "mode=0755");
	fd = open("/dev/console", O_RDWR | O_CLOEXEC);
	if (fd >= 0) {
		dup2(fd, 0);
		dup2(fd, 1);
		dup2(fd, 2);
		if (fd > 2)
			close(fd);
	}
	must_mount("proc", "/proc", "proc", 0, NULL);
	must_mount("sysfs", "/sys", "sysfs", 0, NULL);
	signal(SIGPIPE, SIG_IGN);
	umask(022);
	open_ports();
	read_config();
	mount_root();
	loopback_up();
	if (sethostname("devmem", 6))
		dprintf(2, "vm-init: host name: %s\n", strerror(errno));
	/* Tests use up all memory: this process stays out of that. */
	mlockall(MCL_CURRENT | MCL_FUTURE);
	run_command();
	power_off();
}
