// SPDX-License-Identifier: GPL-2.0
/*
 * Who may ask (invariant 1): in the restricted mode, a device is there for
 * those only whose cpuset, or one above it, was given it by name, by somebody
 * privileged. For all others it is what a node outside of their cpuset is, in
 * every call, and it isn't among what they may use. What is on it stays.
 *
 * In cgroup v2 and v1, and without any cpuset; for tasks that are there when the
 * mode is switched, that are forked, that come and go between cpusets.
 *
 * Seen to fail: each hook of kernel/cgroup/cpuset.c but that of
 * cpuset_can_attach() was left out once, and each condition of access.c.
 *
 * Wants two system nodes and three device nodes; see "plan".
 */
#define _GNU_SOURCE
#include <linux/capability.h>
#include <linux/sched.h>

#include "lib/access.h"

FIXTURE(mode)
{
	struct place place;
	struct actor actor;
	const int *id;
};

FIXTURE_VARIANT(mode)
{
	bool v1;
};

FIXTURE_VARIANT_ADD(mode, v2) { false };
FIXTURE_VARIANT_ADD(mode, v1) { true };

FIXTURE_SETUP(mode)
{
	const char *missing = enter_open(&self->place, variant->v1);

	if (missing)
		SKIP(return, "%s", missing);
	self->id = self->place.id;
	start_actor(&self->actor, self->id);
}

FIXTURE_TEARDOWN(mode)
{
	end_actor(&self->actor);
	EXPECT_EQ(0, restrict_to(0));
	EXPECT_EQ(0, leave(&self->place));
}

/* What only one of the versions has */
FIXTURE(v2)
{
	struct place place;
	struct actor actor;
	const int *id;
};

FIXTURE_SETUP(v2)
{
	const char *missing = enter_open(&self->place, false);

	if (missing)
		SKIP(return, "%s", missing);
	self->id = self->place.id;
	start_actor(&self->actor, self->id);
}

FIXTURE_TEARDOWN(v2)
{
	end_actor(&self->actor);
	EXPECT_EQ(0, restrict_to(0));
	EXPECT_EQ(0, leave(&self->place));
}

#define EXPECT_SAME(wanted, got) do {					\
	struct answers _wanted = (wanted), _got = (got);		\
	int _i;								\
									\
	for (_i = 0; _i < NR_WAYS; _i++) {				\
		if (_wanted.way[_i] != _got.way[_i])			\
			TH_LOG("%s", way_names[_i]);			\
		EXPECT_EQ(_wanted.way[_i], _got.way[_i]);		\
	}								\
} while (0)

/* The nodes that numa_maps says of the policy at @p, allowed ones alone */
static int maps_policy(const int *id, const void *p)
{
	char at[32], text[256], *colon;

	snprintf(at, sizeof(at), "%lx ", (unsigned long)p);
	get_line("/proc/self/numa_maps", at, text, sizeof(text));
	colon = strchr(text, ':');
	if (!colon)
		return -1;
	colon[1 + strcspn(colon + 1, " ")] = '\0';

	return set_of(id, colon + 1);
}

/* The status of a page that another task hasn't, when it is moved for it */
static int other_moves(pid_t pid, int node)
{
	void *page = (void *)PAGE;
	int status = 0;

	if (syscall(SYS_move_pages, pid, 1UL, &page, &node, &status, 0) < 0)
		return -errno;

	return status;
}

/* A group that is removed when the tests in it are over */
#define LEAVE(dir) do {							\
	EXPECT_EQ(0, join(self->place.root, self->actor.pid));		\
	EXPECT_EQ(0, rmdir(dir));					\
} while (0)

/* -- What one gets -------------------------------------------------------------- */

/* Without the mode, whoever's cpuset has a device may name it. */
TEST_F(mode, off)
{
	struct answers all = tell(&self->actor, TRY);
	char dir[96];

	EXPECT_EQ(D1, all.way[BIND]);
	EXPECT_EQ(ALL, all.way[MEMS_ALLOWED]);
	new_group(&self->place, NULL, "plain", dir);
	ASSERT_EQ(0, join(dir, self->actor.pid));
	EXPECT_SAME(all, tell(&self->actor, TRY));
	EXPECT_EQ(ALL, dir_mems(&self->place, dir));
	LEAVE(dir);
}

