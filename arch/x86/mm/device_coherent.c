// SPDX-License-Identifier: GPL-2.0
/*
 * What x86 has to do for device memory that is registered at boot, for
 * mm/device_coherent/boot.c: the e820 table, the direct map, CPUs of a node.
 */
#include <linux/cache.h>
#include <linux/device_coherent_hooks.h>
#include <linux/init.h>
#include <linux/memblock.h>
#include <linux/mm.h>
#include <linux/pgalloc.h>
#include <linux/pgtable.h>

#include <asm/apic.h>
#include <asm/e820/api.h>
#include <asm/numa.h>
#include <asm/tlbflush.h>

/*
 * A page of 1 GB in the direct map may cover device memory and memory of
 * others. Hotplug can neither map nor unmap a part of it; make it smaller.
 */
static void __init split_direct_gbpage(u64 phys)
{
	unsigned long addr = (unsigned long)__va(phys);
	pgd_t *pgd = pgd_offset_k(addr);
	unsigned long pfn;
	pgprot_t prot;
	p4d_t *p4d;
	pud_t *pud;
	pmd_t *pmd;
	int i;

	if (IS_ALIGNED(phys, PUD_SIZE) || pgd_none(*pgd))
		return;
	p4d = p4d_offset(pgd, addr);
	if (p4d_none(*p4d))
		return;
	pud = pud_offset(p4d, addr);
	if (!pud_leaf(*pud))
		return;

	pmd = memblock_alloc(PAGE_SIZE, PAGE_SIZE);
	if (!pmd)
		panic("no memory to split the direct map at %#llx\n", phys);
	pfn = pud_pfn(*pud);
	prot = __pgprot(pud_flags(*pud));
	for (i = 0; i < PTRS_PER_PMD; i++)
		set_pmd(pmd + i, pfn_pmd(pfn + i * (PMD_SIZE >> PAGE_SHIFT),
					 prot));
	pud_populate(&init_mm, pud, pmd);
	__flush_tlb_all();
}

/*
 * Not RAM any more, and not for dax_hmem either: a reserved range keeps PCI
 * resources away until the memory is added again. The table that a kexec'd
 * kernel gets stays as the firmware wrote it.
 */
void __init arch_device_coherent_claim(u64 start, u64 size, u64 piece)
{
	u64 addr;

	e820__range_update(start, size, E820_TYPE_RAM, E820_TYPE_RESERVED);
	e820__range_update(start, size, E820_TYPE_SOFT_RESERVED,
			   E820_TYPE_RESERVED);
	e820__update_table(e820_table);
	/* Zones are sized by it, and none is there for a device (invariant 3). */
	max_low_pfn = min(max_low_pfn, PFN_UP(memblock_end_of_DRAM()));

	for (addr = start; addr < start + size; addr += piece)
		split_direct_gbpage(addr);
	split_direct_gbpage(start + size);
}

void __init arch_device_coherent_cpu_nodes(nodemask_t *nodes)
{
	int i;

	for (i = 0; i < MAX_LOCAL_APIC; i++)
		if (__apicid_to_node[i] != NUMA_NO_NODE)
			node_set(__apicid_to_node[i], *nodes);
}

/* The first range at or above *@start that the firmware marks as special */
bool __init arch_device_coherent_next_sp(u64 *start, u64 *size)
{
	int i;

	for (i = 0; i < e820_table->nr_entries; i++) {
		struct e820_entry *entry = &e820_table->entries[i];

		if (entry->type != E820_TYPE_SOFT_RESERVED ||
		    entry->addr < *start)
			continue;
		*start = entry->addr;
		*size = entry->size;
		return true;
	}

	return false;
}
