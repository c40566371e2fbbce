/* SPDX-License-Identifier: GPL-2.0 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM device_coherent

#if !defined(_TRACE_DEVICE_COHERENT_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_DEVICE_COHERENT_H

#include <linux/tracepoint.h>

/* MIGRATE_REASON is from trace/events/migrate.h, included before this file. */
TRACE_DEFINE_ENUM(MR_COMPACTION);
TRACE_DEFINE_ENUM(MR_MEMORY_FAILURE);
TRACE_DEFINE_ENUM(MR_MEMORY_HOTPLUG);
TRACE_DEFINE_ENUM(MR_SYSCALL);
TRACE_DEFINE_ENUM(MR_MEMPOLICY_MBIND);
TRACE_DEFINE_ENUM(MR_NUMA_MISPLACED);
TRACE_DEFINE_ENUM(MR_CONTIG_RANGE);
TRACE_DEFINE_ENUM(MR_LONGTERM_PIN);
TRACE_DEFINE_ENUM(MR_DEMOTION);
TRACE_DEFINE_ENUM(MR_DAMON);

/* Pages of a device that moved, or came by moving: as counted in vmstat */
DECLARE_EVENT_CLASS(device_coherent_migration,
		    TP_PROTO(int from, int to, unsigned long nr_pages,
			     int reason),
		    TP_ARGS(from, to, nr_pages, reason),
		    TP_STRUCT__entry(__field(int, from)
				     __field(int, to)
				     __field(unsigned long, nr_pages)
				     __field(int, reason)),
		    TP_fast_assign(__entry->from = from;
				   __entry->to = to;
				   __entry->nr_pages = nr_pages;
				   __entry->reason = reason;),
		    TP_printk("from=%d to=%d nr_pages=%lu reason=%s",
			      __entry->from, __entry->to, __entry->nr_pages,
			      __print_symbolic(__entry->reason,
					       MIGRATE_REASON))
);

DEFINE_EVENT(device_coherent_migration, device_coherent_moved_in,
	     TP_PROTO(int from, int to, unsigned long nr_pages, int reason),
	     TP_ARGS(from, to, nr_pages, reason)
);

DEFINE_EVENT(device_coherent_migration, device_coherent_moved_out,
	     TP_PROTO(int from, int to, unsigned long nr_pages, int reason),
	     TP_ARGS(from, to, nr_pages, reason)
);

DEFINE_EVENT(device_coherent_migration, device_coherent_displaced,
	     TP_PROTO(int from, int to, unsigned long nr_pages, int reason),
	     TP_ARGS(from, to, nr_pages, reason)
);

/*
 * A request that the node did not serve. show_gfp_flags() would make every boot
 * of every machine go through the names of all flags for each of these events.
 */
TRACE_EVENT(device_coherent_refused,
	    TP_PROTO(int nid, gfp_t gfp, unsigned int order),
	    TP_ARGS(nid, gfp, order),
	    TP_STRUCT__entry(__field(int, nid)
			     __field(unsigned long, gfp)
			     __field(unsigned int, order)),
	    TP_fast_assign(__entry->nid = nid;
			   __entry->gfp = (__force unsigned long)gfp;
			   __entry->order = order;),
	    TP_printk("nid=%d order=%u gfp_flags=%#lx", __entry->nid,
		      __entry->order, __entry->gfp)
);

/* Pages that reclaim took from the node */
TRACE_EVENT(device_coherent_evicted,
	    TP_PROTO(int nid, unsigned long nr_pages),
	    TP_ARGS(nid, nr_pages),
	    TP_STRUCT__entry(__field(int, nid)
			     __field(unsigned long, nr_pages)),
	    TP_fast_assign(__entry->nid = nid;
			   __entry->nr_pages = nr_pages;),
	    TP_printk("nid=%d nr_pages=%lu", __entry->nid, __entry->nr_pages)
);

#endif /* _TRACE_DEVICE_COHERENT_H */

/* This part must be outside protection */
#include <trace/define_trace.h>