/* Who isn't let in gets what he gets for a node outside of his cpuset. */
TEST_F(mode, as_outside)
{
	struct answers outside;
	char dir[96];

	ASSERT_EQ(0, join(self->place.dir, self->actor.pid));
	outside = tell(&self->actor, TRY);
	EXPECT_EQ(-EINVAL, outside.way[BIND]);
	EXPECT_EQ(-EACCES, outside.way[MOVE_PAGES]);
	EXPECT_EQ(SYSTEM, outside.way[MEMS_ALLOWED]);

	ASSERT_EQ(0, restrict_to(1));
	EXPECT_SAME(outside, tell(&self->actor, TRY));
	new_group(&self->place, NULL, "plain", dir);
	ASSERT_EQ(0, join(dir, self->actor.pid));
	EXPECT_SAME(outside, tell(&self->actor, TRY));
	EXPECT_SAME(outside, tell(&self->actor, TRY_CHILD));
	LEAVE(dir);
	EXPECT_SAME(outside, tell(&self->actor, TRY));
	EXPECT_SAME(outside, tell(&self->actor, TRY_CHILD));
}

/* Who is let in gets what everybody gets without the mode. */
TEST_F(mode, as_always)
{
	struct answers always = tell(&self->actor, TRY);
	char dir[96];

	new_group(&self->place, NULL, "named", dir);
	ASSERT_EQ(0, restrict_to(1));
	EXPECT_EQ(0, put_mems(dir, self->id, ALL));
	ASSERT_EQ(0, join(dir, self->actor.pid));
	EXPECT_SAME(always, tell(&self->actor, TRY));
	EXPECT_SAME(always, tell(&self->actor, TRY_CHILD));
	LEAVE(dir);
}

/* One device doesn't let in to another. */
TEST_F(mode, each_device)
{
	char dir[96];

	new_group(&self->place, NULL, "named", dir);
	ASSERT_EQ(0, restrict_to(1));
	EXPECT_EQ(0, put_mems(dir, self->id, S0 | D2));
	ASSERT_EQ(0, join(dir, self->actor.pid));
	EXPECT_EQ(S0 | D2, task_mems(self->id, self->actor.pid));
	EXPECT_EQ(S0 | D2, dir_mems(&self->place, dir));
	EXPECT_EQ(-EINVAL, tell(&self->actor, TRY).way[BIND]);
	LEAVE(dir);
}

/* -- The switch ------------------------------------------------------------------- */

/* Tasks that are there, whatever was written before and after */
TEST_F(mode, switched)
{
	struct actor in, root;
	char named[96], plain[96];
	int i;

	start_actor(&in, self->id);
	start_actor(&root, self->id);
	new_group(&self->place, NULL, "named", named);
	new_group(&self->place, NULL, "plain", plain);
	EXPECT_EQ(0, put_mems(named, self->id, ALL));
	EXPECT_EQ(0, join(named, in.pid));
	EXPECT_EQ(0, join(plain, self->actor.pid));
	for (i = 0; i < 3; i++) {
		EXPECT_EQ(0, restrict_to(1));
		EXPECT_EQ(1, read_number(RESTRICTED));
		EXPECT_EQ(ALL, task_mems(self->id, in.pid));
		EXPECT_EQ(ALL, dir_mems(&self->place, named));
		EXPECT_EQ(SYSTEM, task_mems(self->id, self->actor.pid));
		EXPECT_EQ(SYSTEM, dir_mems(&self->place, plain));
		EXPECT_EQ(SYSTEM, task_mems(self->id, root.pid));
		EXPECT_EQ(SYSTEM, task_mems(self->id, getpid()));
		EXPECT_EQ(SYSTEM, task_mems(self->id, 1));
		EXPECT_EQ(SYSTEM, dir_mems(&self->place, self->place.root));

		/* Once more is nothing. */
		EXPECT_EQ(0, restrict_to(1));
		EXPECT_EQ(0, restrict_to(0));
		EXPECT_EQ(0, restrict_to(0));
		EXPECT_EQ(0, read_number(RESTRICTED));
		EXPECT_EQ(ALL, task_mems(self->id, self->actor.pid));
		EXPECT_EQ(ALL, task_mems(self->id, root.pid));
		EXPECT_EQ(ALL, task_mems(self->id, 1));
		EXPECT_EQ(ALL, dir_mems(&self->place, plain));
		EXPECT_EQ(ALL, dir_mems(&self->place, self->place.root));
	}
	end_actor(&root);
	end_actor(&in);
	EXPECT_EQ(0, rmdir(named));
	LEAVE(plain);
}

/* What is there stays, whatever becomes of its task, until it is moved out. */
TEST_F(mode, pages_stay)
{
	const struct actor *a = &self->actor;
	char dir[96];

	new_group(&self->place, NULL, "plain", dir);
	put(dir, "cpuset.memory_migrate", "1");
	ASSERT_EQ(0, join(dir, a->pid));
	ASSERT_EQ(0, tell(a, TAKE).way[0]);
	EXPECT_EQ(S0 | D1, tell(a, WHERE).way[0]);
	EXPECT_EQ(0, restrict_to(1));
	EXPECT_EQ(SYSTEM, task_mems(self->id, a->pid));
	/* Any write waits for what cpusets move. */
	EXPECT_EQ(0, put_mems(self->place.dir, self->id, S0));
	EXPECT_EQ(S0 | D1, tell(a, WHERE).way[0]);
	EXPECT_EQ(0, restrict_to(0));
	EXPECT_EQ(0, put_mems(self->place.dir, self->id, SYSTEM));
	EXPECT_EQ(S0 | D1, tell(a, WHERE).way[0]);
	EXPECT_EQ(0, restrict_to(1));
	EXPECT_EQ(0, tell(a, PUT_BACK).way[0]);
	EXPECT_EQ(S0, tell(a, WHERE).way[0]);
	LEAVE(dir);
}

/* How many pages there are, after khugepaged has been round */
static int resident(char *p, size_t size)
{
	unsigned char there[4 * HUGE / PAGE];
	size_t i, nr = 0;
	bool round;

	khugepaged(true);
	round = wait_number(KHUGEPAGED "full_scans",
			    read_number(KHUGEPAGED "full_scans") + 3, 60);
	khugepaged(false);
	khugepaged_sleeps();
	if (!round || size > sizeof(there) * PAGE || mincore(p, size, there))
		return -1;
	for (i = 0; i < size / PAGE; i++)
		nr += there[i] & 1;

	return nr;
}

/* khugepaged may go there, but doesn't bring what its owner can't have. */
TEST_F(v2, khugepaged_adds_nothing)
{
	const size_t size = 4 * HUGE;
	char *p = map_huge(size);
	size_t i;

	ASSERT_EQ(0, madvise(p, size, MADV_NOHUGEPAGE));
	ASSERT_EQ(0, mbind_nodes(p, size, MPOL_BIND, mask(self->id, D1), 0));
	for (i = 0; i < size; i += HUGE)
		p[i] = 1;
	EXPECT_EQ(0, restrict_to(1));
	ASSERT_EQ(0, madvise(p, size, MADV_HUGEPAGE));
	EXPECT_EQ(4, resident(p, size));
	EXPECT_EQ(0, restrict_to(0));
	/* There was nothing else in its way. */
	EXPECT_EQ((int)(size / PAGE), resident(p, size));
	munmap(p, size);
}

/* With the only user of cpusets gone, requests are bound to the nodes still. */
TEST_F(mode, without_cpusets)
{
	const int literal = MPOL_INTERLEAVE | MPOL_F_STATIC_NODES;
	char *p = map_pages(AREA, MAP_SHARED | MAP_ANONYMOUS, -1);

	/* The policy of shared memory is nobody's, and stays as it is. */
	ASSERT_EQ(0, mbind_nodes(p, AREA, literal,
				 mask(self->id, S0 | D1), 0));
	EXPECT_EQ(0, leave(&self->place));
	put("/sys/fs/cgroup", "cgroup.subtree_control", "-cpuset");
	/* The last one goes in its own time, and nothing tells when. */
	sleep(1);
	EXPECT_EQ(0, restrict_to(1));
	fill_pages(p, AREA, 1);
	EXPECT_EQ(S0, nodes_of(self->id, p, AREA, NULL));
	munmap(p, AREA);
	EXPECT_EQ(0, restrict_to(0));
	ASSERT_EQ(NULL, enter_open(&self->place, variant->v1));
}

static int switch_as(const char *text, uid_t uid, bool capable)
{
	struct __user_cap_header_struct header = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct data[2];
	int status;
	pid_t pid = fork();

	if (!pid) {
		if (uid && setresuid(uid, uid, uid))
			_exit(255);
		if (!capable) {
			syscall(SYS_capget, &header, data);
			data[0].effective &= ~(1U << CAP_SYS_ADMIN);
			syscall(SYS_capset, &header, data);
		}
		_exit(-write_text(RESTRICTED, text));
	}
	waitpid(pid, &status, 0);

	return -WEXITSTATUS(status);
}

TEST_F(v2, bad_input)
{
	static const char * const bad[] = { "2", "-1", "x", "1x", "1 1", "yes",
					    "\n", "0x1", "999999999999" };
	unsigned int i;

	for (i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		EXPECT_EQ(-EINVAL, write_text(RESTRICTED, bad[i]));
	EXPECT_EQ(-EACCES, switch_as("1", NOBODY, true));
	EXPECT_EQ(-EPERM, switch_as("1", 0, false));
	EXPECT_EQ(0, read_number(RESTRICTED));
	EXPECT_EQ(0, switch_as("1\n", 0, true));
	EXPECT_EQ(1, read_number(RESTRICTED));
	EXPECT_EQ(-EACCES, switch_as("0", NOBODY, true));
	EXPECT_EQ(-EPERM, switch_as("0", 0, false));
	EXPECT_EQ(1, read_number(RESTRICTED));

	/* A cpuset of devices alone is refused as ever, and names nothing. */
	EXPECT_EQ(-EINVAL, put_mems(self->place.dir, self->id, D1));
	EXPECT_EQ(SYSTEM, dir_mems(&self->place, self->place.dir));
}

/* -- Levels ---------------------------------------------------------------------- */

/* The word of a cpuset, which has to be without tasks then */
static int take_back(const char *root, const char *dir, const char *home,
		     pid_t pid)
{
	int rc = join(root, pid);

	if (!rc)
		rc = put(dir, "cpuset.mems", "\n");
	if (!rc)
		rc = join(home, pid);

	return rc;
}

/* As podman has it: a slice without a word, a scope, the container's own group */
TEST_F(v2, levels)
{
	char slice[96], scope[96], box[96];
	pid_t pid = self->actor.pid;

	new_group(&self->place, NULL, "slice", slice);
	new_group(&self->place, slice, "scope", scope);
	new_group(&self->place, scope, "box", box);
	ASSERT_EQ(0, restrict_to(1));
	ASSERT_EQ(0, join(box, pid));
	EXPECT_EQ(SYSTEM, task_mems(self->id, pid));

	/* Named by the last, the one in the middle, the first */
	EXPECT_EQ(0, put_mems(box, self->id, ALL));
	EXPECT_EQ(ALL, task_mems(self->id, pid));
	EXPECT_EQ(SYSTEM, dir_mems(&self->place, scope));
	EXPECT_EQ(0, take_back(self->place.root, box, box, pid));
	EXPECT_EQ(SYSTEM, task_mems(self->id, pid));
	EXPECT_EQ(0, put_mems(scope, self->id, S0 | S1 | D1));
	EXPECT_EQ(S0 | S1 | D1, task_mems(self->id, pid));
	EXPECT_EQ(S0 | S1 | D1, dir_mems(&self->place, box));
	EXPECT_EQ(SYSTEM, dir_mems(&self->place, slice));
	EXPECT_EQ(0, take_back(self->place.root, scope, box, pid));
	EXPECT_EQ(SYSTEM, task_mems(self->id, pid));
	EXPECT_EQ(0, put_mems(slice, self->id, ALL));
	EXPECT_EQ(ALL, task_mems(self->id, pid));

	/* Whoever writes less takes it away from those below. */
	EXPECT_EQ(0, put_mems(scope, self->id, SYSTEM | D2));
	EXPECT_EQ(SYSTEM | D2, task_mems(self->id, pid));
	EXPECT_EQ(0, put_mems(slice, self->id, SYSTEM));
	EXPECT_EQ(SYSTEM, task_mems(self->id, pid));
	EXPECT_EQ(0, put_mems(box, self->id, ALL));
	EXPECT_EQ(SYSTEM, task_mems(self->id, pid));

	EXPECT_EQ(0, join(self->place.root, pid));
	EXPECT_EQ(0, rmdir(box));
	EXPECT_EQ(0, rmdir(scope));
	EXPECT_EQ(0, rmdir(slice));
}

/* In v1 each level has what the one above it has, or less. */
TEST_F(mode, copied_levels)
{
	char upper[96], lower[96];
	pid_t pid = self->actor.pid;

	new_group(&self->place, NULL, "upper", upper);
	new_group(&self->place, upper, "lower", lower);
	ASSERT_EQ(0, restrict_to(1));
	ASSERT_EQ(0, join(lower, pid));
	EXPECT_EQ(SYSTEM, task_mems(self->id, pid));
	EXPECT_EQ(0, put_mems(upper, self->id, ALL));
	EXPECT_EQ(ALL, task_mems(self->id, pid));
	EXPECT_EQ(ALL, dir_mems(&self->place, lower));
	EXPECT_EQ(0, join(self->place.root, pid));
	EXPECT_EQ(0, rmdir(lower));

	/* What is made below it has it, and what is made beside it hasn't. */
	new_group(&self->place, upper, "lower", lower);
	ASSERT_EQ(0, join(lower, pid));
	EXPECT_EQ(ALL, task_mems(self->id, pid));
	EXPECT_EQ(0, join(self->place.root, pid));
	EXPECT_EQ(0, rmdir(lower));
	EXPECT_EQ(0, rmdir(upper));
}

/* The nodes that were named aren't there: what is above instead, and no device */
TEST_F(v2, absent_nodes)
{
	char dir[96], text[16], possible[64];
	int last;

	get_line("/sys/devices/system/node/possible", "", possible,
		 sizeof(possible));
	last = strrchr(possible, '-') ? atoi(strrchr(possible, '-') + 1) : 0;
	if (last <= self->id[4])
		SKIP(return, "needs the id of a node that isn't there");
	new_group(&self->place, NULL, "named", dir);
	ASSERT_EQ(0, restrict_to(1));
	snprintf(text, sizeof(text), "%d", last);
	EXPECT_EQ(0, put(dir, "cpuset.mems", text));
	ASSERT_EQ(0, join(dir, self->actor.pid));
	EXPECT_EQ(SYSTEM, task_mems(self->id, self->actor.pid));
	LEAVE(dir);
}

/* -- Who gives ------------------------------------------------------------------- */

/* A user to whom a cgroup was delegated can't let himself in, but is let in. */
TEST_F(mode, delegated)
{
	char upper[96], lower[96], all[32];
	pid_t pid = self->actor.pid;

	list(self->id, ALL, all);
	new_group(&self->place, NULL, "upper", upper);
	new_group(&self->place, upper, "lower", lower);
	ASSERT_EQ(0, delegate(lower));
	ASSERT_EQ(0, restrict_to(1));
	ASSERT_EQ(0, join(lower, pid));
	EXPECT_EQ(0, put_as_nobody(lower, "cpuset.mems", all));
	EXPECT_EQ(SYSTEM, task_mems(self->id, pid));
	EXPECT_EQ(-EINVAL, tell(&self->actor, TRY).way[BIND]);

	/* Root writes the same again. */
	EXPECT_EQ(0, put(lower, "cpuset.mems", all));
	EXPECT_EQ(ALL, task_mems(self->id, pid));
	/* The user does, who isn't the one to give it. */
	EXPECT_EQ(0, put_as_nobody(lower, "cpuset.mems", all));
	EXPECT_EQ(SYSTEM, task_mems(self->id, pid));
	/* What comes from above is his to have, and to narrow. */
	EXPECT_EQ(0, put_mems(upper, self->id, ALL));
	EXPECT_EQ(ALL, task_mems(self->id, pid));
	list(self->id, SYSTEM | D2, all);
	EXPECT_EQ(0, put_as_nobody(lower, "cpuset.mems", all));
	EXPECT_EQ(SYSTEM | D2, task_mems(self->id, pid));

	EXPECT_EQ(0, join(self->place.root, pid));
	EXPECT_EQ(0, rmdir(lower));
	EXPECT_EQ(0, rmdir(upper));
}

/* Who opened the file gives, not who was made to write. */
TEST_F(mode, opener)
{
	char dir[96], path[128], all[32];
	int fd;

	list(self->id, ALL, all);
	new_group(&self->place, NULL, "delegated", dir);
	ASSERT_EQ(0, delegate(dir));
	ASSERT_EQ(0, restrict_to(1));
	ASSERT_EQ(0, join(dir, self->actor.pid));
	snprintf(path, sizeof(path), "%s/cpuset.mems", dir);
	ASSERT_EQ(0, seteuid(NOBODY));
	fd = open(path, O_WRONLY);
	ASSERT_EQ(0, seteuid(0));
	ASSERT_LE(0, fd);
	EXPECT_EQ((ssize_t)strlen(all), write(fd, all, strlen(all)));
	close(fd);
	EXPECT_EQ(SYSTEM, task_mems(self->id, self->actor.pid));
	LEAVE(dir);
}

/* A write that is refused changes nothing, whoever's it is. */
TEST_F(mode, refused)
{
	char dir[96], devices[32];

	list(self->id, DEVICES, devices);
	new_group(&self->place, NULL, "delegated", dir);
	ASSERT_EQ(0, delegate(dir));
	ASSERT_EQ(0, restrict_to(1));
	EXPECT_EQ(0, put_mems(dir, self->id, ALL));
	ASSERT_EQ(0, join(dir, self->actor.pid));
	EXPECT_EQ(-EINVAL, put_as_nobody(dir, "cpuset.mems", devices));
	EXPECT_EQ(ALL, task_mems(self->id, self->actor.pid));
	EXPECT_EQ(-EINVAL, put(dir, "cpuset.mems", "x"));
	EXPECT_EQ(ALL, task_mems(self->id, self->actor.pid));
	LEAVE(dir);
}

/* -- Tasks that come and go ------------------------------------------------------- */

/* From one that was let in to one that wasn't, whose nodes are the same, and back */
TEST_F(mode, attached)
{
	const struct actor *a = &self->actor;
	char named[96], plain[96];
	int i;

	new_group(&self->place, NULL, "named", named);
	new_group(&self->place, NULL, "plain", plain);
	EXPECT_EQ(0, put_mems(named, self->id, ALL));
	ASSERT_EQ(0, restrict_to(1));
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, join(named, a->pid));
		EXPECT_EQ(ALL, task_mems(self->id, a->pid));
		EXPECT_EQ(D1, tell(a, TRY).way[BIND]);
		ASSERT_EQ(0, join(plain, a->pid));
		EXPECT_EQ(SYSTEM, task_mems(self->id, a->pid));
		EXPECT_EQ(-EINVAL, tell(a, TRY).way[BIND]);
	}
	/* A policy of before doesn't get him in either. */
	ASSERT_EQ(0, join(named, a->pid));
	ASSERT_EQ(0, tell(a, TAKE).way[0]);
	EXPECT_EQ(S0 | D1, tell(a, WHERE).way[0]);
	ASSERT_EQ(0, join(plain, a->pid));
	/* v2 moves out what is outside, v1 when it is told to */
	EXPECT_EQ(variant->v1 ? S0 | D1 : S0, tell(a, WHERE).way[0]);
	ASSERT_EQ(0, join(named, a->pid));
	ASSERT_EQ(0, tell(a, TAKE).way[0]);
	put(plain, "cpuset.memory_migrate", "1");
	ASSERT_EQ(0, join(plain, a->pid));
	EXPECT_EQ(S0, tell(a, WHERE).way[0]);
	LEAVE(plain);
	EXPECT_EQ(0, rmdir(named));
}

/* Born into a cpuset, of a parent in another one */
TEST_F(v2, born_into)
{
	char named[96], plain[96];
	int i, status;

	new_group(&self->place, NULL, "named", named);
	new_group(&self->place, NULL, "plain", plain);
	EXPECT_EQ(0, put_mems(named, self->id, ALL));
	ASSERT_EQ(0, restrict_to(1));
	for (i = 0; i < 3; i++) {
		const char *to = i ? plain : named;
		int wanted = i ? SYSTEM : ALL;
		struct clone_args args = {
			.flags = CLONE_INTO_CGROUP,
			.exit_signal = SIGCHLD,
			.cgroup = open(to, O_RDONLY | O_DIRECTORY),
		};
		pid_t pid = syscall(SYS_clone3, &args, sizeof(args));

		if (!pid)
			_exit(task_mems(self->id, getpid()) != wanted ||
			      get_mems_allowed(self->id) != wanted);
		ASSERT_LT(0, pid);
		waitpid(pid, &status, 0);
		EXPECT_EQ(0, status);
		close(args.cgroup);
		/* The last one of a parent that was let in */
		EXPECT_EQ(0, join(named, getpid()));
	}
	EXPECT_EQ(0, join(self->place.root, getpid()));
	EXPECT_EQ(0, rmdir(named));
	EXPECT_EQ(0, rmdir(plain));
}

/* What is given is taken away: the pages go as memory_migrate says. */
TEST_F(mode, taken_away)
{
	const struct actor *a = &self->actor;
	char dir[96], all[32];

	list(self->id, ALL, all);
	new_group(&self->place, NULL, "delegated", dir);
	ASSERT_EQ(0, delegate(dir));
	put(dir, "cpuset.memory_migrate", "1");
	ASSERT_EQ(0, restrict_to(1));
	EXPECT_EQ(0, put(dir, "cpuset.mems", all));
	ASSERT_EQ(0, join(dir, a->pid));
	ASSERT_EQ(0, tell(a, TAKE).way[0]);
	EXPECT_EQ(S0 | D1, tell(a, WHERE).way[0]);
	EXPECT_EQ(0, put_as_nobody(dir, "cpuset.mems", all));
	EXPECT_EQ(SYSTEM, task_mems(self->id, a->pid));
	EXPECT_EQ(S0, tell(a, WHERE).way[0]);
	LEAVE(dir);
}

/* The literal policy of a mapping is bound to what its task may have now. */
TEST_F(mode, literal_policy)
{
	const int literal = MPOL_BIND | MPOL_F_STATIC_NODES;
	char *p = map_anon(AREA);
	unsigned long nodes;

	ASSERT_EQ(0, mbind_nodes(p, AREA, literal, mask(self->id, S0 | D1), 0));
	ASSERT_EQ(literal, policy_at(p, &nodes));
	/* The kernel tells what was asked for; what is allowed is in numa_maps. */
	EXPECT_EQ(S0 | D1, maps_policy(self->id, p));
	EXPECT_EQ(0, restrict_to(1));
	EXPECT_EQ(S0, maps_policy(self->id, p));
	EXPECT_EQ(0, restrict_to(0));
	EXPECT_EQ(S0 | D1, maps_policy(self->id, p));

	/* Likewise when it goes from one cpuset to another */
	EXPECT_EQ(0, put_mems(self->place.dir, self->id, ALL));
	EXPECT_EQ(0, restrict_to(1));
	EXPECT_EQ(0, join(self->place.dir, getpid()));
	EXPECT_EQ(S0 | D1, maps_policy(self->id, p));
	EXPECT_EQ(0, join(self->place.root, getpid()));
	EXPECT_EQ(S0, maps_policy(self->id, p));
	munmap(p, AREA);
}

/* Groups lose their cpusets together, and one of their tasks was let in. */
TEST_F(v2, controller_off)
{
	char slice[96], named[96], plain[96];
	struct actor in;

	start_actor(&in, self->id);
	new_group(&self->place, NULL, "slice", slice);
	new_group(&self->place, slice, "plain", plain);
	new_group(&self->place, slice, "named", named);
	EXPECT_EQ(0, put_mems(named, self->id, ALL));
	ASSERT_EQ(0, restrict_to(1));
	ASSERT_EQ(0, join(plain, self->actor.pid));
	ASSERT_EQ(0, join(named, in.pid));
	EXPECT_EQ(ALL, task_mems(self->id, in.pid));
	EXPECT_EQ(0, put(slice, "cgroup.subtree_control", "-cpuset"));
	EXPECT_EQ(SYSTEM, task_mems(self->id, in.pid));
	EXPECT_EQ(SYSTEM, task_mems(self->id, self->actor.pid));
	/* And what comes again is a new one, that nobody wrote. */
	EXPECT_EQ(0, put(slice, "cgroup.subtree_control", "+cpuset"));
	EXPECT_EQ(SYSTEM, task_mems(self->id, in.pid));
	EXPECT_EQ(SYSTEM, dir_mems(&self->place, named));
	end_actor(&in);
	EXPECT_EQ(0, rmdir(named));
	LEAVE(plain);
	EXPECT_EQ(0, rmdir(slice));
}

/* Memory that is shared with one who was let in: each takes what he may have. */
TEST_F(mode, shared_memory)
{
	char named[96], *p = map_pages(2 * AREA, MAP_SHARED | MAP_ANONYMOUS, -1);
	int status;
	pid_t pid;

	new_group(&self->place, NULL, "named", named);
	EXPECT_EQ(0, put_mems(named, self->id, ALL));
	ASSERT_EQ(0, restrict_to(1));
	EXPECT_EQ(0, join(named, getpid()));
	ASSERT_EQ(0, mbind_nodes(p, 2 * AREA, MPOL_BIND, mask(self->id, D1), 0));
	fill_pages(p, AREA, 1);
	pid = fork();
	if (!pid) {
		if (join(self->place.root, getpid()))
			_exit(1);
		fill_pages(p + AREA, AREA, 1);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	EXPECT_EQ(0, status);
	EXPECT_EQ(D1, nodes_of(self->id, p, AREA, NULL));
	EXPECT_EQ(0, nodes_of(self->id, p + AREA, AREA, NULL) & DEVICES);
	EXPECT_EQ(0, join(self->place.root, getpid()));
	EXPECT_EQ(0, rmdir(named));
	munmap(p, 2 * AREA);
}

/* Others' pages: it is their nodes that count, whoever moves them. */
TEST_F(mode, others)
{
	char named[96];

	new_group(&self->place, NULL, "named", named);
	EXPECT_EQ(0, put_mems(named, self->id, ALL));
	ASSERT_EQ(0, restrict_to(1));
	EXPECT_EQ(0, join(named, getpid()));
	ASSERT_EQ(SYSTEM, task_mems(self->id, self->actor.pid));
	EXPECT_EQ(-EACCES, other_moves(self->actor.pid, self->id[2]));
	EXPECT_EQ(0, restrict_to(0));
	EXPECT_EQ(-EFAULT, other_moves(self->actor.pid, self->id[2]));
	EXPECT_EQ(0, join(self->place.root, getpid()));
	EXPECT_EQ(0, rmdir(named));
}

/* -- Threads of the kernel's ------------------------------------------------------ */

static pid_t find_task(const char *name)
{
	char path[64], text[32];
	pid_t pid;

	for (pid = 2; pid < 1000; pid++) {
		snprintf(path, sizeof(path), "/proc/%d/comm", pid);
		get_line(path, "", text, sizeof(text));
		if (!strcmp(text, name))
			return pid;
	}

	return 0;
}

/* They work for those who were let in, and start programs that weren't. */
TEST_F(v2, kernel_threads)
{
	static const char helper[] = "/tmp/devmem-access-helper";
	static const char out[] = "/tmp/devmem-access-out";
	char old[256], text[128];
	int i, fd;

	ASSERT_EQ(0, restrict_to(1));
	EXPECT_EQ(ALL, task_mems(self->id, 2));
	if (find_task("khugepaged"))
		EXPECT_EQ(ALL, task_mems(self->id, find_task("khugepaged")));

	get_line("/proc/sys/kernel/modprobe", "", old, sizeof(old));
	fd = open(helper, O_WRONLY | O_CREAT | O_TRUNC, 0755);
	dprintf(fd, "#!/bin/sh\ngrep ^Mems_allowed_list /proc/self/status >%s\n",
		out);
	close(fd);
	unlink(out);
	if (write_text("/proc/sys/kernel/modprobe", helper))
		SKIP(return, "needs CONFIG_MODULES");
	/* Of a type that no module has */
	mount("none", "/tmp", "devmem-none", 0, NULL);
	for (i = 0; i < PATIENCE_TICKS && access(out, F_OK); i++)
		usleep(TICK);
	get_line(out, "Mems_allowed_list:\t", text, sizeof(text));
	EXPECT_EQ(SYSTEM, set_of(self->id, text));
	write_text("/proc/sys/kernel/modprobe", old);
	unlink(helper);
	unlink(out);
}

TEST_HARNESS_MAIN
